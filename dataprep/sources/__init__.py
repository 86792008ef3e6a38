"""Sources: one file a data set, the file's name is the name typed after `build`.

A source file defines `class Source(Base)`, a frozen keyword-only dataclass: its fields become
flags of `python -m dataprep build NAME`. It lists entries cheaply (no decode), then reads one at a
time, in any process and any order.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from dataprep.manifest import Field
from dataprep.raw import Raw


@dataclass(frozen=True)
class Entry:
    """One unit of raw input. `name`: unique, shown in errors; `members`: names inside Raw."""

    name: str
    split: str
    members: Mapping[str, str]


@dataclass(frozen=True)
class Sample:
    """One sample to store. `notes`: conversions made ("grey replicated to RGB"), counted."""

    key: str
    fields: Mapping[str, Any]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Base(ABC):
    """What a source offers to the builder; everything else (shards, resume, hashes) is the builder's."""

    summary: ClassVar[str]
    needs_raw: ClassVar[bool] = True
    # Entries in one shard: a constant of the source, so that the plan needs no decode.
    shard_entries: ClassVar[int] = 32
    classes: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def fields(self) -> dict[str, Field]:
        """The fields of every sample under these options."""

    @abstractmethod
    def entries(self, raw: Raw) -> list[Entry]:
        """All entries, sorted; DataError where the raw data is not of this source."""

    @abstractmethod
    def read(self, raw: Raw, entry: Entry) -> Iterator[Sample]:
        """Decode one entry into its samples (usually one); DataError where it is bad."""
