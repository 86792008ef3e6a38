"""HAM10000's table of labels in every form it goes round in, and ISIC 2018's truth in its two.

    lesion_id,image_id,dx,dx_type,age,sex,localization[,dataset]    HAM10000 and the test's truth
    image,MEL,NV,BCC,AKIEC,BKL,DF,VASC                              ISIC's truth: one 1 a row

Separated by commas, tabs or semicolons, with any line ends, quotes, columns between, and a byte
order mark. Only image, lesion and class are read. What is wrong is named by its line. Tschandl et
al. 2018, The HAM10000 dataset, Sci Data 5:180161.
"""

from __future__ import annotations

import csv
import difflib
import io
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from dataprep.manifest import DataError

# Class -> images and lesions of it; the number of a class is its place here.
IMAGES = {"akiec": 327, "bcc": 514, "bkl": 1099, "df": 115, "mel": 1113, "nv": 6705, "vasc": 142}
LESIONS = {"akiec": 228, "bcc": 327, "bkl": 727, "df": 73, "mel": 614, "nv": 5403, "vasc": 98}
CLASSES = tuple(IMAGES)
# The numbers of its images, without a gap; those behind it are ISIC's validation and test images.
FIRST, LAST = 24306, 34320
COLUMNS = ("lesion_id", "image_id", "dx")
SEPARATORS = (",", "\t", ";")
# A larger file is no table of labels (pixels as CSV go round too), and is not read.
TABLE_BYTES = 10_000_000
SHOWN = 3

IMAGE = re.compile(r"ISIC_([0-9]{7})(?:\.jpe?g)?", re.IGNORECASE)
LESION = re.compile(r"[A-Z]+_([0-9]{7})")
# How the classes are called elsewhere, by letters alone -> code.
LONG = {
    "actinickeratosis": "akiec",
    "actinickeratoses": "akiec",
    "bowensdisease": "akiec",
    "bowendisease": "akiec",
    "intraepithelialcarcinoma": "akiec",
    "basalcellcarcinoma": "bcc",
    "benignkeratosis": "bkl",
    "benignkeratosislikelesions": "bkl",
    "seborrheickeratosis": "bkl",
    "solarlentigo": "bkl",
    "dermatofibroma": "df",
    "melanoma": "mel",
    "melanocyticnevi": "nv",
    "melanocyticnevus": "nv",
    "naevus": "nv",
    "nevus": "nv",
    "vascular": "vasc",
    "vascularlesions": "vasc",
    "vascularlesion": "vasc",
}


class Row(NamedTuple):
    """One image. lesion: "" where the table does not say it; line: in its file, the header is 1."""

    image: str
    lesion: str
    dx: str
    line: int

    @property
    def number(self) -> int:
        """The number in the image's name."""
        return number(self.image)


def number(image: str) -> int:
    """Return the number of an image's or a lesion's name."""
    return int(image.rpartition("_")[2])


def columns(start: bytes) -> list[str]:
    """Return the column names of a table, from its first bytes; none for what is no table."""
    try:
        line = _text(start).partition("\n")[0]
    except ValueError:
        return []
    return _cells(line, _separator(line)) if line.strip() else []


def is_labels(names: Sequence[str]) -> bool:
    """Tell a table of HAM10000 by its columns."""
    return set(COLUMNS) <= set(names)


def is_one_hot(names: Sequence[str]) -> bool:
    """Tell ISIC's truth by its columns."""
    return "image" in names and set(CLASSES) <= {name.lower() for name in names}


def rows(path: Path, name: str, data: bytes) -> list[Row]:
    """Read a table in either form; DataError names the line, or what the file is instead.

    Each image stands in it once, each lesion with one class.
    """
    where = path / name
    try:
        text = _text(data)
    except ValueError as error:
        raise DataError(where, "", f"is no text ({error})") from None
    if text.lstrip()[:1] == "<":
        raise DataError(where, "", "is a web page, not a table: the download failed, fetch it anew")
    separator = _separator(text.partition("\n")[0])
    names = _cells(text.partition("\n")[0], separator)
    if not is_one_hot(names) and not is_labels(names):
        has = f"has the columns {', '.join(names)[:80]}" if any(names) else "is empty"
        raise DataError(where, "", f"{has}: wanted are {', '.join(COLUMNS)}")
    counts = Counter(map(str.lower, names))
    twice = [name for name in ("image", *COLUMNS, *CLASSES) if counts[name] > 1]
    if twice:  # whichever of them were read, the other may say something else
        raise DataError(where, "", f"has two columns {twice[0]!r}")
    found: list[Row] = []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    at = 1
    try:
        next(reader)
        at = reader.line_num + 1  # where a record begins: quotes may hold line ends
        for cells in reader:
            if any(cells):
                found.append(_row(where, names, cells, at))
            at = reader.line_num + 1
    except csv.Error as error:
        raise DataError(where, f"line {at}", f"is no table ({error})") from None
    _check(where, found)
    return found


