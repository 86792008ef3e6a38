"""What one process of bench/decode.py does: compare pixels with Pillow's, or decode for a while.

Legend: a row is the number of a held file, counted on without end.
"""

from __future__ import annotations

import json
import textwrap
import threading
from collections.abc import Generator, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import timing
from decoders import DECODERS, Decode, Decoder, Held
from photos.corpus import SPLIT
from PIL import Image
from timing import Rules

from dataprep import index
from dataprep.manifest import DataError

Array = npt.NDArray[Any]
BATCH = 64
LOOK = 16  # files whose pixels are compared
# Mean absolute difference from Pillow, in grey levels, up to which pixels count as the same.
NEAR = 2.0


def hold(files: Path, data: Path, most: int) -> Held:
    """Choose RGB files of a folder of photographs, of which a set was built."""
    paths = sorted(path for path in (files / SPLIT).rglob("*") if path.is_file())
    chosen = [paths[i] for i in np.random.default_rng(0).permutation(len(paths))]
    shapes = {path: shape for path in chosen[:most] if (shape := _rgb_shape(path))}
    if not shapes:
        raise DataError(files, "", "holds no JPEG in RGB; grey and CMYK are not compared")
    starts = index.read(data / "index" / "name.starts.npy")
    names = index.Names(data / "index", "name", len(starts) - 1)
    ids = {names[i]: i for i in range(len(names))}
    own = [ids[str(path.relative_to(files))] for path in shapes]
    return Held([str(path) for path in shapes], list(shapes.values()), str(data), own)


def _rgb_shape(path: Path) -> tuple[int, int] | None:
    with Image.open(path) as image:
        return (image.height, image.width) if image.mode == "RGB" else None


def one(job: str) -> None:
    """Do a job in this process and print its result."""
    facts = json.loads(job)
    decoder, held = DECODERS[facts["name"]], Held(**json.loads(Path(facts["held"]).read_text()))
    if facts.get("look"):
        print(json.dumps(look(decoder, held)))
        return
    workers, threads = facts["workers"], facts["threads"]
    if workers is not None:
        batches = supply(decoder, held, workers)
    elif threads == 1 or decoder.own_threads:
        batches = alone(decoder.start(held, threads))
    else:
        batches = pooled(decoder, held, threads)
    rules = Rules(**facts["rules"])
    timing.answer(timing.measure(batches, BATCH, rules, facts["began"]))
    batches.close()


def look(decoder: Decoder, held: Held) -> dict[str, Any]:
    """Return how far pixels are from Pillow's, or {"missing": why the decoder does not run}."""
    rows = range(min(LOOK, len(held.paths)))
    try:
        images = [np.array(image) for image in decoder.start(held, 1)(rows)]
    except (ImportError, OSError, RuntimeError) as error:  # a package, a library of the system
        text = str(error).strip().splitlines() or [type(error).__name__]
        return {"missing": textwrap.shorten(text[0], 100)}
    apart = []
    for row, image in zip(rows, images, strict=True):
        with Image.open(held.paths[row]) as file:
            wanted = np.asarray(file.convert("RGB"))
        if decoder.cuts:
            y, x, h, w = held.boxes[0, row]
            wanted = wanted[y : y + h, x : x + w]
        if image.dtype != np.uint8 or image.shape != wanted.shape:
            raise ValueError(f"{image.shape} {image.dtype}, Pillow has {wanted.shape}")
        apart.append(np.abs(image.astype(np.int16) - wanted))
    mean = float(np.mean([one.mean() for one in apart]))
    most = int(max(one.max() for one in apart))
    version_ = _version(decoder.package)
    return {"version": version_, "mean": round(mean, 4), "most": most, "same": mean <= NEAR}


def _version(package: str) -> str:
    try:
        return version(package) if package else ""
    except PackageNotFoundError:
        return ""


def _run(decode: Decode, step: int) -> int:
    """Decode one batch, one image after another; return the numbers in them."""
    return sum(image.size for image in decode(range(step * BATCH, (step + 1) * BATCH)))


def alone(decode: Decode) -> Generator[int, None, None]:
    """Yield the numbers of one batch after another, decoded here."""
    for step in count():
        yield _run(decode, step)


def pooled(decoder: Decoder, held: Held, threads: int) -> Generator[int, None, None]:
    """Yield the numbers of one batch after another; a batch is one thread's."""
    from photos.limits import spread

    local = threading.local()

    def make(step: int) -> int:
        if not hasattr(local, "decode"):
            local.decode = decoder.start(held, 1)
        return _run(local.decode, step)

    _ = held.files  # read once, before the threads
    return spread(threads, make)


def supply(decoder: Decoder, held: Held, workers: int) -> Generator[Any, None, None]:
    """Yield batches of whole images from a torch DataLoader, their pixels in one tensor."""
    import torch
    from torch.utils.data import DataLoader

    torch.set_num_threads(1)
    _ = held.files  # read once, before the workers
    files: Any = _Files(decoder, held)
    loader: Any = DataLoader(
        files, BATCH, sampler=_Endless(), num_workers=workers, collate_fn=_as_it_is
    )
    yield from loader


class _Endless:
    def __iter__(self) -> Iterator[int]:
        return count()

    def __len__(self) -> int:
        return 1 << 40


class _Files:
    """Decodes in the worker that asks; a decoder is started there."""

    def __init__(self, decoder: Decoder, held: Held) -> None:
        self.decoder, self.held = decoder, held
        self._decode: Decode | None = None

    def __len__(self) -> int:
        return 1 << 40

    def __getitems__(self, rows: Sequence[int]) -> Any:
        import torch

        if self._decode is None:
            self._decode = self.decoder.start(self.held, 1)
        parts = []
        for image in self._decode(rows):
            # A copy: a reused array is overwritten by the next image.
            parts.append(torch.from_numpy(image.copy()).reshape(-1))
        return torch.cat(parts)


def _as_it_is(batch: Any) -> Any:
    return batch
