"""The DALI engine: the same draws, carried out as a DALI graph on a GPU or on the CPU.

Our threads read: crops of raw fields, and of encoded ones the same small cut JPEGs that the host
engine decodes (loaders/cut.py). DALI gets them through `external_source`, decodes (`mixed` on a
GPU), resamples, turns, applies the photometric stages' `graph` faces and converts to float.
Pipeline mode, because the dynamic one cannot be checkpointed. This is the only file that imports
DALI.

Of damaged entropy data DALI's decoders only warn, and deliver what they make of it; the host engine
refuses it. What was damaged after the build is found by `python -m dataprep verify`.
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

from loaders import feed
from loaders.arrays import Pixels
from loaders.buffers import Buffers, torch_type
from loaders.decode import decode, decoded, plain_size
from loaders.engine import Engine, Job, Settings, Stores, by_field, union
from loaders.program import Drawn, Program, Route
from loaders.stages import Normalise
from loaders.tar import Fetched, Members, Tar

# The graph faces of stages take DALI from here.
__all__ = ["Dali", "fn", "types"]

Array = npt.NDArray[Any]

_INTERPOLATION = {
    "nearest": types.INTERP_NN,
    "linear": types.INTERP_LINEAR,
    "cubic": types.INTERP_CUBIC,
}
_SPARE_BYTES = 16


class Dali(Engine):
    """Runs `program` on `device` in batches of `batch` samples."""

    def __init__(
        self,
        fields: Stores,
        threads: int,
        device: torch.device,
        program: Program,
        batch: int,
        settings: Settings,
    ) -> None:
        super().__init__(fields, threads)
        self._on_gpu = device.type == "cuda"
        self._buffers = Buffers(pinned=self._on_gpu)
        self._graph = dict(
            routes=program.routes,
            fields=fields,
            on_gpu=self._on_gpu,
            settings=settings,
            batch_size=batch,
            num_threads=threads,
            device_id=(device.index or 0) if self._on_gpu else None,
            prefetch_queue_depth=1,  # the loader prefetches; a queue here would only add latency
        )
        self._pipeline = self._built()
        # DALI takes its memory back with the last reference; until the slot is filled again the
        # GPU may still read it.
        self._held: dict[int, Any] = {}

    def _built(self) -> Any:
        pipeline = _graph(**self._graph)
        pipeline.build()
        return pipeline

    @property
    def buffer_bytes(self) -> int:
        """Bytes of what DALI is fed, all slots together; its own memory is not counted."""
        return self._buffers.bytes

    def read(self, ids: Array, drawn: Sequence[Drawn], slot: int) -> dict[str, Tensor]:
        """Return (B, C, H, W) floats where normalised, else (B, H, W, C) as stored."""
        fed: dict[str, Any] = {}
        files: dict[str, list[Fetched]] = {}
        for name, group in by_field(drawn).items():
            field = self.fields[name]
            if isinstance(field, Tar):
                boxes = union(group)
                files[name] = self._files(field, ids, boxes, slot)
                fed[name] = [one.data for one in files[name]]
                # Where the decoded images begin in the stored ones.
                origins = boxes[:, :2] - [[one.top, one.left] for one in files[name]]
                for one in group:
                    fed |= feed.slices(one, origins)
            else:
                fed |= {one.route.name: self._raw(field, ids, one, slot) for one in group}
        for one in drawn:
            fed |= feed.draws(one, isinstance(self.fields[one.route.field], Pixels))
        for name, value in fed.items():  # all or nothing: inputs must not get out of step
            packed = np.ascontiguousarray(value) if isinstance(value, np.ndarray) else value
            self._pipeline.feed_input(name, packed)
        try:
            outputs = self._held[slot] = self._pipeline.run()
        except RuntimeError as error:
            self._pipeline = self._built()  # it cannot go on after an error
            raise self._explained(ids, files, error) from None
        return {
            one.route.name: _finished(one.route, torch.utils.dlpack.from_dlpack(output.as_tensor()))
            for one, output in zip(drawn, outputs, strict=True)
        }

    def _files(self, tar: Tar, ids: Array, boxes: Array, slot: int) -> list[Fetched]:
        """Fetch the samples' files, cut to boxes (B, 4), to the slot's memory."""
        members = tar.locate(ids, boxes)
        ends = np.cumsum(members.bytes + _SPARE_BYTES)
        held = self._buffers.shaped(slot, tar.name, (int(ends[-1]),), torch.uint8).numpy()
        files: list[Fetched] = [Fetched(held, 0, 0, 0, 0, False)] * len(ids)

        def work(rows: slice) -> None:
            for i in range(rows.start, rows.stop):
                files[i] = self._file(tar, members, i, held[ends[i - 1] if i else 0 : ends[i]])

        self.spread([Job(len(ids), work)])
        return files

    def _file(self, tar: Tar, members: Members, i: int, held: Array) -> Fetched:
        fetched = tar.fetch(members, i, self.scratch, held)
        size = fetched.height, fetched.width
        if fetched.is_cut or plain_size(fetched.data) == size:
            return fetched
        # What DALI may take for other pixels than the host engine does is given as pixels.
        try:
            pixels = decoded(tar, fetched, self.scratch)
        except ValueError as error:
            raise tar.bad(int(members.ids[i]), str(error)) from None
        head = b"P%d %d %d 255\n" % (6 if tar.channels == 3 else 5, *size[::-1])
        data = np.concatenate([np.frombuffer(head, np.uint8), pixels.reshape(-1)])
        return fetched._replace(data=data)

    def _raw(self, field: Pixels, ids: Array, drawn: Drawn, slot: int) -> Any:
        """Return the pixels that one route of a raw field is fed, not turned if possible."""
        if drawn.route.interpolation is not None:
            return self._covers(field, ids, drawn, slot)
        shape = (len(ids), drawn.height, drawn.width, field.channels)
        held = self._buffers.shaped(slot, drawn.route.name, shape, torch_type(field.dtype)).numpy()
        crops = field.locate(ids, drawn.covers, feed.early(drawn))
        self.spread([self.read_raw(field, crops, held)])
        return held

    def _covers(self, field: Pixels, ids: Array, drawn: Drawn, slot: int) -> list[Array]:
        """Return the covers of a raw field, each (h, w, C), in the slot's memory."""
        crops = field.locate(ids, drawn.covers, np.zeros_like(drawn.codes))
        sizes = drawn.covers[:, 2:].prod(1) * field.channels
        ends = np.cumsum(sizes)
        held = self._buffers.shaped(
            slot, drawn.route.name, (int(ends[-1]),), torch_type(field.dtype)
        ).numpy()
        out = [
            held[end - size : end].reshape(*cover[2:], field.channels)
            for end, size, cover in zip(ends, sizes, drawn.covers, strict=True)
        ]

        def work(rows: slice) -> None:
            for i in range(rows.start, rows.stop):
                out[i][...] = self.cover(field, crops, i).reshape(out[i].shape)

        self.spread([Job(len(ids), work)])
        return out

    def _explained(
        self, ids: Array, files: Mapping[str, Sequence[Fetched]], error: RuntimeError
    ) -> Exception:
        """Find the sample that DALI could not decode by decoding each here."""
        for name, fetched in files.items():
            tar = self.fields[name]
            for i, one in enumerate(fetched):
                try:
                    decode(one, self.scratch)
                except ValueError as why:
                    assert isinstance(tar, Tar)
                    return tar.bad(int(ids[i]), str(why))
        return error


