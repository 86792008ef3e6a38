"""Where the images lie that a file of stimuli names: its names may be another machine's."""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from dataprep.layouts import one_of, packed
from dataprep.raw import Raw

# Path of the data and name of a file in it -> stem; DataError where the name is not of this set.
Identify = Callable[[Path, str], str]


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
        """Look where a name leads from the HDF5 file that holds it, then for a file of its name.

        Where images are given elsewhere, only there: a name may lead to another copy.
        """
        name = written.replace("\\", "/")
        led = None if self._elsewhere else self._led(file, name)
        return led or self._alike(file, name)

    def others(self, stems: Iterable[str]) -> list[str]:
        """Return the images of no such stem."""
        return [name for stem in self._images.keys() - set(stems) for name in self._images[stem]]

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
