"""A built set, opened: manifest, columns, splits; nothing is read before it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dataprep import index, manifest
from dataprep.manifest import DataError, Field
from loaders.arrays import Pixels

Array = npt.NDArray[Any]


class Dataset:
    """A built set by path, or by name under the data root; DataError where it is not one."""

    def __init__(self, name: str | Path, root: str | Path | None = None) -> None:
        self.folder = manifest.locate(name, root)
        self.manifest = manifest.load(self.folder)
        self.fields = self.manifest.fields
        self.samples = self.manifest.samples

    def split(self, name: str) -> Array:
        """Return the ids of one split, ascending; DataError lists the choices."""
        if name not in self.manifest.splits:
            there = ", ".join(self.manifest.splits)
            raise DataError(self.folder, name, f"no such split; there are: {there}")
        ids = index.read(self.folder / "splits" / f"{name}.npy", self.manifest.splits[name])
        if len(ids) == 0:
            raise DataError(self.folder, name, "this split is empty")
        if int(ids[-1]) >= self.samples or int(ids[0]) < 0:
            raise DataError(self.folder, name, f"names ids outside 0…{self.samples - 1}")
        return ids

    def chosen(self, names: Sequence[str] | None) -> dict[str, Field]:
        """Return these fields, all for None; DataError lists the choices."""
        for name in names or ():
            if name not in self.fields:
                there = ", ".join(self.fields)
                raise DataError(self.folder, name, f"no such field; there are: {there}")
        return {name: self.fields[name] for name in (self.fields if names is None else names)}

    def pixels(self, name: str) -> Pixels:
        """Open one image or map field."""
        return Pixels(self.folder, name, self.manifest)

    def values(self, name: str) -> Array:
        """Return one value field, (N,) or (N, …)."""
        return index.read(self.folder / "index" / f"{name}.npy", self.samples)

    def points(self, name: str) -> index.Ragged:
        """Open one ragged points field: rows of (x, y, …)."""
        return index.Ragged(self.folder / "index", name, self.samples)

    def keys(self) -> index.Names:
        """Open the sample keys."""
        return index.Names(self.folder / "index", "key", self.samples)

    def size_groups(self, ids: Array) -> Array:
        """Return a code per id, equal where every pixel field has the same size."""
        sides = [self.pixels(name).sizes(ids) for name, f in self.fields.items() if f.is_pixels]
        return np.unique(np.concatenate(sides, axis=1), axis=0, return_inverse=True)[1].reshape(-1)
