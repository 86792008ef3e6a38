"""Stimuli and fixations as pysaliency stores them: HDF5, every type and version it has written.

    Stimuli             images as datasets "0", "1", ...
    FileStimuli         names of files, from 2.0 relative to the folder of the HDF5 file
    FixationTrains      scanpaths, their fixations in rows
    ScanpathFixations   the same in a group of type Scanpaths
    Fixations           single fixations, each with what came before it

x is the column, y the row, (0, 0) the top left corner of the image; the pixel of a fixation is
int(x), int(y).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from dataprep import scanpaths
from dataprep.hdf5 import Node
from dataprep.hdf5 import open as open
from dataprep.scanpaths import Fixations as Fixations

# type -> the major versions that are read; a minor version only adds to what is there.
KNOWN = {
    "Stimuli": (1,),
    "FileStimuli": (1, 2),
    "Fixations": (1,),
    "FixationTrains": (1,),
    "ScanpathFixations": (1,),
    "Scanpaths": (1,),
}
STIMULI = ("Stimuli", "FileStimuli")


@dataclass(frozen=True, eq=False)
class Stimuli:
    """The images of an open file, or the names of their files.

    names: as written, None for images that lie in the HDF5 file itself (`pixels` reads them).
    shapes: (h, w) or (h, w, channels) each, None where the file does not say.
    attributes: name -> one value a stimulus: an array (N, ...), or a tuple of str.
    """

    size: int
    names: tuple[str, ...] | None
    shapes: list[tuple[int, ...]] | None
    attributes: dict[str, Any]
    node: Node = field(repr=False)

    def __len__(self) -> int:
        return self.size

    def pixels(self, index: int) -> NDArray[np.uint8]:
        """Read one image that lies in the file, (H, W, 3), grey replicated."""
        if self.names is not None or not 0 <= index < self.size:
            raise ValueError(f"no image {index} lies in {self.node.path}")
        name = str(index)
        pixels = self.node.numbers(name, "u")
        if pixels.dtype != np.uint8:
            raise self.node.bad(name, f"holds {pixels.dtype}, not uint8 pixels")
        if pixels.ndim == 2:
            pixels = pixels[..., None]
        if pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or not pixels.size:
            raise self.node.bad(name, f"has the shape {pixels.shape}, not an image's")
        return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))


def kinds(file: h5py.Group, path: str | Path = "") -> dict[str, str]:
    """Return group -> type of every pysaliency object in a file; the root is ""."""
    found: dict[str, str] = {}
    root = Node(file, path or file.file.filename)
    waiting, seen = [root], {root.address()}
    while waiting:
        node = waiting.pop()
        if node.text("type") is not None:
            found[node.key] = _type(node)
            continue
        for name in node.names():
            if node.is_group(name) and (group := node.child(name)).address() not in seen:
                seen.add(group.address())
                waiting.append(group)
    return dict(sorted(found.items()))


def read_stimuli(group: h5py.Group, path: str | Path) -> Stimuli:
    """Read all but the pixels; the group has to stay open for those."""
    node = Node(group, path, group.name.strip("/"))
    kind = _type(node, STIMULI)
    size = node.integer("size")
    if size < 0:
        raise node.bad("size", f"is {size}")
    if kind == "FileStimuli":
        names: tuple[str, ...] | None = _names(node, size)
        shapes = _shapes(node, size) if node.has("shapes") else None
    else:
        names = None
        shapes = [tuple(node.table(str(index)).shape) for index in range(size)]
    return Stimuli(size, names, shapes, _attributes(node, size), node)


def read_fixations(group: h5py.Group, path: str | Path, stimuli: int | None = None) -> Fixations:
    """Read all fixations; `stimuli`: how many there are, to check the rows against."""
    node = Node(group, path, group.name.strip("/"))
    kind = _type(node, tuple(kind for kind in KNOWN if kind not in STIMULI))
    if kind == "Fixations":
        return scanpaths.single(node, stimuli)
    if kind == "FixationTrains":
        return scanpaths.trains(node, stimuli)
    if kind == "ScanpathFixations":
        node = node.child("scanpaths")
        _type(node, ("Scanpaths",))
    return scanpaths.scanpaths(node, stimuli)


def _type(node: Node, expected: tuple[str, ...] = tuple(KNOWN)) -> str:
    kind, version = node.text("type"), node.text("version")
    if kind not in expected:
        what = "has no type" if kind is None else f"is of type {kind[:40]!r}"
        raise node.bad("", f"{what}; known here: {', '.join(expected)}")
    major = (version or "").split(".")[0]
    if major not in map(str, KNOWN[kind]):
        known = ", ".join(f"{one}.x" for one in KNOWN[kind])
        raise node.bad("", f"is {kind} of version {str(version)[:40]!r}; known: {known}")
    return kind


def _names(node: Node, size: int) -> tuple[str, ...]:
    names = node.strings("filenames")
    if names.shape != (size,):
        raise node.bad("filenames", f"has the shape {names.shape}, not {size} names")
    for name in names:
        if not name or "\0" in name:
            raise node.bad("filenames", f"{name!r} is no name of a file")
    return tuple(names)


def _shapes(node: Node, size: int) -> list[tuple[int, ...]]:
    shapes = node.vectors("shapes")
    if len(shapes) != size:
        raise node.bad("shapes", f"has {len(shapes)} rows, not {size}")
    for index, shape in enumerate(shapes):
        if len(shape) not in (2, 3) or min(shape) < 1:
            raise node.bad("shapes", f"row {index} is {shape}, not the shape of an image")
    return shapes


def _attributes(node: Node, size: int) -> dict[str, Any]:
    """Read the listed attributes; names without a dataset are derived ones."""
    found: dict[str, Any] = {}
    for name in node.json("__attributes__", list):
        if not isinstance(name, str):
            raise node.bad("__attributes__", f"lists {str(name)[:40]!r}, which is no name")
        if not node.has(name):
            continue
        if node.is_text(name):
            values = node.strings(name)
            found[name] = tuple(values) if values.ndim == 1 else values
        else:
            found[name] = values = node.numbers(name, "biuf")
        if values.shape[:1] != (size,):
            raise node.bad(name, f"has the shape {values.shape}, not {size} rows")
    return found
