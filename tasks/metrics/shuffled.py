"""Fixations of other images, the negatives of shuffled AUC."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.metrics.fixation import Indices, Points

SIZES = 8  # for so many map sizes indices are kept: 5 MB each for 672,000 fixations


class OtherFixations:
    """All fixations of a set, from which those of one image are left out.

    points: (M, 2), x and y in pixels of their own image; images: (M,), which one, from 0;
    sizes: (I, 2), height and width of each image. Not relative points: x / w * w, cut to a
    pixel, is one pixel less than x for 22 of the 1,920 columns.
    """

    def __init__(self, points: Points, images: Indices, sizes: NDArray[np.integer[Any]]) -> None:
        if points.shape != (len(images), 2) or sizes.shape[1:] != (2,):
            raise ValueError(f"{points.shape} points of {images.shape} images {sizes.shape}")
        order = np.argsort(images, kind="stable")
        self._points = points[order].astype(np.float64)
        self._sizes = np.asarray(sizes)[images[order]].astype(np.float64)
        if not ((self._points >= 0) & (self._points < self._sizes[:, ::-1])).all():
            raise ValueError("a fixation is outside of its image")
        self._starts = np.searchsorted(images[order], np.arange(len(sizes) + 1))
        self._all = lru_cache(SIZES)(self._scaled)

    def pixels(self, height: int, width: int, leave_out: int | None = None) -> Indices:
        """Return flat pixel indices in a map of (H, W), repeats kept, but of one image.

        x is scaled by width / width of its image, y likewise, then cut to a whole number.
        """
        everything = self._all(height, width)
        if leave_out is None:
            return everything
        start, stop = self._starts[leave_out : leave_out + 2]
        return np.concatenate([everything[:start], everything[stop:]])

    def _scaled(self, height: int, width: int) -> Indices:
        x = (self._points[:, 0] * (width / self._sizes[:, 1])).astype(np.int64)
        y = (self._points[:, 1] * (height / self._sizes[:, 0])).astype(np.int64)
        index: Indices = np.minimum(y, height - 1) * width + np.minimum(x, width - 1)
        index.flags.writeable = False
        return index
