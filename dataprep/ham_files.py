"""Which of a user's files are HAM10000's images, masks and tables, however they were unpacked.

Of tables of labels several may lie there. Read is the one that `--table` names; else, of those
called HAM10000_metadata, the first in this order: as csv, as tab, without a suffix; else the one
with the most rows. Others must say the same of the images that they share with it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from dataprep import ham_table
from dataprep.ham_table import LAST, Row
from dataprep.image import is_image
from dataprep.layouts import folders, listed, packed, stem
from dataprep.manifest import DataError
from dataprep.raw import Raw, is_archive

IMAGE = re.compile(r"ISIC_[0-9]{7}", re.IGNORECASE)
MASK = re.compile(r"(ISIC_[0-9]{7})_segmentation", re.IGNORECASE)
OFFICIAL = ("ham10000_metadata.csv", "ham10000_metadata.tab", "ham10000_metadata")
TEST_TRUTH = re.compile(r"ISIC2018_Task3_Test_GroundTruth(\.csv|\.tab)?", re.IGNORECASE)
SUFFIXES = (".csv", ".tab", ".tsv", ".txt")


@dataclass
class Found:
    """The files by what they are. images, masks: by image ("ISIC_0024306").

    sizes: images that lie there in several sizes; others: tables that say the same as `table`.
    """

    images: dict[str, str]
    table: str
    rows: list[Row]
    others: list[str] = field(default_factory=list)
    sizes: int = 0
    truth: str = ""
    test_rows: list[Row] = field(default_factory=list)


def find(raw: Raw, images: str = "", table: str = "") -> Found:
    """Sort the files of `raw`; DataError where a table is missing, wrong, or contradicted.

    images: only the pictures in the folder or archive of this name. table: the one to read.
    """
    files, sizes = _images(raw, images)
    name, rows, others = _table(raw, table)
    found = Found(files, name, rows, others, sizes)
    truths = [one for one in raw.names() if TEST_TRUTH.fullmatch(_base(one))]
    if truths:
        found.truth = min(truths, key=packed)
        found.test_rows = _rows(raw, found.truth)
        known = {one for row in rows for one in (row.image, row.lesion)}
        for row in found.test_rows:
            for one in (row.image, row.lesion):
                if one in known:
                    why = f"{one} of the test's truth stands in {name} too"
                    raise DataError(raw.path, f"{found.truth}: line {row.line}", why)
    return found


def masks(raw: Raw) -> dict[str, str]:
    """Return the lesion masks by image; DataError where there are none."""
    found: dict[str, list[str]] = defaultdict(list)
    for name in raw.names():
        match = MASK.fullmatch(stem(name))
        if match and is_image(name):
            found[match[1].upper()].append(name)
    if not found:
        raise DataError(raw.path, "", "no masks in it (like ISIC_0024306_segmentation.png)")
    return {image: _largest(raw, names) for image, names in found.items()}


@lru_cache(maxsize=1)
def elsewhere(path: str) -> Raw:
    """Return the folder or archive of masks, opened once a process."""
    return Raw(path)


def _images(raw: Raw, only: str) -> tuple[dict[str, str], int]:
    """Return the file of each image, and of how many there are several that differ in size."""
    found: dict[str, list[str]] = defaultdict(list)
    places = set()
    for name in raw.names():
        if not is_image(name) or not IMAGE.fullmatch(stem(name)):
            continue
        image = stem(name).upper()
        parts = [raw.path.name, *name.split("/")[:-1]]
        is_ham = ham_table.number(image) <= LAST
        places |= {parts[-1]} if is_ham else set()
        if not only or not is_ham or only in (*parts, *folders("/".join([*parts, ""]))):
            found[image].append(name)
    if only and not any(ham_table.number(image) <= LAST for image in found):
        raise DataError(raw.path, "", f"no images in {only!r}; they lie in {listed(places)}")
    if not found:
        archived = [name for name in raw.names() if is_archive(name)]
        hint = f"; it holds archives in an archive ({listed(archived)}): unpack the outer one"
        why = "no images like ISIC_0024306.jpg in it" + (hint if archived else "")
        raise DataError(raw.path, "", why)
    several = sum(len({raw.size(name) for name in names}) > 1 for names in found.values())
    return {image: _largest(raw, names) for image, names in found.items()}, several


def _largest(raw: Raw, names: Sequence[str]) -> str:
    """Return the file of most bytes: originals lie beside smaller copies; unpacked ones first."""
    return min(names, key=lambda name: (-raw.size(name), packed(name)))


def _table(raw: Raw, asked: str) -> tuple[str, list[Row], list[str]]:
    """Return the table to read, its rows, and the other tables, which agree with it."""
    there = _tables(raw)
    if asked:
        named = [name for name in there if asked in (name, _base(name))]
        if not named:
            raise DataError(raw.path, "", f"no table {asked!r}; there are: {listed(there)}")
        return named[0], _rows(raw, named[0]), []
    if not there:
        raise DataError(raw.path, "", f"no table of labels in it: {_lacking(raw)}")
    rows = {name: _rows(raw, name) for name in there}

    def rank(name: str) -> tuple[int, int, tuple[int, str]]:
        base = _base(name).lower()
        place = OFFICIAL.index(base) if base in OFFICIAL else len(OFFICIAL)
        return place, -len(rows[name]), packed(name)

    first, *others = sorted(there, key=rank)
    for other in others:
        _compare(raw, first, rows[first], other, rows[other])
    return first, rows[first], others


def _tables(raw: Raw) -> list[str]:
    """Return the files with the columns of a table, and those that are called as the official."""
    found = []
    for name in raw.names():
        base = _base(name).lower()
        is_plain = base.endswith(SUFFIXES) or "." not in base
        if not is_plain or TEST_TRUTH.fullmatch(base) or raw.size(name) > ham_table.TABLE_BYTES:
            continue
        with raw.open(name) as file:
            start = file.readline(4096)
        if base in OFFICIAL or ham_table.is_labels(ham_table.columns(start)):
            found.append(name)
    return found


def _rows(raw: Raw, name: str) -> list[Row]:
    if raw.size(name) > ham_table.TABLE_BYTES:
        raise DataError(raw.path, name, f"is of {raw.size(name):,} bytes: no table of labels")
    found = ham_table.rows(raw.path, name, raw.read(name))
    if not all(row.lesion for row in found) and not TEST_TRUTH.fullmatch(_base(name)):
        raise DataError(raw.path, name, "does not say which images show the same lesion")
    return found


def _compare(raw: Raw, first: str, rows: Sequence[Row], other: str, others: Sequence[Row]) -> None:
    """Raise DataError where two tables differ in an image that both have."""
    of = {row.image: row for row in rows}
    for row in others:
        own = of.get(row.image)
        if own and (own.lesion, own.dx) != (row.lesion, row.dx):
            why = f"{row.image} is {row.dx} of {row.lesion}, but {own.dx} of {own.lesion} in"
            why += f" {first}: name the right table by --table"
            raise DataError(raw.path / other, f"line {row.line}", why)


def _lacking(raw: Raw) -> str:
    wanted = "wanted is HAM10000_metadata (.csv, .tab or no suffix) with lesion_id, image_id and dx"
    truths = [name for name in raw.names() if "task3_training_groundtruth" in name.lower()]
    if truths:
        return f"{truths[0]} does not say which images show the same lesion; {wanted}"
    return wanted


def _base(name: str) -> str:
    return name.rsplit("/", 1)[-1]


def without(names: Iterable[str], known: Iterable[str]) -> list[str]:
    """Return the sorted names that are not known."""
    return sorted(set(names) - set(known))
