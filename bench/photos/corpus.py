"""What the photographs' benchmark reads: a folder of JPEGs, and sets built from it.

The JPEGs are crops of the photographs that ship in installed packages, 500×375 give or take, a
third of them portrait, quality 90, 4:2:0. Noise of varied strength brings them to 91 KB on average,
so that entropy decoding weighs as much as in ImageNet. The class of a crop is its photograph.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from files import DONE, written

from dataprep.manifest import FILE_NAME, DataError
from dataprep.raw import Raw
from dataprep.sources import sample

Array = npt.NDArray[Any]
SPLIT = "train"
# A folder of real files is repeated to so many images, or bytes.
MOST_IMAGES, MOST_BYTES = 4000, 1 << 30
# Classes of real files: by brightness, so that a wrong label shows.
CLASSES = 8


@dataclass(frozen=True, kw_only=True)
class Photographs:
    """How many, how large (give or take), how noisy: standard deviation in grey levels at most."""

    count: int = 4000
    long: int = 500
    short: int = 375
    noise: float = 31.0
    quality: int = 90
    seed: int = 0


QUICK = Photographs(count=160, long=120, short=90)


def origin(folder: Path) -> dict[str, Any]:
    """Return what tells the files of a folder from others that lay there before, or elsewhere.

    Files that were made say of what they were made, a built set has its manifest.
    """
    told = [path for name in (DONE, FILE_NAME) if (path := folder / name).is_file()]
    hashes = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in told}
    return {"folder": str(folder.resolve()), **hashes}


def photographs(root: Path, what: Photographs) -> Path:
    """Write the crops as `train/<class>/*.jpg` and return the folder."""
    folder = root / f"jpeg-{what.count}x{what.long}x{what.short}"
    return written(folder, lambda to: _crops(to, what), asdict(what))


def _crops(folder: Path, what: Photographs) -> None:
    source, names = sample.Source(), (*sample.TRAIN, *sample.VAL)
    real = [source.decoded(Raw("."), name)[0] for name in names]
    stems = [Path(name).stem for name in names]
    for stem in stems:
        (folder / SPLIT / stem).mkdir(parents=True)
    for i in range(what.count):
        rng = np.random.default_rng((what.seed, i))
        pixels = _crop(real[i % len(real)], what, rng)
        path = folder / SPLIT / stems[i % len(real)] / f"{i:05d}.jpg"
        cv2.imwrite(str(path), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), _encoding(what.quality))


def _encoding(quality: int) -> list[int]:
    sampling = cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420
    return [cv2.IMWRITE_JPEG_QUALITY, quality, *sampling]


def _crop(image: Array, what: Photographs, rng: np.random.Generator) -> Array:
    """Return a crop of the photograph, which is shrunk at random or enlarged to cover it."""
    sides = [round(side * rng.uniform(0.92, 1.08)) for side in (what.short, what.long)]
    h, w = sides[::-1] if rng.random() < 1 / 3 else sides
    cover = max(h / image.shape[0], w / image.shape[1])
    scale = rng.uniform(cover, max(cover, 1.0))
    size = (max(w, round(image.shape[1] * scale)), max(h, round(image.shape[0] * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    large = cv2.resize(image, size, interpolation=how)
    y, x = rng.integers(size[1] - h + 1), rng.integers(size[0] - w + 1)
    noise = rng.uniform(0, what.noise) * rng.standard_normal((h, w, 1), np.float32)
    noisy: Array = np.rint(large[y : y + h, x : x + w] + noise).clip(0, 255)
    return noisy.astype(np.uint8)


def copies(root: Path, images: Path, count: int = 0) -> Path:
    """Return a folder of JPEGs, each under several names; DataError where there are none.

    count: of names, 0 for as many as a benchmark wants.
    """
    paths = sorted(p for p in images.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg"))
    if not paths:
        raise DataError(images, "", "holds no JPEG files")
    total = sum(path.stat().st_size for path in paths)
    count = count or min(MOST_IMAGES, MOST_BYTES * len(paths) // total)
    names = [str(path.relative_to(images)) for path in paths]
    facts = {"names": names, "bytes": total, "count": count, "of": origin(images)}
    folder = root / f"copies-{images.resolve().name}-{count}"
    return written(folder, lambda to: _copies(to, paths, count), facts)


def _copies(folder: Path, paths: list[Path], count: int) -> None:
    thumbnails = [cv2.imread(str(path), cv2.IMREAD_REDUCED_COLOR_8) for path in paths]
    brightness = np.array([-1 if image is None else image.mean() for image in thumbnails])
    if (brightness < 0).any():
        raise DataError(paths[int(brightness.argmin())], "", "is not a readable JPEG")
    # Equal shares: with few files some classes stay empty.
    classes = brightness.argsort().argsort() * CLASSES // len(paths)
    for name in sorted({f"{one}" for one in classes}):
        (folder / SPLIT / name).mkdir(parents=True)
    for i in range(count):
        k = i % len(paths)
        to = folder / SPLIT / f"{classes[k]}" / f"{i:05d}.jpg"
        try:
            os.link(paths[k].resolve(), to)
        except OSError:  # another file system
            to.symlink_to(paths[k].resolve())


def extracted(root: Path, data: Path) -> Path:
    """Return the images of a set's shards as files `train/<class>/*.jpg`."""
    return written(root / f"files-{data.name}", lambda to: _extract(data, to), origin(data))


def _extract(data: Path, folder: Path) -> None:
    for shard in sorted((data / "shards").glob("*.tar")):
        with tarfile.open(shard) as tar:
            members = {member.name: member for member in tar}
            for name, member in members.items():
                if not name.endswith(".jpg"):
                    continue
                label = int(_bytes(tar, members[name.removesuffix(".jpg") + ".cls"]))
                to = folder / SPLIT / f"{label:04d}"
                to.mkdir(parents=True, exist_ok=True)
                (to / name).write_bytes(_bytes(tar, member))


def _bytes(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None, "a regular member"
    return file.read()


def labelled(files: str | Path) -> list[tuple[str, int]]:
    """Return path and class of every file, classes numbered in the order of their names."""
    classes = sorted(path for path in Path(files, SPLIT).iterdir() if path.is_dir())
    return [(str(path), k) for k, one in enumerate(classes) for path in sorted(one.iterdir())]


def shards(data: str) -> list[str]:
    """Return the tars of a set."""
    return sorted(str(path) for path in (Path(data) / "shards").glob("*.tar"))
