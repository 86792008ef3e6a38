"""A random crop of a fixed size. Legend: B batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from loaders import geometry
from loaders.draw import Keys
from loaders.stages import Array, Geometric


@dataclass(frozen=True, kw_only=True)
class Crop(Geometric):
    """Cut `height` × `width` pixels of the reference field at a whole-pixel offset.

    With LR as the reference, HR is cut at exactly scale × the same offset: pairs never drift.
    """

    confines: ClassVar[bool] = True

    height: int
    width: int

    def __post_init__(self) -> None:
        if min(self.height, self.width) < 1:
            raise ValueError(f"a crop needs pixels, not {self.height}×{self.width}")

    def draw(self, keys: Keys, sizes: Array) -> tuple[Array, Array]:
        """Place the crop; ValueError names the first sample smaller than it."""
        room = sizes - (self.height, self.width)
        small = np.flatnonzero((room < 0).any(axis=1))
        if len(small):
            i = small[0]
            raise ValueError(
                f"sample {keys.ids[i]} has {sizes[i, 0]}×{sizes[i, 1]} pixels, the crop wants"
                f" {self.height}×{self.width}"
            )
        return geometry.crop(*self.offsets(keys, room)), self.resized(sizes)

    def resized(self, sizes: Array) -> Array:
        """Return the crop's size for each."""
        return np.broadcast_to(np.array([self.height, self.width]), sizes.shape)

    def offsets(self, keys: Keys, room: Array) -> tuple[Array, Array]:
        """Draw tops and lefts (B,) from 0 to room (B, 2), both included."""
        return keys.integers(room[:, 0] + 1, 0), keys.integers(room[:, 1] + 1, 1)
