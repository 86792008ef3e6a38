"""The host engine: threads that read, crop, turn and convert in one pass; no worker processes.

On a CPU the batch is float when it leaves the kernel. With a GPU the bytes travel as they are
stored (a quarter of the floats) from pinned memory, on a stream of their own, and become float
there. Legend: B batch, C channels, H W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from loaders import kernels
from loaders.arrays import Crops, Pixels
from loaders.engine import Buffers, Engine, Job
from loaders.program import Drawn

Array = npt.NDArray[Any]
_FLOAT = np.dtype(np.float32)


class Host(Engine):
    """Reads with `threads` threads for `device`."""

    def __init__(self, pixels: Mapping[str, Pixels], threads: int, device: torch.device) -> None:
        super().__init__(pixels, threads)
        self._device = device
        self._buffers = Buffers(pinned=device.type == "cuda")
        self._floats: dict[tuple[int, str], Tensor] = {}
        self._affines: dict[str, tuple[Array, Array]] = {}
        self._on_gpu: dict[str, tuple[Tensor, Tensor]] = {}

    def read(self, ids: Array, drawn: Sequence[Drawn], slot: int) -> dict[str, Tensor]:
        """Return (B, C, H, W) float32 where normalised, else (B, H, W, C) as stored."""
        if self._device.type != "cuda":
            jobs: list[Job] = []
            outputs = {one.route.name: self._one(ids, one, slot, jobs) for one in drawn}
            self.spread(jobs)
            return outputs
        return {
            one.route.name: self._converted(
                one.route.name, self._changed(ids, one, slot), one, slot
            )
            for one in drawn
        }

    def _one(self, ids: Array, drawn: Drawn, slot: int, jobs: list[Job]) -> Tensor:
        """Return a route's output; what is still to be read into it is added to the jobs."""
        affine = self.affine(drawn)
        if affine is None:
            return self._changed(ids, drawn, slot)
        pixels, name = self.pixels[drawn.route.field], drawn.route.name
        shape = (len(ids), pixels.channels, drawn.height, drawn.width)
        out = self._buffers.shaped(slot, name, shape, _FLOAT)
        target = out.numpy()
        if drawn.route.photometric:
            images = self._changed(ids, drawn, slot).numpy()
            kernels.convert(images, *affine, target)
            return out

        def work(part: Crops, rows: slice) -> int:
            return int(
                kernels.read_float(*part[1:], *affine, self.scratch(pixels, part), target[rows])
            )

        jobs.append(Job(pixels, self.crops(drawn, ids), work))
        return out

    def _changed(self, ids: Array, drawn: Drawn, slot: int) -> Tensor:
        """Return the crops as stored, (B, H, W, C), with the photometric stages applied."""
        pixels, stages = self.pixels[drawn.route.field], drawn.route.photometric
        shape = (len(ids), drawn.height, drawn.width, pixels.channels)
        raw = self._buffers.shaped(slot, f"{drawn.route.name} raw", shape, pixels.dtype)
        out = raw.numpy()

        def work(part: Crops, rows: slice) -> int:
            at = int(kernels.read_raw(*part[1:], self.scratch(pixels, part), out[rows]))
            for i in range(rows.start, rows.stop) if at < 0 else ():
                for (_, stage), drawn_here in zip(stages, drawn.parameters, strict=True):
                    out[i] = stage.host(out[i], {key: v[i] for key, v in drawn_here.items()})
            return at

        self.spread([Job(pixels, self.crops(drawn, ids), work)])
        return raw

    def affine(self, drawn: Drawn) -> tuple[Array, Array] | None:
        """Return a route's (C,) factors and terms, None where it stays as stored."""
        route = drawn.route
        if route.normalise is None:
            return None
        if route.name not in self._affines:
            pixels = self.pixels[route.field]
            field, channels = pixels.field, pixels.channels
            self._affines[route.name] = route.normalise.affine(field.scale, field.offset, channels)
        return self._affines[route.name]

    def _converted(self, name: str, raw: Tensor, drawn: Drawn, slot: int) -> Tensor:
        """Return stored pixels (B, H, W, C) as float (B, C, H, W), on the GPU, reusing memory."""
        images = raw.to(self._device, non_blocking=True)
        affine = self.affine(drawn)
        if affine is None:
            return images
        planes = images.permute(0, 3, 1, 2)
        out = self._floats.get((slot, name))
        if out is None or out.shape != planes.shape:
            out = torch.empty(planes.shape, dtype=torch.float32, device=self._device)
            self._floats[slot, name] = out
        if name not in self._on_gpu:
            factor, term = (torch.from_numpy(v).to(self._device).view(-1, 1, 1) for v in affine)
            self._on_gpu[name] = factor, term
        factor, term = self._on_gpu[name]
        return out.copy_(planes).mul_(factor).add_(term)
