"""The centre bias: where people look whatever the picture, from the fixations of other pictures.

A kernel density estimate in relative coordinates (x / width, y / height). What it holds of any
number of points is one small matrix, from which a picture's own points are taken off again: the
estimate from the others costs no pass over them, and is exact at any size (no grid, no resizing).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from tasks.metrics.density import factor
from tasks.metrics.fixation import Array, Indices, Points

BANDWIDTH = 0.0215
BANDWIDTHS = tuple(BANDWIDTH * math.sqrt(2) ** power for power in range(6))  # up to 0.12
UNIFORM_SHARE = 0.01
FINE = 512  # places an axis over which the mass inside is summed
ROUNDING = 1e-6  # of the peak; it is 1e-14
FORETOLD = 256  # images
CHUNK = 16_384  # points whose factors are held at once: 20 MB


class CentreBias:
    """A density of fixations in relative coordinates, each fixation of equal weight.

    points: (M, 2), x and y in [0, 1]. bandwidth: sigma of the Gaussian along both relative axes;
    0.0215 suits 1,003 images (DeepGaze's), fewer want more. Mass beyond the border is not kept
    (pysaliency: reflected). uniform_share: part of the uniform density in the mixture, after the
    estimate sums to 1 (pysaliency's eps is weighed against a count map instead).
    """

    def __init__(
        self, points: Points, bandwidth: float = BANDWIDTH, uniform_share: float = UNIFORM_SHARE
    ) -> None:
        if not 0.001 <= bandwidth <= 1:
            raise ValueError(f"want a bandwidth from 0.001 to 1, not {bandwidth:g}")
        if not 0 < uniform_share <= 1:
            raise ValueError(f"want a uniform share above 0 and up to 1, not {uniform_share:g}")
        self.bandwidth, self.uniform_share = bandwidth, uniform_share
        self.count = len(points)
        self._moments = self._gather(points)

    def log_density(self, height: int, width: int, own: Points | None = None) -> Array:
        """Return ln of the density per pixel, (H, W), at pixel centres; it sums to 1.

        own: (m, 2), those of `points` to leave out, relative too. Where none is left it is uniform.
        """
        density = self._estimate(height, width, own)
        mass = density.sum()
        if mass > 0:
            density *= (1 - self.uniform_share) / mass
            density += self.uniform_share / density.size
        else:
            density[:] = 1 / density.size
        return np.log(density, out=density)

    def grid_log_density(self, size: int, own: Points | None = None) -> Array:
        """Return ln of the density, (size, size), in relative coordinates; it sums to 1."""
        return self.log_density(size, size, own)

    def gain(self, own: Points) -> Array:
        """Return the bit over uniform at each of an image's points, (m,), that image left out."""
        moments = self._without(own)
        if moments is None:
            return np.zeros(len(own))
        x, y = self._factors(own)
        inside = _centres(FINE, self.bandwidth).sum(axis=0) / FINE
        density = ((y @ moments) * x).sum(axis=1) / (inside @ moments @ inside)
        share = self.uniform_share
        found: Array = np.log2((1 - share) * _above_zero(density) + share)
        return found

    def _estimate(self, height: int, width: int, own: Points | None) -> Array:
        """Return the sum of Gaussians at pixel centres, not below 0."""
        moments = self._without(own)
        if moments is None:
            return np.zeros((height, width))
        y, x = (_centres(length, self.bandwidth) for length in (height, width))
        return _above_zero(y @ moments @ x.T)

    def _without(self, own: Points | None) -> Array | None:
        """Return what is held of all points but some, None where none is left."""
        left = self.count - (0 if own is None else len(own))
        if left < 0:
            raise ValueError(f"{self.count - left} points to leave out of {self.count}")
        if left == 0:
            return None
        return self._moments if own is None else self._moments - self._gather(own)

    def _gather(self, points: Points) -> Array:
        """Return the sum over points of the products of their factors, (nodes, nodes)."""
        if points.ndim != 2 or points.shape[1] != 2:
            raise ValueError(f"want points as (M, 2), not {points.shape}")
        if not ((points >= 0) & (points <= 1)).all():
            raise ValueError("want relative points, x / width and y / height in [0, 1]")
        nodes = _centres(1, self.bandwidth).shape[1]
        moments = np.zeros((nodes, nodes))
        for start in range(0, len(points), CHUNK):
            x, y = self._factors(points[start : start + CHUNK])
            moments += y.T @ x
        return moments

    def _factors(self, points: Points) -> tuple[Array, Array]:
        """Return the factors of x and of y, (M, nodes) each."""
        x, y = points.astype(np.float64).T
        return factor(x, 0, 1, self.bandwidth), factor(y, 0, 1, self.bandwidth)


def fitted(
    points: Points,
    images: Indices,
    bandwidths: Sequence[float] = BANDWIDTHS,
    uniform_share: float = UNIFORM_SHARE,
) -> CentreBias:
    """Return the centre bias whose bandwidth foretells images best that are left out, each once.

    images: (M,), the image of each point; of many, some 256 evenly spaced ones are foretold. A
    weaker centre bias would flatter every gain over it.
    """
    order = np.argsort(images, kind="stable")
    cuts = np.flatnonzero(np.diff(images[order])) + 1
    groups = np.split(points[order], cuts)
    groups = groups[:: max(1, len(groups) // FORETOLD)]
    tried = [CentreBias(points, bandwidth, uniform_share) for bandwidth in bandwidths]
    gains = [sum(float(bias.gain(own).sum()) for own in groups) for bias in tried]
    return tried[int(np.argmax(gains))]


def _above_zero(density: Array) -> Array:
    """Return a density without what rounding left below 0; ValueError where it is more."""
    if len(density) and density.min() < -ROUNDING * density.max():
        raise ValueError("points to leave out that are not among those of the centre bias")
    return np.maximum(density, 0, out=density)


@lru_cache(maxsize=32)
def _centres(length: int, bandwidth: float) -> Array:
    matrix = factor((np.arange(length) + 0.5) / length, 0, 1, bandwidth)
    matrix.flags.writeable = False
    return matrix
