"""What the stages share that map colours linearly: one 3×4 matrix an image. Legend: B batch."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from loaders.draw import Keys
from loaders.stages import Array, Photometric

LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
APPLIED = 15  # the last draw of a slot says whether; the others are the matrix's


@dataclass(frozen=True, kw_only=True)
class ColourMatrix(Photometric):
    """Map (r, g, b, 1) by a matrix drawn per image, then round and clamp once.

    Engines differ by at most 1 grey level, in one value of twenty (of three, in an image of few
    colours): OpenCV rounds the matrix to 10 binary digits.
    """

    probability: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability lies between 0 and 1, not at {self.probability}")

    @abstractmethod
    def matrices(self, keys: Keys) -> Array:
        """Draw (B, 3, 4) matrices over grey levels 0 to 255 with the draws below `APPLIED`."""

    def draw(self, keys: Keys) -> dict[str, Array]:
        """Draw `matrix` (B, 3, 4), the identity where the stage is not applied."""
        applied = keys.uniform(APPLIED) < self.probability
        matrices = np.where(applied[:, None, None], self.matrices(keys), np.eye(3, 4))
        return {"matrix": matrices.astype(np.float32)}

    def host(self, image: Array, drawn: dict[str, Array]) -> Array:
        """Map one image (H, W, 3)."""
        mapped: Array = cv2.transform(image, drawn["matrix"])
        return mapped

    def graph(self, image: Any, drawn: dict[str, Any]) -> Any:
        """Map by coord_transform, to which a colour is a point."""
        from loaders.dali import fn, types

        return fn.coord_transform(image, MT=drawn["matrix"], dtype=types.UINT8)
