"""The plan of a build: which entries go into which shard, fixed before anything is decoded.

Membership is a fixed count over the sorted listing, so the set does not depend on the number of
workers, on their order, or on where a build was stopped.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL
import simplejpeg

from dataprep.manifest import DataError, atomic
from dataprep.raw import Raw
from dataprep.sources import Base, Entry


@dataclass(frozen=True)
class Plan:
    """A source with its options over one raw listing."""

    source: str
    options: dict[str, Any]
    versions: dict[str, str]
    entries: list[Entry]
    sizes: list[dict[str, int]]
    shard_entries: int
    classes: list[str]

    @property
    def shards(self) -> int:
        """Number of shards."""
        return -(-len(self.entries) // self.shard_entries)

    def part(self, shard: int) -> list[Entry]:
        """Return the entries of one shard."""
        return self.entries[shard * self.shard_entries : (shard + 1) * self.shard_entries]

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over all but the versions: equal plans of equal versions build equal bytes."""
        facts = dict(vars(self))
        del facts["versions"]  # a complete set stays good when a library is upgraded
        # Not asdict: it copies every value of every entry, which takes seconds for many.
        facts["entries"] = [dict(vars(entry)) for entry in self.entries]
        # Left out where there are none, as they were before they existed: old sets stay good.
        for part in (facts, *facts["entries"]):
            for name in ("classes", "values", "also"):
                if not part.get(name, True):
                    del part[name]
        text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def save(self, path: Path) -> None:
        """Write what a later run needs to know whether it is the same plan."""
        facts = {
            "fingerprint": self.fingerprint,
            "source": self.source,
            "options": self.options,
            "versions": self.versions,
            "entries": len(self.entries),
            "shards": self.shards,
        }
        with atomic(path) as temporary:
            temporary.write_text(json.dumps(facts, indent=1) + "\n")

    def difference(self, path: Path) -> str:
        """Say in what a build that was begun differs, "" where it may go on."""
        begun = json.loads(path.read_text())
        if begun["fingerprint"] != self.fingerprint:
            return "other options or raw files"
        changed = [f"{k} {v}" for k, v in begun["versions"].items() if self.versions.get(k) != v]
        return " and ".join(changed)


def make(source: Base, raw: Raw) -> Plan:
    """List the raw data; DataError where there is nothing in it, or a name twice."""
    entries = source.entries(raw)
    if not entries:
        raise DataError(raw.path, "", "holds nothing that this source can read")
    seen = set()
    for entry in entries:
        if entry.name in seen:
            raise DataError(raw.path, entry.name, "is listed twice")
        seen.add(entry.name)
    sizes = [
        {member: raw.size(member) for member in entry.members.values()} if source.needs_raw else {}
        for entry in entries
    ]
    return Plan(
        source=source_name(source),
        options=json.loads(json.dumps(dataclasses.asdict(source))),  # tuples as JSON has them
        versions={
            "numpy": np.__version__,
            "opencv": cv2.__version__,
            "pillow": PIL.__version__,
            "simplejpeg": ".".join(simplejpeg.__version_info__),
        },
        entries=entries,
        sizes=sizes,
        shard_entries=source.entries_per_shard(len(entries), sum(sum(s.values()) for s in sizes)),
        classes=source.classes(entries),
    )


def source_name(source: Base) -> str:
    """Return the name typed after `build`: the source's file name."""
    kind = type(source)
    return kind.__module__.rpartition(".")[2] if kind.__name__ == "Source" else kind.__name__
