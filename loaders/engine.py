"""What both engines share: reading the crops of a batch with threads into reused buffers."""

from __future__ import annotations

import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from loaders import kernels
from loaders.arrays import Crops, Pixels
from loaders.program import Drawn

Array = npt.NDArray[Any]


class Buffers:
    """Buffers that are reused: a fresh page costs as much as resizing an image into it."""

    def __init__(self, pinned: bool = False) -> None:
        self._pinned = pinned
        self._flat: dict[tuple[int, str], Tensor] = {}

    def shaped(self, slot: int, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Tensor:
        """Return a (…) tensor of the slot; it grows to the largest shape ever asked for."""
        size = math.prod(shape) * dtype.itemsize
        flat = self._flat.get((slot, name))
        if flat is None or len(flat) < size:
            flat = torch.empty(size, dtype=torch.uint8, pin_memory=self._pinned)
            self._flat[slot, name] = flat
        return flat[:size].view(torch_type(dtype)).view(shape)


@cache
def torch_type(dtype: np.dtype[Any]) -> torch.dtype:
    """Return torch's name of a numpy type."""
    return torch.from_numpy(np.empty(0, dtype)).dtype


class Job(NamedTuple):
    """Crops to read; `work` reads a part into its rows of the output, returns -1 or the bad row."""

    pixels: Pixels
    crops: Crops
    work: Callable[[Crops, slice], int]

    def parts(self, most: int) -> list[slice]:
        """Return up to `most` slices of about equal length."""
        count = len(self.crops.ids)
        most = min(count, most)
        return [slice(count * i // most, count * (i + 1) // most) for i in range(most)]


class Engine(ABC):
    """Turns draws into tensors. One `read` at a time; a slot's tensors live until it is reused."""

    def __init__(self, pixels: Mapping[str, Pixels], threads: int) -> None:
        self.pixels = pixels
        self.threads = threads
        self._pool = ThreadPoolExecutor(max(1, threads - 1), thread_name_prefix="nostall-read")
        self._local = threading.local()

    @abstractmethod
    def read(self, ids: Array, drawn: Sequence[Drawn], slot: int) -> dict[str, Tensor]:
        """Return one tensor per route, by name; DataError where a sample cannot be read."""

    def close(self) -> None:
        """Stop the threads and close the files."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        for pixels in self.pixels.values():
            pixels.close()

    def crops(self, drawn: Drawn, ids: Array, codes: Array | None = None) -> Crops:
        """Locate a route's crops; `codes` replaces the drawn turns."""
        turns = drawn.codes if codes is None else codes
        return self.pixels[drawn.route.field].locate(ids, drawn.boxes, turns)

    def spread(self, jobs: Sequence[Job]) -> None:
        """Run the jobs in parts on all threads, of which the calling one is the first."""
        # Two parts a thread: an uneven machine does not leave one thread idle at the end.
        parts = iter([(job, rows) for job in jobs for rows in job.parts(2 * self.threads)])
        failed: list[tuple[Job, int]] = []

        def run() -> None:
            for job, rows in parts:
                at = job.work(job.crops.part(rows), rows)
                if at >= 0:
                    failed.append((job, rows.start + at))

        # One hand-over a thread, not one a part: for small batches they cost as much as the work.
        others = [self._pool.submit(run) for _ in range(self.threads - 1)]
        run()
        for other in others:
            other.result()
        if failed:
            job, row = min(failed, key=lambda one: one[1])
            raise job.pixels.explain(job.crops, row)

    def read_raw(self, pixels: Pixels, crops: Crops, out: Array) -> None:
        """Fill out (B, H, W, C) with the crops as they are stored."""
        self.spread(
            [
                Job(
                    pixels,
                    crops,
                    lambda part, rows: kernels.read_raw(
                        *part[1:], self.scratch(pixels, part), out[rows]
                    ),
                )
            ]
        )

    def scratch(self, pixels: Pixels, crops: Crops) -> Array:
        """Return this thread's buffer for one band of rows, in the field's dtype."""
        name = pixels.dtype.str
        row_bytes = int(crops.boxes[:, 1].max()) * pixels.channels * pixels.dtype.itemsize
        size = max(kernels.SCRATCH_BYTES, row_bytes) // pixels.dtype.itemsize
        held: Array | None = getattr(self._local, name, None)
        if held is None or len(held) < size:
            held = np.empty(size, pixels.dtype)
            setattr(self._local, name, held)
        return held
