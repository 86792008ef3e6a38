"""A random (or the centre) crop of a fixed size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loaders import geometry
from loaders.draw import Keys
from loaders.stages import Array, Geometric


@dataclass(frozen=True, kw_only=True)
class Crop(Geometric):
    """Cut `height` × `width` pixels of the reference field at a whole-pixel offset.

    With LR as the reference, HR is cut at exactly scale × the same offset: pairs never drift.
    """

    height: int
    width: int
    centre: bool = False

    def __post_init__(self) -> None:
        if min(self.height, self.width) < 1:
            raise ValueError(f"a crop needs pixels, not {self.height}×{self.width}")

    def draw(self, keys: Keys, sizes: Array) -> tuple[Array, Array]:
        """Draw offsets; ValueError names the first sample smaller than the crop."""
        room = sizes - (self.height, self.width)
        small = np.flatnonzero((room < 0).any(axis=1))
        if len(small):
            i = small[0]
            raise ValueError(
                f"sample {keys.ids[i]} has {sizes[i, 0]}×{sizes[i, 1]} pixels, the crop wants"
                f" {self.height}×{self.width}"
            )
        if self.centre:
            tops, lefts = (room // 2).T
        else:
            tops, lefts = (keys.integers(np.asarray(room[:, axis] + 1), axis) for axis in (0, 1))
        out = np.broadcast_to(np.array([self.height, self.width]), sizes.shape)
        return geometry.crop(tops, lefts), out
