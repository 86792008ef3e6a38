"""Maps of fixations: Gaussians summed or spread over a map, exactly and in a few milliseconds.

A Gaussian of variance s^2 is the convolution of two of variance s^2 / 2, and the sum over nodes
0.38 s apart equals that integral to 1e-14. So the Gaussian between any two places of an axis is
F F^T with few columns in F, and a blur two thin matrix products. Nothing is cut off at 4 sigma as
in scipy (6e-5 of the mass); outside of the map there is nothing ("constant"): what is blurred
over the border is lost. Shapes: maps H W, points N 2 (x, y).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.metrics.fixation import Array, Map, Points, pixels, size_of

Sigma = float | tuple[float, float]
# In sigma: between nodes, and of nodes outside the places.
STEP = 0.38
MARGIN = 4.2


def factor(places: NDArray[np.floating[Any]], low: float, high: float, sigma: float) -> Array:
    """Return F, (places, nodes): F F'^T is the Gaussian density of sigma between places of both.

    low, high: bounds of all places of the axis; they and sigma fix the nodes.
    """
    low, high = low - MARGIN * sigma, high + MARGIN * sigma
    nodes, step = np.linspace(low, high, math.ceil((high - low) / (STEP * sigma)) + 1, retstep=True)
    distance = (places[:, None] - nodes) / sigma
    scale = math.sqrt(float(step) / math.pi) / sigma
    result: Array = scale * np.exp(-(distance**2))
    return result


def blur(values: Map, sigma: Sigma) -> Array:
    """Return a map blurred by a Gaussian of sigma pixels, or of (sigma_x, sigma_y).

    ValueError for a sigma below 1 px: its samples no longer sum to 1.
    """
    y, x = _factors(*size_of(values), sigma)
    return _spread(y.T @ values.astype(np.float64, copy=False) @ x, y, x)


def fixation_map(points: Points, height: int, width: int, sigma: Sigma) -> Array:
    """Return the blurred map of fixations, each 1 at the pixel that it lies in; sigma as `blur`.

    Repeated places count each time. The map is in fixations a pixel: nothing is normalised.
    """
    y, x = _factors(height, width, sigma)
    row, column = np.divmod(pixels(points, height, width), width)
    return _spread(y[row].T @ x[column], y, x)


def _spread(moments: Array, y: Array, x: Array) -> Array:
    """Return the map, (H, W), of what was gathered at the nodes; rounding goes below 0, it not."""
    spread: Array = y @ moments @ x.T
    return np.maximum(spread, 0, out=spread)


def _factors(height: int, width: int, sigma: Sigma) -> tuple[Array, Array]:
    across, down = sigma if isinstance(sigma, tuple) else (sigma, sigma)
    return _axis(height, float(down)), _axis(width, float(across))


@lru_cache(maxsize=32)  # a set has images of few sizes; 2 MB for 1,920 px
def _axis(length: int, sigma: float) -> Array:
    if not 1 <= sigma < math.inf:
        raise ValueError(f"want a sigma of 1 px or more, not {sigma:g}")
    matrix = factor(np.arange(length, dtype=np.float64), 0, length - 1, sigma)
    matrix.flags.writeable = False
    return matrix
