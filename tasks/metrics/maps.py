"""A saliency map beside the map of the fixations: CC, KLDiv, SIM.

Definitions are pysaliency's 0.2.22. All compare with a blurred map of fixations, whose sigma
decides the score as much as the model does: name it with each figure. Shapes: H W, any scale.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Map = NDArray[np.floating[Any]]

ADDED = 1e-20
EPSILON = 2.2204e-16


def cc(saliency: Map, truth: Map) -> float:
    """Return Pearson's correlation of two maps; 0 where one is constant."""
    a, b = _pair(saliency, truth)
    if a.min() == a.max() or b.min() == b.max():
        return 0.0
    a, b = a - a.mean(), b - b.mean()
    return float(np.vdot(a, b) / np.sqrt(np.vdot(a, a) * np.vdot(b, b)))


def kldiv(saliency: Map, truth: Map) -> float:
    """Return KL(truth, saliency) in nats, pysaliency's default: 1e-20 added to both maps.

    It is added before the maps are made to sum to 1, so where a prediction is 0 the score depends
    on its scale.
    """
    p, q = (_density(values, ADDED) for values in _pair(saliency, truth))
    return float(np.vdot(q, np.log(q / p)))


def kldiv_mit(saliency: Map, truth: Map) -> float:
    """Return KL(truth, saliency) in nats as the boards of MIT and Tuebingen do.

    It is sum q ln(e + q / (p + e)) with e = 2.2204e-16, and nothing is added to the maps.
    """
    p, q = (_density(values) for values in _pair(saliency, truth))
    return float(np.vdot(q, np.log(EPSILON + q / (p + EPSILON))))


def sim(saliency: Map, truth: Map) -> float:
    """Return the similarity: the sum of the smaller of the two densities at each pixel.

    MIT's code scales each map to [0, 1] before: another number, less for a map without zeros.
    """
    p, q = (_density(values) for values in _pair(saliency, truth))
    return float(np.minimum(p, q).sum())


def _density(values: Array, added: float = 0.0) -> Array:
    """Return a map that sums to 1: lifted if it goes below 0, uniform if all of it is 0."""
    lowest = float(values.min())
    if lowest < 0:
        values = values - lowest
    if added:  # in a step of its own: beside the lowest value it would be lost
        values = values + added
    total = values.sum()
    return values / total if total else np.full(values.shape, 1 / values.size)


def _pair(saliency: Map, truth: Map) -> tuple[Array, Array]:
    if saliency.shape != truth.shape or saliency.ndim != 2:
        raise ValueError(f"want two maps of one size, not {saliency.shape} and {truth.shape}")
    return saliency.astype(np.float64, copy=False), truth.astype(np.float64, copy=False)
