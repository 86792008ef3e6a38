"""From planes of samples to rows of RGB: neighbours beyond edges, chroma, colours, line by line."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dataprep.compiled import compiled
from loaders import tables
from loaders.box_head import ACROSS, DOWN, HEIGHT, PARTS, WIDTH
from loaders.colour import LANES, PIXEL_BYTES, across, both, down, grey, rgb

Array = npt.NDArray[Any]

# Between the rows of a plane: the first column has a left neighbour, vectors read beyond the end.
PAD_BYTES = 64
_INT: Any = np.int64
_U: Any = np.uint64


@compiled
def _mend(facts: Array, grid: Any, plane: int, work: Array) -> None:
    """Repeat the first and the last sample of each chroma row where the image ends there."""
    columns = (facts[WIDTH] + 1) // 2 - 8 * grid.left
    ends = columns <= 8 * (grid.right - grid.left + 1)
    for row in range(8 * (grid.bottom - grid.top + 1)):
        start = plane + row * grid.stride2
        if grid.left == 0:
            work[start - 1] = work[start]
        if ends:
            work[start + columns] = work[start + columns - 1]


@compiled
def _line(facts: Array, grid: Any, plane: int, y: int, x: int, w: int, out: int) -> Any:
    """Return the address of a chroma line for pixels x:x+w of row y; it is `out` where computed."""
    left = x - 8 * facts[ACROSS] * grid.left
    if facts[DOWN] == 1:
        row = plane + (y - 8 * grid.top) * grid.stride2
        if facts[ACROSS] == 1:
            return row + left
        for i in range(0, (w + (left & 1) + 1) // 2, LANES // 2):
            across(_U(row + left // 2 + i), _U(out + 2 * i))
        return out + (left & 1)
    last = (facts[HEIGHT] + 1) // 2 - 1
    near, far = y >> 1, min(max((y >> 1) + 2 * (y & 1) - 1, 0), last)
    row = plane + (near - 8 * grid.top) * grid.stride2
    row2 = plane + (far - 8 * grid.top) * grid.stride2
    if facts[ACROSS] == 1:
        for i in range(0, w, LANES):
            down(_U(row + left + i), _U(row2 + left + i), _U(1 + (y & 1)), _U(out + i))
        return out
    for i in range(0, (w + (left & 1) + 1) // 2, LANES // 2):
        both(_U(row + left // 2 + i), _U(row2 + left // 2 + i), _U(out + 2 * i))
    return out + (left & 1)


@compiled
def _end(place: int, size: int, spare: int, work: Array, out: Array) -> None:
    for i in range(size):
        out[place + i] = work[spare + i]


@compiled
def paint(facts: Array, grid: Any, box: Any, work: Array, out: Array) -> None:
    """Write the box as rows of RGB. A vector may reach into the next row, which comes later."""
    y0, x0, h, w = box
    base, target, parts = _INT(work.ctypes.data), _INT(out.ctypes.data), facts[PARTS]
    if parts == 3 and facts[ACROSS] == 2:
        _mend(facts, grid, grid.chroma, work)
        _mend(facts, grid, grid.second, work)
    room = len(out) - LANES * PIXEL_BYTES
    column = x0 - 8 * facts[ACROSS] * grid.left
    for y in range(y0, y0 + h):
        luma = base + grid.luma + (y - 8 * facts[DOWN] * grid.top) * grid.stride + column
        cb = cr = luma
        if parts == 3:
            line = base + grid.lines
            cb = _line(facts, grid, base + grid.chroma, y, x0, w, line)
            line += w + PAD_BYTES
            cr = _line(facts, grid, base + grid.second, y, x0, w, line)
        for x in range(0, w, LANES):
            place = ((y - y0) * w + x) * PIXEL_BYTES
            to = target + place if place <= room else base + tables.SPARE
            if parts == 3:
                rgb(_U(luma + x), _U(cb + x), _U(cr + x), _U(to))
            else:
                grey(_U(luma + x), _U(to))
            if place > room:
                _end(place, min(LANES, w - x) * PIXEL_BYTES, tables.SPARE, work, out)
