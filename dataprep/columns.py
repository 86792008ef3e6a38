"""The columns of a set while it is built: a part for each shard, joined when all are there.

A part is one .npz in the building folder. Joining goes through the parts once, so its memory does
not grow with the set, but for 8 bytes a sample that find equal keys.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dataprep import index
from dataprep.manifest import DataError, Field, atomic

Array = npt.NDArray[Any]

# Columns of a part that do not go into the set.
HASH, MEMBER = "#hash", "#member"


class Layout(NamedTuple):
    """One column: dtype and shape of a row; of one item of a row where that is ragged."""

    dtype: str
    shape: tuple[int, ...] = ()
    ragged: bool = False


def layout(fields: dict[str, Field]) -> dict[str, Layout]:
    """Return every column of a set with these fields."""
    columns = {"key": Layout("uint8", ragged=True), "name": Layout("uint8", ragged=True)}
    for name, field in fields.items():
        rest = tuple(side or 0 for side in field.shape)
        if field.kind == "value":
            columns[name] = Layout(field.dtype, rest)
        elif not field.is_pixels:
            columns[name] = Layout(field.dtype, rest[1:], ragged=True)
        else:
            columns |= {f"{name}.{what}": Layout("uint32") for what in ("shard", "height", "width")}
            columns[f"{name}.offset"] = Layout("uint64")
        if field.is_encoded:
            columns[f"{name}.size"] = Layout("uint32")
            columns[f"{name}.turn"] = Layout("uint8")
            columns[f"{name}.rows"] = Layout("uint32", ragged=True)
    return columns


class Part:
    """The rows of one shard, as lists; `save` makes them columns."""

    def __init__(self, fields: dict[str, Field]) -> None:
        self._layout = layout(fields)
        self._rows: dict[str, list[Any]] = {name: [] for name in self._layout}
        self._hashes: list[int] = []
        self._members: list[tuple[int, int]] = []  # row, number of a split that it is in
        self.splits: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._hashes)

    def add(self, key: str, name: str, splits: Sequence[str], row: dict[str, Any]) -> None:
        """Add a sample; `row` holds all columns but key and name."""
        key_text, name_text = index.texts([key, name])
        for column, value in (row | {"key": key_text, "name": name_text}).items():
            self._rows[column].append(value)
        digest = hashlib.blake2b(key_text.tobytes(), digest_size=8).digest()
        for split in splits:
            self.splits[split] = self.splits.get(split, 0) + 1
            self._members.append((len(self), list(self.splits).index(split)))
        self._hashes.append(int.from_bytes(digest, "little"))

    def save(self, path: Path) -> dict[str, int]:
        """Write the part; return the number of items of each ragged column."""
        arrays: dict[str, Any] = {
            HASH: np.array(self._hashes, np.uint64),
            MEMBER: np.array(self._members, np.uint32).reshape(-1, 2),
        }
        totals = {}
        for name, column in self._layout.items():
            rows = self._rows[name]
            if column.ragged:
                items = [np.asarray(row, column.dtype).reshape(-1, *column.shape) for row in rows]
                values, starts = index.packed(items)
                empty = np.zeros((0, *column.shape), column.dtype)
                arrays[f"{name}.values"] = values if rows else empty
                arrays[f"{name}.starts"] = starts
                totals[name] = len(arrays[f"{name}.values"])
            else:
                arrays[name] = np.array(rows, column.dtype).reshape(-1, *column.shape)
        with atomic(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, **arrays)
        return totals


def join(folder: Path, fields: dict[str, Field], parts: Sequence[Path], totals: Totals) -> None:
    """Write every column and split of the set."""
    columns = layout(fields)
    with ExitStack() as stack:

        def open_(path: str, dtype: Any, shape: tuple[int, ...]) -> index.Writer:
            return stack.enter_context(index.writer(folder / f"{path}.npy", dtype, shape))

        plain, values, starts = {}, {}, {}
        for name, (dtype, shape, ragged) in columns.items():
            if ragged:
                size = totals.ragged[name]
                values[name] = open_(f"index/{name}.values", dtype, (size, *shape))
                starts[name] = open_(f"index/{name}.starts", np.int64, (totals.rows + 1,))
                starts[name].append(np.zeros(1, np.int64))
            else:
                plain[name] = open_(f"index/{name}", dtype, (totals.rows, *shape))
        splits = {n: open_(f"splits/{n}", np.int64, (size,)) for n, size in totals.splits.items()}
        done, ends = 0, dict.fromkeys(values, 0)
        for part, names in zip(_load(parts), totals.orders, strict=True):
            for name, column in plain.items():
                column.append(part[name])
            for name in values:
                values[name].append(part[f"{name}.values"])
                starts[name].append(part[f"{name}.starts"][1:] + ends[name])
                ends[name] += len(part[f"{name}.values"])
            rows, codes = part[MEMBER].T.astype(np.int64)
            for code, split in enumerate(names):
                splits[split].append(rows[codes == code] + done)
            done += len(part[HASH])


class Totals(NamedTuple):
    """Sizes of all columns. orders: the splits of each part, in the order of their codes."""

    rows: int
    ragged: dict[str, int]
    splits: dict[str, int]
    orders: list[list[str]]


def check_keys(folder: Path, parts: Sequence[Path]) -> None:
    """Raise DataError naming two samples of one key."""
    hashes = np.sort(np.concatenate([part[HASH] for part in _load(parts)]))
    twice = hashes[1:][hashes[1:] == hashes[:-1]]
    if not len(twice):
        return
    names: dict[bytes, bytes] = {}
    for part in _load(parts):
        for row in np.flatnonzero(np.isin(part[HASH], twice)).tolist():
            key, name = (
                part[f"{what}.values"][slice(*part[f"{what}.starts"][row : row + 2])].tobytes()
                for what in ("key", "name")
            )
            if key in names:
                one, other = (which.decode(errors="replace") for which in (names[key], name))
                raise DataError(folder, key.decode(), f"the key of both {one} and {other}")
            names[key] = name


def _load(parts: Sequence[Path]) -> Iterator[Any]:
    for path in parts:
        with np.load(path, allow_pickle=False) as arrays:
            yield arrays
