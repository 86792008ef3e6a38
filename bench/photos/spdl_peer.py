"""SPDL's pipeline of threads in this process, on the CPU and, with nvJPEG, on a GPU.

Its own CPU decoder needs FFmpeg's libraries; here it is torchvision's decode_jpeg, which gives up
the interpreter's lock as well. The GPU decoder, too, is in a library that links FFmpeg.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from spdl.pipeline import PipelineBuilder
from torch import Tensor
from workload import Setting

from photos import augment
from photos.corpus import labelled
from photos.work import Work

Labelled = Generator[tuple[Tensor, Tensor], None, None]
Place = tuple[str, int]
Sample = tuple[Tensor, int]
Decode = Callable[[bytes], Tensor]


def shuffled(places: Sequence[Place], seed: int) -> Iterator[Place]:
    """Yield the places without end, one permutation after another."""
    rng = np.random.default_rng(seed)
    while True:
        for i in rng.permutation(len(places)):
            yield places[i]


class Cut:
    """Turns a file and its label into a crop and the label; every thread draws for itself."""

    def __init__(self, work: Work, decode: Decode) -> None:
        self._work, self._decode = work, decode
        self._streams, self._local = count(), threading.local()

    def __call__(self, place: Place) -> Sample:
        if not hasattr(self._local, "rng"):
            self._local.rng = np.random.default_rng((self._work.seed, next(self._streams)))
        path, label = place
        image = self._decode(Path(path).read_bytes())
        return augment.cut(image, self._work.size, self._local.rng), label

    def every(self, places: Sequence[Place]) -> list[Sample]:
        """Return the samples of a whole batch."""
        return [self(place) for place in places]


def collate(samples: Sequence[Sample]) -> tuple[Tensor, Tensor]:
    """Return a batch, normalised."""
    crops, labels = zip(*samples, strict=True)
    return augment.normalised(torch.stack(crops)), torch.tensor(labels)


def batches(work: Work, setting: Setting) -> Labelled:
    """Yield batches without end; whole=1: a thread makes a whole batch, else one image."""
    torch.set_num_threads(1)
    for images, labels in _run(work, setting, augment.decoded):
        yield images.to(work.device, non_blocking=True), labels


def on_gpu(work: Work, setting: Setting) -> Labelled:
    """Yield batches that nvJPEG decodes; crop, resize and all else are torch's, on the GPU."""
    import spdl.io

    memory = (torch.cuda.caching_allocator_alloc, torch.cuda.caching_allocator_delete)
    config = spdl.io.cuda_config(torch.cuda.current_device(), allocator=memory)

    def decode(data: bytes) -> Tensor:
        buffer = spdl.io.decode_image_nvjpeg(data, device_config=config)
        image: Tensor = spdl.io.to_torch(buffer)
        return image

    yield from _run(work, setting, decode)


def _run(work: Work, setting: Setting, decode: Decode) -> Labelled:
    threads, cut = setting["threads"], Cut(work, decode)
    builder: Any = PipelineBuilder().add_source(shuffled(labelled(work.own), work.seed))
    if setting["whole"]:
        builder = builder.aggregate(work.batch, drop_last=True)
        builder = builder.pipe(lambda places: collate(cut.every(places)), concurrency=threads)
    else:
        builder = builder.pipe(cut, concurrency=threads)
        builder = builder.aggregate(work.batch, drop_last=True).pipe(collate)
    # One thread more for what is not decoding.
    pipeline = builder.add_sink(2).build(num_threads=threads + 1, max_failures=0)
    with pipeline.auto_stop():
        yield from pipeline
