"""The geometry of a batch on its way through stages and from field to field. Legend: B batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from loaders import geometry
from loaders.draw import Keys
from loaders.stages import Geometric

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Moves:
    """The geometry of one view for a batch, on one field: first on the reference field.

    matrices (B, 3, 3): output to source; sizes (B, 2): of the output; before (B, 2): of the source;
    bounds (B, 4: y, x, h, w): the part of the source that filters may see.
    """

    matrices: Array
    sizes: Array
    before: Array
    bounds: Array

    def scaled(self, ratio: Array, before: Array) -> Moves:
        """Return the geometry on a field of ratio (B, 2: y, x) pixels for one, of sizes before."""
        matrices, sizes = geometry.for_field(self.matrices, self.sizes, ratio)
        return Moves(matrices, sizes, before, self.bounds * np.concatenate([ratio, ratio], axis=1))

    def at(self, height: int, width: int) -> Moves:
        """Let outputs of whole pixels show what those of broken sizes would."""
        if np.abs(self.sizes - (height, width)).max() < 1e-6:
            return self
        matrices = self.matrices.copy()
        matrices[:, :, :2] *= (self.sizes / (height, width))[:, None, ::-1]
        return replace(self, matrices=matrices, sizes=np.full_like(self.sizes, (height, width)))

    def stored(self, turns: Array) -> Moves:
        """Carry it from upright pixels to those of a file, made upright by turns (B,)."""
        turned = ((turns & 4) != 0)[:, None]
        before = np.where(turned, self.before[:, ::-1], self.before)
        upright = geometry.dihedral(turns, before)
        corners = geometry.crop(self.bounds[:, 0], self.bounds[:, 1])
        bounds = geometry.extent(upright @ corners, self.bounds[:, 2:])
        return Moves(upright @ self.matrices, self.sizes, before, bounds)


def compose(chain: Sequence[tuple[int, Geometric]], keys: Keys, sizes: Array) -> Moves:
    """Draw and compose the geometric stages of one view; sizes (B, 2) are the reference's."""
    matrices, current = geometry.identity(len(sizes)), sizes
    bounds = np.concatenate([np.zeros_like(sizes), sizes], axis=1).astype(np.float64)
    resampled = False
    for slot, stage in chain:
        drawn, current = stage.draw(keys.at(slot), current)
        matrices = matrices @ drawn
        if stage.confines and not resampled:
            bounds = geometry.extent(matrices, current)
        resampled |= stage.resamples
    return Moves(matrices, current, sizes, bounds)
