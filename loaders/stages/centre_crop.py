"""The crop in the middle of an image. Legend: B batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loaders.draw import Keys
from loaders.stages import Array
from loaders.stages.crop import Crop


@dataclass(frozen=True, kw_only=True)
class CentreCrop(Crop):
    """Cut the middle; between two pixels, from the one with the even number, as torchvision does.

    An image smaller than the crop is an error by name, never padded.
    """

    def offsets(self, keys: Keys, room: Array) -> tuple[Array, Array]:
        """Return tops and lefts (B,)."""
        tops, lefts = np.rint(room / 2).astype(np.int64).T
        return tops, lefts
