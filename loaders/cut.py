"""Cut a box out of a JPEG with restart intervals: a small valid JPEG of the intervals around it.

The header is copied without the segments that change no pixel, its size is patched, the covering
intervals follow with their restart markers numbered anew. A margin of one chroma sample keeps the
pixels inside the box what a full decode gives (libjpeg-turbo interpolates chroma from the nearest
neighbours). Nothing is trusted: a mangled file or index gives an error code, never an access out of
bounds. Compiled, without the GIL; the engine calls `rows_needed`, reads those rows, and calls
`assemble` on buffers of its own.

Legend: an interval is what lies between two restart markers; a row is a row of MCUs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import types

from dataprep import jpeg
from dataprep.compiled import compiled
from loaders.cut_header import copy, copy_head, number

Array = npt.NDArray[Any]
Box = tuple[int, int, int, int]

# Found by LLVM among the process's own symbols, so the compiled kernels can be cached on disk.
_SIGNATURE = types.uintp(types.uintp, types.int32, types.uintp)
_memchr: Any = types.ExternalFunction("memchr", _SIGNATURE)
_INT: Any = np.int64

_HEAD, _SIZE, _INTERVAL, _ROWS, _OFFSETS, _MARKERS, _BOX, _BUFFER = range(-1, -9, -1)
_REASONS = {
    _HEAD: "the JPEG's header is damaged",
    _SIZE: "the JPEG's header gives another size than the index",
    _INTERVAL: "the JPEG's restart interval does not divide its rows",
    _ROWS: "the rows at hand do not cover the box",
    _OFFSETS: "the index gives row offsets that cannot be true",
    _MARKERS: "restart markers are missing, or not where the index says",
    _BOX: "the box is not inside the image",
    _BUFFER: "the output buffer is too small",
}


class Cut(NamedTuple):
    """A small JPEG of (height, width), in which the box starts at (top, left)."""

    data: bytes
    top: int
    left: int
    height: int
    width: int


def explain(code: int) -> str:
    """Return the reason for a negative length from `assemble`."""
    return _REASONS.get(code, f"unknown error {code}")


def crop(data: bytes, rows: Array, box: Box) -> Cut:
    """Cut a box (y, x, h, w), in stored pixels, out of a file with its row offsets.

    rows is as in `jpeg.Restarted`; where it is empty, the whole file is returned. ValueError says
    what is wrong with the file, the offsets or the box.
    """
    height, width = jpeg.size(data)
    if not len(rows):
        return Cut(data, box[0], box[1], height, width)
    offsets = np.asarray(rows, np.int64)
    if min(box) < 0 or min(box[2:]) < 1 or box[0] + box[2] > height or box[1] + box[3] > width:
        raise ValueError(explain(_BOX))
    first, last = rows_needed(height, len(rows) - 1, box[0], box[0] + box[2])
    if first < 0 or offsets.min() < 2 or offsets.max() > len(data):
        raise ValueError(explain(_OFFSETS))
    head = np.frombuffer(data[: offsets[0]], np.uint8).copy()
    body = np.frombuffer(data[offsets[first] - 2 : offsets[last + 1]], np.uint8).copy()
    out = np.empty(len(head) + len(body) + 2, np.uint8)
    length, *place = assemble(
        head, body, offsets[first : last + 2], first, *box, height, width, out
    )
    if length < 0:
        raise ValueError(explain(length))
    return Cut(out[:length].tobytes(), *place)


@compiled
def rows_needed(height: int, rows: int, top: int, bottom: int) -> tuple[int, int]:
    """Return the first and last row that a box from top to bottom needs, with its margin.

    rows is how many the image has, one less than its offsets. (-1, -1) where no height of a row
    gives so many, or the box is not inside the image.
    """
    if rows < 1 or top < 0 or top >= bottom or bottom > height:
        return -1, -1
    if rows == 1:
        return 0, 0
    for mcu in (8, 16, 32):
        if (height + mcu - 1) // mcu == rows:
            # A chroma sample is at most that many pixels high.
            return _cover(top, bottom, mcu // 8 if mcu > 8 else 0, height, mcu)
    return -1, -1


@compiled
def _cover(start: int, stop: int, margin: int, size: int, step: int) -> tuple[int, int]:
    """Return the first and last step that covers start:stop, with a margin inside the image."""
    return max(start - margin, 0) // step, (min(stop + margin, size) - 1) // step


@compiled
def _find(body: Array, at: int, end: int, which: int) -> int:
    """Return where the next marker is, which must be RST `which`; -1 if another, `end` if none."""
    address = body.ctypes.data
    while at < end - 1:
        found = _memchr(address + np.uintp(at), np.int32(0xFF), np.uintp(end - 1 - at))
        if found == 0:
            return end
        at = _INT(found - address)
        if body[at + 1] != 0:
            return at if body[at + 1] == 0xD0 + (which & 7) else -1
        at += 2
    return end


@compiled
def _copy_row(
    body: Array, begin: int, end: int, which: int, span: Any, out: Array, to: int, fresh: int
) -> int:
    """Copy some intervals of the row body[begin:end]; returns the place behind them, or an error.

    span is (first interval, last interval, intervals of a row); which is that of the row's first
    own marker in the file, fresh the one to write in its place.
    """
    first, last, across = span
    at = start = begin
    # Markers inside of what is copied, to be numbered anew behind the copying.
    inside = np.empty(last - first + 1, np.int64)
    for k in range(last + 1):
        if k == first:
            start = at
        found = _find(body, at, end, which + k)
        if found < 0 or (found == end) != (k == across - 1):
            return _MARKERS
        if k >= first:
            inside[k - first] = found
        at = found + 2
    shift = to - start
    to = copy(body, start, inside[last - first], out, to)
    for k in range(last - first):
        out[inside[k] + shift + 1] = 0xD0 + (fresh + k & 7)
    return to


@compiled
def _is_marker(body: Array, at: int, which: int) -> bool:
    return bool(body[at] == 0xFF and body[at + 1] == 0xD0 + (which & 7))


@compiled
def _copy_rows(
    body: Array, starts: Array, first_row: int, rows: Any, span: Any, out: Array, to: int
) -> int:
    """Copy rows (first, last, of the image), of each the intervals `span`; see `_copy_row`."""
    first, last, down = rows
    across, fresh = span[2], 0
    origin = _INT(starts[-1]) - len(body)
    for row in range(first, last + 1):
        begin = _INT(starts[row - first_row]) - origin
        end = _INT(starts[row - first_row + 1]) - origin
        if begin < 0 or end < begin or end > len(body):
            return _OFFSETS
        if begin >= 2 and row > 0 and not _is_marker(body, begin - 2, row * across - 1):
            return _MARKERS
        if row < down - 1:
            end -= 2
            if end < begin or not _is_marker(body, end, (row + 1) * across - 1):
                return _MARKERS
        if fresh:
            out[to], out[to + 1] = 0xFF, 0xD0 + (fresh - 1 & 7)
            to += 2
        to = _copy_row(body, begin, end, row * across, span, out, to, fresh)
        if to < 0:
            return to
        fresh += span[1] - span[0] + 1
    return to


@compiled
def _wrong(head: Array, body: Array, starts: Array, first_row: int, box: Any, size: Any) -> int:
    """Return the error of arguments that do not fit together, 0 if they do."""
    y, x, h, w = box
    if min(y, x, h - 1, w - 1) < 0 or y + h > size[0] or x + w > size[1]:
        return _BOX
    if len(starts) < 2 or first_row < 0:
        return _ROWS
    lead = len(body) - (_INT(starts[-1]) - _INT(starts[0]))
    if (lead != 0 and lead != 2) or (first_row == 0 and starts[0] != len(head)):
        return _OFFSETS
    return 0


@compiled
def _window(frame: Any, interval: int, box: Any, size: Any) -> Any:
    """Return (first, last, number) of the rows and of a row's intervals that the box needs.

    The number of intervals is 0 where they do not divide a row.
    """
    (mcu_y, mcu_x, margin_y, margin_x), (y, x, h, w), (height, width) = frame, box, size
    across = (width + mcu_x - 1) // mcu_x
    if interval == 0 or across % interval:
        return (0, 0, 0), (0, 0, 0)
    top, bottom = _cover(y, y + h, margin_y, height, mcu_y)
    step = interval * mcu_x
    first, last = _cover(x, x + w, margin_x, width, step)
    # libjpeg-turbo does not interpolate chroma that is less than 3 samples wide.
    if first and width - first * step <= 2 * margin_x:
        first -= 1
    return (top, bottom, (height + mcu_y - 1) // mcu_y), (first, last, across // interval)


@compiled
def assemble(
    head: Array,
    body: Array,
    starts: Array,
    first_row: int,
    y: int,
    x: int,
    h: int,
    w: int,
    height: int,
    width: int,
    out: Array,
) -> tuple[int, int, int, int, int]:
    """Write a small JPEG to out; returns (length, top, left, height, width), see `Cut`.

    head is the file up to the end of the first scan's header, body its rows from `first_row` on,
    with or without the 2 bytes before them (with: their marker is checked as well), starts the
    offsets of those rows in the file and the end of the last; height and width are those of the
    whole image. out must hold len(head) + len(body) + 2 bytes. A negative length is an error.
    """
    if len(out) < len(head) + len(body) + 2:
        return _BUFFER, 0, 0, 0, 0
    error = _wrong(head, body, starts, first_row, (y, x, h, w), (height, width))
    to, place, interval, frame = copy_head(head, out)
    if error < 0 or to < 0:
        return min(error, to), 0, 0, 0, 0
    size = out[place + 5 : place + 9]
    if number(size, 0) != height or number(size, 2) != width:
        return _SIZE, 0, 0, 0, 0
    rows, span = _window(frame, interval, (y, x, h, w), (height, width))
    if span[2] == 0:
        return _INTERVAL, 0, 0, 0, 0
    if rows[0] < first_row or rows[1] > first_row + len(starts) - 2:
        return _ROWS, 0, 0, 0, 0
    to = _copy_rows(body, starts, first_row, rows, span, out, to)
    if to < 0:
        return to, 0, 0, 0, 0
    out[to], out[to + 1] = 0xFF, 0xD9
    top, left = rows[0] * frame[0], span[0] * interval * frame[1]
    cut_h = min((rows[1] + 1) * frame[0], height) - top
    cut_w = min((span[1] + 1) * interval * frame[1], width) - left
    size[0], size[1], size[2], size[3] = cut_h >> 8, cut_h & 255, cut_w >> 8, cut_w & 255
    return to + 2, y - top, x - left, cut_h, cut_w
