"""What w4 reads: stimuli and fixations as MIT1003's archives hold them, and the set of them.

MIT1003 itself is not at hand without a download. The stimuli are mosaics of the photographs that
ship in installed packages, in the sizes of MIT1003 and by its shares, quality 92, 4:2:0; noise of
varied strength brings them to its 234 KB on average. Fixations are drawn around a few places that
the middle attracts, about a hundred an image, none twice in a pixel.

    ALLSTIMULI/<stem>.jpeg  ALLFIXATIONMAPS/<stem>_fixPts.jpg, <stem>_fixMap.jpg  points.npz
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from files import DONE, written

from dataprep.build import build
from dataprep.manifest import DataError
from dataprep.raw import Raw
from dataprep.sources import mit1003, sample

Array = npt.NDArray[Any]
STIMULI, MAPS, POINTS = "ALLSTIMULI", "ALLFIXATIONMAPS", "points.npz"
# Share of MIT1003, width and height from … to, in 1024ths of the longest side.
SIZES = (
    (0.462, (1024, 1024), (768, 768)),
    (0.123, (768, 768), (1024, 1024)),
    (0.099, (1024, 1024), (683, 683)),
    (0.035, (1024, 1024), (681, 681)),
    (0.030, (1024, 1024), (685, 685)),
    (0.146, (1024, 1024), (576, 800)),
    (0.101, (640, 815), (1024, 1024)),
    (0.004, (1024, 1024), (1024, 1024)),
)
LONG = 1024
# Pixels of the longest side are 1024: the blur of MIT1003's maps.
SIGMA_PX = 24.0
# Multiples of it, without their whole part, spread evenly however many there are.
GOLDEN = 0.6180339887498949


@dataclass(frozen=True, kw_only=True)
class Stimuli:
    """How many, their longest side, how noisy: standard deviation in grey levels at most."""

    count: int = 224
    long: int = LONG
    noise: float = 3.4
    quality: int = 92
    seed: int = 0


QUICK = Stimuli(count=48, long=256)


def stimuli(root: Path, what: Stimuli) -> Path:
    """Write the raw layout and return its folder."""
    folder = root / f"stimuli-{what.count}x{what.long}"
    return written(folder, lambda to: _write(to, what), asdict(what))


def built(root: Path, files: Path) -> Path:
    """Return the set of these files by the real builder; one of other files is built over."""
    folder, source = root / f"set-{files.name}", mit1003.Source(layout="raw")
    try:
        build(source, Raw(files), folder, workers=1)
    except DataError:
        build(source, Raw(files), folder, workers=1, overwrite=True)
    return folder


def origin(files: Path) -> dict[str, str]:
    """Return what tells these files from others that lay in the same folder before."""
    return {"files": hashlib.sha256((files / DONE).read_bytes()).hexdigest()}


def names(files: Path) -> list[str]:
    """Return the stems of all stimuli, sorted: their rows in HDF5 files."""
    return sorted(path.stem for path in (files / STIMULI).iterdir())


def _write(folder: Path, what: Stimuli) -> None:
    source = sample.Source()
    real = [source.decoded(Raw("."), name)[0] for name in (*sample.TRAIN, *sample.VAL)]
    for name in (STIMULI, MAPS):
        (folder / name).mkdir()
    every: dict[str, Any] = {}
    for i in range(what.count):
        rng, stem = np.random.default_rng((what.seed, i)), f"i{10_000 + i}"
        height, width = _size(i * GOLDEN % 1, what.long, rng)
        image = _mosaic(real, height, width, rng).astype(np.float32)
        image += rng.uniform(0, what.noise) * rng.standard_normal((height, width, 1), np.float32)
        pixels = cv2.cvtColor(np.rint(image).clip(0, 255).astype(np.uint8), cv2.COLOR_RGB2BGR)
        _save(folder / STIMULI / f"{stem}.jpeg", pixels, what.quality)
        every[stem] = points = _fixations(height, width, rng)
        dots = np.zeros((height, width), np.uint8)
        dots[points[:, 1].astype(int), points[:, 0].astype(int)] = 255
        _save(folder / MAPS / f"{stem}_fixPts.jpg", dots, 95)
        _save(folder / MAPS / f"{stem}_fixMap.jpg", _blurred(dots, what.long), 95)
    np.savez(folder / POINTS, **every)


def _size(share: float, long: int, rng: np.random.Generator) -> tuple[int, int]:
    """Return height and width of the image that stands at this share of all."""
    ends = np.cumsum([one for one, _, _ in SIZES])
    _, wide, high = SIZES[min(int(np.searchsorted(ends, share)), len(SIZES) - 1)]
    height, width = (
        round(rng.integers(*side, endpoint=True) * long / LONG) for side in (high, wide)
    )
    return height, width


def _mosaic(real: list[Array], height: int, width: int, rng: np.random.Generator) -> Array:
    """Return four crops of photographs, each scaled to cover its cell."""
    out = np.empty((height, width, 3), np.uint8)
    for band in np.array_split(out, 2):
        for cell in np.array_split(band, 2, axis=1):
            cell[...] = _covering(real[rng.integers(len(real))], cell.shape[:2], rng)
    return out


def _covering(image: Array, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    height, width = shape
    scale = max(height / image.shape[0], width / image.shape[1])
    scale = rng.uniform(scale, max(scale, 1.0))
    size = max(width, round(image.shape[1] * scale)), max(height, round(image.shape[0] * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    large = cv2.resize(image, size, interpolation=how)
    y, x = rng.integers(size[1] - height + 1), rng.integers(size[0] - width + 1)
    return np.asarray(large[y : y + height, x : x + width])


def _fixations(height: int, width: int, rng: np.random.Generator) -> Array:
    """Return points (n, 2: x, y) in the middle of pixels, row by row, 38 to 176 of them."""
    count = int(np.clip(rng.normal(104, 22), 38, 176))
    side = np.array([width, height])
    places = np.clip(rng.normal(0.5, 0.2, (5, 2)), 0.1, 0.9)
    found = np.empty((0, 2), int)
    while len(found) < count:
        drawn = (rng.normal(places[rng.integers(5, size=count)], 0.06) * side).astype(int)
        inside = ((drawn >= 0) & (drawn < side)).all(axis=1)
        found = np.unique(np.concatenate([found, drawn[inside]]), axis=0)
    kept = found[np.sort(rng.permutation(len(found))[:count])]
    ordered = kept[np.lexsort((kept[:, 0], kept[:, 1]))]
    return np.asarray(ordered + 0.5)


def _blurred(dots: Array, long: int) -> Array:
    """Return the map of dots, its peak 255."""
    blurred = cv2.GaussianBlur(dots.astype(np.float32), (0, 0), SIGMA_PX * long / LONG)
    return np.asarray(np.rint(blurred * (255 / blurred.max())), np.uint8)


def _save(path: Path, pixels: Array, quality: int) -> None:
    sampling = cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420
    cv2.imwrite(str(path), pixels, [cv2.IMWRITE_JPEG_QUALITY, quality, *sampling])
