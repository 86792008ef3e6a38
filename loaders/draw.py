"""Randomness that is keyed, not streamed: the same key gives the same number in any process.

A draw is a hash of (seed, epoch, position, id, slot), so augmentation does not depend on ranks,
threads, prefetch or where a run was resumed. The mixer is splitmix64's finaliser (Steele et al.
2014), applied once per key part. Legend: B samples of a batch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from dataprep.compiled import compiled

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]


@compiled
def mix(state: np.uint64, part: np.uint64) -> np.uint64:
    """Fold one more part of the key into the state."""
    z = (state ^ part) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@compiled
def _draw(
    seed: np.uint64, epoch: np.uint64, slot: np.uint64, positions: I64, ids: I64, out: U64
) -> None:
    state = mix(mix(np.uint64(0), seed), epoch)
    for i in range(len(out)):
        out[i] = mix(mix(mix(state, np.uint64(positions[i])), np.uint64(ids[i])), slot)


def draw(seed: int, epoch: int, positions: I64, ids: I64, slot: int) -> U64:
    """Return (B,) uniform 64-bit words, one per key."""
    out = np.empty(len(ids), np.uint64)
    # Compiled: for a batch of 16 a numpy expression costs ten times as much as the hash itself.
    _draw(word(seed), word(epoch), word(slot), positions, ids, out)
    return out


def word(part: int) -> np.uint64:
    """Return a key part modulo 2^64, as the compiled functions take it."""
    return np.uint64(part & 0xFFFFFFFFFFFFFFFF)


@dataclass(frozen=True)
class Keys:
    """The keys of one batch. `positions` are places in the epoch's global sequence, (B,)."""

    seed: int
    epoch: int
    positions: I64
    ids: I64
    slot: int = 0

    def at(self, slot: int) -> Keys:
        """Return the same keys for another user (a stage, a view) of the draws."""
        return replace(self, slot=slot)

    def words(self, number: int = 0) -> U64:
        """Return draw `number` (below 16) of this slot: (B,) uniform 64-bit words."""
        return draw(self.seed, self.epoch, self.positions, self.ids, self.slot * 16 + number)

    def uniform(self, number: int = 0) -> F64:
        """Return (B,) floats in [0, 1)."""
        return (self.words(number) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def integers(self, high: I64 | int, number: int = 0) -> I64:
        """Return (B,) integers in [0, high), high below 2^32."""
        return np.asarray(np.floor(self.uniform(number) * high), np.int64)
