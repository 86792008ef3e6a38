"""Sources: one file a data set, the file's name is the name typed after `build`.

A source file defines `class Source(Base)`, a frozen keyword-only dataclass: its fields become
flags of `python -m dataprep build NAME`. It lists entries cheaply (no decode), then reads one at a
time, in any process and any order.
"""

from __future__ import annotations

import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from dataprep.manifest import Field
from dataprep.raw import Raw


@dataclass(frozen=True)
class Entry:
    """One unit of raw input. `name`: unique, shown in errors; `members`: names inside Raw.

    values: what the listing as a whole decides for it, a class number say; part of the plan.
    also: further splits that its samples are in, the folds of a cross-validation say.
    """

    name: str
    split: str
    members: Mapping[str, str]
    values: Mapping[str, Any] = field(default_factory=dict)
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sample:
    """One sample to store. `notes`: conversions made ("grey replicated to RGB"), counted.

    An encoded field is an `encode.Encoded`, or the bytes of an image file, to be kept as they are.
    """

    key: str
    fields: Mapping[str, Any]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class PublicFile:
    """One file of a source that anybody may fetch, under one name at each of its addresses.

    urls: tried in order. checksum: "md5:…" or "sha256:…", None where none is published.
    size_bytes: exact, about_bytes: rounded. optional: fetched where it is asked for by name.
    """

    name: str
    urls: tuple[str, ...]
    what: str
    checksum: str | None = None
    size_bytes: int | None = None
    about_bytes: int | None = None
    optional: bool = False


@dataclass(frozen=True)
class Download:
    """What `python -m dataprep download` fetches; `steps`: what its user has to do by hand."""

    files: tuple[PublicFile, ...] = ()
    steps: str = ""


@dataclass(frozen=True, kw_only=True)
class Base(ABC):
    """What a source offers; everything else (shards, resume, hashes) is the builder's.

    `raw` is a Raw, also for a source that needs none: then it shows the current folder.
    """

    summary: ClassVar[str]
    needs_raw: ClassVar[bool] = True
    # Decided before anything is decoded.
    shard_entries: ClassVar[int] = 32

    @abstractmethod
    def fields(self) -> dict[str, Field]:
        """The fields of every sample under these options."""

    @abstractmethod
    def entries(self, raw: Raw) -> list[Entry]:
        """All entries, sorted; DataError where the raw data is not of this source."""

    @abstractmethod
    def read(self, raw: Raw, entry: Entry) -> Iterator[Sample]:
        """Decode one entry into its samples (usually one); DataError where it is bad."""

    def weigh(self, raw: Raw, entry: Entry) -> int:
        """Estimate the bytes that an entry takes in the set, from headers at the most."""
        return sum(raw.size(member) for member in entry.members.values())

    def entries_per_shard(self, entries: int, size_bytes: int) -> int:
        """Entries in one shard of a set of so many entries and raw bytes, whoever builds it."""
        return self.shard_entries

    def classes(self, entries: Sequence[Entry]) -> list[str]:
        """Names of the classes that the label numbers, in order; none for a set without."""
        return []

    def remarks(self, entries: Sequence[Entry]) -> list[str]:
        """What a user should know before the build starts, one line each."""
        return []

    def checks(self, folder: Path, entries: Sequence[Entry]) -> dict[str, dict[str, Any]]:
        """Measure the finished columns and splits in `folder`, for the manifest's `checks`."""
        return {}

    def seeds(self) -> dict[str, int]:
        """Every seed that decides the set, by what it decides."""
        return {}

    @classmethod
    def downloads(cls) -> Download:
        """The public files whose folder is this source's `--raw`; none where users bring theirs."""
        return Download()


def names() -> list[str]:
    """Return the names of all sources."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name: str) -> type[Base]:
    """Import one source."""
    source: type[Base] = import_module(f"{__name__}.{name}").Source
    return source
