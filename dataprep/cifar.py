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
from dataprep.small_images import Content, File, Members, SmallImages, check_labels, chosen_folder

Array = npt.NDArray[Any]

SIDE, CHANNELS = 32, 3
PIXELS = SIDE * SIDE * CHANNELS
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
            values[value] = _whole_numbers(raw, name, key, batch.get(key), len(pixels))
            check_labels(raw, name, values[value], self.classes_of[value], key)
        images = pixels.reshape(-1, CHANNELS, SIDE, SIDE).transpose(0, 2, 3, 1)
        return Content(np.ascontiguousarray(images), values)

    def _check_names(self, raw: Raw, name: str) -> None:
        """Raise DataError where the file of class names is there and has others."""
        if name not in raw.names():
            return
        found = pickles.read(raw, name).get(self.names_in[1])
        texts = [b.decode(errors="replace") if isinstance(b, bytes) else b for b in found or ()]
        if texts != list(self.class_names):
            why = (
                f"its {self.names_in[1]} are not {self.title}'s: {', '.join(map(str, texts[:3]))}…"
            )
            raise DataError(raw.path, name, why)


def _whole_numbers(raw: Raw, name: str, key: str, found: Any, count: int) -> Array:
    if found is None:
        raise DataError(raw.path, name, f"has no {key}")
    if len(found) != count:
        raise DataError(raw.path, name, f"has {len(found):,} {key}, but {count:,} images")
    for at, value in enumerate(found):
        if type(value) is not int and not isinstance(value, np.integer):
            why = f"{key} {at} is {str(value)[:20]!r}, not a whole number"
            raise DataError(raw.path, name, why)
    return np.array([int(value) for value in found], np.int64)
