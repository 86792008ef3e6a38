"""Where the decoder of intervals keeps what it knows of one file, and how it learns Huffman tables.

All lies in one array of bytes, the work, at the places below, so that the innermost loop needs a
single address. Legend: a slot is a Huffman table, 0-3 for DC and 4-7 for AC; an entry of a table
is what to do for the next LOOK_BITS bits: value << 16 | advance << 8 | bits, where bits counts code
and value, and advance is by how many coefficients. Where the value does not fit into the bits it is
symbol << 16 | bits of the code << 8, where the code does not, 0. JPEG is ITU T.81; F.2.2 there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dataprep.compiled import compiled

Array = npt.NDArray[Any]

# More catch more symbols, and push coefficients out of the first-level cache: 12 are slower.
LOOK_BITS = 10
LOOK = 1 << LOOK_BITS
# An advance beyond the block: its end, and what baseline does not have.
END_OF_BLOCK, BAD = 128, 65
# 8-bit baseline: DC differences have up to 11 bits, AC levels up to 10.
_DC_BITS, _AC_BITS = 11, 10

ORDER = 0  # (256,) uint8: place in the block of the k-th coefficient, beyond the end the last one
VALUES = ORDER + 256  # (8, 256) uint8: symbols of a slot by the number of their code
FAR = VALUES + 8 * 256  # (8, 2, 17) int64: by length the first code beyond, and code -> number
FAR_BYTES, FAR_NUMBERS = 2 * 17 * 8, 17 * 8
ENTRIES = FAR + 8 * FAR_BYTES  # (8, LOOK) int32
ENTRIES_BYTES = LOOK * 4
STEPS = ENTRIES + 8 * ENTRIES_BYTES  # (4, 64) int16: quantisation tables
PLAN = STEPS + 4 * 128  # (6, 4) int64: component, DC entries, AC entries, the next one, of a block
PLAN_BYTES, MOST_BLOCKS = 32, 6
STREAMS = PLAN + MOST_BLOCKS * PLAN_BYTES  # two streams of loaders.intervals
STREAM_BYTES = 64
QUEUE = STREAMS + 2 * STREAM_BYTES  # (2,) int64: next interval and the one behind the last
SPARE = QUEUE + 16  # 128 bytes
FIXED_BYTES = SPARE + 128

ZIGZAG = np.array(
    [
        0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27,
        20, 13, 6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51,
        58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
    ]
)  # fmt: skip
_ORDER = np.full(256, 63, np.uint8)
_ORDER[:64] = ZIGZAG


@compiled
def prepare(work: Array) -> None:
    """Write what is the same for all files."""
    work[ORDER : ORDER + 256] = _ORDER


@compiled
def entry(bits: int, have: int, length: int, symbol: int, slot: int) -> Any:
    """Return the entry of a symbol whose code has `length` of the `have` bits, 0 if it needs more.

    An extra bit pattern below half is a negative value: T.81 F.12.
    """
    size = symbol & 15
    advance = 0
    if slot > 3:
        advance = (symbol >> 4) + 1
        if size == 0 and advance < 16:
            advance = END_OF_BLOCK if advance == 1 else BAD
    if size > _AC_BITS if slot > 3 else symbol > _DC_BITS:
        return BAD << 8 | length
    if length + size > have:
        return 0
    value = bits >> (have - length - size) & (1 << size) - 1
    if value < (1 << size) >> 1:
        value -= (1 << size) - 1
    return value << 16 | advance << 8 | (length + size)


@compiled
def _fill(slot: int, lengths: Array, values: Array, entries: Array, far: Array) -> bool:
    """Write length << 8 | symbol, 0 for longer codes; False where codes do not fit: T.81 C.2."""
    code, number = 0, 0
    entries[:] = 0
    for length in range(1, 17):
        far[1, length] = number - code
        for _ in range(lengths[length - 1]):
            if length <= LOOK_BITS:
                first = code << (LOOK_BITS - length)
                if first >> LOOK_BITS:
                    return False
                entries[first : first + (1 << (LOOK_BITS - length))] = length << 8 | values[number]
            code += 1
            number += 1
        if code >= 1 << length:  # no code is all ones
            return False
        far[0, length] = code << (16 - length)
        code <<= 1
    return True


@compiled
def learn(slot: int, lengths: Array, listed: Array, work: Array) -> bool:
    """Make one slot's tables of a DHT's (16,) lengths and its values; False if they are wrong."""
    values = work[VALUES + 256 * slot : VALUES + 256 * (slot + 1)]
    values[: len(listed)] = listed
    place = FAR + FAR_BYTES * slot
    far = work[place : place + FAR_BYTES].view(np.int64).reshape(2, 17)
    place = ENTRIES + ENTRIES_BYTES * slot
    entries = work[place : place + ENTRIES_BYTES].view(np.int32)
    if not _fill(slot, lengths, values, entries, far):
        return False
    for bits in range(LOOK):
        length, symbol = entries[bits] >> 8, entries[bits] & 255
        if length:
            whole = entry(bits, LOOK_BITS, length, symbol, slot)
            entries[bits] = whole if whole else symbol << 16 | length << 8
    return True
