"""HDF5 files that strangers wrote, read without trusting them.

No link is followed that leads out of its group, no other file is opened, no filter plug-in runs,
and nothing is allocated that the stored bytes cannot fill.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from dataprep import heap
from dataprep.manifest import DataError

# What the library brings itself; any other number would make it look for a plug-in to run.
FILTERS = {
    h5py.h5z.FILTER_DEFLATE,
    h5py.h5z.FILTER_SHUFFLE,
    h5py.h5z.FILTER_FLETCHER32,
    h5py.h5z.FILTER_SZIP,
    h5py.h5z.FILTER_NBIT,
    h5py.h5z.FILTER_SCALEOFFSET,
    h5py.h5z.FILTER_LZF,
}
LARGEST = 1 << 30  # bytes of one dataset in memory; all coordinates of CAT2000 take 36 MB
EXPANSION = 1040  # deflate packs 1032 bytes into one at the most
NUMBERS = (h5py.h5t.TypeIntegerID, h5py.h5t.TypeFloatID)
CELLS = 2**22  # of a table that is read in parts
SCATTERED = "is not stored in one piece, as pysaliency stores it: not read"
# All that h5py raises where the library meets damage.
ERRORS = (
    OSError,
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    MemoryError,
    SystemError,
)


@contextmanager
def open(data: str | Path | bytes | memoryview, path: str | Path) -> Iterator[h5py.File]:
    """Open a file, or the bytes of one; `path`: what errors call it. DataError where damaged."""
    if isinstance(data, str | Path) and not Path(data).is_file():
        raise DataError(path, "", "is not a file")
    with _damage(path, ""):
        if isinstance(data, str | Path):
            file = h5py.File(data, "r", locking="best-effort")
        else:
            file = _in_memory(bytes(data))
    try:
        yield file
    finally:
        with _damage(path, ""):
            file.close()


def _in_memory(data: bytes) -> h5py.File:
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_fapl_core(backing_store=False)
    access.set_file_image(data)
    name = f"{id(access)} in memory".encode()
    return h5py.File(h5py.h5f.open(name, flags=h5py.h5f.ACC_RDONLY, fapl=access))


@contextmanager
def _damage(path: str | Path, key: str) -> Iterator[None]:
    """Turn what h5py raises into a DataError of one line."""
    try:
        yield
    except ERRORS as error:
        words = " ".join(str(error).split()).strip("'\"")
        if isinstance(error, PermissionError | BlockingIOError):
            why = f"cannot be opened: {words}"
        elif "signature not found" in words:
            why = "is not an HDF5 file"
        else:
            why = f"is damaged: {words[:200] or type(error).__name__}"
        raise DataError(path, key, why) from None


@dataclass(frozen=True, eq=False)
class Node:
    """A group of a file; every method raises DataError where what it finds is not as asked."""

    group: h5py.Group
    path: str | Path
    key: str = ""

    def bad(self, name: str, why: str) -> DataError:
        """Make the error about one member."""
        return DataError(self.path, self.key_of(name), why)

    def key_of(self, name: str) -> str:
        """Return the full name of a member."""
        return f"{self.key}/{name}".strip("/")

    def names(self) -> list[str]:
        """Return the names of all members, links too."""
        with _damage(self.path, self.key):
            return [name.decode() for name in self.group.id]

    def has(self, name: str) -> bool:
        """Tell whether there is such a member."""
        if name in ("", ".") or "/" in name or "\0" in name:
            return False
        with _damage(self.path, self.key_of(name)):
            return bool(self.group.id.links.exists(name.encode()))

    def child(self, name: str) -> Node:
        """Return a group in this one."""
        found = self._member(name)
        if not isinstance(found, h5py.Group):
            raise self.bad(name, "is not a group")
        return Node(found, self.path, self.key_of(name))

    def is_group(self, name: str) -> bool:
        """Tell whether a member is a group."""
        return isinstance(self._member(name), h5py.Group)

    def address(self) -> int:
        """Return what tells this group from all others of its file."""
        with _damage(self.path, self.key):
            return int(h5py.h5o.get_info(self.group.id).addr)

    def _member(self, name: str) -> Any:
        if not self.has(name):
            raise self.bad(name, "is missing")
        raw = name.encode()
        with _damage(self.path, self.key_of(name)):
            kind = self.group.id.links.get_info(raw).type
        if kind != h5py.h5l.TYPE_HARD:
            raise self.bad(name, "is a link to elsewhere, which is not followed")
        with _damage(self.path, self.key_of(name)):
            return self.group[raw]

    def text(self, name: str) -> str | None:
        """Return an attribute that is a text, None where there is none."""
        value = self._attribute(name)
        if isinstance(value, bytes):
            with _damage(self.path, self.key_of(name)):
                value = value.decode()
        if value is not None and not isinstance(value, str):
            raise self.bad(name, f"is {type(value).__name__}, not a text")
        return value

    def integer(self, name: str) -> int:
        """Return an attribute that is a whole number."""
        value = self._attribute(name)
        if not isinstance(value, int | np.integer):
            raise self.bad(name, "is missing" if value is None else "is not a whole number")
        return int(value)

    def json(self, name: str, kind: type) -> Any:
        """Return an attribute of JSON with a list or an object in it; empty where there is none."""
        text = self.text(name)
        if text is None:
            return kind()
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            raise self.bad(name, "is not JSON") from None
        if not isinstance(value, kind):
            raise self.bad(name, f"is not a JSON {kind.__name__}")
        return value

    def _attribute(self, name: str) -> Any:
        """Return an attribute of one element, None where there is none."""
        with _damage(self.path, self.key_of(name)):
            if not h5py.h5a.exists(self.group.id, name.encode()):
                return None
            stored = h5py.h5a.open(self.group.id, name.encode())
            shape, kind = stored.shape, stored.get_type()
            is_text = isinstance(kind, h5py.h5t.TypeStringID) and not kind.is_variable_str()
            if not is_text and not isinstance(kind, NUMBERS):
                # Others may lie in a heap, and the library walks a damaged one for ever.
                raise self.bad(name, "is neither a number nor a text of fixed length")
            if math.prod(shape) != 1:
                raise self.bad(name, f"has the shape {shape}, not one value")
            value = self.group.attrs[name]
            return value.reshape(-1)[0] if isinstance(value, np.ndarray) else value

    def dataset(self, name: str) -> h5py.Dataset:
        """Return a dataset that is safe to read."""
        found = self._member(name)
        if not isinstance(found, h5py.Dataset):
            raise self.bad(name, "is not a dataset")
        with _damage(self.path, self.key_of(name)):
            self._refuse(name, found)
        return found

    def _refuse(self, name: str, dataset: h5py.Dataset) -> None:
        """Raise DataError for storage elsewhere, foreign filters and sizes that cannot be."""
        made = dataset.id.get_create_plist()
        if dataset.shape is None:
            raise self.bad(name, "is empty")
        if made.get_external_count() or dataset.is_virtual:
            raise self.bad(name, "lies in other files, which are not read")
        for index in range(made.get_nfilters()):
            if (number := made.get_filter(index)[0]) not in FILTERS:
                raise self.bad(name, f"is packed by filter {number}, which is not known")
        items = max(math.prod(dataset.shape), math.prod(dataset.chunks or (0,)))
        declared = items * dataset.dtype.itemsize if math.prod(dataset.shape) else 0
        stored = min(dataset.id.get_storage_size(), dataset.file.id.get_filesize())
        if declared > min(LARGEST, stored * (EXPANSION if dataset.chunks else 1)):
            why = f"declares {declared} bytes ({stored} are stored): damaged, or made to exhaust"
            raise self.bad(name, f"{why} memory")

    def numbers(
        self, name: str, kinds: str = "iuf", ndim: int | None = None, rows: int | None = None
    ) -> NDArray[Any]:
        """Read a dataset of numbers; `kinds`: of dtype; `rows`: how many there have to be."""
        dataset = self.table(name, kinds, ndim, rows)
        with _damage(self.path, self.key_of(name)):
            return np.asarray(dataset[()])

    def table(
        self, name: str, kinds: str = "iuf", ndim: int | None = None, rows: int | None = None
    ) -> h5py.Dataset:
        """Return a dataset of numbers, checked but not read."""
        dataset = self.dataset(name)
        with _damage(self.path, self.key_of(name)):
            shape, dtype = dataset.shape, dataset.dtype
        if dtype.kind not in kinds:
            wanted = "numbers" if "f" in kinds else "whole numbers"
            raise self.bad(name, f"holds {dtype}, not {wanted}")
        if ndim not in (None, len(shape)):
            raise self.bad(name, f"has the shape {shape}, not {ndim} dimensions")
        if rows is not None and (not shape or shape[0] != rows):
            raise self.bad(name, f"has the shape {shape}, not {rows} rows")
        return dataset

    def counts(self, name: str, rows: int) -> NDArray[np.int64]:
        """Count the values that are not NaN in each row of a table too large to be held."""
        dataset = self.table(name, "f", 2, rows)
        step = max(1, CELLS // max(1, dataset.shape[1]))
        counts = np.empty(rows, np.int64)
        for start in range(0, rows, step):
            with _damage(self.path, self.key_of(name)):
                block = dataset[start : start + step]
            counts[start : start + step] = np.count_nonzero(~np.isnan(block), axis=1)
        return counts

    def is_text(self, name: str) -> bool:
        """Tell whether a dataset holds strings."""
        dataset = self.dataset(name)
        with _damage(self.path, self.key_of(name)):
            return h5py.check_string_dtype(dataset.dtype) is not None

    def strings(self, name: str) -> NDArray[Any]:
        """Read a dataset of strings, one dimension or more: an array of str objects."""
        dataset = self.dataset(name)
        with _damage(self.path, self.key_of(name)):
            kind = h5py.check_string_dtype(dataset.dtype)
            if kind is not None and kind.length is None:
                if not heap.is_plain(dataset):
                    raise self.bad(name, SCATTERED)
                found = [item.decode() for item in heap.items(dataset, 1)]
                return np.array(found, object).reshape(dataset.shape)
        if kind is None:
            raise self.bad(name, "holds no text")
        with _damage(self.path, self.key_of(name)):
            return np.asarray(dataset.asstr("utf-8")[()], object)

    def vectors(self, name: str) -> list[tuple[int, ...]]:
        """Read a dataset of vectors of whole numbers, of any length each."""
        dataset = self.dataset(name)
        with _damage(self.path, self.key_of(name)):
            kind = h5py.check_vlen_dtype(dataset.dtype)
        if kind is None or np.dtype(kind).kind not in "iu" or len(dataset.shape) != 1:
            raise self.bad(name, f"holds {dataset.dtype}, not vectors of whole numbers")
        with _damage(self.path, self.key_of(name)):
            if not heap.is_plain(dataset):
                raise self.bad(name, SCATTERED)
            stored = heap.items(dataset, np.dtype(kind).itemsize)
            return [tuple(np.frombuffer(row, kind).tolist()) for row in stored]
