"""Huffman decoding of restart intervals, two at a time.

One look into a table gives run, value and length of most symbols, but the next look has to wait
for that length; a second interval, which is independent, fills the waiting time. Measured on crops
of photographs of 500×375 (44 kB, 31 symbols a block): 0.25 ms with one stream, 0.17 with two. What
is irregular ends with an error; blocks are checked one by one, so that nothing is read further than
BEYOND bytes behind an interval's end.

Legend: a stream's state is (held, the next bits, the first on top; count, how many are valid; at,
the address that follows them; k, the coefficient; block, the address of the block's coefficients;
entries, the address of its AC table). Its rarer state lies in memory. Addresses are uint64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from dataprep.compiled import compiled
from loaders import tables
from loaders.vectors import (
    BLOCK_BYTES,
    bits_at,
    byte_at,
    int_at,
    long_at,
    put_long,
    put_short,
    rare,
    wipe,
)  # fmt: skip

# A block is at most 64 symbols of 16 + 11 bits, and 8 bytes are read ahead.
BEYOND = 256
# An interval in the work, five numbers: address of its bytes and their end, blocks, address of
# their coefficients, and whether these are all its blocks.
JOB_BYTES = 40
DONE, DAMAGED = 1, -1

# Not kept on disk: what they are inlined into is.
_inlined = njit(nogil=True, forceinline=True)

_U: Any = np.uint64
_INT: Any = np.int64
_LAST, _ZERO, _EIGHT = _U(63), _U(0), _U(8)
_DC_LIMIT = 2048
# Symbols between two refills. One makes 56 bits valid; a symbol takes up to LOOK_BITS, or, behind
# a refill of its own, up to 27, and the look at the next one needs LOOK_BITS again.
_SYMBOLS = 3
# Fields of a stream in memory: end of its bytes, blocks left, block of the plan, DC levels of
# three components, whether the end is exact.
_END, _LEFT, _PLAN, _LEVELS, _EXACT = (_U(8 * i) for i in (0, 1, 2, 3, 6))
_ENTRIES, _VALUES, _FAR = _U(tables.ENTRIES), _U(tables.VALUES), _U(tables.FAR)
_ORDER, _QUEUE, _STREAMS = _U(tables.ORDER), _U(tables.QUEUE), _U(tables.STREAMS)
_FAR_BYTES, _NUMBERS, _STREAM = (
    _U(n) for n in (tables.FAR_BYTES, tables.FAR_NUMBERS, tables.STREAM_BYTES)
)
_SHIFT, _SLOT = _U(64 - tables.LOOK_BITS), _U(tables.LOOK_BITS + 2)
_BLOCK, _JOB = _U(BLOCK_BYTES), _U(JOB_BYTES)
_BAD, _END_OF_BLOCK, _LOOK_BITS = tables.BAD, _U(tables.END_OF_BLOCK), tables.LOOK_BITS


@compiled
def _long_symbol(work: Any, found: int, held: Any, entries: Any) -> Any:
    """Return the entry of a symbol that does not fit into the table's bits."""
    slot = (entries - work - _ENTRIES) >> _SLOT
    if found:
        return tables.entry(_INT(held >> _U(32)), 32, found >> 8 & 255, found >> 16, _INT(slot))
    code, far = _INT(held >> _U(48)), work + _FAR + slot * _FAR_BYTES
    for length in range(_LOOK_BITS + 1, 17):
        if code < long_at(far + _U(8 * length)):
            number = long_at(far + _NUMBERS + _U(8 * length)) + (code >> (16 - length))
            symbol = _INT(byte_at(work + _VALUES + (slot << _EIGHT) + _U(number & 255)))
            return tables.entry(_INT(held >> _U(32)), 32, length, symbol, _INT(slot))
    return _BAD << 8 | 1


@_inlined
def _refill(held: Any, count: Any, at: Any) -> Any:
    # Bits that are there already come once more, and are the same.
    return held | bits_at(at) >> count, count | _U(56), at + ((_LAST - count) >> _U(3))


@_inlined
def _symbol(work: Any, held: Any, count: Any, at: Any, entries: Any) -> Any:
    """Return (entry, held, count, at); the entry's bits are not yet taken."""
    found = int_at(entries + (held >> _SHIFT << _U(2)))
    if rare(found & 255 == 0):
        held, count, at = _refill(held, count, at)
        found = _long_symbol(work, found, held, entries)
    return found, held, count, at


@_inlined
def _step(work: Any, held: Any, count: Any, at: Any, k: Any, block: Any, entries: Any) -> Any:
    """Decode one AC symbol; the end of a block writes a 0 that is there already."""
    found, held, count, at = _symbol(work, held, count, at, entries)
    k += _U(found >> 8) & _U(255)
    put_short(block + (byte_at(work + _ORDER + k) << _U(1)), found >> 16)
    taken = _U(found & 63)
    return held << taken, count - taken, at, k


