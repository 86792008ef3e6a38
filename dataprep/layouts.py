"""What is on a user's disk: stimuli and fixations in one of several layouts, joined by name.

A layout lists one entry a stimulus, in natural order of stems, without decoding an image. What is
wrong with one stimulus stands in its entry and is raised when that is read, so that
`--on-error skip` can go on. A `stem` names a stimulus: "i113", "Action/001".
"""

from __future__ import annotations

import difflib
import hashlib
import posixpath
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dataprep.folds import natural_key
from dataprep.manifest import DataError
from dataprep.raw import Raw, is_archive
from dataprep.sources import Entry

SHOWN = 3


@dataclass(frozen=True)
class Layout:
    """One complete layout. files: what it was read from, for a user; facts: counts for remarks."""

    name: str
    files: tuple[str, ...]
    entries: list[Entry]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        shown = ", ".join(self.files[:SHOWN]) + (", …" if len(self.files) > SHOWN else "")
        return f"{'pysaliency HDF5' if self.name == 'pysaliency' else self.name} ({shown})"


def folders(name: str) -> list[str]:
    """Return the folders of a path; an archive stands for a folder of its name."""
    return [
        re.sub(r"\.(zip|tar|tar\.gz|tgz)$", "", part, flags=re.IGNORECASE)
        for part in name.split("/")[:-1]
    ]


def stem(name: str) -> str:
    """Return a file's name without folders and suffix."""
    return name.rsplit("/", 1)[-1].rsplit(".", 1)[0]


def packed(name: str) -> tuple[int, str]:
    """Return a key that sorts files before copies in archives."""
    return sum(map(is_archive, name.split("/")[:-1])), name


def listed(names: Iterable[str]) -> str:
    """Return the first names, in natural order, and how many more there are."""
    ordered = sorted(names, key=natural_key)
    more = f" and {len(ordered) - SHOWN} more" if len(ordered) > SHOWN else ""
    return ", ".join(ordered[:SHOWN]) + more


@dataclass
class Files:
    """The files of the layout that has one file a stimulus; of each kind by stem.

    points: what the file of the fixations of a stem is called; map: that of its blurred map.
    """

    points: Callable[[str], str]
    map: Callable[[str], str]
    found: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)

    def add(self, kind: str, stem: str, name: str) -> None:
        """Note a file: kind stimulus, points or map."""
        self.found.setdefault(kind, {}).setdefault(stem, []).append(name)

    def of(self, kind: str) -> dict[str, list[str]]:
        """Return the files of a kind by stem."""
        return self.found.get(kind, {})

    def layout(self, raw: Raw) -> Layout | None:
        """Join the files by stem; None where there are no stimuli, or no points of any."""
        if not self.of("stimulus") or not self.of("points"):
            return None
        kinds = {
            kind: {stem: one_of(raw, names) for stem, names in stems.items()}
            for kind, stems in self.found.items()
        }
        stems = sorted(set().union(*kinds.values()), key=natural_key)
        entries = [self._entry(raw, kinds, stem) for stem in stems]
        folders = [
            posixpath.commonpath([posixpath.dirname(name) for name in kinds[kind].values()]) or "."
            for kind in ("stimulus", "points")
        ]
        facts = {
            "stimuli": len(kinds["stimulus"]),
            "maps": len(kinds.get("map", {})),
            "ignored": sorted(self.ignored),
        }
        return Layout("raw", tuple(dict.fromkeys(folders)), entries, facts)

    def _entry(self, raw: Raw, kinds: dict[str, dict[str, str]], stem: str) -> Entry:
        members = {kind: names[stem] for kind, names in kinds.items() if stem in names}
        values: dict[str, Any] = {"stem": stem, "layout": "raw"}
        wrong = self._wrong(kinds, stem, members)
        if wrong:
            values["wrong"] = wrong
        else:
            values["digest"] = hashlib.sha256(raw.read(members["points"])).hexdigest()
        members = {{"stimulus": "image"}.get(kind, kind): name for kind, name in members.items()}
        name = members.get("image") or members.get("points") or members["map"]
        return Entry(name, "", members, values)

    def _wrong(
        self, kinds: dict[str, dict[str, str]], stem: str, members: Mapping[str, str]
    ) -> str:
        stimuli, points = kinds["stimulus"], kinds["points"]
        if "stimulus" not in members:
            return "has no stimulus of its name" + _meant(stem, stimuli.keys() - points.keys())
        if "points" not in members and "map" in members:
            return f"has a blurred map alone, no {self.points(stem)}: points cannot be had from it"
        if "points" not in members:
            why = f"has no fixations: {self.points(stem)} is not there"
            return why + _meant(stem, points.keys() - stimuli.keys())
        if "map" in kinds and "map" not in members:
            return f"has no map: {self.map(stem)} is not there"
        return ""


def _meant(stem: str, lonely: Iterable[str]) -> str:
    """Return the name that a renamed file may have had, as the end of a sentence."""
    close = difflib.get_close_matches(stem, sorted(lonely), n=1)
    return f" (renamed? {close[0]} lacks its other half too)" if close else ""


def one_of(raw: Raw, names: list[str]) -> str:
    """Return the file to read of several of one stem; DataError where they differ."""
    first, *others = sorted(names, key=packed)
    for other in others:
        if raw.size(first) != raw.size(other) or raw.read(first) != raw.read(other):
            raise DataError(raw.path, first, f"differs from {other}, of the same stimulus")
    return first
