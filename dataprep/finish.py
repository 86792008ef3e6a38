"""From the records of all shards to a complete set: columns, splits, arrays, hashes, manifest."""

from __future__ import annotations

import hashlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

from dataprep import arrays, columns, derived
from dataprep.columns import Totals
from dataprep.manifest import FILE_NAME, DataError, Field, Manifest
from dataprep.plan import Plan
from dataprep.shard import BUILDING, Record, part_path
from dataprep.sources import Base


def finish(folder: Path, source: Base, plan: Plan, records: list[Record], workers: int) -> Manifest:
    """Write all that stands beside the shard files, the manifest last.

    May be run again after it was stopped anywhere. DataError for equal keys and for an empty set.
    """
    fields = source.fields()
    skipped = [skip for record in records for skip in record.skipped]
    totals = _totals(records)
    if not totals.rows:
        why = f"; the first: {skipped[0]['name']}: {skipped[0]['why']}" if skipped else ""
        raise DataError(folder, "", f"nothing to store: all entries were skipped{why}")
    parts = [part_path(folder, shard) for shard in range(len(records))]
    columns.check_keys(folder, parts)
    for name, field in fields.items():
        if field.is_pixels and not field.is_encoded:
            paths = [arrays.shard_path(folder, name, field, i) for i in range(len(records))]
            files = [str(path.relative_to(folder)) for path in paths]
            lengths = [record.files[file] for record, file in zip(records, files, strict=True)]
            arrays.finish(folder, name, field, lengths)
    columns.join(folder, fields, parts, totals)
    notes = sum((Counter(record.notes) for record in records), Counter())
    manifest = Manifest(
        name=folder.name,
        source=plan.source,
        options=plan.options,
        versions=plan.versions,
        fields=fields,
        samples=totals.rows,
        splits=totals.splits,
        files=hashes(folder, files_of(folder), workers),
        skipped=skipped,
        notes=dict(sorted(notes.items())),
        classes=plan.classes,
        statistics=_statistics(fields, records),
        seeds=source.seeds(),
        plan=plan.fingerprint,
        encoded={
            name: _encoded(folder, name, records)
            for name, field in fields.items()
            if field.is_encoded
        },
        checks=source.checks(folder, plan.entries),
    )
    manifest.save(folder)
    return manifest


def files_of(folder: Path) -> list[str]:
    """Return every file that belongs to the set, but for the manifest, sorted."""
    every = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    kept = (path for path in every if path.parts[0] not in (BUILDING, derived.FOLDER, FILE_NAME))
    return sorted(path.as_posix() for path in kept)


def hashes(folder: Path, names: list[str], workers: int) -> dict[str, dict[str, Any]]:
    """Return name -> bytes and sha256, as they lie on disk."""

    def one(name: str) -> dict[str, Any]:
        with open(folder / name, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"bytes": (folder / name).stat().st_size, "sha256": digest}

    with ThreadPoolExecutor(workers) as pool:  # hashing releases the GIL
        return dict(zip(names, pool.map(one, names), strict=True))


def _totals(records: list[Record]) -> Totals:
    splits = sum((Counter(record.splits) for record in records), Counter())
    return Totals(
        rows=sum(record.rows for record in records),
        ragged={name: sum(record.ragged[name] for record in records) for name in records[0].ragged},
        splits=dict(sorted(splits.items())),
        orders=[list(record.splits) for record in records],
    )


def _encoded(folder: Path, name: str, records: list[Record]) -> dict[str, Any]:
    """Return what an encoded field costs, and how many of its images are stored in which way."""
    facts = [record.encoded[name] for record in records if name in record.encoded]
    whole = sum((Counter(fact["whole"]) for fact in facts), Counter())
    rows = [folder / "index" / f"{name}.rows.{what}.npy" for what in ("values", "starts")]
    return {
        "source_bytes": sum(fact["source_bytes"] for fact in facts),
        "stored_bytes": sum(fact["stored_bytes"] for fact in facts),
        "index_bytes": sum(path.stat().st_size for path in rows),
        "transcoded": sum(fact["transcoded"] for fact in facts),
        "whole": dict(sorted(whole.items())),
    }


def _statistics(
    fields: dict[str, Field], records: list[Record]
) -> dict[str, dict[str, list[float]]]:
    filled = [record for record in records if record.rows]
    return {
        name: reduce(add, [record.sums[name] for record in filled]).report(field)
        for name, field in fields.items()
        if field.is_pixels
    }
