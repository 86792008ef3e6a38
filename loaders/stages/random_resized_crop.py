"""A random box of random area and aspect, stretched to a fixed size. Legend: B batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from loaders.draw import U64, Keys
from loaders.stages import Array
from loaders.stages.resample import Resampling, stretch

TRIES = 10  # as torchvision; the draws of a slot are numbered: 10 tries, then y and x


@dataclass(frozen=True, kw_only=True)
class RandomResizedCrop(Resampling):
    """Draw boxes as torchvision's RandomResizedCrop does (Szegedy et al. 2015).

    scale: area over the image's, uniform. ratio: width over height, log-uniform. A box that does
    not fit is drawn again, 10 times; then comes the largest centred box of an allowed ratio.
    """

    confines: ClassVar[bool] = True

    height: int
    width: int
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.height, self.width) < 1:
            raise ValueError(f"a crop needs pixels, not {self.height}×{self.width}")
        for name, (low, high) in (("scale", self.scale), ("ratio", self.ratio)):
            if not 0 < low <= high:
                raise ValueError(f"{name} is two positive numbers, ascending, not {low}, {high}")

    def draw(self, keys: Keys, sizes: Array) -> tuple[Array, Array]:
        """Draw whole-pixel boxes."""
        extents, found = self._extents(keys, sizes)
        room = sizes - extents
        offsets = np.stack([keys.integers(room[:, axis] + 1, TRIES + axis) for axis in (0, 1)], 1)
        offsets = np.where(found[:, None], offsets, room // 2)
        out = self.resized(sizes)
        return stretch(np.concatenate([offsets, extents], axis=1), out), out

    def resized(self, sizes: Array) -> Array:
        """Return the one size for each."""
        return np.broadcast_to(np.array([self.height, self.width]), sizes.shape)

    def _extents(self, keys: Keys, sizes: Array) -> tuple[Array, Array]:
        """Return box heights and widths (B, 2) and whether (B,) they come from a try."""
        extents, found = self._largest(sizes), np.zeros(len(sizes), bool)
        for number in range(TRIES):
            tried = self._tried(keys.words(number), sizes)
            fits = ~found & (tried > 0).all(axis=1) & (tried <= sizes).all(axis=1)
            extents[fits] = tried[fits]
            found |= fits
            if found.all():
                break
        return extents, found

    def _tried(self, words: U64, sizes: Array) -> Array:
        """Return heights and widths (B, 2); one word gives both draws, 32 bits each."""
        first, second = ((half & 0xFFFFFFFF) * 2.0**-32 for half in (words >> np.uint64(32), words))
        areas = sizes.prod(axis=1) * (self.scale[0] + first * (self.scale[1] - self.scale[0]))
        low, high = np.log(self.ratio)
        ratios = np.exp(low + second * (high - low))
        extents = np.sqrt(np.stack([areas / ratios, areas * ratios], axis=1))
        return np.asarray(np.rint(extents), np.int64)

    def _largest(self, sizes: Array) -> Array:
        """Return the height and width (B, 2) of the largest box of an allowed ratio."""
        heights, widths = sizes.T
        low, high = self.ratio
        return np.stack(
            [
                np.where(widths / heights < low, np.rint(widths / low), heights),
                np.where(widths / heights > high, np.rint(heights * high), widths),
            ],
            axis=1,
        ).astype(np.int64)
