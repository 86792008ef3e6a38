"""A resize of the whole image. Legend: B batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loaders.draw import Keys
from loaders.stages import Array
from loaders.stages.resample import Resampling, stretch


@dataclass(frozen=True, kw_only=True)
class Resize(Resampling):
    """Stretch to `height` × `width`, or keep the aspect and make the shorter side `short` pixels.

    The longer side is then short × long / short side, cut off to a whole number as torchvision
    does: sizes may differ from sample to sample. oriented: an image that is not wider than high
    becomes `width` × `height` (DeepGaze's two sizes).
    """

    height: int | None = None
    width: int | None = None
    short: int | None = None
    oriented: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        given = (self.height is not None, self.width is not None, self.short is not None)
        if given not in ((True, True, False), (False, False, True)):
            raise ValueError("resize to height and width, or to short")
        if self.oriented and self.short is not None:
            raise ValueError("oriented goes with height and width: short keeps the aspect anyway")
        if min(side for side in (self.height, self.width, self.short) if side is not None) < 1:
            raise ValueError(f"a resize needs pixels: {self}")

    def draw(self, keys: Keys, sizes: Array) -> tuple[Array, Array]:
        """Draw nothing: every sample whole."""
        out = self.resized(sizes)
        return stretch(np.concatenate([np.zeros_like(sizes), sizes], axis=1), out), out

    def resized(self, sizes: Array) -> Array:
        """Return the size of each."""
        if self.short is not None:
            shorter = sizes.min(axis=1, keepdims=True)
            return np.asarray(np.floor(self.short * sizes / shorter), np.int64)
        out = np.broadcast_to(np.array([self.height, self.width]), sizes.shape)
        if not self.oriented:
            return out
        wide = sizes[:, 1:] > sizes[:, :1]
        return np.where(wide, out, out[:, ::-1])
