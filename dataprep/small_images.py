"""What sets of small images share: few files that hold all pixels, a label for each image.

Sources say which files there are and what is in one; entries, keys and splits are made here:

    train       the official training images without those of val
    val         `--val-fraction` of them, of each class alike, chosen by `--seed`
    train_all   both together
    test        the official test images

Keys count an official part (train_00000 …), so an image has one key whatever is held out and in
whatever form its files come. Legend: N images of a file, H W pixels, C channels.
"""

from __future__ import annotations

import zlib
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from dataprep.folds import held_out_of_each
from dataprep.manifest import DataError, Field
from dataprep.raw import Raw
from dataprep.sources import Base, Entry, Sample

Array = npt.NDArray[Any]
Members = Mapping[str, str]

TRAIN, VAL, TRAIN_ALL, TEST = "train", "val", "train_all", "test"
# A shard is a file to copy, and some 16 keep all workers busy; beside its pixels an image takes
# such a row of columns.
SHARD_SAMPLES, SHARDS, ROW_BYTES = 1 << 16, 16, 128
# Of decoded files, what stays in memory: a file is decoded once, however many images are read.
HELD_BYTES = 1 << 28


class File(NamedTuple):
    """Raw files that hold images of one official part: `members` as an entry's, `name` shown."""

    name: str
    part: str
    members: Members


class Content(NamedTuple):
    """What one file holds: images (N, H, W) or (N, H, W, C), values by field (N,)."""

    images: Array
    values: dict[str, Array]


_HELD: WeakKeyDictionary[Raw, dict[tuple[Any, ...], Content]] = WeakKeyDictionary()


