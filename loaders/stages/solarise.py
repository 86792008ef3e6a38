"""The bright part of an image turned negative. Legend: B batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from loaders.draw import Keys
from loaders.stages import Array, Photometric

ABOVE_ALL = 256


@dataclass(frozen=True, kw_only=True)
class Solarise(Photometric):
    """Turn grey levels from `threshold` on into 255 − level, with a probability.

    Engines agree exactly.
    """

    threshold: int = 128
    probability: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= ABOVE_ALL:
            raise ValueError(f"threshold lies between 0 and {ABOVE_ALL}, not at {self.threshold}")
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability lies between 0 and 1, not at {self.probability}")

    def draw(self, keys: Keys) -> dict[str, Array]:
        """Draw `threshold` (B,), above every level where the stage is not applied."""
        applied = keys.uniform() < self.probability
        return {"threshold": np.where(applied, self.threshold, ABOVE_ALL).astype(np.float32)}

    def host(self, image: Array, drawn: dict[str, Array]) -> Array:
        """Look one image (H, W, 3) up in a table."""
        levels = np.arange(256, dtype=np.uint8)
        table = np.where(levels >= int(drawn["threshold"]), 255 - levels, levels)
        solarised: Array = cv2.LUT(image, table)
        return solarised

    def graph(self, image: Any, drawn: dict[str, Any]) -> Any:
        """Flip all bits, which is 255 − level, where a mask says so."""
        from loaders.dali import fn, types

        mask = fn.cast(image >= drawn["threshold"], dtype=types.UINT8)
        return image ^ (mask * types.Constant(255, dtype=types.UINT8))
