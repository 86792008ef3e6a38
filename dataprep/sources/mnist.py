"""MNIST: handwritten digits, 28×28 grey, from the four official IDX files.

    train-images-idx3-ubyte[.gz]  train-labels-idx1-ubyte[.gz]      split train
    t10k-images-idx3-ubyte[.gz]   t10k-labels-idx1-ubyte[.gz]       split test

Also with a dot, `train-images.idx3-ubyte`; in the folder itself or in MNIST/raw, where torchvision
puts them. Fashion-MNIST and others come under the very same names: the first image tells.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from dataprep import idx
from dataprep.manifest import DataError, Field
from dataprep.raw import Raw
from dataprep.sources import Base, Download, Entry, PublicFile, Sample

FILE = re.compile(r"(train|t10k)-(images|labels)[-.]idx[13]-ubyte(?:\.gz)?")
SPLITS = {"train": "train", "t10k": "test"}
SIDE, CLASSES = 28, 10
# Of MNIST: images, and crc32 of the first one.
OFFICIAL = {"train": (60_000, 0x90A92752), "test": (10_000, 0x7EB3CD06)}
# Name, bytes, md5.
PUBLIC = (
    ("train-images-idx3-ubyte.gz", 9_912_422, "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
    ("train-labels-idx1-ubyte.gz", 28_881, "d53e105ee54ea40749a09fcbcd1e9432"),
    ("t10k-images-idx3-ubyte.gz", 1_648_877, "9fb629c4189551a2d022fa330f9573f3"),
    ("t10k-labels-idx1-ubyte.gz", 4_542, "ec29112dd5afa0611ce80d1b7f02629c"),
)
ADDRESSES = (
    "https://ossci-datasets.s3.amazonaws.com/mnist",
    "https://storage.googleapis.com/cvdf-datasets/mnist",
)
# Pixels and columns of one sample; a shard is a file to copy, and some 16 keep all workers busy.
SAMPLE_BYTES, SHARD_SAMPLES, SHARDS = SIDE * SIDE + 128, 1 << 16, 16


@dataclass(frozen=True, kw_only=True)
class Source(Base):
    """Pixels and labels as they are; one [N, 28, 28] array."""

    summary: ClassVar[str] = "MNIST's IDX files, plain or .gz: digits of 28×28 pixels"

    def fields(self) -> dict[str, Field]:
        image = Field(kind="image", dtype="uint8", shape=(SIDE, SIDE), scale=1 / 255)
        return {"image": image, "label": Field(kind="value", dtype="int64")}

    def entries(self, raw: Raw) -> list[Entry]:
        files = located(raw)
        return [
            Entry(
                f"{part}-images[{i}]",
                split,
                {"images": files[part, "images"]},
                # The checksum: equal plans promise equal sets, and these files' sizes say nothing.
                {"index": i, "label": label, "crc32": zlib.crc32(image)},
            )
            for part, split in SPLITS.items()
            if (part, "images") in files
            for i, (image, label) in enumerate(_pairs(raw, files, part))
        ]

    def classes(self, entries: Sequence[Entry]) -> list[str]:
        return [str(digit) for digit in range(CLASSES)]

    def read(self, raw: Raw, entry: Entry) -> Iterator[Sample]:
        index = entry.values["index"]
        image = idx.read(raw, entry.members["images"], idx.IMAGES)[index]
        yield Sample(f"{entry.split}_{index:05d}", {"image": image, "label": entry.values["label"]})

    def weigh(self, raw: Raw, entry: Entry) -> int:
        return SAMPLE_BYTES

    def entries_per_shard(self, entries: int, size_bytes: int) -> int:
        return min(-(-entries // SHARDS), SHARD_SAMPLES)

    def remarks(self, entries: Sequence[Entry]) -> list[str]:
        lines = []
        for split, (count, crc32) in OFFICIAL.items():
            here = [entry for entry in entries if entry.split == split]
            if not here:
                lines.append(f"no {split} files are there: built without split {split}")
            elif here[0].values["crc32"] != crc32:
                lines.append(f"{split} does not begin with MNIST's first image: is it other data?")
            elif len(here) != count:
                lines.append(f"{split} has {len(here):,} of {count:,} images")
        return lines

    @classmethod
    def downloads(cls) -> Download:
        return Download(
            tuple(
                PublicFile(
                    name,
                    tuple(f"{address}/{name}" for address in ADDRESSES),
                    f"{SPLITS[name.split('-')[0]]} {name.split('-')[1]}",
                    f"md5:{md5}",
                    size_bytes,
                )
                for name, size_bytes, md5 in PUBLIC
            )
        )


def located(raw: Raw) -> dict[tuple[str, str], str]:
    """Return (train or t10k, images or labels) -> name; DataError where one is missing."""
    folders: dict[str, dict[tuple[str, str], str]] = {}
    for name in raw.names():
        folder, _, file = name.rpartition("/")
        if match := FILE.fullmatch(file):
            # Sorted: of a file and its .gz, both there after torchvision's download, the first.
            folders.setdefault(folder, {}).setdefault((match[1], match[2]), name)
    if not folders:
        wanted = "train-images-idx3-ubyte[.gz] and train-labels-idx1-ubyte[.gz]"
        raise DataError(raw.path, "", f"holds no MNIST files; wanted are {wanted}, or t10k-…")
    least = min(map(_rank, folders))
    best = [folder for folder in folders if _rank(folder) == least]
    if len(best) > 1:
        raise DataError(raw.path, "", f"several folders hold such files: {', '.join(best)}")
    files = folders[best[0]]
    for part, what in files:
        other = "labels" if what == "images" else "images"
        if (part, other) not in files:
            why = f"its {other} are missing: {_partner(files[part, what], what, other)}[.gz]"
            raise DataError(raw.path, files[part, what], why)
    return files


def _rank(folder: str) -> int:
    """Order folders: the one that was given, then MNIST/raw, then any other."""
    if not folder:
        return 0
    return 1 if f"/{folder}".endswith("/MNIST/raw") else 2


def _partner(name: str, what: str, other: str) -> str:
    file = name.rpartition("/")[2].removesuffix(".gz")
    digits = {"images": "3", "labels": "1"}
    return file.replace(what, other).replace(f"idx{digits[what]}", f"idx{digits[other]}")


def _pairs(raw: Raw, files: dict[tuple[str, str], str], part: str) -> Iterator[tuple[Any, int]]:
    """Return each image with its label; DataError where the files do not go together."""
    images, labels = (files[part, what] for what in ("images", "labels"))
    pixels = idx.read(raw, images, idx.IMAGES)
    numbers = idx.read(raw, labels, idx.LABELS)
    if pixels.shape[1:] != (SIDE, SIDE):
        sides = "×".join(map(str, pixels.shape[1:]))
        raise DataError(raw.path, images, f"its images are {sides}, not {SIDE}×{SIDE}")
    if len(pixels) != len(numbers):
        why = f"has {len(numbers):,} labels, but {images} has {len(pixels):,} images"
        raise DataError(raw.path, labels, why)
    if len(numbers) and numbers.max() >= CLASSES:
        at = int((numbers >= CLASSES).argmax())
        raise DataError(raw.path, labels, f"label {at} is {numbers[at]}, not 0 to {CLASSES - 1}")
    return zip(pixels, numbers.tolist(), strict=True)
