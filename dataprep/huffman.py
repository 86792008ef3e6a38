"""Compiled work on Huffman tables: learn one from a file, make the best one for counted symbols.

Imported where they are needed: numba takes a second to start. Legend: a slot is a table of a JPEG,
0-3 for DC and 4-7 for AC.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dataprep.compiled import compiled

Array = npt.NDArray[Any]

# Codes up to this length are found by one look into a table.
LOOK_BITS = 10


@compiled
def learn(lengths: Array, values: Array, slot: int, look: Array, far: Array) -> bool:
    """Fill one slot's tables from a DHT; False where its codes do not fit or use all ones.

    look (8, 1024) holds length << 8 | symbol by the next bits, 0 where the code is longer; far
    (8, 2, 17) for each longer length the first 16-bit code beyond it, and from code to value.
    """
    code, index = 0, 0
    for length in range(1, 17):
        far[slot, 1, length] = index - code
        for _ in range(lengths[length - 1]):
            if length <= LOOK_BITS:
                first = code << (LOOK_BITS - length)
                if first >> LOOK_BITS:
                    return False
                entry = length << 8 | values[index]
                look[slot, first : first + (1 << (LOOK_BITS - length))] = entry
            code += 1
            index += 1
        if code >= 1 << length:
            return False
        far[slot, 0, length] = code << (16 - length)
        code <<= 1
    return True


@compiled
def _rarest(counts: Array, other: int) -> int:
    """Return the symbol that occurs least, of several the last one, but not `other`; else -1."""
    best = -1
    for symbol in range(len(counts)):
        if counts[symbol] and symbol != other and (best < 0 or counts[symbol] <= counts[best]):
            best = symbol
    return best


@compiled
def _code_sizes(counts: Array) -> Array:
    """Return code lengths of all 257 symbols. JPEG (T.81) figure K.1."""
    counts = counts.copy()
    counts[256] = 1  # takes the code of all ones, which no symbol may have
    sizes, chain = np.zeros(257, np.int64), np.full(257, -1, np.int64)
    while True:
        one = _rarest(counts, -1)
        two = _rarest(counts, one)
        if two < 0:
            return sizes
        counts[one] += counts[two]
        counts[two] = 0
        sizes[one] += 1
        while chain[one] >= 0:
            one = chain[one]
            sizes[one] += 1
        chain[one] = two
        sizes[two] += 1
        while chain[two] >= 0:
            two = chain[two]
            sizes[two] += 1


@compiled
def optimise(counts: Array, lengths: Array, values: Array, codes: Array) -> int:
    """Fill the best table of one slot for (257,) counts; returns the bits that it will take.

    lengths (16,) and values (256,) are as in a DHT; codes (256,) is length << 16 | code.
    JPEG (T.81) figures K.2 to K.4.
    """
    sizes = _code_sizes(counts)
    many = np.bincount(sizes, minlength=258)
    for length in range(257, 16, -1):
        while many[length]:
            shorter = length - 2
            while many[shorter] == 0:
                shorter -= 1
            many[length] -= 2
            many[length - 1] += 1
            many[shorter + 1] += 2
            many[shorter] -= 1
    longest = 16
    while many[longest] == 0:
        longest -= 1
    many[longest] -= 1  # the one of all ones
    lengths[:] = many[1:17]
    order = np.argsort(sizes[:256] * 256 + np.arange(256))
    order = order[sizes[order] > 0]
    values[: len(order)] = order
    bits, code, index = 0, 0, 0
    for length in range(1, 17):
        for _ in range(lengths[length - 1]):
            codes[order[index]] = length << 16 | code
            bits += counts[order[index]] * (length + (order[index] & 15))
            code += 1
            index += 1
        code <<= 1
    return bits
