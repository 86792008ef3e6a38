"""Whether a downloaded file is the right one: by its published checksum, else by our own record.

`checksums.json` beside the files holds the sha256 of each at its first download. Where nobody has
published a checksum, that one is asked for ever after.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from dataprep import plain
from dataprep.manifest import DataError, atomic
from dataprep.sources import PublicFile

FILE_NAME = "checksums.json"
CHUNK = 1 << 20


@dataclass(frozen=True)
class Record:
    """What a file was when it came."""

    sha256: str
    bytes: int
    url: str

    def __post_init__(self) -> None:
        if [type(one) for one in (self.sha256, self.bytes, self.url)] != [str, int, str]:
            raise TypeError(f"{vars(self)} is no record of a file")


def load(folder: Path) -> dict[str, Record]:
    """Return the records of a folder by file name; DataError where they cannot be read."""
    path = folder / FILE_NAME
    if not plain.is_there(path):
        return {}
    try:
        return {name: Record(**facts) for name, facts in json.loads(path.read_text()).items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(path, "", f"is damaged ({error}): remove it") from None


def record(folder: Path, path: Path, url: str, sha256: str) -> None:
    """Note one file."""
    records = load(folder) | {path.name: Record(sha256, path.stat().st_size, url)}
    with atomic(folder / FILE_NAME) as temporary:
        facts = {name: vars(one) for name, one in sorted(records.items())}
        temporary.write_text(json.dumps(facts, indent=1) + "\n")


def judge(file: PublicFile, path: Path, known: Record | None) -> tuple[str, str]:
    """Return what is wrong with a file, "" for nothing, and its sha256 ("" where not needed)."""
    why = wrong_size(file, path, known)
    if why:
        return why, ""
    algorithm, _, wanted = (file.checksum or "").partition(":")
    found = _digests(path, {"sha256", algorithm or "sha256"})
    if wanted and found[algorithm] != wanted.lower():
        return f"has {algorithm} {found[algorithm]}, wanted is {wanted}", found["sha256"]
    if not wanted and known and found["sha256"] != known.sha256:
        why = f"has sha256 {found['sha256']}, but had {known.sha256} when it first came"
        return f"{why} (if the new one is right, remove its lines in {FILE_NAME})", found["sha256"]
    return "", found["sha256"]


def wrong_size(file: PublicFile, path: Path, known: Record | None) -> str:
    """Return what is wrong with a file's size, "" for nothing; reads none of it."""
    size, wanted = path.stat().st_size, file.size_bytes
    if wanted is None and known and not file.checksum:
        wanted = known.bytes
    return "" if wanted in (None, size) else f"has {size:,} bytes, wanted are {wanted:,}"


def _digests(path: Path, algorithms: set[str]) -> dict[str, str]:
    hashes = {name: hashlib.new(name, usedforsecurity=False) for name in algorithms}
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            for one in hashes.values():
                one.update(chunk)
    return {name: one.hexdigest() for name, one in hashes.items()}