@_inlined
def _begin(work: Any, stream: Any, held: Any, count: Any, at: Any, block: Any) -> Any:
    """Decode the DC level of a block; returns (held, count, at, block, entries, error)."""
    plan = _U(long_at(stream + _PLAN))
    put_long(stream + _PLAN, long_at(plan + _U(24)))
    held, count, at = _refill(held, count, at)
    found, held, count, at = _symbol(work, held, count, at, _U(long_at(plan + _EIGHT)))
    known = stream + _LEVELS + (_U(long_at(plan)) << _U(3))
    level = long_at(known) + (found >> 16)
    put_long(known, level)
    wipe(block)
    put_short(block, level)
    taken = _U(found & 63)
    good = found & (255 << 8) == 0 and -_DC_LIMIT <= level < _DC_LIMIT
    entries = _U(long_at(plan + _U(16)))
    return held << taken, count - taken, at, block, entries, 0 if good else DAMAGED


@compiled
def _start(work: Any, stream: Any, jobs: Any) -> Any:
    """Take the next interval of the queue; returns as `_begin`, DONE where there is none."""
    one = long_at(work + _QUEUE)
    if one == long_at(work + _QUEUE + _EIGHT):
        return _ZERO, _ZERO, _ZERO, _ZERO, _ZERO, DONE
    put_long(work + _QUEUE, one + 1)
    job = jobs + _U(one) * _JOB
    put_long(stream + _END, long_at(job + _EIGHT))
    put_long(stream + _LEFT, long_at(job + _U(16)))
    put_long(stream + _EXACT, long_at(job + _U(32)))
    put_long(stream + _PLAN, _INT(work + _U(tables.PLAN)))
    for component in range(3):
        put_long(stream + _LEVELS + _U(8 * component), 0)
    block = _U(long_at(job + _U(24)))
    return _begin(work, stream, _ZERO, _ZERO, _U(long_at(job)), block)


@_inlined
def _next(
    work: Any, stream: Any, jobs: Any, held: Any, count: Any, at: Any, k: Any, block: Any
) -> Any:
    """Check what a block took and go on to the next one; returns as `_begin`."""
    spare = (long_at(stream + _END) - _INT(at)) * 8 + _INT(count)
    if rare((k != _LAST and k < _END_OF_BLOCK) or spare < 0):
        return held, count, at, block, _ZERO, DAMAGED
    left = long_at(stream + _LEFT) - 1
    put_long(stream + _LEFT, left)
    if rare(left == 0):
        if long_at(stream + _EXACT) and spare >= 8:
            return held, count, at, block, _ZERO, DAMAGED
        return _start(work, stream, jobs)
    return _begin(work, stream, held, count, at, block + _BLOCK)


@compiled
def _alone(
    work: Any, stream: Any, jobs: Any,
    held: Any, count: Any, at: Any, k: Any, block: Any, entries: Any,
) -> int:  # fmt: skip
    """Decode the rest of the queue with one stream."""
    while True:
        held, count, at = _refill(held, count, at)
        for _ in range(_SYMBOLS):
            held, count, at, k = _step(work, held, count, at, k, block, entries)
            if rare(k >= _LAST):
                held, count, at, block, entries, error = _next(
                    work, stream, jobs, held, count, at, k, block
                )
                k = _ZERO
                if rare(error != 0):
                    return int(error)


@compiled
def _together(
    work: Any, one: Any, two: Any, jobs: Any,
    held: Any, count: Any, at: Any, block: Any, entries: Any,
    held2: Any, count2: Any, at2: Any, block2: Any, entries2: Any,
) -> int:  # fmt: skip
    """Decode the queue with two streams in turn, its end with the one that is left."""
    k = k2 = _ZERO
    while True:
        held, count, at = _refill(held, count, at)
        held2, count2, at2 = _refill(held2, count2, at2)
        for _ in range(_SYMBOLS):
            held, count, at, k = _step(work, held, count, at, k, block, entries)
            if rare(k >= _LAST):
                held, count, at, block, entries, error = _next(
                    work, one, jobs, held, count, at, k, block
                )
                k = _ZERO
                if rare(error == DAMAGED):
                    return DAMAGED
                if rare(error == DONE):
                    return _alone(work, two, jobs, held2, count2, at2, k2, block2, entries2)
            held2, count2, at2, k2 = _step(work, held2, count2, at2, k2, block2, entries2)
            if rare(k2 >= _LAST):
                held2, count2, at2, block2, entries2, error = _next(
                    work, two, jobs, held2, count2, at2, k2, block2
                )
                k2 = _ZERO
                if rare(error == DAMAGED):
                    return DAMAGED
                if rare(error == DONE):
                    return _alone(work, one, jobs, held, count, at, k, block, entries)


@compiled
def decode(work: Any, jobs: Any) -> int:
    """Decode the queue's intervals; DONE, or DAMAGED. Both are addresses, the queue is in the work.

    Coefficients become int16 (blocks, 64), not yet multiplied, in the order of rows.
    """
    one, two = work + _STREAMS, work + _STREAMS + _STREAM
    held, count, at, block, entries, error = _start(work, one, jobs)
    if error:
        return int(error)
    held2, count2, at2, block2, entries2, error = _start(work, two, jobs)
    if error == DAMAGED:
        return DAMAGED
    if error == DONE:
        return _alone(work, one, jobs, held, count, at, _ZERO, block, entries)
    return _together(
        work, one, two, jobs,
        held, count, at, block, entries, held2, count2, at2, block2, entries2,
    )  # fmt: skip
