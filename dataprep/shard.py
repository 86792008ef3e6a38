"""One shard: decode its entries, write its files, then the record that it is finished."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dataprep.arrays import ShardFile, full, shard_path
from dataprep.manifest import DataError, Field, atomic
from dataprep.raw import Raw
from dataprep.sources import Base, Entry, Sample
from dataprep.statistics import Sums

Array = npt.NDArray[Any]

BUILDING = "building"


@dataclass
class Row:
    """One stored sample. `places`: pixel field -> (offset in bytes, height, width)."""

    key: str
    name: str
    split: str
    places: dict[str, tuple[int, int, int]] = dataclasses.field(default_factory=dict)
    values: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclass
class Record:
    """What a finished shard holds. `lengths`: pixel field -> bytes of its file."""

    rows: list[Row] = dataclasses.field(default_factory=list)
    skipped: list[dict[str, str]] = dataclasses.field(default_factory=list)
    notes: dict[str, int] = dataclasses.field(default_factory=dict)
    sums: dict[str, Sums] = dataclasses.field(default_factory=dict)
    lengths: dict[str, int] = dataclasses.field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write the record atomically."""
        try:
            with atomic(path) as temporary:
                temporary.write_text(json.dumps(dataclasses.asdict(self)))
        except OSError as error:
            raise full(error, path, 0) from None

    @classmethod
    def load(cls, path: Path) -> Record:
        """Read a record back."""
        facts = json.loads(path.read_text())
        return cls(
            rows=[Row(**row) for row in facts["rows"]],
            skipped=facts["skipped"],
            notes=facts["notes"],
            sums={name: Sums(**sums) for name, sums in facts["sums"].items()},
            lengths=facts["lengths"],
        )


def record_path(folder: Path, shard: int) -> Path:
    """Return where the record of one shard lies while the set is being built."""
    return folder / BUILDING / f"shard-{shard:06d}.json"


@dataclass(frozen=True)
class Job:
    """All that a worker needs to write any shard."""

    source: Base
    raw: Raw
    folder: Path
    skip: bool

    def write(self, shard: int, entries: list[Entry]) -> int:
        """Write one shard and return its bytes; DataError names what is bad."""
        fields = self.source.fields()
        record = Record()
        with ExitStack() as stack:
            files = {
                name: stack.enter_context(self._file(name, fields[name], shard))
                for name in fields
                if fields[name].is_pixels
            }
            for entry in entries:
                for sample in self._read(entry, record):
                    record.rows.append(self._store(entry, sample, fields, files, record))
            for name, file in files.items():
                file.seal()
                record.lengths[name] = file.bytes
        # Last: a shard without a record is written again.
        record.save(record_path(self.folder, shard))
        return sum(record.lengths.values())

    def _file(self, name: str, field: Field, shard: int) -> ShardFile:
        temporary = self.folder / BUILDING / f"{name}.{shard}.{os.getpid()}.tmp"
        return ShardFile(temporary, shard_path(self.folder, name, field, shard))

    def _read(self, entry: Entry, record: Record) -> Iterator[Sample]:
        try:
            # As a list: an entry is stored whole or not at all.
            yield from list(self.source.read(self.raw, entry))
        except DataError as error:
            if not self.skip:
                raise
            why = ": ".join(part for part in (error.key, error.why) if part)
            record.skipped.append({"name": entry.name, "why": why})

    def _store(
        self,
        entry: Entry,
        sample: Sample,
        fields: dict[str, Field],
        files: dict[str, ShardFile],
        record: Record,
    ) -> Row:
        if set(sample.fields) != set(fields):
            raise self._wrong(entry, f"has fields {sorted(sample.fields)}, not {sorted(fields)}")
        if not sample.key or set(sample.key) & set("./\\\0"):
            raise self._wrong(entry, f"the key {sample.key!r} is empty or holds a dot or slash")
        row = Row(sample.key, entry.name, entry.split)
        for name, field in fields.items():
            array = np.asarray(sample.fields[name])
            if field.is_pixels:
                self._check(entry, name, field, array)
                row.places[name] = (files[name].append(array), *array.shape[:2])
                sums = Sums.of(array)
                record.sums[name] = record.sums[name] + sums if name in record.sums else sums
            else:
                array = np.asarray(array, field.dtype)
                array = array if array.size or field.kind == "value" else _no_points(field)
                self._check(entry, name, field, array)
                row.values[name] = array.tolist()
        for note in sample.notes:
            record.notes[note] = record.notes.get(note, 0) + 1
        return row

    def _check(self, entry: Entry, name: str, field: Field, array: Array) -> None:
        fits = len(array.shape) == len(field.shape) and all(
            want in (None, have) for want, have in zip(field.shape, array.shape, strict=True)
        )
        if not fits or array.dtype != np.dtype(field.dtype) or (field.is_pixels and not array.size):
            has = f"{array.dtype} of {array.shape}"
            raise self._wrong(entry, f"field {name} is {has}, not {field.dtype} of {field.shape}")

    def _wrong(self, entry: Entry, why: str) -> DataError:
        return DataError(self.raw.path, entry.name, why)


def _no_points(field: Field) -> Array:
    return np.zeros([side or 0 for side in field.shape], field.dtype)
