"""A turn about the image's centre by any angle. Legend: B batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loaders import geometry
from loaders.draw import Keys
from loaders.stages import Array
from loaders.stages.resample import Resampling


@dataclass(frozen=True, kw_only=True)
class Rotate(Resampling):
    """Turn counter-clockwise by an angle drawn from `degrees`: (low, high), or −d to d.

    The size stays; what comes from outside the image is 0.
    """

    degrees: float | tuple[float, float]

    def __post_init__(self) -> None:
        super().__post_init__()
        low, high = self.limits
        if not low <= high:
            raise ValueError(f"degrees is one number ≥ 0 or two, ascending, not {self.degrees}")

    @property
    def limits(self) -> tuple[float, float]:
        """The least and the largest angle."""
        degrees = self.degrees
        return degrees if isinstance(degrees, tuple) else (-degrees, degrees)

    def draw(self, keys: Keys, sizes: Array) -> tuple[Array, Array]:
        """Draw angles, uniform."""
        low, high = self.limits
        angles = np.deg2rad(low + keys.uniform() * (high - low))
        matrices = geometry.identity(len(sizes))
        matrices[:, 0, 0] = matrices[:, 1, 1] = np.cos(angles)
        matrices[:, 1, 0] = np.sin(angles)  # y points down
        matrices[:, 0, 1] = -matrices[:, 1, 0]
        centres = sizes[:, ::-1] / 2
        matrices[:, :2, 2] = centres - np.einsum("bij,bj->bi", matrices[:, :2, :2], centres)
        return matrices, sizes
