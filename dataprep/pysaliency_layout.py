"""The layout that pysaliency leaves on disk: HDF5 files of stimuli and of fixations.

Its fixations name their stimulus by the row in the file of stimuli, and that file names the images,
by paths that may lead anywhere. A file is read once a process; an entry holds its row in it.
"""

from __future__ import annotations

import hashlib
import io
import posixpath
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from dataprep import fixations, pysaliency
from dataprep.fixations import Array, Points
from dataprep.folds import natural_key
from dataprep.layouts import Layout
from dataprep.manifest import DataError
from dataprep.places import Identify, Place, Search
from dataprep.pysaliency import Fixations
from dataprep.raw import Raw
from dataprep.sources import Entry

SUFFIXES = (".hdf5", ".h5", ".hdf")
USUAL = {"stimuli": "stimuli.hdf5", "fixations": "fixations.hdf5"}


class Object(NamedTuple):
    """One pysaliency object: the file in Raw and the group in it, "" for the root."""

    file: str
    group: str

    def __str__(self) -> str:
        return f"{self.file}/{self.group}" if self.group else self.file


class Pair(NamedTuple):
    """Stimuli and the fixations on them; digest: sha256 of the content of both files."""

    stimuli: Object
    fixations: Object
    digest: str


@dataclass(frozen=True, eq=False)
class Table:
    """A pair in memory: points (M, 6) sorted by stimulus, `starts` (N + 1) of each in them."""

    names: tuple[str, ...] | None
    shapes: list[tuple[int, ...]] | None
    attributes: Mapping[str, Any]
    points: Points
    starts: Array
    facts: Mapping[str, Any]

    def of(self, row: int) -> Points:
        """Return the points of one stimulus, in the order of the file."""
        return self.points[self.starts[row] : self.starts[row + 1]]

    def size(self, row: int) -> tuple[int, int] | None:
        """Return height and width of one stimulus, None where the file does not say."""
        return (self.shapes[row][0], self.shapes[row][1]) if self.shapes else None


def find(raw: Raw, whys: list[str], unread: list[DataError]) -> Pair | None:
    """Return the one pair there is; None where there is none, `whys` then says what lacks.

    unread: takes the error of each file that cannot be read. DataError where there are several
    pairs and nothing tells which is meant.
    """
    stimuli, fixated = _objects(raw, unread)
    folders = {posixpath.dirname(one.file) for one in stimuli}
    both = [f for f in sorted(folders) if any(posixpath.dirname(o.file) == f for o in fixated)]
    if len(both) > 1:
        why = "holds several pysaliency sets: give one of these folders as --raw: "
        raise DataError(raw.path, "", why + ", ".join(folder or "." for folder in both))
    if both:
        stimuli, fixated = (
            [one for one in objects if posixpath.dirname(one.file) == both[0]]
            for objects in (stimuli, fixated)
        )
    if stimuli and not fixated:
        whys.append(f"{stimuli[0]} has stimuli, but no HDF5 file has their fixations")
    if fixated and not stimuli:
        whys.append(f"{fixated[0]} has fixations, but no HDF5 file has their stimuli")
    if not stimuli or not fixated:
        return None
    one, other = _only(raw, "stimuli", stimuli), _only(raw, "fixations", fixated)
    digests = [_digest(raw, name) for name in dict.fromkeys((one.file, other.file))]
    pair = Pair(one, other, hashlib.sha256("".join(digests).encode()).hexdigest())
    try:
        table(raw, pair)
    except DataError as error:
        unread.append(error)
        return None
    return pair


def _objects(raw: Raw, unread: list[DataError]) -> tuple[list[Object], list[Object]]:
    """Return what is of stimuli and what of fixations in all files."""
    stimuli: list[Object] = []
    fixated: list[Object] = []
    for name in raw.names():
        if not name.lower().endswith(SUFFIXES):
            continue
        try:
            with pysaliency.open(_data(raw, name), raw.path / name) as file:
                kinds = pysaliency.kinds(file, raw.path / name)
        except DataError as error:
            unread.append(error)
            continue
        for group, kind in kinds.items():
            is_stimuli = kind in pysaliency.STIMULI
            (stimuli if is_stimuli else fixated).append(Object(name, group))
    return stimuli, fixated


def _only(raw: Raw, what: str, objects: list[Object]) -> Object:
    usual = [one for one in objects if posixpath.basename(one.file) == USUAL[what]]
    if len(objects) > 1 and len(usual) != 1:
        shown = ", ".join(map(str, objects))
        why = f"holds {what} several times: {shown}; leave one, or call it {USUAL[what]}"
        raise DataError(raw.path, "", why)
    return usual[0] if len(usual) == 1 else objects[0]


