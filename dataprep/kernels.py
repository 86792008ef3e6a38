"""Compiled loops of the builder. Imported where they are needed: numba takes a second to start."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
from numba import njit

Array = npt.NDArray[Any]


@njit(cache=True, nogil=True)
def channel_sums(pixels: Array, total: Array) -> None:
    """Add sums and sums of squares of (pixels, channels) to `total` (2, channels), in its type."""
    for c in range(pixels.shape[1]):
        one = total[0, c]
        two = total[1, c]
        for i in range(pixels.shape[0]):
            value = pixels[i, c] + (one - one)
            one += value
            two += value * value
        total[0, c] = one
        total[1, c] = two
