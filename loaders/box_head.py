"""The header of a JPEG as the decoder of boxes needs it: tables into the work, facts into an array.

Only what the decoder knows is taken, all else is refused and left to libjpeg-turbo. Nothing is
trusted; the arrays are checked by numba where NUMBA_BOUNDSCHECK is set.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dataprep.compiled import compiled
from loaders import tables

Array = npt.NDArray[Any]

# Places in the facts: size, components, MCU in blocks, restart interval; of each component its
# name and quantisation table; which quantisation and Huffman tables there are, as bits.
HEIGHT, WIDTH, PARTS, DOWN, ACROSS, INTERVAL = range(6)
NAMES, STEPS, _KNOWN_STEPS, _KNOWN_SLOTS = 6, 9, 12, 13
FACTS = 14

_FRAMES, _DHT, _SOS, _DQT, _DRI, _ADOBE = (0xC0, 0xC1), 0xC4, 0xDA, 0xDB, 0xDD, 0xEE
_COMMENT, _FIRST_APP, _LAST_APP = 0xFE, 0xE0, 0xEF
_ADOBE_BYTES, _ADOBE_YCC = 12, 1
_JFIF = 0x4A46, 0x4946
_RGB_NAMES = 82, 71, 66
_INT: Any = np.int64


@compiled
def _number(head: Array, at: int) -> Any:
    return _INT(head[at]) << 8 | _INT(head[at + 1])


@compiled
def _frame(head: Array, at: int, end: int, facts: Array) -> bool:
    """Take the frame's segment: 8 bits, grey or YCbCr with chroma of full or half resolution."""
    if facts[PARTS] or end - at < 10 or head[at + 4] != 8:
        return False
    facts[HEIGHT], facts[WIDTH] = _number(head, at + 5), _number(head, at + 7)
    facts[PARTS] = parts = _INT(head[at + 9])
    if end - at != 10 + 3 * parts or (parts != 1 and parts != 3):
        return False
    for part in range(parts):
        place = at + 10 + 3 * part
        facts[NAMES + part], facts[STEPS + part] = head[place], head[place + 2]
        across, down = _INT(head[place + 1]) >> 4, _INT(head[place + 1]) & 15
        if parts == 1:  # its blocks come one by one, whatever the factors
            across, down = (0, 0) if min(across, down) < 1 or max(across, down) > 4 else (1, 1)
        if part == 0:
            facts[ACROSS], facts[DOWN] = across, down
        elif across != 1 or down != 1:
            return False
        if across < 1 or across > 2 or down < 1 or down > 2 or head[place + 2] > 3:
            return False
    # libjpeg takes components with these names for RGB.
    return bool(
        facts[NAMES] != _RGB_NAMES[0]
        or facts[NAMES + 1] != _RGB_NAMES[1]
        or facts[NAMES + 2] != _RGB_NAMES[2]
    )


@compiled
def _steps(head: Array, at: int, end: int, work: Array, facts: Array) -> bool:
    """Take quantisation tables of 8 bits, into the order of rows."""
    while at < end:
        if head[at] > 3 or at + 65 > end:
            return False
        place = tables.STEPS + 128 * _INT(head[at])
        table = work[place : place + 128].view(np.int16)
        for k in range(64):
            table[work[tables.ORDER + k]] = head[at + 1 + k]
        facts[_KNOWN_STEPS] |= 1 << head[at]
        at += 65
    return True


@compiled
def _codes(head: Array, at: int, end: int, work: Array, facts: Array) -> bool:
    """Take Huffman tables."""
    while at < end:
        if at + 17 > end or head[at] & 0xEC:
            return False
        slot = _INT(head[at]) >> 4 << 2 | _INT(head[at]) & 3
        count = 0
        for length in range(16):
            count += _INT(head[at + 1 + length])
        if count < 1 or count > 256 or at + 17 + count > end:
            return False
        for i in range(at + 17, at + 17 + count):
            if slot < 4 and head[i] > 15:  # libjpeg takes no such table, used or not
                return False
        if not tables.learn(slot, head[at + 1 : at + 17], head[at + 17 : at + 17 + count], work):
            return False
        facts[_KNOWN_SLOTS] |= 1 << slot
        at += 17 + count
    return True


