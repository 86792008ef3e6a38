"""DALI's own readers and operators, as its ImageNet examples use them.

On a GPU decoding is `mixed` and what follows it runs there; labels stay with the CPU.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import torch
import torch.utils.dlpack
from nvidia.dali import fn, pipeline_def, types
from torch import Tensor
from workload import Setting

from photos.corpus import SPLIT, shards
from photos.work import AREA, JITTER, MEAN, RATIO, STD, TURN, Work

Labelled = Generator[tuple[Tensor, Tensor], None, None]
# Samples between which a reader's shuffle chooses.
FILL = 1024


def file_reader(work: Work, setting: Setting, folder: str) -> Labelled:
    """Yield from readers.file; `folder`: attribute of the work."""
    where = f"{getattr(work, folder)}/{SPLIT}"
    for images, labels in _run(work, setting, lambda: _files(where)):
        yield images, torch.utils.dlpack.from_dlpack(labels.as_tensor()).reshape(-1)


def tar_reader(work: Work, setting: Setting) -> Labelled:
    """Yield from readers.webdataset, on the shards of the set."""
    for images, texts in _run(work, setting, lambda: _tars(shards(work.data))):
        digits = (bytes(texts.at(i)) for i in range(len(texts)))
        yield images, torch.tensor([int(text) for text in digits])


def _files(folder: str) -> Any:
    return fn.readers.file(file_root=folder, random_shuffle=True, initial_fill=FILL, name="reader")


def _tars(paths: list[str]) -> Any:
    return fn.readers.webdataset(
        paths=paths,
        index_paths=[path.removesuffix("tar") + "idx" for path in paths],
        ext=["jpg", "cls"],
        missing_component_behavior="error",
        random_shuffle=True,
        initial_fill=FILL,
        name="reader",
    )


def _run(work: Work, setting: Setting, read: Any) -> Generator[tuple[Tensor, Any], None, None]:
    """Run the graph without end; a batch is valid until the next."""
    gpu = work.device == "cuda"
    pipeline = _graph(
        read,
        _whole if work.variant == "whole" else _crop,
        work.size,
        "mixed" if gpu else "cpu",
        batch_size=work.batch,
        num_threads=setting["threads"],
        device_id=torch.cuda.current_device() if gpu else None,
        seed=work.seed + 1,
    )
    pipeline.build()
    while True:
        images, labels = pipeline.run()
        yield torch.utils.dlpack.from_dlpack(images.as_tensor()), labels


@pipeline_def  # type: ignore[untyped-decorator]
def _graph(read: Any, make: Any, size: int, decoder: str) -> Any:
    encoded, labels = read()
    images = fn.crop_mirror_normalize(
        make(encoded, size, decoder),
        dtype=types.FLOAT,
        output_layout="CHW",
        mean=[255 * value for value in MEAN],
        std=[255 * value for value in STD],
        mirror=fn.random.coin_flip(),
    )
    return images, labels


def _crop(encoded: Any, size: int, decoder: str) -> Any:
    images = fn.decoders.image_random_crop(
        encoded,
        device=decoder,
        output_type=types.RGB,
        random_area=AREA,
        random_aspect_ratio=RATIO,
    )
    return _resized(images, size)


def _whole(encoded: Any, size: int, decoder: str) -> Any:
    images = _resized(fn.decoders.image(encoded, device=decoder, output_type=types.RGB), size)
    images = fn.flip(images, horizontal=0, vertical=fn.random.coin_flip())
    angle = fn.random.uniform(range=(-TURN, TURN))
    images = fn.rotate(images, angle=angle, fill_value=0, keep_size=True)
    brightness, contrast = (fn.random.uniform(range=(1 - JITTER, 1 + JITTER)) for _ in range(2))
    return fn.brightness_contrast(images, brightness=brightness, contrast=contrast)


def _resized(images: Any, size: int) -> Any:
    return fn.resize(images, size=(size, size), interp_type=types.INTERP_LINEAR, antialias=True)
