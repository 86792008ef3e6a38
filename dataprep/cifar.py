"""CIFAR-10 and CIFAR-100: the official Python pickles, read without running anything in them.

An image is a row of 3,072 bytes, all red ones first. In the folder itself, in the official folder,
or in the official archive, which need not be unpacked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from dataprep import pickles
from dataprep.manifest import DataError
from dataprep.raw import Raw
from dataprep.small_images import Content, File, Members, SmallImages, chosen_folder

Array = npt.NDArray[Any]

SIDE, CHANNELS = 32, 3
PIXELS = SIDE * SIDE * CHANNELS
# Characters of a value that an error shows; longer than any class name.
SHOWN = 20
SITE = "https://www.cs.toronto.edu/~kriz"


@dataclass(frozen=True, kw_only=True)
class Cifar(SmallImages):
    """Images of 32×32 RGB pixels in pickled batches."""

    # The official folder; batch -> part; file and key of class names; value field -> key.
    folder: ClassVar[str]
    batches: ClassVar[Mapping[str, str]]
    names_in: ClassVar[tuple[str, str]]
    labels: ClassVar[Mapping[str, str]]
    # Value field -> classes that it counts.
    classes_of: ClassVar[Mapping[str, int]]
    shape = (SIDE, SIDE, CHANNELS)

    def files(self, raw: Raw) -> list[File]:
        folders: dict[str, set[str]] = {}
        for name in raw.names():
            folder, _, file = name.rpartition("/")
            if file in self.batches:
                folders.setdefault(folder, set()).add(file)
        if not folders:
            why = f"holds no {self.title} batches; wanted are {', '.join(self.batches)}"
            raise DataError(raw.path, "", f"{why}, or the official archive of them")
        folder = chosen_folder(raw, folders, self.folder)
        prefix = f"{folder}/" if folder else ""
        self._check_names(raw, prefix + self.names_in[0])
        return [
            File(batch, part, {"batch": prefix + batch})
            for batch, part in self.batches.items()
            if batch in folders[folder]
        ]

    def decode(self, raw: Raw, members: Members) -> Content:
        name = members["batch"]
        batch = pickles.read(raw, name)
        pixels = batch.get("data")
        if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8:
            raise DataError(raw.path, name, f"holds no pixels of a {self.title} batch")
        if pixels.shape[1:] != (PIXELS,):
            why = f"its pixels are {pixels.shape}, not (images, {PIXELS})"
            raise DataError(raw.path, name, why)
        values = {}
        for value, key in self.labels.items():
            labels = _items(raw, name, key, batch.get(key))
            if len(labels) != len(pixels):
                why = f"has {len(labels):,} {key}, but {len(pixels):,} images"
                raise DataError(raw.path, name, why)
            values[value] = _whole_numbers(raw, name, key, labels, self.classes_of[value])
        images = pixels.reshape(-1, CHANNELS, SIDE, SIDE).transpose(0, 2, 3, 1)
        return Content(np.ascontiguousarray(images), values)

    def _check_names(self, raw: Raw, name: str) -> None:
        """Raise DataError where the file of class names is there and has others."""
        if name not in raw.names():
            return
        key = self.names_in[1]
        names = [_shown(one) for one in _items(raw, name, key, pickles.read(raw, name).get(key))]
        if names != list(self.class_names):
            why = f"its {key} are not {self.title}'s: {', '.join(names[:3])}…"
            raise DataError(raw.path, name, why)


def _items(raw: Raw, name: str, key: str, found: Any) -> list[Any]:
    """Return what a list or an array of one dimension holds; DataError for anything else."""
    if found is None:
        raise DataError(raw.path, name, f"has no {key}")
    if isinstance(found, np.ndarray) and found.ndim == 1:
        return list(found.tolist())
    if not isinstance(found, list):
        shape = f" of {found.shape}" if isinstance(found, np.ndarray) else ""
        why = f"its {key} are of type {type(found).__name__}{shape}, not a list"
        raise DataError(raw.path, name, why)
    return found


def _whole_numbers(raw: Raw, name: str, key: str, found: list[Any], classes: int) -> Array:
    for at, value in enumerate(found):
        if type(value) is not int:
            why = f"{key} {at} is {_shown(value)!r}, not a whole number"
            raise DataError(raw.path, name, why)
        # Before they become an array: a number of any size may be there.
        if not 0 <= value < classes:
            why = f"{key} {at} is {_shown(value)}, not 0 to {classes - 1}"
            raise DataError(raw.path, name, why)
    return np.array(found, np.int64)


def _shown(value: Any) -> str:
    """Return the beginning of a text or number, of anything else its type.

    Not its text: a tuple that holds another twice, and so on, would be written without end.
    """
    if isinstance(value, bytes):
        value = value[:SHOWN].decode(errors="replace")
    if isinstance(value, int) and abs(value) >= 1 << 63:  # text of any size takes any time
        return "a huge number"
    text = str(value) if isinstance(value, str | int | float) else type(value).__name__
    return "".join(c if c.isprintable() else "?" for c in text[:SHOWN])
