"""CSV files of images: a header `label,pixel0,pixel1…`, then a line of whole numbers an image.

Read in pieces, plain or gzip, so that what is held beside the pixels stays small.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from dataprep.manifest import DataError
from dataprep.raw import Raw

Array = npt.NDArray[Any]

PIECE_BYTES = 1 << 24
LABEL = "label"
BOM = b"\xef\xbb\xbf"
# Characters of a cell that an error shows; digits of a number that is looked at.
SHOWN, MOST_DIGITS = 20, 18
# No line is longer, with so many bytes for each of its columns.
LINE_BYTES, CELL_BYTES = 1 << 16, 32


def read(
    raw: Raw, name: str, pixels: int, hints: Mapping[int, str] | None = None
) -> tuple[Array, Array]:
    """Return labels (N,) int64 and pixels (N, pixels) uint8.

    hints: what to do with files of other numbers of pixels. DataError, naming the line, where there
    is no such header, a line has another number of columns, a cell is no whole number, a pixel is
    above 255, a line is longer than a good one can be, or the file is cut short.
    """
    found: list[tuple[Array, Array]] = []
    header: list[str] = []
    lines = 1
    try:
        for piece in _pieces(raw, name, _longest(pixels + 1)):
            if not header:
                first, _, piece = piece.partition(b"\n")
                header = _header(first, pixels, hints or {})
            rows = _rows(piece, header, lines)
            found.append(rows)
            lines += len(rows[0])
    except _Wrong as error:
        key = f"{name} line {error.line}" if error.line else name
        raise DataError(raw.path, key, str(error)) from None
    if not header:
        raise DataError(raw.path, name, f"is empty; wanted is a header {LABEL},pixel0,pixel1…")
    return np.concatenate([rows[0] for rows in found]), np.concatenate([rows[1] for rows in found])


class _Wrong(Exception):
    """What is wrong with a line, 0 for the file as a whole."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(why)
        self.line = line


def _longest(columns: int) -> int:
    """Return the most bytes of a line; a good one takes at most 19 a column."""
    return max(LINE_BYTES, CELL_BYTES * columns)


def _pieces(raw: Raw, name: str, longest: int) -> Iterator[bytes]:
    """Yield the text in pieces of whole lines; blank ones at the end are left out.

    The last is the beginning of a line that is too long, where there is one.
    """
    rest, blank = b"", b""
    with raw.open(name) as file:
        for data in _unpacked(file):
            text, newline, end = (rest + data).rpartition(b"\n")
            rest = end
            if text or newline:
                whole = blank + text + newline
                kept = whole.rstrip(b"\r\n")
                # Blank lines are wrong in the middle alone: held back until another line follows.
                if kept:
                    blank = whole[len(kept) :]
                    ending = blank.index(b"\n") + 1
                    yield kept + blank[:ending]
                    blank = blank[ending:]
                else:
                    blank = whole
                # The first is named: of the others nothing is held.
                blank = blank[: blank.find(b"\n") + 1]
            if len(rest) > longest:
                break
    if rest.strip(b"\r") or len(rest) > longest:
        yield blank + rest + b"\n"


def _unpacked(file: BinaryIO) -> Iterator[bytes]:
    is_gzip = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    stream = gzip.GzipFile(fileobj=file) if is_gzip else file
    try:
        while data := stream.read(PIECE_BYTES):
            yield data
    except EOFError:
        raise _Wrong(0, "is cut short: the gzip stream has no end") from None
    except (OSError, zlib.error) as error:
        raise _Wrong(0, f"cannot be read ({error})") from None


def _header(line: bytes, pixels: int, hints: Mapping[int, str]) -> list[str]:
    """Return the names of the columns."""
    text = _text(line)
    first, columns = _name(text.partition(",")[0]), text.count(",") + 1
    if first.lower() != LABEL:
        why = f"begins with {first[:SHOWN]!r}; wanted is a header {LABEL},pixel0,pixel1…"
        raise _Wrong(1, why)
    if columns != pixels + 1:
        hint = hints.get(columns - 1, "")
        raise _Wrong(1, f"has {columns:,} columns, not {pixels + 1:,}{hint and ': '}{hint}")
    return [_name(cell) for cell in text.split(",")]


def _name(cell: str) -> str:
    return cell.strip().strip('"')


def _rows(text: bytes, header: list[str], lines: int) -> tuple[Array, Array]:
    """Return labels and pixels of some lines; `lines` come before them."""
    # Imported here: numba takes a second, and most commands do without.
    from dataprep.csv_rows import parse

    flat = np.frombuffer(text, np.uint8)
    # A good line has a digit and a separator a column: of shorter ones the first bad one is met
    # before there are so many.
    count = min(int((flat == ord("\n")).sum()), len(text) // (2 * len(header)) + 1)
    labels, pixels = np.empty(count, np.int64), np.empty((count, len(header) - 1), np.uint8)
    done, at = parse(flat, labels, pixels)
    if done < count:
        line = text[at : text.index(b"\n", at)]
        raise _Wrong(lines + done + 1, _why(_text(line).removesuffix("\r"), header))
    return labels, pixels


def _why(line: str, header: list[str]) -> str:
    """Say what is wrong with a line that is known to be bad."""
    longest, columns = _longest(len(header)), line.count(",") + 1
    if len(line) > longest:
        return f"is longer than {longest:,} characters"
    if columns != len(header):
        return f"has {columns:,} {'column' if columns == 1 else 'columns'}, not {len(header):,}"
    for i, (cell, column) in enumerate(zip(line.split(","), header, strict=True)):
        is_whole = cell.isascii() and cell.isdigit()
        if not is_whole or (i and (len(cell) > MOST_DIGITS or int(cell) > 255)):
            limit = " from 0 to 255" if i else ""
            return f"{column} is {cell[:SHOWN]!r}, not a whole number{limit}"
    return "has a label that is too large"


def _text(line: bytes) -> str:
    return line.removeprefix(BOM).decode(errors="replace").rstrip("\r")
