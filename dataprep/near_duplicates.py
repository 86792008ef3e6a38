"""Pictures that are nearly the same, found by a perceptual hash, and those that two splits share.

pHash (Zauner 2010), as the imagehash library has it: the picture as grey levels of 64×64, the
lowest 16×16 frequencies of its cosine transform, for each a bit: is it above their median. Measured
on HAM10000, on 735 images of 200×150 pixels and on 42 originals:

- The same picture at a third of its size, as a square, or compressed anew at quality 20 differs in
  at most 10 of the 256 bits; with 2 % cut off at each edge in 26, with 5 % in 24 to 54.
- Of 269,373 pairs of different lesions the nearest differ in 60 bits, the next five in 70; the
  median is 126.
- Of 372 pairs of one lesion 3.5 % differ in at most 48 bits, 5.1 % in at most 60. Photographed
  anew, nearer or turned, a lesion is another picture to this hash; flips and quarter turns tried
  on one of the two find no more. 64 bits tell less: at 4.3 % there are 12 wrong pairs.

So pairs of up to 48 bits are named: copies, and pictures that were taken one after the other. Where
none is named a lesion may still be in two splits, under two names.

Legend: N images.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from dataprep.image import Pixels
from dataprep.manifest import Field

Array = npt.NDArray[Any]

SIDE = 16
BITS = SIDE * SIDE
NEAR_BITS = 48
# A column of a set: the bits, eight a byte, the bytes little-endian.
FIELD = Field(kind="value", dtype="uint64", shape=(BITS // 64,))
BLOCK = 1024


class Pair(NamedTuple):
    """Two samples by id that differ in `bits` of their hashes."""

    one: int
    other: int
    bits: int


def phash(pixels: Pixels) -> Array:
    """Return the hash of an image (H, W, 3), as a value of FIELD."""
    import imagehash  # brings scipy along, which takes a second

    bits = imagehash.phash(Image.fromarray(pixels), SIDE).hash
    return np.packbits(bits.reshape(-1)).view("<u8").astype(np.uint64)


def pairs(
    hashes: Array, groups: Array, splits: Array, most: int, near_bits: int = NEAR_BITS
) -> tuple[int, list[Pair]]:
    """Count the pairs of near images of different groups in different splits; return the nearest.

    hashes (N, 4) uint64; groups (N,); splits (N,): a number for each set of splits that a sample is
    in; most: how many pairs are returned, nearest first, since N copies of one picture make N²/2.
    Compares all pairs, a block at a time.
    """
    count, nearest = 0, np.empty((0, 3), np.int64)
    for start in range(0, len(hashes), BLOCK):
        block = slice(start, start + BLOCK)
        bits = distances(hashes[block], hashes[start:])
        apart = (groups[block, None] != groups[None, start:]) & (
            splits[block, None] != splits[None, start:]
        )
        one, other = np.nonzero((bits <= near_bits) & apart)
        is_once = one < other
        one, other = one[is_once], other[is_once]
        found = np.stack([start + one, start + other, bits[one, other]], axis=1)
        count += len(found)
        found = np.concatenate([nearest, found])
        nearest = found[np.lexsort((found[:, 1], found[:, 0], found[:, 2]))[:most]]
    return count, [Pair(*row) for row in nearest.tolist()]


def distances(hashes: Array, others: Array) -> Array:
    """Return (A, B) in how many bits each of (A, 4) hashes differs from each of (B, 4)."""
    total = np.zeros((len(hashes), len(others)), np.uint16)
    for word in range(hashes.shape[1]):
        total += np.bitwise_count(hashes[:, None, word] ^ others[None, :, word])
    return total
