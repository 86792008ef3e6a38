"""Built sets in words: one as a table, all of a data root as a list."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dataprep import manifest
from dataprep.manifest import FILE_NAME, DataError, Field, Manifest
from dataprep.shard import BUILDING

SKIPS_SHOWN = 10
CLASSES_SHOWN = 20


def table(facts: Manifest) -> str:
    """Return the manifest as lines of name and value."""
    rows = [
        ("name", facts.name),
        ("source", facts.source),
        ("options", _pairs(facts.options)),
        ("samples", f"{facts.samples:,}"),
        ("splits", ", ".join(f"{name} {size:,}" for name, size in facts.splits.items())),
        ("size", _gigabytes(stored_bytes(facts)) + f" in {len(facts.files):,} files"),
    ]
    rows += [(f"field {name}", _field(field)) for name, field in facts.fields.items()]
    rows += [(f"{name} stored", _stored(figures)) for name, figures in facts.encoded.items()]
    rows += [
        (f"{name} {what}", " ".join(f"{value:.4f}" for value in values))
        for name, figures in facts.statistics.items()
        for what, values in figures.items()
    ]
    rows += [("classes", _classes(facts.classes))] if facts.classes else []
    rows += [("seeds", _pairs(facts.seeds))] if facts.seeds else []
    rows += [("note", f"{count:,} × {note}") for note, count in facts.notes.items()]
    rows += [
        (f"check {name}", line)
        for name, check in facts.checks.items()
        for line in check.get("says", [])
    ]
    rows += [("skipped", f"{skip['name']}: {skip['why']}") for skip in facts.skipped[:SKIPS_SHOWN]]
    if len(facts.skipped) > SKIPS_SHOWN:
        rows.append(("skipped", f"… {len(facts.skipped):,} in all (--json lists them)"))
    rows += [("versions", _pairs(facts.versions)), ("fingerprint", facts.fingerprint)]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def sets(root: Path) -> Iterator[tuple[str, str]]:
    """Yield name and state of each set under the data root."""
    for folder in sorted(root.iterdir()) if root.is_dir() else []:
        if (folder / FILE_NAME).exists():
            yield folder.name, _state(folder)
        elif (folder / BUILDING / "plan.json").exists():
            plan = json.loads((folder / BUILDING / "plan.json").read_text())
            done = len(list((folder / BUILDING).glob("shard-*.json")))
            yield folder.name, f"{plan['source']} · not complete: {done} of {plan['shards']} shards"


def stored_bytes(facts: Manifest) -> int:
    """Return the bytes of all files of a set."""
    return sum(file["bytes"] for file in facts.files.values())


def _state(folder: Path) -> str:
    try:
        facts = manifest.load(folder)
    except DataError as error:
        return f"damaged: {error.why}"
    splits = ", ".join(f"{name} {size:,}" for name, size in facts.splits.items())
    return f"{facts.source} · {splits} · {_gigabytes(stored_bytes(facts))}"


def _field(field: Field) -> str:
    shape = " × ".join("any" if side is None else str(side) for side in field.shape) or "one"
    unit = f", {field.unit}" if field.unit else ""
    pitch = f", pitch {field.pitch:g}" if field.pitch else ""
    return f"{field.kind}, {field.dtype}, {shape}, {field.codec}{pitch}{unit}"


def _classes(names: list[str]) -> str:
    more = f", … ({len(names):,} in all)" if len(names) > CLASSES_SHOWN else ""
    return ", ".join(names[:CLASSES_SHOWN]) + more


def _stored(figures: dict[str, Any]) -> str:
    """Say how the images of an encoded field are stored, and what that costs."""
    whole = sum(figures["whole"].values())
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in figures["whole"].items())
    times = figures["stored_bytes"] / max(figures["source_bytes"], 1)
    index = figures["index_bytes"] / max(figures["stored_bytes"], 1)
    return (
        f"{figures['transcoded']:,} transcoded, {whole:,} whole{f' ({reasons})' if whole else ''};"
        f" ×{times:.3f} of the source's bytes; row index {index:.1%}"
    )


def _pairs(values: dict[str, object] | dict[str, int] | dict[str, str]) -> str:
    return " ".join(
        f"{k}={','.join(map(str, v)) if isinstance(v, list | tuple) else v}"
        for k, v in values.items()
    )


def _gigabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.2f} GB" if size_bytes >= 1e8 else f"{size_bytes / 1e6:.1f} MB"
