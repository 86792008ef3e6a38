"""The header of a cut: that of the file, less the segments that change no pixel.

Legend: an MCU is what is coded together, one or more blocks of each component.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dataprep.compiled import compiled

Array = npt.NDArray[Any]

_INT: Any = np.int64
# What a segment of the header is to a cut. APP0 and APP14 decide the colour space.
_KEEP, _SKIP, _FRAME, _RESTARTS, _SCAN = 1, 2, 3, 4, 5
_KINDS = np.zeros(256, np.uint8)
_KINDS[[0xC4, 0xDB, 0xE0, 0xEE]] = _KEEP
_KINDS[[*range(0xE1, 0xEE), 0xEF, 0xFE]] = _SKIP
_KINDS[0xC0:0xC2], _KINDS[0xDD], _KINDS[0xDA] = _FRAME, _RESTARTS, _SCAN


@compiled
def copy(source: Array, start: int, stop: int, out: Array, to: int) -> int:
    """Copy source[start:stop] to out[to:]; returns the place behind it."""
    one, two = source[start:stop], out[to : to + stop - start]
    for i in range(len(one)):
        two[i] = one[i]
    return to + stop - start


@compiled
def number(head: Array, at: int) -> Any:
    """Return the 16-bit number at byte `at`."""
    return _INT(head[at]) << 8 | _INT(head[at + 1])


@compiled
def _frame(head: Array, at: int, end: int) -> tuple[int, int, int, int]:
    """Return height and width of an MCU, and one chroma sample in pixels (0: not subsampled)."""
    parts = _INT(head[at + 9])
    if end - at != 10 + 3 * parts or (parts != 1 and parts != 3):
        return 0, 0, 0, 0
    if parts == 1:
        return 8, 8, 0, 0
    down, across, least_down, least_across = 1, 1, 4, 4
    for part in range(at + 10, end, 3):
        x, y = _INT(head[part + 1]) >> 4, _INT(head[part + 1]) & 15
        if (x != 1 and x != 2 and x != 4) or (y != 1 and y != 2 and y != 4):
            return 0, 0, 0, 0
        down, least_down = max(down, y), min(least_down, y)
        across, least_across = max(across, x), min(least_across, x)
    margin_y = down // least_down if down > least_down else 0
    margin_x = across // least_across if across > least_across else 0
    return 8 * down, 8 * across, margin_y, margin_x


@compiled
def _segment(head: Array, at: int) -> tuple[int, int]:
    """Return kind and end of the segment at byte `at`; kind 0 if it is damaged or out of place."""
    kind, end = _KINDS[head[at + 1]], at + 2 + number(head, at + 2)
    least = 10 if kind == _FRAME else 6 if kind == _RESTARTS else 4
    if head[at] != 0xFF or end < at + least or end > len(head):
        return 0, at
    return kind, end


@compiled
def copy_head(head: Array, out: Array) -> Any:
    """Copy what a cut needs of the header.

    Returns (place behind it, or -1, place of the frame in out, interval, frame).
    """
    at, to, place, interval, frame = 0, 0, 0, 0, (0, 0, 0, 0)
    if len(head) >= 2 and head[0] == 0xFF and head[1] == 0xD8:
        at = to = copy(head, 0, 2, out, 0)
    kind = _SKIP if at else 0
    while at + 4 <= len(head) and kind != 0 and kind != _SCAN:
        kind, end = _segment(head, at)
        if kind == _FRAME:
            kind = 0 if place else kind
            place, frame = to, _frame(head, at, end)
        if kind == _RESTARTS:
            interval = number(head, at + 4)
        if kind != _SKIP:
            to = copy(head, at, end, out, to)
        at = end
    if at != len(head) or kind != _SCAN or frame[0] == 0:
        return -1, 0, 0, frame
    return to, place, interval, frame
