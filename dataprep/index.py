"""Columns of a built set: `index/<name>.npy`, one row a sample.

Per pixel field: `<field>.shard` (uint32), `<field>.offset` (uint64, bytes inside the shard's
file), `<field>.height`, `<field>.width` (uint32, upright). An encoded field has besides
`<field>.size` (uint32, bytes), `<field>.turn` (uint8, dihedral code that turns the stored pixels
upright: flip x 1, flip y 2, then transpose 4) and ragged `<field>.rows` (uint32, for a JPEG with
restart intervals: the byte of each MCU row's first interval inside the file, and the end of the
last; else empty). A value field is one column `<field>`. Ragged ones (keys, names, points, rows)
are `<name>.values` and `<name>.starts` (N+1 row numbers).

Nothing is parsed, no Python object is made per sample and no file is mapped: 10^8 samples open at
once, and a file cut short later is a DataError, where a memory map would kill the process.
"""

from __future__ import annotations

import io
import os
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from dataprep.manifest import DataError, atomic

Array = npt.NDArray[Any]

# Up to this size a column is held in memory, a larger one is read where it is asked for.
HELD_BYTES = 1 << 23


class Column:
    """One column, read-only: `column[i]`, `column[ids]`, `column[a:b]`, `np.asarray(column)`.

    Safe to use from several threads. DataError, naming the file, where it is missing, damaged,
    not `rows` long, or was cut short after it was opened.
    """

    def __init__(self, path: Path, rows: int | None = None) -> None:
        self.path = path
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise DataError(path, "", f"unreadable column ({error.strerror})") from None
        try:
            self.dtype, self.shape, self._start = _header(path, fd)
            if rows is not None and len(self) != rows:
                raise DataError(path, "", f"has {len(self)} rows, the manifest says {rows}")
            self._item = self.dtype.itemsize * int(np.prod(self.shape[1:], dtype=np.int64))
            self._fd = fd
            held = len(self) * self._item <= HELD_BYTES
            self._held = self._piece(0, len(self)) if held else None
        except BaseException:
            os.close(fd)
            raise
        self.close = weakref.finalize(self, os.close, fd)
        if held:
            self.close()

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> Any:
        if self._held is not None:
            whole = isinstance(rows, np.ndarray) and rows.dtype.kind in "iu"
            # The same, in a third of the time.
            return self._held.take(rows, axis=0) if whole else self._held[rows]
        if isinstance(rows, slice):
            first, last, step = rows.indices(len(self))
            if step == 1:
                return self._piece(first, max(last - first, 0))
            return self._gather(np.arange(first, last, step))
        if isinstance(rows, int | np.integer):
            return self._piece(self._inside(int(rows)), 1)[0]
        chosen = np.asarray(rows)
        if chosen.dtype == bool:
            chosen = np.flatnonzero(chosen)
        return self._gather(chosen)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        whole = self[:]
        return np.array(whole, dtype) if copy else np.asarray(whole, dtype)

    def find(self, values: Any) -> Array:
        """Return the row of each value in this ascending column, -1 where it is not there."""
        wanted = np.asarray(values)
        if self._held is not None:
            low = np.searchsorted(self._held, wanted)
        else:
            low, high = np.zeros(wanted.shape, np.int64), np.full(wanted.shape, len(self))
            while (low < high).any():
                middle = (low + high) // 2
                below = (low < high) & (self[np.minimum(middle, len(self) - 1)] < wanted)
                low, high = np.where(below, middle + 1, low), np.where(below, high, middle)
        if len(self) == 0:
            return np.full(wanted.shape, -1, np.int64)
        found = self[np.minimum(low, len(self) - 1)] == wanted
        return np.where((low < len(self)) & found, low, -1).astype(np.int64)

    def runs(self, firsts: Array, counts: Array) -> Array:
        """Return rows first…first + count of each run, one after another; they must exist."""
        ends = np.cumsum(counts)
        total = int(ends[-1]) if len(ends) else 0
        if self._held is not None:
            starts = np.repeat(firsts - (ends - counts), counts)
            chosen: Array = self._held[starts + np.arange(total)]
            return chosen
        return self._read(firsts, counts, total)

    def _inside(self, row: int) -> int:
        if not -len(self) <= row < len(self):
            raise IndexError(f"row {row} of {len(self)} in {self.path.name}")
        return row % len(self)

    def _gather(self, rows: Array) -> Array:
        flat = rows.reshape(-1).astype(np.int64)
        flat = np.where(flat < 0, flat + len(self), flat)
        if len(flat) and (flat.min() < 0 or flat.max() >= len(self)):
            raise IndexError(f"rows outside the {len(self)} of {self.path.name}")
        out = self._read(flat, np.ones(len(flat), np.int64), len(flat))
        return out.reshape(*rows.shape, *self.shape[1:])

    def _read(self, firsts: Array, counts: Array, total: int) -> Array:
        # Imported here: numba takes a second, and small sets and most commands do without.
        from dataprep.kernels import gather

        out = np.empty((total, *self.shape[1:]), self.dtype)
        starts = firsts.astype(np.int64) * self._item + self._start
        sizes = counts.astype(np.int64) * self._item
        bad = gather(self._fd, starts, sizes, out.reshape(-1).view(np.uint8))
        if bad >= 0:
            raise self._short(int(firsts[bad]))
        return out

    def _piece(self, first: int, rows: int) -> Array:
        """Read adjacent rows without any compiled code."""
        out = np.empty((rows, *self.shape[1:]), self.dtype)
        view, done = out.reshape(-1).view(np.uint8).data, 0
        while done < len(view):
            try:
                got = os.preadv(self._fd, [view[done:]], self._start + first * self._item + done)
            except OSError as error:
                raise DataError(self.path, f"row {first}", f"({error.strerror})") from None
            if got == 0:
                raise self._short(first)
            done += got
        out.setflags(write=False)
        return out

    def _short(self, row: int) -> DataError:
        return DataError(self.path, f"row {row}", "cannot be read: the column was cut short")