@compiled
def _plan(work: Array, block: int, part: int, slots: int, following: int) -> None:
    """Write the plan of one block of an MCU; slots is as in the scan's header."""
    base = _INT(work.ctypes.data)
    place = tables.PLAN + tables.PLAN_BYTES * block
    plan = work[place : place + tables.PLAN_BYTES].view(np.int64)
    plan[0] = part
    plan[1] = base + tables.ENTRIES + tables.ENTRIES_BYTES * (slots >> 4)
    plan[2] = base + tables.ENTRIES + tables.ENTRIES_BYTES * (4 + (slots & 15))
    plan[3] = base + tables.PLAN + tables.PLAN_BYTES * following


@compiled
def _scan(head: Array, at: int, end: int, work: Array, facts: Array) -> bool:
    """Take the scan's header, which must be that of a whole baseline image."""
    parts = facts[PARTS]
    if parts == 0 or end - at != 8 + 2 * parts or head[at + 4] != parts:
        return False
    if head[end - 3] != 0 or head[end - 2] != 63 or head[end - 1] != 0:
        return False
    blocks = parts - 1 + facts[ACROSS] * facts[DOWN]
    for block in range(blocks):
        part = max(block - (blocks - parts), 0)
        name, slots = head[at + 5 + 2 * part], _INT(head[at + 6 + 2 * part])
        known = 1 << (slots >> 4) | 16 << (slots & 15)
        if name != facts[NAMES + part] or slots & 0xCC or facts[_KNOWN_SLOTS] & known != known:
            return False
        if not facts[_KNOWN_STEPS] >> facts[STEPS + part] & 1:
            return False
        _plan(work, block, part, slots, (block + 1) % blocks)
    return True


@compiled
def _segment(head: Array, at: int, end: int, work: Array, facts: Array) -> bool:
    """Take one segment; False where it is not known."""
    marker = head[at + 1]
    if marker == _DQT:
        return _steps(head, at + 4, end, work, facts)
    if marker == _DHT:
        return _codes(head, at + 4, end, work, facts)
    if marker == _FRAMES[0] or marker == _FRAMES[1]:
        return _frame(head, at, end, facts)
    if marker == _DRI:
        if end - at != 6:
            return False
        facts[INTERVAL] = _number(head, at + 4)
        return True
    if marker == _ADOBE:  # who wrote RGB says so there
        return bool(end - at >= 4 + _ADOBE_BYTES and head[at + 15] == _ADOBE_YCC)
    if marker == _FIRST_APP and end - at >= 10 and _number(head, at + 4) == _JFIF[0]:
        # libjpeg warns of other versions.
        return bool(_number(head, at + 6) != _JFIF[1] or head[at + 9] == 1)
    return bool(marker == _COMMENT or _FIRST_APP <= marker <= _LAST_APP)


@compiled
def read_head(head: Array, work: Array, facts: Array) -> bool:
    """Read a header that ends with that of the scan; False where the file is not of the known kind.

    facts (FACTS,) int64 are at the places above.
    """
    facts[:] = 0
    tables.prepare(work)
    if len(head) < 2 or head[0] != 0xFF or head[1] != 0xD8:
        return False
    at = 2
    while at + 4 <= len(head):
        end = at + 2 + _number(head, at + 2)
        if head[at] != 0xFF or end < at + 4 or end > len(head):
            return False
        if head[at + 1] == _SOS:
            return end == len(head) and _scan(head, at, end, work, facts)
        if not _segment(head, at, end, work, facts):
            return False
        at = end
    return False
