"""Read one stimulus with its fixations, and check that the two belong together."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dataprep import fixations, image, pysaliency_layout
from dataprep.encode import Encoded
from dataprep.fixations import Array, LeftOut, Points
from dataprep.layouts import Layout, listed
from dataprep.manifest import DataError
from dataprep.raw import Raw
from dataprep.sources import Entry

TURN_KEPT = "EXIF orientation kept as a turn"
TURNED = "turned upright (EXIF)"  # of what is no JPEG, by its decoder
TURN_DROPPED = "EXIF orientation not applied: the fixations are of the stored pixels"

Marks = Callable[[Raw, str], Array]


class Recorded(NamedTuple):
    """Points (M, 6), height and width of the image that they are of, and what says that size."""

    points: Points
    size: tuple[int, int] | None
    what: str


@lru_cache(maxsize=1)
def elsewhere(path: str) -> Raw:
    """Return the folder or archive of images apart from the raw data, opened once a process."""
    return Raw(path)


def has_stimulus(entry: Entry) -> bool:
    """Return False for an entry of fixations whose stimulus is not there."""
    return entry.values["layout"] == "pysaliency" or "image" in entry.members


def file_bytes(raw: Raw, entry: Entry, folder: str) -> bytes:
    """Return the file of a stimulus, from wherever it lies; `folder`: that of --stimuli."""
    where = entry.values.get("where", "raw")
    if where == "array":
        return pysaliency_layout.array_as_png(raw, entry.values["from"], entry.values["row"])
    if where == "stimuli":
        return elsewhere(folder).read(entry.name)
    if where == "raw":
        return raw.read(entry.members["image"])
    try:
        return Path(raw.path / entry.name).read_bytes()
    except OSError as error:
        raise DataError(raw.path, entry.name, f"cannot be read ({error.strerror})") from None


def recorded(raw: Raw, entry: Entry, marks: Marks) -> Recorded:
    """Return the fixations of an entry; `marks` reads a file of points: pixels (H, W)."""
    if "from" in entry.values:
        pair, row = entry.values["from"], entry.values["row"]
        table = pysaliency_layout.table(raw, pair)
        return Recorded(table.of(row), table.size(row), str(pair.stimuli))
    name = entry.members["points"]
    pixels = marks(raw, name)
    size = pixels.shape[0], pixels.shape[1]
    if "map" in entry.members:
        _check_map(raw, entry.members["map"], size, name)
    return Recorded(fixations.from_marks(pixels), size, name)


def _check_map(raw: Raw, name: str, size: tuple[int, int], points: str) -> None:
    try:
        own = image.size(raw.read(name))
    except ValueError as error:
        raise DataError(raw.path, name, str(error)) from None
    if own != size:
        raise DataError(raw.path, name, f"is {_shown(own)}, but {points} is {_shown(size)}")


def fitted(
    raw: Raw, entry: Entry, stored: Encoded, of: Recorded, notes: tuple[str, ...]
) -> tuple[Encoded, tuple[str, ...]]:
    """Return the stimulus turned as its fixations see it, with notes; DataError if none fits."""
    if TURNED in notes:
        why = "has an EXIF orientation, which is known of JPEGs alone: store its pixels upright"
        raise DataError(raw.path, entry.name, why)
    if stored.turn and of.size in (None, stored.pixels.shape[:2]):
        # Fixations are of what was shown, and what showed images knew nothing of EXIF.
        stored = dataclasses.replace(stored, turn=0)
        notes = (*(note for note in notes if note != TURN_KEPT), TURN_DROPPED)
    size = stored.upright.shape[0], stored.upright.shape[1]
    if of.size not in (None, size):
        assert of.size is not None
        why = f"is {_shown(size)}, but its fixations are of {_shown(of.size)} ({of.what})"
        raise DataError(raw.path, entry.name, why)
    return stored, notes


def _shown(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"


def checked(
    raw: Raw, entry: Entry, points: Points, size: tuple[int, int], on_outside: str, on_empty: str
) -> tuple[Points, tuple[str, ...]]:
    """Return the points inside the image, with notes; LeftOut or DataError as the options say."""
    kept = points[fixations.inside(points, *size)]
    outside = len(points) - len(kept)
    notes = ("fixations outside the image dropped",) * outside
    if outside and on_outside != "drop":
        first = points[~fixations.inside(points, *size)][0]
        why = (
            f"{outside} of {len(points)} fixations are outside the {_shown(size)} image, the first"
            f" at ({first[0]:g}, {first[1]:g})"
        )
        if on_outside == "skip":
            raise LeftOut(raw.path, entry.name, why)
        raise DataError(raw.path, entry.name, f"{why}: --on-outside drop leaves these out")
    if not len(kept):
        if on_empty == "skip":
            raise LeftOut(raw.path, entry.name, "has no fixations")
        raise DataError(
            raw.path, entry.name, "has no fixations: --on-empty skip leaves such stimuli out"
        )
    return np.ascontiguousarray(kept), notes


def compare(raw: Raw, one: Layout, other: Layout, marks: Marks) -> None:
    """Raise DataError where two layouts are not of the same stimuli and fixated pixels."""
    a, b = (
        {entry.values["stem"]: entry for entry in layout.entries if has_stimulus(entry)}
        for layout in (one, other)
    )
    start, choice = f"{one} and {other} disagree", "--layout pysaliency or --layout raw takes one"
    extra = [
        f"{len(stems)} more stimuli in {layout.name} ({listed(stems)})"
        for layout, stems in ((one, a.keys() - b.keys()), (other, b.keys() - a.keys()))
        if stems
    ]
    if extra:
        raise DataError(raw.path, "", f"{start}: {', '.join(extra)}; {choice}")
    differ = [stem for stem in a if "wrong" not in a[stem].values and "wrong" not in b[stem].values]
    pixels = {
        stem: [fixations.pixels(recorded(raw, which[stem], marks).points) for which in (a, b)]
        for stem in differ
    }
    differ = [stem for stem, (first, second) in pixels.items() if first != second]
    if differ:
        first, second = pixels[differ[0]]
        counts = f"{len(first - second)} only in {one.name}, {len(second - first)} only in"
        why = f"the fixated pixels of {len(differ)} of {len(a)} stimuli differ ({differ[0]}:"
        raise DataError(raw.path, "", f"{start}: {why} {counts} {other.name}); {choice}")