def read(path: Path, rows: int | None = None) -> Column:
    """Open one column; DataError where it is missing, damaged, or not `rows` long."""
    return Column(path, rows)


def numbers(path: Path, rows: int | None = None) -> Column:
    """Open a column of one whole number a row; DataError where it holds anything else."""
    column = read(path, rows)
    if column.dtype.kind not in "iu" or len(column.shape) != 1:
        why = f"holds {column.dtype} of {column.shape}, not a whole number a row"
        raise DataError(path, "", why)
    return column


def _header(path: Path, fd: int) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    """Return dtype, shape and the first data byte of an .npy file whose size fits them."""
    size = os.fstat(fd).st_size
    try:
        file = io.BytesIO(os.pread(fd, 1 << 16, 0))
        version = np.lib.format.read_magic(file)
        readers = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }
        shape, fortran, dtype = readers[version](file)
        if dtype.kind not in "biuf" or dtype.shape or not shape or (fortran and len(shape) > 1):
            raise ValueError(f"holds {dtype} of {shape}, not numbers in rows")
    except Exception as error:  # a damaged header is Python source: it fails in every way there is
        raise DataError(path, "", f"unreadable column ({error!r})") from None
    want = file.tell() + dtype.itemsize * int(np.prod(shape, dtype=object))
    if size != want or min(shape) < 0:
        raise DataError(path, "", f"unreadable column (has {size:,} bytes, its head says {want:,})")
    return dtype, shape, file.tell()


class Ragged:
    """A column whose rows differ in length. `ragged[i]` is row i; `take(ids)` several at once."""

    def __init__(self, folder: Path, name: str, rows: int) -> None:
        self.starts = numbers(folder / f"{name}.starts.npy", rows + 1)
        self.values = read(folder / f"{name}.values.npy", int(self.starts[-1]))

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, row: int) -> Any:
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        first, last = self.starts[row : row + 2].tolist()
        if not 0 <= first <= last <= len(self.values):
            raise self._wrong(row)
        return self.values[first:last]

    def take(self, ids: Array) -> tuple[Array, Array]:
        """Return the rows of ids (B,) one after another, and where each starts (B + 1,)."""
        ids = np.asarray(ids, np.int64)
        if len(ids) and (ids.min() < 0 or ids.max() >= len(self)):
            raise IndexError(f"rows outside the {len(self)} of {self.starts.path.name}")
        ends = self.starts[np.stack([ids, ids + 1], axis=1)].astype(np.int64)
        firsts, counts = ends[:, 0], ends[:, 1] - ends[:, 0]
        # Checked before anything is allocated: a damaged start must not ask for all memory.
        # Not counts < 0: the difference of two damaged starts may overflow.
        wrong = (firsts < 0) | (ends[:, 1] < firsts) | (ends[:, 1] > len(self.values))
        if wrong.any():
            raise self._wrong(int(ids[np.flatnonzero(wrong)[0]]))
        starts = np.zeros(len(ids) + 1, np.int64)
        np.cumsum(counts, out=starts[1:])
        return self.values.runs(firsts, counts), starts

    def _wrong(self, row: int) -> DataError:
        return DataError(self.starts.path, f"row {row}", "starts outside the values: damaged")


class Names(Ragged):
    """A ragged column of UTF-8 text: `names[i]` is a str."""

    def __getitem__(self, row: int) -> str:
        data: bytes = super().__getitem__(row).tobytes()
        # File names need not be UTF-8; such bytes go through text and back unharmed.
        return data.decode(errors="surrogateescape")


class Writer:
    """One column while it is written in pieces; the number of rows is known before."""

    def __init__(self, file: BinaryIO, dtype: Any, shape: tuple[int, ...]) -> None:
        self._file, self._dtype = file, np.dtype(dtype)
        assert self._dtype.kind in "biuf"
        head = np.lib.format.header_data_from_array_1_0(np.empty(0, self._dtype))
        np.lib.format.write_array_header_1_0(file, head | {"shape": shape})

    def append(self, rows: Array) -> None:
        """Write the next rows."""
        self._file.write(np.ascontiguousarray(rows, self._dtype).data)


@contextmanager
def writer(path: Path, dtype: Any, shape: tuple[int, ...]) -> Iterator[Writer]:
    """Write one column atomically, in pieces that together have this shape."""
    with atomic(path) as temporary:
        with open(temporary, "wb") as file:
            yield Writer(file, dtype, shape)


def write(path: Path, column: Array) -> None:
    """Write one column atomically."""
    with writer(path, column.dtype, column.shape) as rows:
        rows.append(column)


def write_ragged(folder: Path, name: str, rows: Sequence[Array]) -> None:
    """Write rows of one dtype and trailing shape, of any number and length."""
    values, starts = packed(rows)
    write(folder / f"{name}.starts.npy", starts)
    write(folder / f"{name}.values.npy", values)


def write_names(folder: Path, name: str, names: Sequence[str]) -> None:
    """Write text rows as UTF-8."""
    write_ragged(folder, name, texts(names))


def packed(rows: Sequence[Array]) -> tuple[Array, Array]:
    """Return the values of rows one after another, and where each row starts (N + 1,)."""
    starts = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(row) for row in rows], out=starts[1:])
    return np.concatenate(rows) if rows else np.zeros(0, np.uint8), starts


def texts(names: Sequence[str]) -> list[Array]:
    """Return texts as rows of bytes."""
    return [np.frombuffer(text.encode(errors="surrogateescape"), np.uint8) for text in names]
