"""Columns of a built set: `index/<name>.npy`, one row a sample, memory-mapped.

Per pixel field: `<field>.shard` (uint32), `<field>.offset` (uint64, bytes inside the shard's
file), `<field>.height`, `<field>.width` (uint32). A value field is one column `<field>`. Ragged
ones (keys, names, points) are `<name>.values` and `<name>.starts` (N+1 row numbers). Nothing is
parsed and no Python object is made per sample, so 10^8 samples open at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dataprep.manifest import DataError, atomic

Array = npt.NDArray[Any]


def write(path: Path, column: Array) -> None:
    """Write one column atomically."""
    with atomic(path) as temporary, open(temporary, "wb") as file:
        np.save(file, column, allow_pickle=False)


def read(path: Path, rows: int | None = None) -> Array:
    """Memory-map one column; DataError where it is missing, cut short, or not `rows` long."""
    try:
        # As a plain array: numpy's memmap class makes each small read three times as dear.
        column: Array = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise DataError(path, "", f"unreadable column ({error})") from None
    if rows is not None and len(column) != rows:
        raise DataError(path, "", f"has {len(column)} rows, the manifest says {rows}")
    return column


class Ragged:
    """A column whose rows differ in length. `ragged[i]` is row i; `take(ids)` several at once."""

    def __init__(self, folder: Path, name: str, rows: int) -> None:
        self.starts = read(folder / f"{name}.starts.npy", rows + 1)
        self.values = read(folder / f"{name}.values.npy", int(self.starts[-1]))

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, row: int) -> Array:
        return self.values[int(self.starts[row]) : int(self.starts[row + 1])]


class Names(Ragged):
    """A ragged column of UTF-8 text: `names[i]` is a str."""

    def __getitem__(self, row: int) -> str:  # type: ignore[override]
        return super().__getitem__(row).tobytes().decode()


def write_ragged(folder: Path, name: str, rows: Sequence[Array]) -> None:
    """Write rows of one dtype and trailing shape, of any number and length."""
    starts = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(row) for row in rows], out=starts[1:])
    write(folder / f"{name}.starts.npy", starts)
    write(folder / f"{name}.values.npy", np.concatenate(rows) if rows else np.zeros(0, np.uint8))


def write_names(folder: Path, name: str, names: Sequence[str]) -> None:
    """Write text rows as UTF-8."""
    write_ragged(folder, name, [np.frombuffer(text.encode(), np.uint8) for text in names])