def _text(data: bytes) -> str:
    """Decode a file, or its first bytes; ValueError where it is no text."""
    kind = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    text = data.decode(kind)
    if "\0" in text:
        raise ValueError("holds zero bytes")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _separator(header: str) -> str:
    return max(SEPARATORS, key=header.count)


def _cells(line: str, separator: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=separator))]
    except (csv.Error, StopIteration):
        return []


def _row(where: Path, names: Sequence[str], cells: Sequence[str], at: int) -> Row:
    if len(cells) != len(names):
        why = f"has {len(cells)} cells, the header has {len(names)}"
        raise DataError(where, f"line {at}", why)
    record = {key: cell.strip() for key, cell in zip(names, cells, strict=True)}
    read = _one_hot if is_one_hot(names) else _labelled
    return read(where, f"line {at}", record, at)


def _labelled(where: Path, line: str, record: dict[str, str], at: int) -> Row:
    image, lesion, dx = _image(where, line, record["image_id"]), record["lesion_id"], record["dx"]
    if dx not in CLASSES:
        raise DataError(where, line, f"{image} has dx {dx[:40]!r}: {_meant(dx)}")
    if not LESION.fullmatch(lesion):
        raise DataError(where, line, f"{lesion!r} is no lesion like HAM_0000118")
    return Row(image, lesion, dx, at)


def _one_hot(where: Path, line: str, record: dict[str, str], at: int) -> Row:
    image = _image(where, line, record["image"])
    values = {key.lower(): cell for key, cell in record.items() if key.lower() in CLASSES}
    try:
        marked = [dx for dx, cell in values.items() if float(cell) == 1]
        others = [dx for dx, cell in values.items() if float(cell) not in (0, 1)]
    except ValueError:
        marked, others = [], ["?"]
    if len(marked) != 1 or others:
        why = f"{image} has {', '.join(f'{dx} {cell}' for dx, cell in values.items())}"
        raise DataError(where, line, f"{why}: wanted is one 1 among 0s")
    return Row(image, "", marked[0], at)


def _image(where: Path, line: str, text: str) -> str:
    match = IMAGE.fullmatch(text)
    if not match:
        raise DataError(where, line, f"{text!r} is no image like ISIC_0027419")
    return f"ISIC_{match[1]}"


def _meant(dx: str) -> str:
    """Say which codes are wanted, and which one this name may stand for."""
    wanted = f"wanted is a code, one of {', '.join(CLASSES)}"
    plain = re.sub(r"[^a-z]", "", dx.lower())
    close = difflib.get_close_matches(plain, LONG, n=1, cutoff=0.85)
    code = plain if plain in CLASSES else LONG[close[0]] if close else ""
    if code:
        return f"{wanted}; this one probably means {code}"
    return f"{wanted}; it is no class of HAM10000, so this row was added by somebody"


def _check(where: Path, found: Sequence[Row]) -> None:
    """Raise DataError for an image that stands there twice, a lesion of two classes or names."""
    lines: dict[str, Row] = {}
    of: dict[int, Row] = {}
    for row in found:
        before = lines.setdefault(row.image, row)
        if before is not row:
            count = len({one.image for one in found})
            why = f"{row.image} stands in line {before.line} already"
            more = f" (the file has {len(found):,} rows of {count:,} images: take an unchanged one)"
            raise DataError(where, f"line {row.line}", why + more)
        # By its number, which is what a set keeps of a lesion.
        first = of.setdefault(number(row.lesion), row) if row.lesion else row
        if first.lesion != row.lesion:
            why = f"lesion {row.lesion} has the number of {first.lesion} in line {first.line}"
            raise DataError(where, f"line {row.line}", why)
        if first.dx != row.dx:
            why = f"lesion {row.lesion} has dx {row.dx}, but {first.dx} in line {first.line}"
            raise DataError(where, f"line {row.line}", why)


def differences(images: Sequence[Row]) -> list[str]:
    """Say in what images with their labels differ from all of HAM10000; nothing where they do not.

    Counted are the images, by number, those of each class, and the lesions.
    """
    lines = []
    here = {row.number for row in images}
    missing = [one for one in range(FIRST, LAST + 1) if one not in here]
    more = sorted(here - set(range(FIRST, LAST + 1)))
    total = LAST - FIRST + 1
    if missing:
        lines.append(f"{len(here) - len(more):,} of {total:,} images are there, {_listed(missing)}")
    if more:
        lines.append(f"{len(more):,} images are not of HAM10000: {_listed(more, '')}")
    counts = Counter(row.dx for row in images)
    lines += [
        f"{dx} {counts[dx]:,} of {wanted:,}"
        for dx, wanted in IMAGES.items()
        if counts[dx] != wanted
    ]
    lesions = len({row.lesion for row in images})
    if lesions != sum(LESIONS.values()):
        lines.append(f"{lesions:,} of {sum(LESIONS.values()):,} lesions")
    return lines


def _listed(numbers: Sequence[int], what: str = "missing ") -> str:
    shown = ", ".join(f"ISIC_{one:07d}" for one in numbers[:SHOWN])
    return f"{what}{shown}" + (", …" if len(numbers) > SHOWN else "")
