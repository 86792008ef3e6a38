"""Write encoded fields as WebDataset tars, one a shard, each with DALI's index beside it.

    shards/000000.tar   <key>.jpg, <key>.cls, … of each sample, one sample after another
    shards/000000.idx   "v1.2 N", then a line a sample: extension, data offset, bytes, name of each

Headers hold nothing but name and size, so equal members are equal bytes.
"""

from __future__ import annotations

import json
import math
import tarfile
from pathlib import Path
from typing import Any

import numpy as np

from dataprep.arrays import ShardFile
from dataprep.manifest import Field

BLOCK = 512
PADDING = bytes(BLOCK)
IDX_VERSION = "v1.2"
# The one value field that is a member of its own kind, as WebDataset names class numbers.
LABEL = "label"


def tar_path(folder: Path, shard: int) -> Path:
    """Return the tar of one shard."""
    return folder / "shards" / f"{shard:06d}.tar"


class Tar:
    """One shard's tar while it is written, member after member; `idx` becomes DALI's index."""

    def __init__(self, file: ShardFile) -> None:
        self._file = file
        self.idx = Idx()

    def add(self, key: str, extension: str, data: bytes) -> int:
        """Write the member `<key>.<extension>` and return the offset of its data."""
        head = header(f"{key}.{extension}", len(data))
        offset = self._file.write(head + data + PADDING[: -len(data) % BLOCK]) + len(head)
        self.idx.add(key, extension, offset, len(data))
        return offset

    @property
    def final(self) -> Path:
        """Where the file will be."""
        return self._file.final

    @property
    def bytes(self) -> int:
        """The bytes written so far."""
        return self._file.bytes

    def seal(self) -> None:
        """Write the tar's end and bring it to its place."""
        self._file.write(2 * PADDING)
        self._file.seal()


class Idx:
    """The content of an index file: a line a sample, whose members follow each other."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._key = ""

    def add(self, key: str, extension: str, offset: int, size: int) -> None:
        """Add a member: where its data lies."""
        place = f"{extension} {offset} {size} {key}.{extension}"
        if key == self._key:
            self._lines[-1] += f" {place}"
        else:
            self._lines.append(place)
        self._key = key

    def __bytes__(self) -> bytes:
        lines = [f"{IDX_VERSION} {len(self._lines)}", *self._lines]
        return "".join(f"{line}\n" for line in lines).encode(errors="surrogateescape")


def header(name: str, size: int) -> bytes:
    """Return a member's header: USTAR, in GNU's form where the name is too long for that."""
    info = tarfile.TarInfo(name)
    info.size = size
    try:
        return info.tobuf(tarfile.USTAR_FORMAT, "utf-8")
    except ValueError:
        return info.tobuf(tarfile.GNU_FORMAT, "utf-8")


def extension(fields: dict[str, Field], name: str, kind: str = "json") -> str:
    """Return the member's extension of a field; `kind` is that of an encoded field's file."""
    field = fields[name]
    if field.is_encoded:
        first = next(other for other in fields if fields[other].is_encoded)
        return kind if name == first else f"{name}.{kind}"
    return "cls" if _is_class(name, field) else f"{name}.json"


def text(name: str, field: Field, value: Any) -> bytes:
    """Return a value or points field as its member's content; what is not a number is null."""
    return (str(value) if _is_class(name, field) else json.dumps(_plain(value))).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def members(fields: dict[str, Field]) -> list[str]:
    """Return the fields that are members of a tar, in their order there; none without a tar."""
    encoded = [name for name, field in fields.items() if field.is_encoded]
    others = [name for name, field in fields.items() if not field.is_pixels]
    label = [name for name in others if _is_class(name, fields[name])]
    rest = [name for name in others if name not in label]
    return [*encoded[:1], *label, *encoded[1:], *rest] if encoded else []


def _is_class(name: str, field: Field) -> bool:
    is_number = not field.shape and np.dtype(field.dtype).kind in "iu"
    return name == LABEL and field.kind == "value" and is_number