def _finished(route: Route, output: Tensor) -> Tensor:
    """Return DALI's output in the layout and type that were asked for."""
    if route.normalise is None:
        return output
    if route.normalise.channels_last:
        output = output.permute(0, 3, 1, 2)
    return output.to(getattr(torch, route.normalise.dtype))


@pipeline_def(enable_conditionals=True)  # type: ignore[untyped-decorator]
def _graph(routes: Sequence[Route], fields: Stores, on_gpu: bool, settings: Settings) -> Any:
    decoded: dict[str, Any] = {}
    for name, field in fields.items():
        if isinstance(field, Tar) and any(route.field == name for route in routes):
            decoded[name] = _decoder(name, field.channels, on_gpu, settings)
    return tuple(
        _route_graph(route, fields[route.field], decoded.get(route.field), on_gpu)
        for route in routes
    )


def _decoder(name: str, channels: int, on_gpu: bool, settings: Settings) -> Any:
    files = fn.external_source(name=name, no_copy=not on_gpu)
    # Files say how a camera was held, but the loader's geometry turns images upright.
    colours = types.GRAY if channels == 1 else types.RGB
    common = {"output_type": colours, "adjust_orientation": False}
    if not on_gpu:
        return fn.decoders.image(files, **common)
    return fn.decoders.image(
        files,
        device="mixed",
        preallocate_width_hint=settings.width_px,
        preallocate_height_hint=settings.height_px,
        device_memory_padding=settings.device_padding_mb << 20,
        host_memory_padding=settings.host_padding_mb << 20,
        hw_decoder_load=settings.hw_decoder_load,
        hybrid_huffman_threshold=settings.hybrid_px,
        **common,
    )


