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

from dataprep import tar
from dataprep.arrays import ShardFile, full, shard_path
from dataprep.columns import Part
from dataprep.encode import Encoded, keep
from dataprep.manifest import DataError, Field, atomic
from dataprep.raw import Raw
from dataprep.sources import Base, Entry, Sample
from dataprep.statistics import Sums

Array = npt.NDArray[Any]

BUILDING = "building"


@dataclass
class Record:
    """What a finished shard holds; its rows are in the part beside the record.

    files: file of the shard, inside the set -> bytes. splits: split -> samples, in the order of
    the part's codes. ragged: ragged column -> items. encoded: as the manifest's, for each field.
    """

    rows: int = 0
    skipped: list[dict[str, str]] = dataclasses.field(default_factory=list)
    notes: dict[str, int] = dataclasses.field(default_factory=dict)
    sums: dict[str, Sums] = dataclasses.field(default_factory=dict)
    files: dict[str, int] = dataclasses.field(default_factory=dict)
    splits: dict[str, int] = dataclasses.field(default_factory=dict)
    ragged: dict[str, int] = dataclasses.field(default_factory=dict)
    encoded: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write the record atomically."""
        with atomic(path) as temporary:
            temporary.write_text(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def load(cls, path: Path) -> Record:
        """Read a record back."""
        facts = json.loads(path.read_text())
        facts["sums"] = {name: Sums(**sums) for name, sums in facts["sums"].items()}
        return cls(**facts)


def record_path(folder: Path, shard: int) -> Path:
    """Return where the record of one shard lies while the set is being built."""
    return folder / BUILDING / f"shard-{shard:06d}.json"


def part_path(folder: Path, shard: int) -> Path:
    """Return where the rows of one shard lie while the set is being built."""
    return folder / BUILDING / f"shard-{shard:06d}.npz"


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
            store = _Store(self, shard, fields, record, stack)
            for entry in entries:
                for sample in self._read(entry, record):
                    store.add(entry, sample)
            store.seal()
        path = part_path(self.folder, shard)
        try:
            record.ragged = store.part.save(path)
            # Last: a shard without a record is written again.
            record.save(record_path(self.folder, shard))
        except OSError as error:
            raise full(error, path) from None
        return sum(record.files.values())

    def wrong(self, entry: Entry, why: str) -> DataError:
        """Return the error of one entry."""
        return DataError(self.raw.path, entry.name, why)

    def _read(self, entry: Entry, record: Record) -> Iterator[Sample]:
        try:
            # As a list: an entry is stored whole or not at all.
            yield from [self._decoded(entry, one) for one in self.source.read(self.raw, entry)]
        except DataError as error:
            if not (self.skip or error.is_choice):
                raise
            why = ": ".join(part for part in (error.key, error.why) if part not in ("", entry.name))
            record.skipped.append({"name": entry.name, "why": why})

    def _decoded(self, entry: Entry, sample: Sample) -> Sample:
        """Decode the files that the source gave as bytes, to be kept as they are."""
        files = {name: value for name, value in sample.fields.items() if isinstance(value, bytes)}
        try:
            kept = {name: keep(data, restart=False)[0] for name, data in files.items()}
        except ValueError as error:
            raise self.wrong(entry, str(error)) from None
        return dataclasses.replace(sample, fields={**sample.fields, **kept}) if kept else sample


class _Store:
    """The open files of one shard."""

    def __init__(
        self, job: Job, shard: int, fields: dict[str, Field], record: Record, stack: ExitStack
    ) -> None:
        self._job, self._shard, self._fields, self._record = job, shard, fields, record
        self._stack = stack
        self._raw = {
            name: self._open(shard_path(job.folder, name, field, shard))
            for name, field in fields.items()
            if field.is_pixels and not field.is_encoded
        }
        self._members = tar.members(fields)
        self._path = tar.tar_path(job.folder, shard)
        self._tar = tar.Tar(self._open(self._path)) if self._members else None
        self.part = Part(fields)

    def add(self, entry: Entry, sample: Sample) -> None:
        """Write one sample; DataError where it is not what the source promised."""
        if set(sample.fields) != set(self._fields):
            why = f"has fields {sorted(sample.fields)}, not {sorted(self._fields)}"
            raise self._job.wrong(entry, why)
        if not sample.key or set(sample.key) & set("./\\\0"):
            why = f"the key {sample.key!r} is empty or holds a dot or slash"
            raise self._job.wrong(entry, why)
        if self._tar and any(c.isspace() or not c.isprintable() for c in sample.key):
            raise self._job.wrong(entry, f"the key {sample.key!r} holds a blank")
        row: dict[str, Any] = {}
        for name, field in self._fields.items():
            if not field.is_pixels:
                row[name] = self._value(entry, name, sample.fields[name])
            elif not field.is_encoded:
                row |= self._pixels(entry, name, np.asarray(sample.fields[name]))
        for name in self._members:
            row |= self._member(entry, sample, name, row)
        self.part.add(sample.key, entry.name, (entry.split, *entry.also), row)
        for note in sample.notes:
            self._record.notes[note] = self._record.notes.get(note, 0) + 1

    def seal(self) -> None:
        """Bring every file to its place, and note its bytes in the record."""
        sealed: list[tar.Tar | ShardFile] = [*self._raw.values()]
        if self._tar and len(self.part):  # without a sample there is no tar: readers refuse that
            idx = self._open(self._path.with_suffix(".idx"))
            idx.write(bytes(self._tar.idx))
            sealed += [self._tar, idx]
        for file in sealed:
            file.seal()
            self._record.files[str(file.final.relative_to(self._job.folder))] = file.bytes
        self._record.rows, self._record.splits = len(self.part), self.part.splits

    def _open(self, final: Path) -> ShardFile:
        building = self._job.folder / BUILDING
        name = f"{final.parent.name}.{final.name}.{os.getpid()}.tmp"
        return self._stack.enter_context(ShardFile(building / name, final))

    def _pixels(self, entry: Entry, name: str, array: Array) -> dict[str, Any]:
        self._check(entry, name, array)
        self._count(name, array)
        offset = self._raw[name].append(array)
        return self._place(name, offset, array)

    def _value(self, entry: Entry, name: str, value: Any) -> Array:
        field = self._fields[name]
        array = np.asarray(value, field.dtype)
        if not array.size and field.kind != "value":
            array = np.zeros([side or 0 for side in field.shape], field.dtype)
        self._check(entry, name, array)
        return array

    def _member(
        self, entry: Entry, sample: Sample, name: str, row: dict[str, Any]
    ) -> dict[str, Any]:
        """Write one member of the tar; return the columns that this adds."""
        assert self._tar is not None
        field, value = self._fields[name], sample.fields[name]
        if not field.is_encoded:
            data = tar.text(name, field, row[name].tolist())
            self._tar.add(sample.key, tar.extension(self._fields, name), data)
            return {}
        if not isinstance(value, Encoded):
            raise self._job.wrong(entry, f"field {name} is no image file")
        self._check(entry, name, value.upright)
        self._count(name, value.pixels)
        self._count_file(name, value)
        kind = tar.extension(self._fields, name, value.kind)
        offset = self._tar.add(sample.key, kind, value.data)
        columns = {"size": len(value.data), "turn": value.turn, "rows": value.rows}
        return self._place(name, offset, value.upright) | {
            f"{name}.{what}": column for what, column in columns.items()
        }

    def _place(self, name: str, offset: int, array: Array) -> dict[str, Any]:
        place = (self._shard, offset, *array.shape[:2])
        whats = ("shard", "offset", "height", "width")
        return {f"{name}.{what}": value for what, value in zip(whats, place, strict=True)}

    def _count(self, name: str, array: Array) -> None:
        sums, counted = Sums.of(array), self._record.sums
        counted[name] = counted[name] + sums if name in counted else sums

    def _count_file(self, name: str, file: Encoded) -> None:
        none: dict[str, Any] = {"source_bytes": 0, "stored_bytes": 0, "transcoded": 0, "whole": {}}
        facts = self._record.encoded.setdefault(name, none)
        facts["source_bytes"] += file.source_bytes
        facts["stored_bytes"] += len(file.data)
        facts["transcoded"] += not file.whole
        if file.whole:
            facts["whole"][file.whole] = facts["whole"].get(file.whole, 0) + 1

    def _check(self, entry: Entry, name: str, array: Array) -> None:
        field = self._fields[name]
        fits = len(array.shape) == len(field.shape) and all(
            want in (None, have) for want, have in zip(field.shape, array.shape, strict=True)
        )
        if not fits or array.dtype != np.dtype(field.dtype) or (field.is_pixels and not array.size):
            has = f"{array.dtype} of {array.shape}"
            why = f"field {name} is {has}, not {field.dtype} of {field.shape}"
            raise self._job.wrong(entry, why)
        if field.is_pixels and array.dtype.kind == "f" and not np.isfinite(array).all():
            raise self._job.wrong(entry, f"field {name} holds NaN or infinity")
