"""The host engine: threads that read, decode, resample, turn and convert; no worker processes.

On a CPU the batch is float when it leaves the kernel. With a GPU the bytes travel as they are
stored (a quarter of the floats) from pinned memory, on a stream of their own, and become float
there. Legend: B batch, C channels, H W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from loaders import decode, kernels
from loaders.arrays import Pixels
from loaders.buffers import Buffers, as_numpy, torch_type
from loaders.engine import PIECE, Engine, Job, Stores, by_field, union
from loaders.output import Output
from loaders.program import Drawn
from loaders.tar import Tar

Array = npt.NDArray[Any]


class Host(Engine):
    """Reads with `threads` threads for `device`."""

    def __init__(self, fields: Stores, threads: int, device: torch.device) -> None:
        super().__init__(fields, threads)
        cv2.setNumThreads(1)  # its own threads would fight the reading ones for the cores
        self._device = device
        self._on_gpu = device.type == "cuda"
        self._buffers = Buffers(pinned=self._on_gpu)
        self._floats: dict[tuple[int, str], Tensor] = {}
        self._affines: dict[str, tuple[Array, Array]] = {}
        self._gpu_affines: dict[str, tuple[Tensor, Tensor]] = {}

    @property
    def buffer_bytes(self) -> int:
        """Bytes of the ring, all slots together."""
        return self._buffers.bytes

    def read(self, ids: Array, drawn: Sequence[Drawn], slot: int) -> dict[str, Tensor]:
        """Return (B, C, H, W) floats where normalised, else (B, H, W, C) as stored."""
        targets = {one.route.name: self._target(one, len(ids), slot) for one in drawn}
        jobs: list[Job] = []
        for name, group in by_field(drawn).items():
            field = self.fields[name]
            if isinstance(field, Tar):
                jobs.append(self._decoded(field, ids, group, targets))
            else:
                jobs += [self._raw(field, ids, one, targets[one.route.name]) for one in group]
        self.spread(jobs)
        if self._on_gpu:
            return {one.route.name: self._sent(one, targets[one.route.name], slot) for one in drawn}
        return {
            one.route.name: targets[one.route.name].permute(0, 3, 1, 2)
            if _is_last(one)
            else targets[one.route.name]
            for one in drawn
        }

    def _target(self, drawn: Drawn, count: int, slot: int) -> Tensor:
        """Return the slot's buffer for a route, as its outputs lie in memory."""
        field, normalise = self.fields[drawn.route.field], drawn.route.normalise
        shape = (count, drawn.height, drawn.width, field.channels)
        if normalise is None or self._on_gpu:
            dtype = torch_type(field.dtype)
        else:
            dtype = getattr(torch, normalise.dtype)
            shape = shape if normalise.channels_last else (count, shape[3], shape[1], shape[2])
        return self._buffers.shaped(slot, drawn.route.name, shape, dtype)

    def _decoded(
        self, tar: Tar, ids: Array, group: Sequence[Drawn], targets: Mapping[str, Tensor]
    ) -> Job:
        """Return the job that decodes each sample once, for all routes of one field."""
        boxes = union(group)
        members = tar.locate(ids, boxes)
        outputs = [self._output(one, targets[one.route.name]) for one in group]
        inside = [one.covers[:, :2] - boxes[:, :2] for one in group]
        scratch = self.scratch

        def work(rows: slice) -> None:
            for i in range(rows.start, rows.stop):
                src, top, left = decode.pixels(tar, members, i, scratch)
                for output, corner in zip(outputs, inside, strict=True):
                    place = int(corner[i, 0]) + top, int(corner[i, 1]) + left
                    output.write(i, src, place, scratch)

        return Job(len(ids), work, PIECE)

    def _raw(self, pixels: Pixels, ids: Array, drawn: Drawn, target: Tensor) -> Job:
        """Return the job that reads one route of a raw field."""
        out, route, affine = as_numpy(target), drawn.route, self._affine(drawn)
        plain = drawn.exact and drawn.warps is None and not route.photometric
        if plain and affine is None:
            return self.read_raw(pixels, pixels.locate(ids, drawn.covers, drawn.codes), out)
        if plain and affine is not None and target.dtype == torch.float32 and not _is_last(drawn):
            scale, bias = affine
            crops = pixels.locate(ids, drawn.covers, drawn.codes)

            def convert(rows: slice) -> None:
                part = crops.part(rows)
                band = self.band(pixels, part)
                pixels.check(part, kernels.read_float(*part[1:], scale, bias, band, out[rows]))

            return Job(len(ids), convert)
        covers = pixels.locate(ids, drawn.covers, np.zeros_like(drawn.codes))
        output = self._output(drawn, target)

        def work(rows: slice) -> None:
            for i in range(rows.start, rows.stop):
                output.write(i, self.cover(pixels, covers, i), (0, 0), self.scratch)

        return Job(len(ids), work, PIECE)

    def _output(self, drawn: Drawn, target: Tensor) -> Output:
        field = self.fields[drawn.route.field]
        affine, last = self._affine(drawn), _is_last(drawn)
        return Output(drawn, as_numpy(target), field.dtype, affine, last)

    def _affine(self, drawn: Drawn) -> tuple[Array, Array] | None:
        """Return a route's (C,) factors and terms, None where it stays as stored here."""
        return None if self._on_gpu else self._factors(drawn)

    def _factors(self, drawn: Drawn) -> tuple[Array, Array] | None:
        route = drawn.route
        # uint8 with its channels last is what lies there anyway.
        if route.normalise is None or (route.normalise.dtype == "uint8" and _is_last(drawn)):
            return None
        if route.name not in self._affines:
            field = self.fields[route.field]
            facts, channels = field.field, field.channels
            self._affines[route.name] = route.normalise.affine(facts.scale, facts.offset, channels)
        return self._affines[route.name]

    def _sent(self, drawn: Drawn, raw: Tensor, slot: int) -> Tensor:
        """Return stored pixels (B, H, W, C) as floats (B, C, H, W), on the GPU, reusing memory."""
        images = raw.to(self._device, non_blocking=True)
        normalise, name, factors = drawn.route.normalise, drawn.route.name, self._factors(drawn)
        planes = images.permute(0, 3, 1, 2)
        if normalise is None or factors is None:
            return planes if _is_last(drawn) else images
        out, dtype = self._floats.get((slot, name)), getattr(torch, normalise.dtype)
        if out is None or out.shape != planes.shape:
            layout = torch.channels_last if normalise.channels_last else torch.contiguous_format
            out = torch.empty(planes.shape, dtype=dtype, device=self._device, memory_format=layout)
            self._floats[slot, name] = out
        if dtype == torch.uint8:
            return out.copy_(planes)
        if name not in self._gpu_affines:
            factor, term = (torch.from_numpy(v).to(self._device).view(-1, 1, 1) for v in factors)
            self._gpu_affines[name] = factor, term
        factor, term = self._gpu_affines[name]
        if dtype == torch.float32:
            return out.copy_(planes).mul_(factor).add_(term)
        # Rounded once, at the end: bfloat16 holds only 8 bits of a product.
        return out.copy_(torch.addcmul(term, planes.float(), factor))


def _is_last(drawn: Drawn) -> bool:
    return drawn.route.normalise is not None and drawn.route.normalise.channels_last
