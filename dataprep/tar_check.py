"""Compare the tars of a built set with its index: the same members at the same places."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dataprep import image, index, tar
from dataprep.manifest import Manifest

Array = npt.NDArray[Any]


class _Files(NamedTuple):
    """What the index says of the files of one encoded field."""

    rows: index.Ragged
    shard: Array
    offset: Array
    size: Array
    height: Array
    width: Array
    turn: Array


def faults(folder: Path, facts: Manifest, names: index.Names, decode: bool) -> Iterator[str]:
    """Yield a line for each difference; `decode` every image as well."""
    files = {}
    for name, field in facts.fields.items():
        if field.is_encoded:
            whats = "shard offset size height width turn"
            paths = [folder / "index" / f"{name}.{what}.npy" for what in whats.split()]
            columns = [np.asarray(index.read(path, facts.samples)) for path in paths]
            files[name] = _Files(
                index.Ragged(folder / "index", f"{name}.rows", facts.samples), *columns
            )
    first = next(iter(files.values())).shard
    if (np.diff(first.astype(np.int64)) < 0).any():
        yield "index: shards do not follow each other"
        return
    for shard in np.unique(first).tolist():
        ids = np.flatnonzero(first == shard).tolist()
        yield from _one_tar_faults(tar.tar_path(folder, shard), facts, files, names, ids, decode)


def _one_tar_faults(
    path: Path,
    facts: Manifest,
    files: dict[str, _Files],
    names: index.Names,
    ids: list[int],
    decode: bool,
) -> Iterator[str]:
    idx = tar.Idx()
    wanted = [(sample, name) for sample in ids for name in tar.members(facts.fields)]
    try:
        with tarfile.open(path, encoding="utf-8") as archive, open(path, "rb") as raw:
            for member, want in zip_longest(archive, wanted):
                if member is None or want is None:
                    yield f"{path.name}: holds other members than {len(ids)} samples have"
                    return
                sample, name = want
                key, _, extension = member.name.partition(".")
                idx.add(key, extension, member.offset_data, member.size)
                why = "" if key == names[sample] else f"is named {member.name}"
                if name in files and not why:
                    data = os.pread(raw.fileno(), member.size, member.offset_data)
                    why = _file_faults(files[name], sample, member, data, decode)
                if why:
                    yield f"{path.name}: sample {sample}, {name}: {why}"
        if path.with_suffix(".idx").read_bytes() != bytes(idx):
            yield f"{path.with_suffix('.idx').name}: is not the index of {path.name}"
    except (tarfile.TarError, OSError) as error:
        yield f"{path.name}: cannot be read ({error})"


def _file_faults(
    files: _Files, sample: int, member: tarfile.TarInfo, data: bytes, decode: bool
) -> str:
    """Say what is wrong with one image file, "" where nothing is."""
    if (member.offset_data, member.size) != (files.offset[sample], files.size[sample]):
        return "lies at another place than the index says"
    if not _rows_fit(files.rows[sample].astype(np.int64), np.frombuffer(data, np.uint8)):
        return "rows do not ascend from one restart marker to the next and to the end mark"
    try:
        if not member.name.endswith(image.kind(data)):
            return "is a file of another kind than its name says"
        if decode:
            pixels = image.turned(image.decode(data, upright=False).pixels, files.turn[sample])
            if pixels.shape[:2] != (files.height[sample], files.width[sample]):
                return f"is {pixels.shape[:2]} px, the index says otherwise"
    except ValueError as error:
        return str(error)
    return ""


def _rows_fit(rows: Array, data: Array) -> bool:
    """Return whether each row but the first follows a restart marker, and the end mark the last."""
    if not len(rows):
        return True
    if (np.diff(rows) <= 0).any() or rows[0] < 2 or rows[-1] + 2 > len(data):
        return False
    markers = data[np.stack([rows[1:-1] - 2, rows[1:-1] - 1])]
    is_restart = (markers[0] == 0xFF) & (markers[1] & 0xF8 == 0xD0)
    return bool(is_restart.all()) and data[rows[-1] :][:2].tobytes() == b"\xff\xd9"
