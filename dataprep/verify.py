"""Check a built set: every file's bytes and hash, and that every sample lies inside its shard."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from dataprep import index, manifest, tar, tar_check
from dataprep.arrays import item_bytes, shard_path
from dataprep.finish import files_of
from dataprep.manifest import DataError, Field, Manifest

CODECS = ("raw", "encoded")


def verify(
    folder: Path,
    workers: int = 1,
    tell: Callable[[int], None] = lambda size_bytes: None,
    decode: bool = False,
) -> Iterator[str]:
    """Yield a line for each fault; `tell` hears the bytes of each file checked.

    decode: decode every encoded image as well. DataError where the manifest itself is missing or
    was edited.
    """
    facts = manifest.load(folder)
    names = list(facts.files)
    damaged = False
    with ThreadPoolExecutor(workers) as pool:
        checked = pool.map(lambda name: _file_fault(folder / name, facts.files[name]), names)
        for name, fault in zip(names, checked, strict=True):
            tell(facts.files[name]["bytes"])
            if fault:
                damaged = True
                yield f"{name}: {fault}"
    for name in sorted(set(files_of(folder)) - set(names)):
        yield f"{name}: is not part of the set"
    if not damaged:
        yield from _content_faults(folder, facts, decode)


def _file_fault(path: Path, facts: dict[str, Any]) -> str:
    if not path.is_file():
        return "is missing"
    size = path.stat().st_size
    if size != facts["bytes"]:
        return f"has {size:,} bytes, the manifest says {facts['bytes']:,}"
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return "" if digest == facts["sha256"] else "has another sha256 than the manifest: damaged"


def _content_faults(folder: Path, facts: Manifest, decode: bool) -> Iterator[str]:
    """Check what intact files say; only a set that was built wrongly fails here."""
    rows = facts.samples
    try:
        names = index.Names(folder / "index", "key", rows)
        if len({names[row] for row in range(rows)}) < rows:
            yield "index/key: two samples have the same key"
        for name, field in facts.fields.items():
            yield from _field_faults(folder, name, field, facts)
        if tar.members(facts.fields):
            yield from tar_check.faults(folder, facts, names, decode)
        for split, size in facts.splits.items():
            ids = np.asarray(index.read(folder / "splits" / f"{split}.npy", size))
            if (np.diff(ids) <= 0).any() or not ((ids >= 0) & (ids < rows)).all():
                yield f"splits/{split}: ids are not ascending inside 0…{rows - 1}"
    except DataError as error:
        yield str(error)


def _field_faults(folder: Path, name: str, field: Field, facts: Manifest) -> Iterator[str]:
    columns = folder / "index"
    if field.codec not in CODECS:
        yield f"{name}: codec {field.codec} cannot be checked by this version"
    elif field.is_encoded:
        yield from _ragged_faults(columns, f"{name}.rows", facts)
    elif field.is_pixels:
        yield from _pixel_faults(folder, name, field, facts)
    elif field.kind == "value":
        index.read(columns / f"{name}.npy", facts.samples)
    else:
        yield from _ragged_faults(columns, name, facts)


def _ragged_faults(columns: Path, name: str, facts: Manifest) -> Iterator[str]:
    starts = np.asarray(index.Ragged(columns, name, facts.samples).starts)
    if starts[0] != 0 or (np.diff(starts) < 0).any():
        yield f"index/{name}.starts: does not ascend from 0"


def _pixel_faults(folder: Path, name: str, field: Field, facts: Manifest) -> Iterator[str]:
    shard, offset, height, width = (
        np.asarray(index.read(folder / "index" / f"{name}.{what}.npy", facts.samples))
        for what in ("shard", "offset", "height", "width")
    )
    sizes: list[int] = []
    while (path := shard_path(folder, name, field, len(sizes))).exists():
        sizes.append(path.stat().st_size)
    if shard.max() >= len(sizes):
        yield f"index/{name}.shard: names shard {shard.max()}, there are {len(sizes)}"
        return
    channels = field.shape[2] or 1 if len(field.shape) == 3 else 1
    item = np.dtype(field.dtype).itemsize * channels
    ends = offset + height.astype(np.uint64) * width.astype(np.uint64) * np.uint64(item)
    outside = np.flatnonzero(ends > np.array(sizes, np.uint64)[shard])
    if len(outside):
        yield f"index/{name}: sample {outside[0]} lies beyond the end of its shard"
    if field.is_uniform and (offset % np.uint64(item_bytes(field))).any():
        yield f"index/{name}.offset: not at multiples of one image"
