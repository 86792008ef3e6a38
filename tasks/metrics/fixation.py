"""What a saliency model says at the fixations: likelihood, information gain, NSS.

Each function returns one value per fixation, repeated places counted each time; what to average
over (fixations, or images first) is the caller's choice. Definitions are pysaliency's.
Shapes: maps H W, points N 2 (x, y) in pixels of the map, (0, 0) its top left corner.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Map = NDArray[np.floating[Any]]
Points = NDArray[np.floating[Any]]
Indices = NDArray[np.int64]


def pixels(points: Points, height: int, width: int) -> Indices:
    """Return the flat index, (N,), of the pixel that each point lies in: int() of x and y.

    ValueError for points of another shape, and where one lies outside.
    """
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"want points as (N, 2), not {points.shape}")
    inside = ((points >= 0) & (points < (width, height))).all(axis=1)
    if not inside.all():
        x, y = points[int(np.argmin(inside))]
        raise ValueError(f"the fixation ({x:g}, {y:g}) is outside of {width} x {height} px")
    whole = points.astype(np.int64)
    index: Indices = whole[:, 1] * width + whole[:, 0]
    return index


def values_at(values: Map, points: Points) -> Array:
    """Return what a map holds at each fixation. ValueError as for `pixels`."""
    height, width = size_of(values)
    return values.ravel()[pixels(points, height, width)].astype(np.float64)


def log_likelihood(log_density: Map, points: Points) -> Array:
    """Return ln p of each fixation in nats, of a log density that sums to 1 over the pixels."""
    return values_at(log_density, points)


def information_gain(log_density: Map, points: Points, baseline: Map | None = None) -> Array:
    """Return log2 of p over the baseline's p at each fixation, in bit (Kuemmerer et al. 2015).

    Baseline: a log density of the same size; None is the uniform density, and the gain then what
    DeepGaze calls log-likelihood. MIT's InfoGain scales both maps to [0, 1] first: another number.
    """
    if baseline is None:
        return (log_likelihood(log_density, points) + math.log(log_density.size)) / math.log(2)
    if baseline.shape != log_density.shape:
        raise ValueError(f"baseline of {baseline.shape}, log density of {log_density.shape}")
    return (values_at(log_density, points) - values_at(baseline, points)) / math.log(2)


def nss(saliency: Map, points: Points) -> Array:
    """Return the normalised scanpath saliency (value - mean) / std of each fixation.

    std is the population's (ddof 0), and a constant map scores 0. MIT's code and DeepGaze's divide
    by n - 1 instead: less by a factor of 1 - 1 / (2 H W).
    """
    wide = saliency.astype(np.float64, copy=False)
    if wide.min() == wide.max():
        return np.zeros(len(values_at(wide, points)))
    found: Array = (values_at(wide, points) - wide.mean()) / wide.std()
    return found


def size_of(values: Map) -> tuple[int, int]:
    """Return height and width of a map."""
    if values.ndim != 2:
        raise ValueError(f"want a map as (H, W), not {values.shape}")
    return values.shape[0], values.shape[1]
