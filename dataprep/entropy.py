"""Compiled passes over the entropy data of a baseline JPEG: read its symbols, write them again.

Imported where they are needed: numba takes a second to start. What is kept are Huffman symbols
and their extra bits, so nothing can be rounded; only DC levels are decoded, because every restart
interval predicts them from 0 again. No input makes these loops read or write out of bounds:
`clean` is padded by more than one block can consume, and its end is checked after every block.

Legend: a slot is a Huffman table, 0-3 for DC and 4-7 for AC; `plan` (blocks of an MCU, 3) holds
the component, DC slot and AC slot of each block; `tables` is what `huffman.learn` fills.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dataprep.compiled import compiled
from dataprep.huffman import LOOK_BITS

Array = npt.NDArray[Any]

# A block is at most 64 symbols of 16 + 11 bits: 216 bytes. `unstuff` leaves this many zeros.
PADDING_BYTES = 256
# 8-bit baseline: DC levels lie in -1024..1023, their differences have up to 11 bits, AC levels 10.
_DC_LIMIT, _DC_BITS, _AC_BITS = 1024, 11, 10
_U = np.uint64


@compiled
def unstuff(data: Array, start: int, clean: Array, ends: Array) -> tuple[int, int]:
    """Copy entropy data from byte `start` without stuffing and restart markers.

    ends receives where each source interval ends in clean. Returns (intervals, byte of the marker
    that ends the scan); intervals is -1 where there is none, or markers are not RST0, 1, ... 7, 0.
    """
    at, segments = 0, 0
    i = start
    while i < len(data) - 1:
        byte = data[i]
        if byte != 0xFF:
            clean[at] = byte
            at += 1
            i += 1
            continue
        after = data[i + 1]
        if after == 0:
            clean[at] = 0xFF
            at += 1
        elif after == 0xFF:  # a fill byte
            i -= 1
        elif segments == len(ends):
            return -1, i
        else:
            ends[segments] = at
            segments += 1
            if after < 0xD0 or after > 0xD7:
                clean[at : at + PADDING_BYTES] = 0
                return segments, i
            if after != 0xD0 + (segments - 1) % 8:
                return -1, i
        i += 2
    return -1, i


@compiled
def _word(clean: Array, bit: int) -> Any:
    """Return the next 57 bits or more, at the top of a word; LLVM makes it one load."""
    at = _U(bit) >> _U(3)
    word = _U(clean[at]) << _U(56) | _U(clean[at + _U(1)]) << _U(48)
    word |= _U(clean[at + _U(2)]) << _U(40) | _U(clean[at + _U(3)]) << _U(32)
    word |= _U(clean[at + _U(4)]) << _U(24) | _U(clean[at + _U(5)]) << _U(16)
    word |= _U(clean[at + _U(6)]) << _U(8) | _U(clean[at + _U(7)])
    return word << (_U(bit) & _U(7))


@compiled
def _far(word: Any, slot: int, far: Array, values: Array) -> Any:
    code = np.int64(word >> _U(48))
    for length in range(LOOK_BITS + 1, 17):
        if code < far[slot, 0, length]:
            return length << 8 | values[slot, far[slot, 1, length] + (code >> (16 - length))]
    return 0


@compiled
def _extra(word: Any, length: int, size: int) -> Any:
    """Return the `size` bits behind a code of `length`."""
    # Two shifts to the right, since one by 64 is undefined.
    return np.int64((word << _U(length)) >> _U(1) >> _U(63 - size))


@compiled
def _after(k: int, symbol: int) -> int:
    """Return the place in the block behind a symbol; 65 for what baseline does not have."""
    size = symbol & 15
    if size:
        return k + (symbol >> 4) + 1 if size <= _AC_BITS else 65
    if symbol == 0:
        return 64
    return k + 16 if symbol == 0xF0 else 65


@compiled
def _read_block(
    clean: Array, bit: int, slot: int, tables: Any, symbols: Array, n: int, counts: Array
) -> tuple[int, int]:
    """Read the AC symbols of one block; returns (bit, n) behind it, bit -1 where it is damaged."""
    look, far, values = tables
    k = 1
    while k < 64:
        word = _word(clean, bit)
        found = look[slot, word >> _U(64 - LOOK_BITS)]
        if found == 0:
            found = _far(word, slot, far, values)
        length, symbol = found >> 8, found & 255
        k = _after(k, symbol)
        if length == 0 or k > 64:
            return -1, n
        size = symbol & 15
        last = (k >> 6) << 31
        symbols[n] = np.uint32(last | symbol << 16 | _extra(word, length, size))
        counts[slot, symbol] += 1
        n += 1
        bit += length + size
    return bit, n


@compiled
def _read_level(clean: Array, bit: int, slot: int, tables: Any) -> tuple[int, int]:
    """Read one DC difference; returns (bit, difference), bit -1 where it is damaged."""
    look, far, values = tables
    word = _word(clean, bit)
    found = look[slot, word >> _U(64 - LOOK_BITS)]
    if found == 0:
        found = _far(word, slot, far, values)
    length, size = found >> 8, found & 255
    if length == 0 or size > _DC_BITS:
        return -1, 0
    value = _extra(word, length, size)
    if size and not value >> (size - 1):
        value -= (1 << size) - 1
    return bit + length + size, value


@compiled
def read(
    clean: Array,
    ends: Array,
    plan: Array,
    tables: Any,
    shape: tuple[int, int],
    symbols: Array,
    levels: Array,
    counts: Array,
) -> int:
    """Read all AC symbols and DC levels; returns how many symbols, -1 where they are damaged.

    ends (source intervals,) are bytes; shape is (MCUs, MCUs of a source interval). A symbol is
    run and size << 16 | extra bits, with bit 31 on the last one of a block.
    """
    previous = np.zeros(4, np.int64)
    mcus, interval = shape
    n, bit, block = 0, 0, 0
    for segment in range(len(ends)):
        end = ends[segment] * 8
        previous[:] = 0
        for _ in range(min(interval, mcus - segment * interval)):
            for b in range(len(plan)):
                part = plan[b, 0]
                bit, difference = _read_level(clean, bit, plan[b, 1], tables)
                previous[part] += difference
                if bit < 0 or not -_DC_LIMIT <= previous[part] < _DC_LIMIT:
                    return -1
                levels[block] = previous[part]
                block += 1
                bit, n = _read_block(clean, bit, plan[b, 2], tables, symbols, n, counts)
                if bit < 0 or bit > end:
                    return -1
        if end - bit >= 8:
            return -1
        bit = end
    return n


@compiled
def _bits(value: int) -> int:
    size, left = 0, abs(value)
    while left:
        left >>= 1
        size += 1
    return size


@compiled
def count_levels(levels: Array, plan: Array, interval: int, counts: Array) -> None:
    """Count the sizes of DC differences for restart intervals of so many MCUs."""
    previous = np.zeros(4, np.int64)
    span = interval * len(plan)
    counts[:4] = 0
    for block in range(len(levels)):
        if block % span == 0:
            previous[:] = 0
        b = block % len(plan)
        counts[plan[b, 1], _bits(levels[block] - previous[plan[b, 0]])] += 1
        previous[plan[b, 0]] = levels[block]


@compiled
def _put(state: Any, out: Array, code: int, length: int) -> Any:
    """Append up to 32 bits. The state is (waiting bits, how many, byte of out)."""
    waiting, many, at = state
    waiting = waiting << _U(length) | _U(code)
    many += length
    if many < 32:
        return waiting, many, at
    many -= 32
    four = np.uint32(waiting >> _U(many))
    if (~four - np.uint32(0x01010101)) & four & np.uint32(0x80808080) == 0:
        for i in range(4):
            out[at + i] = (four >> np.uint32(24 - 8 * i)) & np.uint32(255)
        return waiting, many, at + 4
    for i in range(4):
        byte = (four >> np.uint32(24 - 8 * i)) & np.uint32(255)
        out[at] = byte
        at += 1
        if byte == 0xFF:
            out[at] = 0
            at += 1
    return waiting, many, at


@compiled
def _close(state: Any, out: Array) -> Any:
    """Fill up with ones to a whole byte and write what waits; returns the byte of out behind it."""
    waiting, many, at = state
    fill = -many & 7
    waiting = waiting << _U(fill) | _U((1 << fill) - 1)
    for shift in range(many + fill - 8, -8, -8):
        byte = (waiting >> _U(shift)) & _U(255)
        out[at] = byte
        at += 1
        if byte == 0xFF:
            out[at] = 0
            at += 1
    return at


@compiled
def write(
    symbols: Array,
    levels: Array,
    plan: Array,
    codes: Array,
    shape: tuple[int, int],
    out: Array,
    rows: Array,
) -> int:
    """Write everything in intervals; returns the bytes of out.

    shape is (MCUs of an interval, MCUs of a row), the first divides the second; rows receives the
    byte at which each row of MCUs starts, behind its restart marker, and at last the end.
    """
    previous = np.zeros(4, np.int64)
    interval, across = shape[0] * len(plan), shape[1] * len(plan)
    state = (_U(0), 0, 0)
    n = 0
    for block in range(len(levels)):
        if block % interval == 0:
            at = _close(state, out)
            if block:
                out[at], out[at + 1] = 0xFF, 0xD0 + (block // interval - 1) % 8
                at += 2
            if block % across == 0:
                rows[block // across] = at
            previous[:] = 0
            state = (_U(0), 0, at)
        part, dc, ac = plan[block % len(plan)]
        difference = levels[block] - previous[part]
        previous[part] = levels[block]
        size = _bits(difference)
        code = codes[dc, size]
        extra = (difference if difference > 0 else difference - 1) & ((1 << size) - 1)
        state = _put(state, out, (code & 0xFFFF) << size | extra, (code >> 16) + size)
        last = False
        while not last:
            symbol = symbols[n]
            n += 1
            code, size = codes[ac, symbol >> 16 & 255], symbol >> 16 & 15
            bits = (code & 0xFFFF) << size | (symbol & 0xFFFF)
            state = _put(state, out, bits, (code >> 16) + size)
            last = symbol >> 31 != 0
    rows[-1] = _close(state, out)
    return int(rows[-1])
