"""The DALI engine: the same draws, carried out as a DALI graph on a GPU or on the CPU.

The crops are read by the same threads; DALI gets them through `external_source`, turns them,
applies the photometric stages' `graph` faces and converts them to float. Pipeline mode, because
the dynamic one cannot be checkpointed. This is the only file that imports DALI.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.utils.dlpack
from nvidia.dali import fn, pipeline_def, types
from torch import Tensor

from loaders.arrays import Pixels
from loaders.engine import Buffers, Engine
from loaders.program import Drawn, Program, Route

Array = npt.NDArray[Any]


class Dali(Engine):
    """Runs `program` on `device` in batches of `batch` samples."""

    def __init__(
        self,
        pixels: Mapping[str, Pixels],
        threads: int,
        device: torch.device,
        program: Program,
        batch: int,
    ) -> None:
        super().__init__(pixels, threads)
        self._buffers = Buffers(pinned=device.type == "cuda")
        self._on_gpu = device.type == "cuda"
        self._pipeline = _graph(
            program.routes,
            pixels,
            self._on_gpu,
            batch_size=batch,
            num_threads=threads,
            device_id=(device.index or 0) if self._on_gpu else None,
            prefetch_queue_depth=1,  # the loader prefetches; a queue here would only add latency
        )
        self._pipeline.build()
        # DALI takes its memory back with the last reference; until the slot is filled again the
        # GPU may still read it.
        self._held: dict[int, Any] = {}

    def read(self, ids: Array, drawn: Sequence[Drawn], slot: int) -> dict[str, Tensor]:
        """Return (B, C, H, W) float32 where normalised, else (B, H, W, C) as stored."""
        for one in drawn:
            pixels = self.pixels[one.route.field]
            shape = (len(ids), one.height, one.width, pixels.channels)
            raw = self._buffers.shaped(slot, one.route.name, shape, pixels.dtype).numpy()
            # Sources of two shapes that a turn makes equal fit one buffer only when turned already.
            early = one.codes if one.height != one.width else np.zeros_like(one.codes)
            self.read_raw(pixels, self.crops(one, ids, early), raw)
            for name, value in _inputs(one, raw, one.codes - early).items():
                self._pipeline.feed_input(name, value)
        outputs = self._held[slot] = self._pipeline.run()
        return {
            one.route.name: torch.utils.dlpack.from_dlpack(output.as_tensor())
            for one, output in zip(drawn, outputs, strict=True)
        }


def _inputs(drawn: Drawn, raw: Array, codes: Array) -> dict[str, Array]:
    """Return what one route is fed: its crops, the bits of its turns, its stages' draws."""
    name = drawn.route.name
    fed: dict[str, Array] = {name: raw}
    for bit in (1, 2, 4):
        fed[f"{name} {bit}"] = ((codes & bit) != 0).astype(np.int32)
    for (slot, _), parameters in zip(drawn.route.photometric, drawn.parameters, strict=True):
        fed |= {f"{name} {slot} {key}": value for key, value in parameters.items()}
    return fed


@pipeline_def(enable_conditionals=True)  # type: ignore[untyped-decorator]
def _graph(routes: Sequence[Route], pixels: Mapping[str, Pixels], on_gpu: bool) -> Any:
    return tuple(_route_graph(route, pixels[route.field], on_gpu) for route in routes)


def _route_graph(route: Route, pixels: Pixels, on_gpu: bool) -> Any:
    image = fn.external_source(name=route.name, layout="HWC", no_copy=not on_gpu)
    if on_gpu:
        image = image.gpu()
    flips = {
        "horizontal": fn.external_source(name=f"{route.name} 1"),
        "vertical": fn.external_source(name=f"{route.name} 2"),
    }
    image = _turn(fn.flip(image, **flips), fn.external_source(name=f"{route.name} 4"))
    for slot, stage in route.photometric:
        image = stage.graph(image, _Parameters(f"{route.name} {slot}"))
    if route.normalise is None:
        return image
    factor, term = route.normalise.affine(pixels.field.scale, pixels.field.offset, pixels.channels)
    scale = types.Constant(factor.reshape(1, 1, -1), device="cpu")
    shift = types.Constant(term.reshape(1, 1, -1), device="cpu")
    if on_gpu:
        scale, shift = scale.gpu(), shift.gpu()
    image = fn.cast(image, dtype=types.FLOAT) * scale + shift
    return fn.transpose(image, perm=[2, 0, 1])


def _turn(image: Any, turned: Any) -> Any:
    if turned == 1:
        image = fn.transpose(image, perm=[1, 0, 2], transpose_layout=False)
    return image


class _Parameters(dict[str, Any]):
    """The draws of one stage: an external source for each parameter the stage asks for."""

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self._prefix = prefix

    def __missing__(self, key: str) -> Any:
        self[key] = fn.external_source(name=f"{self._prefix} {key}")
        return self[key]