def _data(raw: Raw, name: str) -> Path | bytes:
    """Return a plain file's path, or what an archive holds."""
    path = raw.path / name
    return path if path.is_file() else raw.read(name)


def _digest(raw: Raw, name: str) -> str:
    data = _data(raw, name)
    if isinstance(data, bytes):
        return hashlib.sha256(data).hexdigest()
    with open(data, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@lru_cache(maxsize=2)
def table(raw: Raw, pair: Pair) -> Table:
    """Read a pair, once in each process."""
    with pysaliency.open(_data(raw, pair.stimuli.file), raw.path / pair.stimuli.file) as file:
        group = file[pair.stimuli.group or "/"]
        stimuli = pysaliency.read_stimuli(group, raw.path / pair.stimuli.file)
    path = raw.path / pair.fixations.file
    with pysaliency.open(_data(raw, pair.fixations.file), path) as file:
        group = file[pair.fixations.group or "/"]
        found = pysaliency.read_fixations(group, path, len(stimuli))
    points, is_index = _points(found)
    order = np.argsort(found.stimulus, kind="stable")
    starts = np.searchsorted(found.stimulus[order], np.arange(len(stimuli) + 1))
    subjects = found.subject[np.isfinite(found.subject)]
    facts = {
        "stimuli": len(stimuli),
        "fixations": len(found),
        "subjects": len(np.unique(subjects)),
        "empty": found.empty,
        "index_for_time": is_index,
    }
    return Table(stimuli.names, stimuli.shapes, stimuli.attributes, points[order], starts, facts)


def _points(found: Fixations) -> tuple[Points, bool]:
    # CAT2000 as pysaliency has it counts fixations, from 1, where others have seconds; with gaps
    # in a version that leaves out repeats.
    is_whole = len(found) > 0 and not (found.start_s % 1).any()
    is_index = bool(is_whole and found.order.any() and _usual_lead(found) in (0, 1))
    columns = {name: getattr(found, name) for name in fixations.COLUMNS}
    if is_index:
        columns["start_s"] = np.full(len(found), np.nan)
    return fixations.from_columns(columns), is_index


def _usual_lead(found: Fixations) -> float:
    """Return by how much times usually are ahead of the order in the scanpath."""
    return float(np.median(found.start_s - found.order))


def layout(
    raw: Raw,
    pair: Pair,
    images: Iterable[str],
    elsewhere: Raw | None,
    identify: Identify,
    numbered: Callable[[Path, int, Mapping[str, Any]], str],
) -> Layout:
    """List a pair's stimuli in natural order of stems.

    images: names of what may be a stimulus, in `elsewhere` if that is given, else in `raw`.
    identify, numbered: the stem of a path, and of an image that lies in the file itself.
    """
    here = table(raw, pair)
    rows = range(len(here.starts) - 1)
    path = raw.path / pair.stimuli.file
    common = {"layout": "pysaliency", "from": pair}
    if here.names is None:
        stems = [numbered(path, row, here.attributes) for row in rows]
        places = [Place("array", f"{pair.stimuli}/{row}", 0) for row in rows]
        unnamed = list(images)
    else:
        search = Search(raw, elsewhere, images, identify)
        stems = [identify(path, name) for name in here.names]
        places = [search.place(pair.stimuli.file, name) for name in here.names]
        if not any(place.where for place in places):
            why = f"{places[0].wrong}; nor is any other"
            raise DataError(raw.path, here.names[0], why)
        unnamed = search.others(stems)
    entries = []
    for row, stem, place in zip(rows, stems, places, strict=True):
        values = common | {"stem": stem, "row": row} | place.values()
        members = {"image": place.name} if place.where == "raw" else {}
        entries.append(Entry(place.name, "", members, values))
    entries.sort(key=lambda entry: natural_key(entry.values["stem"]))
    files = tuple(map(str, pair[:2]))
    return Layout("pysaliency", files, entries, {**here.facts, "ignored": sorted(unnamed)})


def array_as_png(raw: Raw, pair: Pair, row: int) -> bytes:
    """Return an image that lies in the HDF5 file itself, as a PNG."""
    path = raw.path / pair.stimuli.file
    with pysaliency.open(_data(raw, pair.stimuli.file), path) as file:
        pixels = pysaliency.read_stimuli(file[pair.stimuli.group or "/"], path).pixels(row)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()
