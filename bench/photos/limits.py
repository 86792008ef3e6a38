"""Limits of the photographs' work: whole-image decoding alone, resizing and conversion alone."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import simplejpeg
from workload import Setting

from photos.corpus import labelled
from photos.work import AREA, MEAN, RATIO, STD, Work

Array = npt.NDArray[Any]
Made = TypeVar("Made")
# Files and pixels held in memory: far more bytes than the caches hold.
FILES, IMAGES = 1024, 256
# So many times are the held images cut, each time elsewhere, before it begins again.
LAPS = 16


def some(folder: str, most: int) -> list[tuple[int, bytes]]:
    """Return (label, content) of some files of every class."""
    places = labelled(folder)
    chosen = np.random.default_rng(0).permutation(len(places))[:most]
    return [(places[i][1], Path(places[i][0]).read_bytes()) for i in chosen]


def spread(threads: int, make: Callable[[int], Made]) -> Generator[Made, None, None]:
    """Yield make(0), make(1) …, each a whole batch by one thread, 2 × threads of them ahead."""
    with ThreadPoolExecutor(threads) as pool:
        ahead, steps = deque[Any](), count()
        try:
            while True:
                while len(ahead) < 2 * threads:
                    ahead.append(pool.submit(make, next(steps)))
                yield ahead.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def decode(work: Work, setting: Setting) -> Generator[list[Array], None, None]:
    """Decode whole files from memory, one buffer a thread; yield the last image of a batch."""
    return decoding([data for _, data in some(work.own, FILES)], work.batch, setting["threads"])


def decoding(held: list[bytes], batch: int, threads: int) -> Generator[list[Array], None, None]:
    """Decode files that are held, over and over; yield the last image of each batch."""
    sizes = [simplejpeg.decode_jpeg_header(data)[:2] for data in held]
    room = max(height * width * 3 for height, width in sizes)
    local = threading.local()

    def make(step: int) -> list[Array]:
        if not hasattr(local, "buffer"):
            local.buffer = np.empty(room, np.uint8)
        for i in range(step * batch, (step + 1) * batch):
            image = simplejpeg.decode_jpeg(held[i % len(held)], buffer=local.buffer)
        return [image]

    return spread(threads, make)


def ceiling(work: Work, setting: Setting) -> Generator[tuple[Any, Any], None, None]:
    """Resize, flip and normalise boxes of images that lie decoded in memory, drawn before."""
    import torch

    from loaders import resample

    held = some(work.own, IMAGES)
    labels = torch.tensor([label for label, _ in held])
    images = [simplejpeg.decode_jpeg(data) for _, data in held]
    boxes = [[_box(image, lap, i) for i, image in enumerate(images)] for lap in range(LAPS)]
    scale = (1 / 255 / np.array(STD)).astype(np.float32)
    bias = (-np.array(MEAN) / STD).astype(np.float32)
    shape = (work.batch, 3, work.size, work.size)
    # As many as are ahead, and the one that the consumer holds.
    slots = [torch.empty(shape) for _ in range(2 * setting["threads"] + 1)]
    local = threading.local()

    def make(step: int) -> tuple[Any, Any]:
        if not hasattr(local, "space"):
            local.space = resample.Workspace()
        space, slot = local.space, slots[step % len(slots)]
        first = step * work.batch
        rows = np.arange(first, first + work.batch)
        for out, row in zip(slot.numpy(), rows, strict=True):
            image, box = images[row % len(held)], boxes[row // len(held) % LAPS][row % len(held)]
            inside = np.array([0, 0, *box[2:]], np.float64)
            space.fit(inside, work.size, work.size, 3, int(box[3]))
            resample.resample(
                image.reshape(len(image), -1), box, inside, int(row & 1), 1, scale, bias,
                space.first, space.weights, space.line, out,
            )  # fmt: skip
        return slot, labels[torch.from_numpy(rows % len(held))]

    return spread(setting["threads"], make)


def _box(image: Array, *seed: int) -> Array:
    """Return a RandomResizedCrop of an image (y, x, h, w), the same one for a seed."""
    rng, (height, width) = np.random.default_rng(seed), image.shape[:2]
    while True:
        area, ratio = height * width * rng.uniform(*AREA), np.exp(rng.uniform(*np.log(RATIO)))
        h, w = round((area / ratio) ** 0.5), round((area * ratio) ** 0.5)
        if h <= height and w <= width:
            break
    return np.array([rng.integers(height - h + 1), rng.integers(width - w + 1), h, w])
