"""What both engines share: reading the samples of a batch with threads into reused buffers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor

from loaders import kernels
from loaders.arrays import Crops, Pixels
from loaders.buffers import Scratch
from loaders.files import BadSample
from loaders.program import Drawn
from loaders.tar import Tar

Array = npt.NDArray[Any]
Stores = Mapping[str, Pixels | Tar]
# Images that a thread decodes before it asks for more: that takes milliseconds.
PIECE = 2


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Memory and hardware settings of the DALI engine on a GPU; its documentation has the details.

    width_px, height_px: the largest image, for which decoders take their memory at the start
    (0: as images come). device_padding_mb, host_padding_mb: room to start with. hw_decoder_load:
    share of a batch that the JPEG engines of the GPU take. hybrid_px: images of more pixels are
    Huffman-decoded on the GPU.
    """

    width_px: int = 0
    height_px: int = 0
    device_padding_mb: int = 16
    host_padding_mb: int = 8
    hw_decoder_load: float = 0.65
    hybrid_px: int = 1_000_000


class Job(NamedTuple):
    """Work on so many samples; `work` does some of them, BadSample where one cannot be read.

    piece: samples that a thread takes at a time; 0: about half of its share.
    """

    samples: int
    work: Callable[[slice], None]
    piece: int = 0

    def parts(self, threads: int) -> list[slice]:
        """Return slices of about equal length."""
        # Two parts a thread at least: an uneven machine does not leave one idle at the end.
        count = -(-self.samples // self.piece) if self.piece else 2 * threads
        count = min(self.samples, count)
        return [
            slice(self.samples * i // count, self.samples * (i + 1) // count) for i in range(count)
        ]


class Engine(ABC):
    """Turns draws into tensors. One `read` at a time; a slot's tensors live until it is reused."""

    def __init__(self, fields: Stores, threads: int) -> None:
        self.fields = fields
        self.threads = threads
        self.scratch = Scratch()
        self._pool = ThreadPoolExecutor(max(1, threads - 1), thread_name_prefix="nostall-read")

    @abstractmethod
    def read(self, ids: Array, drawn: Sequence[Drawn], slot: int) -> dict[str, Tensor]:
        """Return one tensor per route, by name; BadSample where a sample cannot be read."""

    @property
    @abstractmethod
    def buffer_bytes(self) -> int:
        """Bytes of the ring, all slots together."""

    def close(self) -> None:
        """Stop the threads and close the files."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        for field in self.fields.values():
            field.close()

    def spread(self, jobs: Sequence[Job]) -> None:
        """Run the jobs in parts on all threads, of which the calling one is the first."""
        todo = iter([(job, rows) for job in jobs for rows in job.parts(self.threads)])
        failed: list[BadSample] = []

        def run() -> None:
            for job, rows in todo:
                try:
                    job.work(rows)
                except BadSample as error:
                    failed.append(error)

        # One hand-over a thread, not one a part: for small batches they cost as much as the work.
        others = [self._pool.submit(run) for _ in range(self.threads - 1)]
        try:
            run()
        finally:
            for other in others:
                other.exception()  # nothing may still write when this returns
        for other in others:
            other.result()
        if failed:
            raise min(failed, key=lambda error: error.sample)

    def read_raw(self, pixels: Pixels, crops: Crops, out: Array) -> Job:
        """Return the job that fills out (B, H, W, C) with the crops as they are stored."""

        def work(rows: slice) -> None:
            part = crops.part(rows)
            band = self.band(pixels, part)
            pixels.check(part, kernels.read_raw(*part[1:], band, out[rows]))

        return Job(len(crops.ids), work)

    def band(self, pixels: Pixels, crops: Crops) -> Array:
        """Return this thread's buffer for one band of rows, in the field's dtype."""
        row_bytes = int(crops.boxes[:, 1].max()) * pixels.channels * pixels.dtype.itemsize
        size = max(kernels.SCRATCH_BYTES, row_bytes) // pixels.dtype.itemsize
        return self.scratch.flat(pixels.dtype.str, size, pixels.dtype)

    def cover(self, pixels: Pixels, crops: Crops, row: int) -> Array:
        """Read one sample's crop, which is not turned, to this thread's memory as (h, w × C)."""
        part = crops.part(slice(row, row + 1))
        height, width = part.boxes[0].tolist()
        shape = (1, height, width, pixels.channels)
        held = self.scratch.shaped("cover", shape, pixels.dtype)
        pixels.check(part, kernels.read_raw(*part[1:], self.band(pixels, part), held))
        return held.reshape(height, width * pixels.channels)


def union(drawn: Sequence[Drawn]) -> Array:
    """Return (B, 4) the boxes that hold the covers of all routes: what is decoded once."""
    covers = np.stack([one.covers for one in drawn])
    low = covers[:, :, :2].min(0)
    high = (covers[:, :, :2] + covers[:, :, 2:]).max(0)
    return np.concatenate([low, high - low], axis=1)


def by_field(drawn: Sequence[Drawn]) -> dict[str, list[Drawn]]:
    """Return the routes of each field."""
    groups: dict[str, list[Drawn]] = {}
    for one in drawn:
        groups.setdefault(one.route.field, []).append(one)
    return groups
