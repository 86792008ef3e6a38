"""Sets that come as MNIST does: for each official part a file of images and a file of labels.

    train-images-idx3-ubyte[.gz]  train-labels-idx1-ubyte[.gz]

Also with a dot, `train-images.idx3-ubyte`; in the folder itself, where torchvision puts them, or
in another folder or archive. Several sets come under the very same names: the first image tells.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from dataprep import idx
from dataprep.manifest import DataError
from dataprep.raw import Raw
from dataprep.small_images import Content, File, Members, SmallImages, check_labels, chosen_folder
from dataprep.sources import Download, PublicFile

SIDE = 28
# crc32 of the first image -> set, source.
FIRST = {
    0x90A92752: ("MNIST", "mnist"),
    0x7EB3CD06: ("MNIST", "mnist"),
    0xF270BEB5: ("Fashion-MNIST", "fashion_mnist"),
    0x52830860: ("Fashion-MNIST", "fashion_mnist"),
}

# (name in the file, images or labels) -> file.
Found = dict[tuple[str, str], str]


@dataclass(frozen=True, kw_only=True)
class MnistLike(SmallImages):
    """Images of 28×28 grey pixels in IDX files."""

    # Where torchvision puts the files; how they begin for each part; how those of labels end.
    home: ClassVar[str]
    parts: ClassVar[Mapping[str, str]] = {"train": "train", "t10k": "test"}
    endings: ClassVar[Mapping[str, str]] = {"images": "idx3-ubyte", "labels": "idx1-ubyte"}
    shape = (SIDE, SIDE)

    def files(self, raw: Raw) -> list[File]:
        found = self._located(raw)
        return [
            File(f"{own}-images", part, {what: found[own, what] for what in ("images", "labels")})
            for own, part in self.parts.items()
            if (own, "images") in found
        ]

    def decode(self, raw: Raw, members: Members) -> Content:
        images = idx.read(raw, members["images"], idx.IMAGES)
        labels = idx.read(raw, members["labels"], idx.LABELS)
        check_pairs(raw, members, images.shape, len(labels))
        check_labels(raw, members["labels"], labels, len(self.class_names))
        return Content(images, {"label": labels})

    def _located(self, raw: Raw) -> Found:
        folders: dict[str, Found] = {}
        owns = "|".join(self.parts)
        for name in raw.names():
            folder, _, file = name.rpartition("/")
            for what, ending in self.endings.items():
                if match := re.fullmatch(rf"({owns})-{what}[-.]{ending}(?:\.gz)?", file):
                    # Sorted: of a file and its .gz, which torchvision leaves both, the first.
                    folders.setdefault(folder, {}).setdefault((match[1], what), name)
        if not folders:
            train, test = self.parts
            files = (f"{train}-{what}-{ending}[.gz]" for what, ending in self.endings.items())
            wanted = " and ".join(files)
            why = f"holds no {self.title} files; wanted are {wanted}, or {test}-…"
            raise DataError(raw.path, "", why)
        found = folders[chosen_folder(raw, folders, self.home)]
        for own, what in found:
            self._check_partner(raw, found, own, what)
        return found

    def _check_partner(self, raw: Raw, found: Found, own: str, what: str) -> None:
        other = "labels" if what == "images" else "images"
        if (own, other) in found:
            return
        file = found[own, what].rpartition("/")[2].removesuffix(".gz")
        partner = file.replace(what, other).replace(self.endings[what], self.endings[other])
        raise DataError(raw.path, found[own, what], f"its {other} are missing: {partner}[.gz]")


def check_pairs(raw: Raw, members: Members, shape: tuple[int, ...], labels: int) -> None:
    """Raise DataError where images are of another size, or are not as many as labels."""
    images = members["images"]
    if shape[1:] != (SIDE, SIDE):
        sides = "×".join(map(str, shape[1:]))
        raise DataError(raw.path, images, f"its images are {sides}, not {SIDE}×{SIDE}")
    if shape[0] != labels:
        why = f"has {labels:,} labels, but {images} has {shape[0]:,} images"
        raise DataError(raw.path, members["labels"], why)


def public_files(
    files: Iterable[tuple[str, int | None, int | None, str]],
    addresses: Iterable[str],
    parts: Mapping[str, str],
) -> Download:
    """Return what to fetch: of each file name, exact or rounded bytes, and md5."""

    def one(name: str, size_bytes: int | None, about_bytes: int | None, md5: str) -> PublicFile:
        own = next(own for own in parts if name.startswith(f"{own}-"))
        what = f"{parts[own]} {'images' if '-images-' in name else 'labels'}"
        urls = tuple(f"{address}/{name}" for address in addresses)
        return PublicFile(name, urls, what, f"md5:{md5}", size_bytes, about_bytes)

    return Download(tuple(one(*file) for file in files))
