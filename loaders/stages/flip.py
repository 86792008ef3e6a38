"""Mirrored left to right, upside down, or both."""

from __future__ import annotations

from dataclasses import dataclass

from loaders import geometry
from loaders.draw import Keys
from loaders.stages import Array, Geometric


@dataclass(frozen=True, kw_only=True)
class Flip(Geometric):
    """Mirror with the given probabilities, drawn apart."""

    horizontal: float = 0.5
    vertical: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (("horizontal", self.horizontal), ("vertical", self.vertical)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} is a probability, not {value}")

    def draw(self, keys: Keys, sizes: Array) -> tuple[Array, Array]:
        """Draw two independent bits."""
        across, down = keys.uniform(0) < self.horizontal, keys.uniform(1) < self.vertical
        return geometry.dihedral(across + 2 * down, sizes), sizes
