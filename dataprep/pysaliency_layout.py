"""The layout that pysaliency leaves on disk: HDF5 files of stimuli and of fixations.

Its fixations name their stimulus by the row in the file of stimuli, and that file names the images,
by paths that may lead anywhere. A file is read once a process; an entry holds its row in it.
"""

from __future__ import annotations

import hashlib
import io
import posixpath
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from dataprep import fixations, pysaliency
from dataprep.fixations import Array, Points
from dataprep.folds import natural_key
from dataprep.layouts import Layout, one_of, packed
from dataprep.manifest import DataError
from dataprep.pysaliency import Fixations
from dataprep.raw import Raw
from dataprep.sources import Entry

SUFFIXES = (".hdf5", ".h5", ".hdf")
# Path of the data and name of a file in it -> stem; DataError where the name is not of this set.
Identify = Callable[[Path, str], str]
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


def find(raw: Raw, whys: list[str]) -> Pair | None:
    """Return the one pair there is; None where there is none, `whys` then says what lacks.

    DataError where there are several and nothing tells which is meant.
    """
    stimuli, fixated = _objects(raw)
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
    return Pair(one, other, hashlib.sha256("".join(digests).encode()).hexdigest())


def _objects(raw: Raw) -> tuple[list[Object], list[Object]]:
    stimuli: list[Object] = []
    fixated: list[Object] = []
    for name in raw.names():
        if name.lower().endswith(SUFFIXES):
            with pysaliency.open(_data(raw, name), raw.path / name) as file:
                for group, kind in pysaliency.kinds(file, raw.path / name).items():
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
    # CAT2000 as pysaliency has it counts fixations where others have the start in seconds.
    is_index = len(found) > 1 and np.array_equal(found.start_s, found.order)
    columns = {name: getattr(found, name) for name in fixations.COLUMNS}
    if is_index:
        columns["start_s"] = np.full(len(found), np.nan)
    return fixations.from_columns(columns), is_index


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
    else:
        search = Search(raw, elsewhere, images, identify)
        stems = [identify(path, name) for name in here.names]
        places = [search.place(pair.stimuli.file, name) for name in here.names]
        if not any(place.where for place in places):
            why = f"{places[0].wrong}; nor is any other"
            raise DataError(raw.path, here.names[0], why)
    entries = []
    for row, stem, place in zip(rows, stems, places, strict=True):
        values = common | {"stem": stem, "row": row} | place.values()
        members = {"image": place.name} if place.where == "raw" else {}
        entries.append(Entry(place.name, "", members, values))
    entries.sort(key=lambda entry: natural_key(entry.values["stem"]))
    files = tuple(map(str, pair[:2]))
    return Layout("pysaliency", files, entries, here.facts)


class Place(NamedTuple):
    """Where an image lies: in the `raw` data, `stimuli` folder, `outside`, an `array`; or not."""

    where: str
    name: str
    bytes: int
    wrong: str = ""

    def values(self) -> dict[str, Any]:
        """Return what an entry keeps of it."""
        kept = {"where": self.where, "bytes": self.bytes}
        return kept | ({"wrong": self.wrong} if self.wrong else {})


class Search:
    """Finds the files that a file of stimuli names."""

    def __init__(
        self, raw: Raw, elsewhere: Raw | None, images: Iterable[str], identify: Identify
    ) -> None:
        self._raw, self._elsewhere, self._identify = raw, elsewhere, identify
        self._names = set(raw.names())
        self._images: dict[str, list[str]] = defaultdict(list)
        for name in images:
            self._images[identify((elsewhere or raw).path, name)].append(name)

    def place(self, file: str, written: str) -> Place:
        """Look where a name leads from the HDF5 file that holds it, then for a file of its name."""
        name = written.replace("\\", "/")
        return self._led(file, name) or self._alike(file, name)

    def _led(self, file: str, name: str) -> Place | None:
        root = self._raw.path.resolve()
        if PurePosixPath(name).is_absolute():
            if not Path(name).is_file():
                return None
            path = Path(name).resolve()
            inner = path.relative_to(root).as_posix() if path.is_relative_to(root) else name
        else:
            inner = posixpath.normpath(posixpath.join(posixpath.dirname(file), name))
        if inner in self._names:
            return Place("raw", inner, self._raw.size(inner))
        if inner.startswith(("../", "/")) and root.is_dir() and (root / inner).is_file():
            return Place("outside", inner, (root / inner).stat().st_size)
        return None

    def _alike(self, file: str, name: str) -> Place:
        """Return the file of this stem whose path agrees longest with the name, from its end."""
        raw, where = (self._elsewhere, "stimuli") if self._elsewhere else (self._raw, "raw")
        found = self._images.get(self._identify(self._raw.path / file, name), [])
        if not found:
            lacks = f"is not in {raw.path}" if self._elsewhere else "is not there"
            return Place("", name, 0, f"{lacks}, but {file} names it: --stimuli FOLDER has images?")
        common = {one: _common(one, name) for one in found}
        best = [one for one in found if common[one] == max(common.values())]
        chosen = one_of(raw, sorted(best, key=packed))
        return Place(where, chosen, raw.size(chosen))


def _common(one: str, other: str) -> int:
    """Count the parts that two paths have in common at their ends."""
    pairs = list(zip(reversed(one.split("/")), reversed(other.split("/")), strict=False))
    return next((i for i, (a, b) in enumerate(pairs) if a != b), len(pairs))


def array_as_png(raw: Raw, pair: Pair, row: int) -> bytes:
    """Return an image that lies in the HDF5 file itself, as a PNG."""
    path = raw.path / pair.stimuli.file
    with pysaliency.open(_data(raw, pair.stimuli.file), path) as file:
        pixels = pysaliency.read_stimuli(file[pair.stimuli.group or "/"], path).pixels(row)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()
