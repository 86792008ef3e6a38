"""A built set, opened: manifest, columns, splits; nothing is read before it is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt

from dataprep import derived, index, manifest
from dataprep.manifest import DataError, Field
from loaders.arrays import Pixels
from loaders.held import Held
from loaders.tar import Tar

Array = npt.NDArray[Any]

# Splits of larger sets are searched for an id: a table of rows would take too much memory.
LOOKED_UP = 1 << 22


class Split(index.Column):
    """The ids of a split, checked where they are read: at open that would take all of them."""

    def __init__(self, path: Path, rows: int, samples: int) -> None:
        self._samples = samples
        self._row_of: Array | None = None  # of each id of the set, made when first asked for
        super().__init__(path, rows)
        if self.dtype.kind not in "iu" or len(self.shape) != 1:
            raise DataError(path, "", f"holds {self.dtype} of {self.shape}, not ids")

    def __getitem__(self, rows: Any) -> Any:
        ids = super().__getitem__(rows)
        if np.size(ids) and not (np.min(ids) >= 0 and np.max(ids) < self._samples):
            raise DataError(self.path, "", f"names ids outside 0…{self._samples - 1}: damaged")
        return ids

    def rows(self, ids: Array) -> Array:
        """Return the row of each id, -1 where the split has it not."""
        if self._samples > LOOKED_UP:
            return self.find(ids)
        if self._row_of is None:
            self._row_of = np.full(self._samples, -1, np.int32)
            self._row_of[np.asarray(self)] = np.arange(len(self), dtype=np.int32)
        return self._row_of[ids].astype(np.int64)


class Dataset:
    """A built set by path, or by name under the data root; DataError where it is not one."""

    def __init__(self, name: str | Path, root: str | Path | None = None) -> None:
        self.folder = manifest.locate(name, root)
        self.manifest = manifest.load(self.folder)
        self.fields = self.manifest.fields
        self.samples = self.manifest.samples
        self._held: WeakValueDictionary[str, Held] = WeakValueDictionary()

    def split(self, name: str) -> Split:
        """Return the ids of one split, ascending; DataError lists the choices.

        After the set's own splits come those that were derived from it ("el2n_keep50", or
        "el2n_keep50-0123456789ab" where there are several).
        """
        if name in self.manifest.splits:
            path, rows = self.folder / "splits" / f"{name}.npy", self.manifest.splits[name]
        else:
            column = derived.ids(self.result(name, "ids"), self.samples)
            path, rows = column.path, len(column)
        ids = Split(path, rows, self.samples)
        if len(ids) == 0:
            raise DataError(path, "", "this split is empty")
        return ids

    def table(self, name: str) -> Array:
        """Return a derived table, (N,) float64 by id, NaN where a sample was not scored."""
        return derived.values(self.result(name), self.samples)

    def scored(self, name: str, ids: Split) -> Array:
        """Return a derived table at these ids; DataError where one of them was not scored."""
        path = self.result(name)
        values: Array = derived.values(path, self.samples)[np.asarray(ids)]
        missing = np.flatnonzero(np.isnan(values))
        if len(missing):
            key = self.keys()[int(ids[int(missing[0])])]
            why = f"{len(missing):,} of {len(values):,} samples of this split are not scored"
            raise DataError(path, ids.path.stem, f"{why}, the first is {key}")
        return values

    def result(self, name: str, kind: derived.Kind = "values") -> Path:
        """Return the folder of a derived table or split; DataError lists the choices."""
        own = self.manifest.splits if kind == "ids" else ()
        return derived.find(self.folder, name, kind, self.manifest.fingerprint, own)

    def fingerprints(self, split: str, tables: Iterable[str]) -> dict[str, str]:
        """Return name -> fingerprint of derived results: these tables, and the split if it is."""
        paths = [self.result(table) for table in tables]
        paths += [] if split in self.manifest.splits else [self.result(split, "ids")]
        return {path.name: derived.fingerprint(path) for path in paths}

    def chosen(self, names: Sequence[str] | None) -> dict[str, Field]:
        """Return these fields, all for None; DataError lists the choices."""
        for name in names or ():
            if name not in self.fields:
                there = ", ".join(self.fields)
                raise DataError(self.folder, name, f"no such field; there are: {there}")
        return {name: self.fields[name] for name in (self.fields if names is None else names)}

    def pixels(self, name: str, hold_bytes: int = 0) -> Pixels:
        """Open one image or map field that is stored raw; held in memory where it is small.

        Once for all loaders of this object that are open: training and validation share it.
        """
        return Pixels(self.folder, name, self.manifest, hold_bytes, self._held)

    def tar(self, name: str) -> Tar:
        """Open one image or map field that is stored encoded."""
        return Tar(self.folder, name, self.manifest)

    def open(self, name: str, hold_bytes: int = 0) -> Pixels | Tar:
        """Open one image or map field."""
        if self.fields[name].is_encoded:
            return self.tar(name)
        return self.pixels(name, hold_bytes)

    def values(self, name: str) -> index.Column:
        """Return one value field, (N,) or (N, …)."""
        return index.read(self.folder / "index" / f"{name}.npy", self.samples)

    def column(self, name: str, ids: Split) -> Array:
        """Return one number of each of these samples, (n,); DataError where it holds none."""
        field = self.chosen((name,))[name]
        if field.kind != "value" or field.shape:
            raise DataError(self.folder, name, f"holds {field.kind}, not a number a sample")
        numbers: Array = np.asarray(self.values(name))[np.asarray(ids)]
        return numbers

    def points(self, name: str) -> index.Ragged:
        """Open one ragged points field: rows of (x, y, …)."""
        return index.Ragged(self.folder / "index", name, self.samples)

    def keys(self) -> index.Names:
        """Open the sample keys."""
        return index.Names(self.folder / "index", "key", self.samples)
