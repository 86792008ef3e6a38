"""The eight flips and quarter turns of a square."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loaders import geometry
from loaders.draw import Keys
from loaders.stages import Array, Geometric


@dataclass(frozen=True, kw_only=True)
class Dihedral(Geometric):
    """Draw one of the allowed symmetries; by default all eight, equally likely."""

    flip_x: bool = True
    flip_y: bool = True
    transpose: bool = True

    def draw(self, keys: Keys, sizes: Array) -> tuple[Array, Array]:
        """Draw three independent bits."""
        allowed = self.flip_x + 2 * self.flip_y + 4 * self.transpose
        codes = keys.integers(8) & allowed
        turned = (codes & 4) != 0
        return geometry.dihedral(codes, sizes), np.where(turned[:, None], sizes[:, ::-1], sizes)

    def resized(self, sizes: Array) -> Array:
        """Return the same sizes; ValueError where a transposition would change one."""
        if self.transpose and (sizes[:, 0] != sizes[:, 1]).any():
            raise ValueError("dihedral draws which side is the longer one: use transpose=False")
        return sizes