@dataclass(frozen=True, kw_only=True)
class SmallImages(Base):
    """Images as they are, in one [N, …] array; `label` and further numbers beside them."""

    title: ClassVar[str]
    shape: ClassVar[tuple[int, ...]]
    class_names: ClassVar[tuple[str, ...]]
    # Value fields and their types.
    numbers: ClassVar[Mapping[str, str]] = {"label": "int64"}
    # Official part -> images in it.
    official: ClassVar[Mapping[str, int]] = {}
    # crc32 of the first image of a part -> the set that begins so, the source that builds it.
    first_images: ClassVar[Mapping[int, tuple[str, str]]] = {}

    val_fraction: float = field(
        default=0.1,
        metadata={"help": "share of each class to hold out of train as split val; 0: no val"},
    )
    seed: int = field(default=42, metadata={"help": "chooses which images are held out"})

    def __post_init__(self) -> None:
        if not 0 <= self.val_fraction < 1:
            raise ValueError(f"--val-fraction must be from 0 to below 1, not {self.val_fraction}")

    @abstractmethod
    def files(self, raw: Raw) -> list[File]:
        """Return the files in the order of their images; DataError where there are none."""

    @abstractmethod
    def decode(self, raw: Raw, members: Members) -> Content:
        """Return what one file holds; DataError where it is bad."""

    def fields(self) -> dict[str, Field]:
        image = Field(kind="image", dtype="uint8", shape=self.image_shape(), scale=1 / 255)
        values = {name: Field(kind="value", dtype=dtype) for name, dtype in self.numbers.items()}
        return {"image": image} | values

    def image_shape(self) -> tuple[int, ...]:
        """Return the shape of every image."""
        return self.shape

    def entries(self, raw: Raw) -> list[Entry]:
        files = self.files(raw)
        rows: list[tuple[File, int, dict[str, Any]]] = []
        counts: dict[str, int] = defaultdict(int)
        for file in files:
            for i, values in enumerate(self._values(raw, file)):
                key = f"{file.part}_{counts[file.part]:05d}"
                rows.append((file, i, {"key": key, "index": i} | values))
                counts[file.part] += 1
        held_out = self._held_out(rows)
        both = (TRAIN_ALL,) if held_out or counts[VAL] else ()
        return [
            Entry(
                f"{file.name}[{i}]",
                VAL if values["key"] in held_out else file.part,
                file.members,
                values,
                both if file.part in (TRAIN, VAL) else self.more_splits(file.part, i),
            )
            for file, i, values in rows
        ]

    def more_splits(self, part: str, index: int) -> tuple[str, ...]:
        """Return further splits of an image outside training."""
        return ()

    def read(self, raw: Raw, entry: Entry) -> Iterator[Sample]:
        image = self._content(raw, entry.members).images[entry.values["index"]]
        values = {name: entry.values[name] for name in self.numbers}
        yield Sample(entry.values["key"], {"image": image} | values)

    def classes(self, entries: Sequence[Entry]) -> list[str]:
        return list(self.class_names)

    def weigh(self, raw: Raw, entry: Entry) -> int:
        return int(np.prod(self.image_shape())) + ROW_BYTES

    def entries_per_shard(self, entries: int, size_bytes: int) -> int:
        return min(-(-entries // SHARDS), SHARD_SAMPLES)

    def seeds(self) -> dict[str, int]:
        return {"split": self.seed} if self.val_fraction else {}

    def remarks(self, entries: Sequence[Entry]) -> list[str]:
        parts: dict[str, list[Entry]] = defaultdict(list)
        for entry in entries:
            parts[entry.values["key"].rpartition("_")[0]].append(entry)
        lines = [line for part in self.official for line in self._remark(part, parts[part])]
        if self.val_fraction and parts[TRAIN] and not any(e.split == VAL for e in entries):
            lines.append("too few images of each class to hold any out: built without split val")
        return lines

    def _remark(self, part: str, entries: Sequence[Entry]) -> list[str]:
        if not entries:
            return [f"no {part} files are there: built without split {part}"]
        other, source = self.first_images.get(entries[0].values["crc32"], ("", ""))
        if other and other != self.title:
            why = f"`python -m dataprep build {source}` knows its classes"
            return [f"{part} begins with {other}'s first image, not {self.title}'s: {why}"]
        if self.title in {title for title, _ in self.first_images.values()} and not other:
            return [f"{part} does not begin with {self.title}'s first image: is it other data?"]
        count = self.official[part]
        is_whole = len(entries) == count
        return [] if is_whole else [f"{part} has {len(entries):,} of {count:,} images"]

    def _values(self, raw: Raw, file: File) -> Iterator[dict[str, int]]:
        """Yield the numbers of each image, and its crc32: equal plans promise equal pixels."""
        images, values = self._content(raw, file.members)
        columns = [column.tolist() for column in values.values()]
        for image, *row in zip(images, *columns, strict=True):
            yield dict(zip(values, row, strict=True)) | {"crc32": zlib.crc32(image)}

    def _held_out(self, rows: Iterable[tuple[File, int, dict[str, Any]]]) -> set[str]:
        """Return the keys of val; none where the files bring a val of their own."""
        classes: dict[int, list[str]] = defaultdict(list)
        for file, _, values in rows:
            if file.part == VAL:
                return set()
            if file.part == TRAIN:
                classes[values["label"]].append(values["key"])
        return held_out_of_each(classes.values(), self.seed, self.val_fraction)

    def _content(self, raw: Raw, members: Members) -> Content:
        held = _HELD.setdefault(raw, {})
        wanted = (self, *members.values())
        if wanted not in held:
            for one in self._at_once(raw, members):
                held[self, *one.values()] = self.decode(raw, one)
                _let_go(held, wanted)
        return held[wanted]

    def _at_once(self, raw: Raw, members: Members) -> list[Members]:
        """Return what to decode now: all that lies in one compressed tar, in its order."""
        place = raw.place(next(iter(members.values())))
        if place is None:
            return [members]
        places = [(raw.place(next(iter(f.members.values()))), f.members) for f in self.files(raw)]
        there = [(at, one) for at, one in places if at is not None and at[0] == place[0]]
        return [one for _, one in sorted(there, key=lambda pair: pair[0])]


def _let_go(held: dict[tuple[Any, ...], Content], wanted: tuple[Any, ...]) -> None:
    """Forget the oldest files, but for the one that is wanted, until the rest fits."""
    for key in list(held):
        total = sum(content.images.nbytes for content in held.values())
        if total > HELD_BYTES and key != wanted:
            del held[key]


def check_labels(raw: Raw, where: str, labels: Array, count: int, what: str = "label") -> None:
    """Raise DataError, naming the first, where a label is no class number below `count`."""
    wrong = (labels < 0) | (labels >= count)
    if wrong.any():
        at = int(wrong.argmax())
        raise DataError(raw.path, where, f"{what} {at} is {labels[at]}, not 0 to {count - 1}")


def chosen_folder(raw: Raw, folders: Mapping[str, Any], home: str) -> str:
    """Return which of several folders with such files to take; DataError where that is not clear.

    The one that was given, then `home`, where downloads put them, then any other; a folder before
    an archive of the same.
    """

    def rank(folder: str) -> tuple[int, int]:
        own = 0 if not folder else 1 if f"/{folder}".endswith(f"/{home}") else 2
        return own, 0 if (raw.path / folder).is_dir() else 1

    least = min(map(rank, folders))
    best = [folder for folder in folders if rank(folder) == least]
    if len(best) > 1:
        raise DataError(raw.path, "", f"several folders hold such files: {', '.join(best)}")
    return best[0]
