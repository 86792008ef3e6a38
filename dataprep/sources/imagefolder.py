"""Photographs in a folder for each class, with or without a folder for each split above.

    train/cat/1.jpg  val/dog/2.png …    splits are named train, val (valid, validation) and test
    cat/1.jpg  dog/2.png …              all in split train, or some held out by --val-fraction

In any outer folder, in archives, and with any folders inside a class.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

from dataprep.folds import held_out_of_each
from dataprep.image import is_image
from dataprep.manifest import DataError, Field
from dataprep.photos import Photos
from dataprep.raw import Raw, is_archive
from dataprep.sources import Entry, Sample
from dataprep.superres import key_of

# Folder name -> split.
SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
LAYOUT = "wanted is CLASS/image.jpg, or train/CLASS/image.jpg beside val/CLASS/image.jpg"
SHOWN = 5


class File(NamedTuple):
    """One image by its path: `rest` are the folders inside the class and the file."""

    name: str
    split: str
    folder: str
    rest: str


@dataclass(frozen=True, kw_only=True)
class Source(Photos):
    """A folder a class; class numbers count the names, sorted over all splits."""

    summary: ClassVar[str] = "photographs, a folder a class: files kept, or resized, or as pixels"

    val_fraction: float = field(
        default=0.0, metadata={"help": "share of each class to hold out of train as split val"}
    )
    seed: int = field(default=0, metadata={"help": "chooses which images are held out"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.val_fraction < 1:
            raise ValueError(f"--val-fraction must be from 0 to below 1, not {self.val_fraction}")

    def fields(self) -> dict[str, Field]:
        return {"image": self.photo_field(), "label": Field(kind="value", dtype="int64")}

    def entries(self, raw: Raw) -> list[Entry]:
        files = layout(raw)
        held_out = self._held_out(raw, files)
        labels = {folder: i for i, folder in enumerate(sorted({file.folder for file in files}))}
        keys = _keys(files)
        return [
            Entry(
                file.name,
                "val" if file.name in held_out else file.split,
                {"image": file.name},
                {"key": keys[file.name], "label": labels[file.folder], "class": file.folder},
            )
            for file in files
        ]

    def classes(self, entries: Sequence[Entry]) -> list[str]:
        return sorted({entry.values["class"] for entry in entries})

    def read(self, raw: Raw, entry: Entry) -> Iterator[Sample]:
        image, notes = self.photo(raw, entry.members["image"])
        yield Sample(entry.values["key"], {"image": image, "label": entry.values["label"]}, notes)

    def remarks(self, entries: Sequence[Entry]) -> list[str]:
        splits = defaultdict(set)
        for entry in entries:
            splits[entry.values["class"]].add(entry.split)
        every = set().union(*splits.values())
        lines = [f"only one class: {', '.join(splits)}"] if len(splits) == 1 else []
        partly = {name: here for name, here in sorted(splits.items()) if here != every}
        if partly:
            shown = [f"{name} ({', '.join(sorted(here))})" for name, here in partly.items()]
            more = ", …" if len(shown) > SHOWN else ""
            lines.append(
                f"{len(partly)} of {len(splits)} classes are not in every split:"
                f" {', '.join(shown[:SHOWN])}{more}"
            )
        return lines

    def seeds(self) -> dict[str, int]:
        return {"split": self.seed} if self.val_fraction else {}

    def _held_out(self, raw: Raw, files: Sequence[File]) -> set[str]:
        if not self.val_fraction:
            return set()
        if any(file.split == "val" for file in files):
            raise DataError(raw.path, "", "has a val split of its own: leave out --val-fraction")
        classes = defaultdict(list)
        for file in files:
            if file.split == "train":
                classes[file.folder].append(file.name)
        return held_out_of_each(classes.values(), self.seed, self.val_fraction)


def layout(raw: Raw) -> list[File]:
    """Return every image with its split and class; DataError where folders do not say them."""
    names = [name for name in raw.names() if is_image(name)]
    if not names:
        raise DataError(raw.path, "", f"no images in it; {LAYOUT}")
    paths = {name: _folders(name) for name in names}
    places = {name: _split_place(path) for name, path in paths.items()}
    split = [name for name in names if places[name] is not None]
    if not split:
        return _unsplit(raw, paths)
    for name in names:
        if places[name] is None:
            why = f"is not in a class of a split, but {split[0]} is: {LAYOUT}"
            raise DataError(raw.path, name, why)
    files = []
    for name, path in paths.items():
        at = places[name] or 0
        rest = "/".join([*path[at + 2 :], name.rsplit("/", 1)[-1]])
        files.append(File(name, SPLITS[path[at].lower()], path[at + 1], rest))
    return files


def _folders(name: str) -> list[str]:
    """Return the folders of a path; an archive stands for the folder in it, or for nothing."""
    parts = name.split("/")[:-1]
    plain = [re.sub(r"\.(zip|tar|tar\.gz|tgz)$", "", p, flags=re.IGNORECASE) for p in parts]
    return [
        folder
        for i, folder in enumerate(plain)
        # train.zip/train/cat/1.jpg: the archive holds the folder that it is named for.
        if not (is_archive(parts[i]) and i + 1 < len(plain) and plain[i + 1] == folder)
    ]


def _split_place(folders: list[str]) -> int | None:
    """Return which folder names the split: the first of such a name with a class below."""
    for at, folder in enumerate(folders[:-1]):
        if folder.lower() in SPLITS:
            return at
    return None


def _unsplit(raw: Raw, paths: dict[str, list[str]]) -> list[File]:
    shallow = [name for name, path in paths.items() if not path]
    if shallow:
        why = f"lies in no class folder: {LAYOUT}; `build images` takes images without classes"
        raise DataError(raw.path, shallow[0], why)
    # Folders around all classes are left out, but never the last one: that is a class.
    depth = min(map(len, paths.values())) - 1
    first = next(iter(paths.values()))
    outer = 0
    while outer < depth and all(path[outer] == first[outer] for path in paths.values()):
        outer += 1
    return [
        File(name, "train", path[outer], "/".join([*path[outer + 1 :], name.rsplit("/", 1)[-1]]))
        for name, path in paths.items()
    ]


def _keys(files: Sequence[File]) -> dict[str, str]:
    """Return a key for each file; those that would be equal get a part of their name's hash."""
    keys = {}
    for file in files:
        key = key_of(f"{file.split}/{file.folder}/{file.rest}")
        keys[file.name] = "".join(c if c.isprintable() and not c.isspace() else "_" for c in key)
    counts = Counter(keys.values())
    for name, key in keys.items():
        if counts[key] > 1:
            digest = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()
            keys[name] = f"{key}_{digest[:8]}"
    return keys
