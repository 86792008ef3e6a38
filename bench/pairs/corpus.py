"""What the pairs are cut from: photographs of 2040×1356 pixels, a built set, and the peers' files.

The photographs are mosaics of real ones that ship in installed packages, with mild noise, so that
a PNG takes 4-6 MB as one of DIV2K does. The peers' files hold exactly the pixels of the built set.
Everything is written once and reused; a folder without its `complete` file is written again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import zarr
from files import written

from dataprep.build import build
from dataprep.manifest import DataError
from dataprep.raw import Raw
from dataprep.sources import images, sample
from dataprep.superres import windows
from loaders import Dataset, kernels

Array = npt.NDArray[Any]
# BasicSR's extract_subimages: windows of 480 px, 240 apart, PNG compression 3.
TILE, STEP, LEVEL = 480, 240, 3
# zarr-python pays for each chunk and for each byte: which of these is best, the benchmark tries.
CHUNKS = (256, 512)
# More than this is no benchmark's page cache.
MOST_BYTES = 8 << 30


@dataclass(frozen=True, kw_only=True)
class Photographs:
    """How many, how large, how noisy (standard deviation in grey levels)."""

    count: int = 32
    height: int = 1356
    width: int = 2040
    noise: float = 3.0
    seed: int = 0


def photographs(root: Path, what: Photographs) -> Path:
    """Write the photographs as PNG and return their folder."""
    folder = root / f"photographs-{what.count}x{what.width}x{what.height}"
    return written(folder, lambda to: _mosaics(to, what), asdict(what))


def _mosaics(folder: Path, what: Photographs) -> None:
    source = sample.Source()
    real = [source.decoded(Raw("."), name)[0] for name in (*sample.TRAIN, *sample.VAL)]
    for i in range(what.count):
        rng = np.random.default_rng((what.seed, i))
        image = _mosaic(real, what.height, what.width, rng).astype(np.float32)
        image += rng.normal(0, what.noise, (what.height, what.width, 1)).astype(np.float32)
        image += rng.normal(0, what.noise / 2, image.shape).astype(np.float32)
        pixels = np.rint(image).clip(0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"{i:03d}.png"), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))


def _mosaic(real: list[Array], height: int, width: int, rng: np.random.Generator) -> Array:
    """Return six crops of photographs, each scaled to cover its cell, side by side."""
    ys, xs = (np.linspace(0, side, n + 1).astype(int) for side, n in ((height, 2), (width, 3)))
    out = np.empty((height, width, 3), np.uint8)
    for top, bottom in pairwise(ys):
        for left, right in pairwise(xs):
            image = real[rng.integers(len(real))][:, :: rng.choice([-1, 1])]
            h, w = bottom - top, right - left
            scale = max(h / image.shape[0], w / image.shape[1], 1.0)
            size = (max(w, round(image.shape[1] * scale)), max(h, round(image.shape[0] * scale)))
            large = cv2.resize(np.ascontiguousarray(image), size, interpolation=cv2.INTER_CUBIC)
            y, x = rng.integers(size[1] - h + 1), rng.integers(size[0] - w + 1)
            out[top:bottom, left:right] = large[y : y + h, x : x + w]
    return out


def built(root: Path, what: Photographs, scale: int) -> Path:
    """Return the set built from the photographs by the real builder."""
    raw = photographs(root, what)
    folder = root / f"set-{raw.name}-x{scale}"
    build(images.Source(scales=(scale,), val_fraction=0.0), raw, folder)
    return folder


def pixels(dataset: Dataset, name: str) -> Iterator[Array]:
    """Yield every image (H, W, C) of one field of the split train."""
    field = dataset.pixels(name)
    ids = np.asarray(dataset.split("train"))
    for i, (height, width) in zip(ids, field.sizes(ids), strict=True):
        one = np.array([i])
        crops = field.locate(one, np.array([[0, 0, height, width]]), np.zeros(1, np.int64))
        out = np.empty((1, height, width, field.channels), field.dtype)
        if kernels.read_raw(*crops[1:], np.empty(kernels.SCRATCH_BYTES, field.dtype), out) >= 0:
            raise field.explain(crops, 0)
        yield out[0]
    field.close()


def peer_files(root: Path, data: Path, form: str, scale: int) -> Path:
    """Return the folder `{hr,lr}/*` of one peer's form of a built set."""
    dataset = Dataset(data)
    size = sum(facts["bytes"] for facts in dataset.manifest.files.values())
    if size > MOST_BYTES:
        why = f"takes {size / 1e9:.0f} GB, too much to copy for the peers"
        raise DataError(data, "", f"{why}: --peers nostall,ceiling,zarr reads it as it is")
    folder = root / f"{form}-{dataset.manifest.fingerprint[:12]}-x{scale}"

    def write(to: Path) -> None:
        for name in ("hr", "lr"):
            (to / name).mkdir()
        pairs = zip(pixels(dataset, f"lr_x{scale}"), pixels(dataset, "hr"), strict=True)
        for i, (lr, hr) in enumerate(pairs):
            # HR as far as LR reaches: at most scale - 1 pixels fewer.
            hr = hr[: lr.shape[0] * scale, : lr.shape[1] * scale]
            _FORMS[form](to / "lr" / f"{i:05d}", to / "hr" / f"{i:05d}", lr, hr)

    return written(folder, write)


def _png(to_lr: Path, to_hr: Path, lr: Array, hr: Array) -> None:
    for to, image in ((to_lr, lr), (to_hr, hr)):
        cv2.imwrite(f"{to}.png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))


def _png_sub(to_lr: Path, to_hr: Path, lr: Array, hr: Array) -> None:
    scale = len(hr) // len(lr)
    grid = windows(len(lr), lr.shape[1], TILE // scale, STEP // scale)
    for to, image, side in ((to_lr, lr, 1), (to_hr, hr, scale)):
        for number, (y, x) in enumerate(grid, start=1):
            size = TILE // scale * side
            window = image[y * side : y * side + size, x * side : x * side + size]
            name = f"{to}_s{number:03d}.png"
            bgr = cv2.cvtColor(window, cv2.COLOR_RGB2BGR)
            cv2.imwrite(name, bgr, [cv2.IMWRITE_PNG_COMPRESSION, LEVEL])


def _npy(to_lr: Path, to_hr: Path, lr: Array, hr: Array) -> None:
    for to, image in ((to_lr, lr), (to_hr, hr)):
        np.save(f"{to}.npy", image)


def _zarr(chunk: int, to_lr: Path, to_hr: Path, lr: Array, hr: Array) -> None:
    for to, image in ((to_lr, lr), (to_hr, hr)):
        zarr.create_array(
            f"{to}.zarr",
            data=image,
            chunks=(min(chunk, len(image)), min(chunk, image.shape[1]), 3),
            compressors=None,
        )


_FORMS: dict[str, Callable[[Path, Path, Array, Array], None]] = {
    "png": _png,
    "png-sub": _png_sub,
    "npy": _npy,
    **{f"zarr-{chunk}": partial(_zarr, chunk) for chunk in CHUNKS},
}
FORMS = tuple(_FORMS)
