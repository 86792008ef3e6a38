"""Small images as CSV: a line `label,pixel0,pixel1…` an image, its pixels row by row (R G B each).

    mnist_train.csv  mnist_test.csv      names end with train, val or test; .csv or .csv.gz
    anything.csv                         one file alone is split train

Several files of one split follow each other by their numbers. Without a file of val, part of train
is held out; `train_all` (of an export) is taken for train where that is not there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from dataprep import csv_images
from dataprep.folds import natural_key
from dataprep.manifest import DataError
from dataprep.raw import Raw
from dataprep.small_images import (
    TEST,
    TRAIN,
    TRAIN_ALL,
    VAL,
    Content,
    File,
    Members,
    SmallImages,
)
from dataprep.sources import Entry
from dataprep.sources.imagefolder import SPLITS

SHAPES = {"28x28": (28, 28), "32x32x3": (32, 32, 3)}
# Without names of classes, a label above is taken for a mistake.
MOST_CLASSES = 1000
NAME = re.compile(r"(.*)\.csv(?:\.gz)?", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Source(SmallImages):
    """Numbers as they are; labels count from 0."""

    summary: ClassVar[str] = "small images as CSV, plain or .gz: label,pixel0,pixel1… in each line"
    title = "CSV"
    class_names = ()

    pixels: Literal["28x28", "32x32x3"] = field(
        default="28x28", metadata={"help": "what a line holds: 784 grey pixels, or 3072 numbers"}
    )
    names: tuple[str, ...] = field(
        default=(), metadata={"help": "of the classes, in the order of their numbers"}
    )

    def image_shape(self) -> tuple[int, ...]:
        return SHAPES[self.pixels]

    def files(self, raw: Raw) -> list[File]:
        found: dict[str, str] = {}
        for name in raw.names():
            if match := NAME.fullmatch(name):
                # Sorted: of a file and its .gz the first.
                found.setdefault(match[1], name)
        if not found:
            raise DataError(raw.path, "", "holds no .csv or .csv.gz; wanted are …train.csv, …")
        parts = {stem: self._part(raw, stem, found) for stem in sorted(found, key=natural_key)}
        if TRAIN in parts.values():  # it holds what the union holds, or part of that
            parts = {stem: part for stem, part in parts.items() if part != TRAIN_ALL}
        files = [
            File(found[stem], TRAIN if part == TRAIN_ALL else part, {"csv": found[stem]})
            for stem, part in parts.items()
        ]
        return sorted(files, key=lambda file: (TRAIN, VAL, TEST).index(file.part))

    def decode(self, raw: Raw, members: Members) -> Content:
        shape, name = self.image_shape(), members["csv"]
        hints = {math.prod(sides): f"--pixels {what} reads it" for what, sides in SHAPES.items()}
        labels, pixels = csv_images.read(raw, name, math.prod(shape), hints)
        count = len(self.names) or MOST_CLASSES
        wrong = labels >= count
        if wrong.any():
            at = int(wrong.argmax())
            why = f"label is {labels[at]}, not 0 to {count - 1}"
            raise DataError(raw.path, f"{name} line {at + 2}", why)
        return Content(pixels.reshape(-1, *shape), {"label": labels})

    def classes(self, entries: Sequence[Entry]) -> list[str]:
        highest = max(entry.values["label"] for entry in entries)
        return list(self.names) or [str(i) for i in range(highest + 1)]

    def _part(self, raw: Raw, stem: str, found: dict[str, str]) -> str:
        """Return the split that a file's name tells."""
        words = re.findall("[a-z]+", stem.rpartition("/")[2].lower())
        if words[-2:] == ["train", "all"]:
            return TRAIN_ALL
        for word in reversed(words):
            if word in SPLITS:
                return SPLITS[word]
        if len(found) > 1:
            raise DataError(raw.path, found[stem], "its name tells no split: train, val or test")
        return TRAIN