def _route_graph(route: Route, field: Pixels | Tar, decoded: Any, on_gpu: bool) -> Any:
    name = route.name
    if decoded is not None:
        image = fn.slice(
            decoded,
            start=fn.external_source(name=f"{name} corner"),
            shape=fn.external_source(name=f"{name} cover"),
            axes=(0, 1),
        )
    else:
        image = fn.external_source(name=name, layout="HWC", no_copy=not on_gpu)
        image = image.gpu() if on_gpu else image
    if route.interpolation is not None:
        image = _resampled(image, name, route.interpolation)
    flips = {
        "horizontal": fn.external_source(name=f"{name} 1"),
        "vertical": fn.external_source(name=f"{name} 2"),
    }
    image = _turn(fn.flip(image, **flips), fn.external_source(name=f"{name} 4"))
    if route.interpolation is not None:
        image = _warped(image, name, route.interpolation)
    for slot, stage in route.photometric:
        image = stage.graph(image, _Parameters(f"{name} {slot}"))
    if route.normalise is None:
        return image
    return _floats(image, route.normalise, field, on_gpu)


def _resampled(image: Any, name: str, interpolation: str) -> Any:
    return fn.resize(
        image,
        size=fn.external_source(name=f"{name} size"),
        roi_start=fn.external_source(name=f"{name} start"),
        roi_end=fn.external_source(name=f"{name} end"),
        interp_type=_INTERPOLATION[interpolation],
        antialias=True,
    )


def _warped(image: Any, name: str, interpolation: str) -> Any:
    # Of the two kinds that warps know; a cubic warp is linear here, as its pixels are not shrunk.
    kind = types.INTERP_NN if interpolation == "nearest" else types.INTERP_LINEAR
    matrix, size = (fn.external_source(name=f"{name} {what}") for what in ("warp", "out"))
    if fn.external_source(name=f"{name} warped") == 1:
        image = fn.warp_affine(image, matrix=matrix, size=size, interp_type=kind, fill_value=0.0)
    return image


def _floats(image: Any, normalise: Normalise, field: Pixels | Tar, on_gpu: bool) -> Any:
    """Convert to float: channels first, unless they are wanted last."""
    if normalise.dtype == "uint8":
        return image if normalise.channels_last else fn.transpose(image, perm=[2, 0, 1])
    facts = field.field
    factor, term = normalise.affine(facts.scale, facts.offset, field.channels)
    if field.dtype == np.uint8:  # one operator, four times as fast on a CPU
        return fn.crop_mirror_normalize(
            image,
            mean=(-term / factor).tolist(),
            std=(1 / factor).tolist(),
            output_layout="HWC" if normalise.channels_last else "CHW",
        )
    scale = types.Constant(factor.reshape(1, 1, -1), device="cpu")
    shift = types.Constant(term.reshape(1, 1, -1), device="cpu")
    if on_gpu:
        scale, shift = scale.gpu(), shift.gpu()
    image = fn.cast(image, dtype=types.FLOAT) * scale + shift
    return image if normalise.channels_last else fn.transpose(image, perm=[2, 0, 1])


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
