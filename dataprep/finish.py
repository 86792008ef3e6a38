"""From the records of all shards to a complete set: columns, splits, arrays, hashes, manifest."""

from __future__ import annotations

import hashlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np

from dataprep import arrays, index
from dataprep.manifest import FILE_NAME, DataError, Field, Manifest
from dataprep.plan import Plan
from dataprep.shard import BUILDING, Record, Row
from dataprep.sources import Base

DERIVED = "derived"


def finish(folder: Path, source: Base, plan: Plan, records: list[Record], workers: int) -> Manifest:
    """Write all that stands beside the shard files, the manifest last.

    May be run again after it was stopped anywhere. DataError for equal keys and for an empty set.
    """
    fields = source.fields()
    rows = [row for record in records for row in record.rows]
    skipped = [skip for record in records for skip in record.skipped]
    if not rows:
        why = f"; the first: {skipped[0]['name']}: {skipped[0]['why']}" if skipped else ""
        raise DataError(folder, "", f"nothing to store: all entries were skipped{why}")
    _check_keys(folder, rows)
    for name, field in fields.items():
        if field.is_pixels:
            arrays.finish(folder, name, field, [record.lengths[name] for record in records])
    _write_columns(folder, fields, records, rows)
    splits = _write_splits(folder, rows)
    notes = sum((Counter(record.notes) for record in records), Counter())
    manifest = Manifest(
        name=folder.name,
        source=plan.source,
        options=plan.options,
        versions=plan.versions,
        fields=fields,
        samples=len(rows),
        splits=splits,
        files=hashes(folder, files_of(folder), workers),
        skipped=skipped,
        notes=dict(sorted(notes.items())),
        classes=list(source.classes),
        statistics=_statistics(fields, records),
        seeds=source.seeds(),
        plan=plan.fingerprint,
    )
    manifest.save(folder)
    return manifest


def files_of(folder: Path) -> list[str]:
    """Return every file that belongs to the set, but for the manifest, sorted."""
    every = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    kept = (path for path in every if path.parts[0] not in (BUILDING, DERIVED, FILE_NAME))
    return sorted(path.as_posix() for path in kept)


def hashes(folder: Path, names: list[str], workers: int) -> dict[str, dict[str, Any]]:
    """Return name -> bytes and sha256, as they lie on disk."""

    def one(name: str) -> dict[str, Any]:
        with open(folder / name, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"bytes": (folder / name).stat().st_size, "sha256": digest}

    with ThreadPoolExecutor(workers) as pool:  # hashing releases the GIL
        return dict(zip(names, pool.map(one, names), strict=True))


def _check_keys(folder: Path, rows: list[Row]) -> None:
    names: dict[str, str] = {}
    for row in rows:
        if row.key in names:
            raise DataError(folder, row.key, f"the key of both {names[row.key]} and {row.name}")
        names[row.key] = row.name


def _write_columns(
    folder: Path, fields: dict[str, Field], records: list[Record], rows: list[Row]
) -> None:
    columns = folder / "index"
    index.write_names(columns, "key", [row.key for row in rows])
    index.write_names(columns, "name", [row.name for row in rows])
    shards = np.repeat(np.arange(len(records)), [len(record.rows) for record in records])
    for name, field in fields.items():
        if field.is_pixels:
            places = np.array([row.places[name] for row in rows], np.uint64)
            index.write(columns / f"{name}.shard.npy", shards.astype(np.uint32))
            index.write(columns / f"{name}.offset.npy", places[:, 0])
            index.write(columns / f"{name}.height.npy", places[:, 1].astype(np.uint32))
            index.write(columns / f"{name}.width.npy", places[:, 2].astype(np.uint32))
            continue
        values = [np.array(row.values[name], field.dtype) for row in rows]
        if field.kind == "value":
            index.write(columns / f"{name}.npy", np.stack(values))
        else:
            rest = [side or 0 for side in field.shape[1:]]
            points = [value.reshape(len(value), *rest) for value in values]
            index.write_ragged(columns, name, points)


def _write_splits(folder: Path, rows: list[Row]) -> dict[str, int]:
    names = np.array([row.split for row in rows])
    sizes = {}
    for split in sorted(set(names.tolist())):
        ids = np.flatnonzero(names == split).astype(np.int64)
        index.write(folder / "splits" / f"{split}.npy", ids)
        sizes[split] = len(ids)
    return sizes


def _statistics(
    fields: dict[str, Field], records: list[Record]
) -> dict[str, dict[str, list[float]]]:
    filled = [record for record in records if record.rows]
    return {
        name: reduce(add, [record.sums[name] for record in filled]).report(field)
        for name, field in fields.items()
        if field.is_pixels
    }
