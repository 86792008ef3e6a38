"""Decode a box of a JPEG with restart intervals straight to RGB, faster than libjpeg-turbo does.

For what the build writes (`dataprep.jpeg`): baseline, grey or YCbCr with chroma of full or half
resolution. The pixels are bit for bit those of libjpeg-turbo ("islow" DCT, "fancy" interpolation).
All else, and all that is irregular, is REFUSED: the caller then cuts the file (`loaders.cut`) and
lets libjpeg-turbo decide.

Legend: an interval is what lies between two restart markers; a row is a row of MCUs; the work is
memory that is reused, its first part as in `loaders.tables`; first and last are of intervals or
rows, both included.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dataprep.compiled import compiled
from loaders import box_head, intervals, tables
from loaders.box_head import ACROSS, DOWN, FACTS, HEIGHT, INTERVAL, PARTS, STEPS, WIDTH
from loaders.idct import idct
from loaders.planes import PAD_BYTES, paint
from loaders.vectors import BLOCK_BYTES, CHUNK, copy_plain

Array = npt.NDArray[Any]

REFUSED = -2000
# Rows of which the coefficients are held at once: two streams need several intervals.
_ROWS = 4
_INT: Any = np.int64
_U: Any = np.uint64


class Grid(NamedTuple):
    """What is decoded of an image, in MCUs and intervals, and where it lies in the work."""

    top: int  # rows
    bottom: int
    left: int  # columns of MCUs
    right: int
    first: int  # intervals of a row
    last: int
    across: int
    interval: int  # MCUs
    jobs: int  # bytes of the work
    clean: int
    blocks: int
    luma: int
    chroma: int
    second: int
    lines: int
    stride: int
    stride2: int


@compiled
def work_bytes(body_bytes: int, h: int, w: int, width: int) -> int:
    """Return how many bytes of work suffice for rows of so many bytes and a box of (h, w)."""
    rows, columns = h // 8 + 8, w // 8 + 8
    jobs = rows * (columns + 2) * intervals.JOB_BYTES
    clean = body_bytes + intervals.BEYOND + 8 * CHUNK
    # An MCU has at most 64 bytes of coefficients for each of its columns of pixels.
    blocks = _ROWS * 64 * (width + 32)
    planes = 3 * (64 * rows * columns + PAD_BYTES * (8 * rows + 4))
    return tables.FIXED_BYTES + jobs + clean + blocks + planes + 4 * (w + PAD_BYTES) + 512


@compiled
def _place(facts: Array, y: int, x: int, h: int, w: int, body_bytes: int) -> Any:
    """Return the grid that covers a box with its margin of one chroma sample."""
    down, across, interval = facts[DOWN], facts[ACROSS], facts[INTERVAL]
    tall, wide = 8 * down, 8 * across
    margin_y, margin_x = (2 if down == 2 else 0), (2 if across == 2 else 0)
    top, bottom = max(y - margin_y, 0) // tall, (min(y + h + margin_y, facts[HEIGHT]) - 1) // tall
    left, right = max(x - margin_x, 0) // wide, (min(x + w + margin_x, facts[WIDTH]) - 1) // wide
    columns, rows = right - left + 1, bottom - top + 1
    first, last = left // interval, right // interval
    per_row = (facts[WIDTH] + wide - 1) // wide // interval
    parts = facts[PARTS] - 1 + down * across
    stride, stride2 = columns * wide + PAD_BYTES, columns * 8 + PAD_BYTES
    jobs = tables.FIXED_BYTES
    blocks = jobs + rows * (last - first + 1) * intervals.JOB_BYTES + 63 & -64
    luma = blocks + _ROWS * (last - first + 1) * interval * parts * BLOCK_BYTES + PAD_BYTES
    chroma = luma + rows * tall * stride + 2 * PAD_BYTES
    second = chroma + (rows * 8 * stride2 + 2 * PAD_BYTES if facts[PARTS] > 1 else 0)
    lines = second + (rows * 8 * stride2 + 2 * PAD_BYTES if facts[PARTS] > 1 else 0)
    clean = lines + 2 * (w + PAD_BYTES)
    grid = Grid(
        top, bottom, left, right, first, last, per_row, interval,
        jobs, clean, blocks, luma, chroma, second, lines, stride, stride2,
    )  # fmt: skip
    return grid, clean + body_bytes + intervals.BEYOND + 2 * CHUNK


@compiled
def _copy_clean(body: Array, at: int, end: int, work: Array, to: int) -> tuple[int, int]:
    """Copy entropy data up to a marker without stuffing; returns (the marker or end, to).

    -1 instead of the marker where a byte of one is missing.
    """
    source, target = _INT(body.ctypes.data), _INT(work.ctypes.data)
    while at < end:
        if at + CHUNK <= len(body):
            many = min(_INT(copy_plain(_U(source + at), _U(target + to))), end - at)
            at, to = at + many, to + many
            if many == CHUNK or at == end:
                continue
        elif body[at] != 0xFF:
            work[to] = body[at]
            at, to = at + 1, to + 1
            continue
        if at + 1 == end:
            return -1, to
        if body[at + 1] != 0:
            return at, to
        work[to] = 0xFF
        at, to = at + 2, to + 1
    return end, to


@compiled
def _is_marker(body: Array, at: int, which: int) -> bool:
    return bool(body[at] == 0xFF and body[at + 1] == 0xD0 + (which & 7))


@compiled
def _add_row(
    body: Array, at: int, end: int, row: int, grid: Any, parts: int, work: Array, to: int
) -> int:
    """Copy the intervals of one row and add them to the jobs; returns the place behind, or -1."""
    many = grid.last - grid.first + 1
    base = _INT(work.ctypes.data)
    for k in range(grid.last + 1):
        start = to
        at, to = _copy_clean(body, at, end, work, to)
        if at < 0 or (at == end) != (k == grid.across - 1):
            return -1
        if at < end and not _is_marker(body, at, row * grid.across + k):
            return -1
        at += 2
        if k < grid.first:
            to = start
            continue
        number = (row - grid.top) * many + k - grid.first
        place = grid.jobs + number * intervals.JOB_BYTES
        job = work[place : place + intervals.JOB_BYTES].view(np.int64)
        mcus = min(grid.interval, grid.right + 1 - k * grid.interval)
        job[0], job[1], job[2] = base + start, base + to, mcus * parts
        held = ((row - grid.top) % _ROWS * many + k - grid.first) * grid.interval * parts
        job[3] = base + grid.blocks + held * BLOCK_BYTES
        job[4] = mcus == grid.interval
    return to


@compiled
def _add_rows(
    body: Array, starts: Array, first_row: int, down: int, grid: Any, parts: int, work: Array
) -> bool:
    """Make the jobs of all rows; False where offsets or markers are not what they should be."""
    origin, to = _INT(starts[-1]) - len(body), grid.clean
    for row in range(grid.top, grid.bottom + 1):
        begin = _INT(starts[row - first_row]) - origin
        end = _INT(starts[row - first_row + 1]) - origin
        if begin < 0 or end < begin or end > len(body):
            return False
        if begin >= 2 and row > 0 and not _is_marker(body, begin - 2, row * grid.across - 1):
            return False
        if row < down - 1:
            end -= 2
            if end < begin or not _is_marker(body, end, (row + 1) * grid.across - 1):
                return False
        if to + end - begin + CHUNK > len(work):
            return False
        to = _add_row(body, begin, end, row, grid, parts, work, to)
        if to < 0:
            return False
    return True


@compiled
def _transform(
    facts: Array, grid: Any, row: int, top: int, bottom: int, base: int, parts: int
) -> None:
    """Turn one row's coefficients into samples; of luma only what touches pixels top:bottom."""
    down, across = facts[DOWN], facts[ACROSS]
    row_mcus = (grid.last - grid.first + 1) * grid.interval
    held = (row - grid.top) % _ROWS * row_mcus + grid.left - grid.first * grid.interval
    for block in range(parts):
        part = max(block - (parts - facts[PARTS]), 0)
        y, x = (block // across, block % across) if part == 0 else (0, 0)
        tall, wide = (down, across) if part == 0 else (1, 1)
        line = 8 * (row * tall + y)
        if part == 0 and (line + 8 <= top or line >= bottom):
            continue
        stride = grid.stride if part == 0 else grid.stride2
        plane = grid.luma if part == 0 else grid.chroma if part == 1 else grid.second
        out = base + plane + (line - 8 * grid.top * tall) * stride + 8 * x
        steps = base + tables.STEPS + 128 * facts[STEPS + part]
        source = base + grid.blocks + (held * parts + block) * BLOCK_BYTES
        for _column in range(grid.right - grid.left + 1):
            idct(_U(source), _U(steps), _U(out), _U(stride))
            source += parts * BLOCK_BYTES
            out += 8 * wide


@compiled
def _samples(facts: Array, grid: Any, y: int, h: int, parts: int, work: Array) -> bool:
    """Decode all jobs to planes; False where one is damaged."""
    base, many = _INT(work.ctypes.data), grid.last - grid.first + 1
    queue = work[tables.QUEUE : tables.QUEUE + 16].view(np.int64)
    for row in range(grid.top, grid.bottom + 1, _ROWS):
        stop = min(row + _ROWS, grid.bottom + 1)
        queue[0], queue[1] = (row - grid.top) * many, (stop - grid.top) * many
        if intervals.decode(_U(base), _U(base + grid.jobs)) != intervals.DONE:
            return False
        for one in range(row, stop):
            _transform(facts, grid, one, y, y + h, base, parts)
    return True


@compiled
def _is_known(facts: Array, box: Any, size: Any) -> bool:
    """Tell whether the box can be decoded here: its size, its interval, enough chroma."""
    y, x, h, w = box
    height, width = facts[HEIGHT], facts[WIDTH]
    if height != size[0] or width != size[1] or min(y, x, h - 1, w - 1) < 0:
        return False
    if y + h > height or x + w > width or facts[INTERVAL] == 0:
        return False
    # libjpeg-turbo does not interpolate chroma that is less than 3 samples wide.
    if facts[ACROSS] == 2 and width < 5:
        return False
    wide = 8 * facts[ACROSS]
    return bool((width + wide - 1) // wide % facts[INTERVAL] == 0)


@compiled
def decode_box(
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
    work: Array,
    out: Array,
) -> int:
    """Decode the box (y, x, h, w) to out[: h × w × 3], rows of RGB; returns 0, or REFUSED.

    head, body, starts, first_row, height and width are as for `cut.assemble`. The work must hold
    `work_bytes`, otherwise the box is refused. out is undefined where it is.
    """
    if len(starts) < 2 or first_row < 0 or len(work) < tables.FIXED_BYTES or len(out) < h * w * 3:
        return REFUSED
    lead = len(body) - (_INT(starts[-1]) - _INT(starts[0]))
    if (lead != 0 and lead != 2) or (first_row == 0 and starts[0] != len(head)):
        return REFUSED
    facts = np.empty(FACTS, np.int64)
    if not box_head.read_head(head, work, facts):
        return REFUSED
    if not _is_known(facts, (y, x, h, w), (height, width)):
        return REFUSED
    grid, room = _place(facts, y, x, h, w, len(body))
    if room > len(work) or grid.top < first_row or grid.bottom > first_row + len(starts) - 2:
        return REFUSED
    parts = facts[PARTS] - 1 + facts[DOWN] * facts[ACROSS]
    tall = 8 * facts[DOWN]
    if not _add_rows(body, starts, first_row, (height + tall - 1) // tall, grid, parts, work):
        return REFUSED
    if not _samples(facts, grid, y, h, parts, work):
        return REFUSED
    paint(facts, grid, (y, x, h, w), work, out)
    return 0
