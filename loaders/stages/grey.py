"""Grey images that keep three channels. Legend: B batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loaders.draw import Keys
from loaders.stages import Array
from loaders.stages.colour_matrix import LUMA, ColourMatrix


@dataclass(frozen=True, kw_only=True)
class Grey(ColourMatrix):
    """Replace every channel by the ITU-R 601 luma, with a probability."""

    def matrices(self, keys: Keys) -> Array:
        """Draw nothing."""
        return np.broadcast_to(np.append(LUMA, 0.0), (len(keys.ids), 3, 4))
