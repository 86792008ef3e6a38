"""Does a saliency map rank fixated pixels above others? AUC, AUC_Judd, shuffled AUC.

Definitions are pysaliency's 0.2.22. They depend on the order of values only, so a log density
serves as well as the density. Shapes: maps H W, points N 2 (x, y) in pixels of the map.
`ordered`: the map's values sorted, (H W,), where the caller has them: most of the work.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.metrics.fixation import Array, Indices, Map, Points, pixels, size_of

Values = NDArray[np.floating[Any]]
JITTER = 1e-7


def area(positives: Values, ordered: Values) -> Array:
    """Return P(negative < s) + P(negative = s) / 2 for each positive value s, (N,).

    Their mean is the area under the ROC curve with all thresholds, ties counting one half.
    ordered: the values of the negatives, ascending; without any the area is NaN.
    """
    return _share(_twice_won(positives, ordered), len(ordered))


def auc(saliency: Map, points: Points, ordered: Values | None = None) -> Array:
    """Return the AUC against all pixels ("uniform" negatives) of each fixation, (N,)."""
    ordered = np.sort(saliency, axis=None) if ordered is None else ordered
    return area(saliency.ravel()[pixels(points, *size_of(saliency))], ordered)


def auc_unfixated(saliency: Map, points: Points, ordered: Values | None = None) -> Array:
    """Return the AUC against the pixels without a fixation of each fixation, (N,)."""
    ordered = np.sort(saliency, axis=None) if ordered is None else ordered
    index = pixels(points, *size_of(saliency))
    positives = saliency.ravel()[index]
    fixated = np.sort(saliency.ravel()[np.unique(index)])
    twice = _twice_won(positives, ordered) - _twice_won(positives, fixated)
    return _share(twice, len(ordered) - len(fixated))


def auc_judd(
    saliency: Map,
    points: Points,
    ordered: Values | None = None,
    noise: np.random.Generator | None = None,
) -> float:
    """Return AUC_Judd: negatives are pixels without a fixation, thresholds fixated values only.

    The curve's points at thresholds s are joined by straight lines, so it is not `auc_unfixated`'s.
    Repeated places count each time (MIT: once). noise: breaks ties by normal noise of 1e-7, as
    pysaliency does unasked (MIT: uniform noise); it adds a sort.
    """
    if noise is not None:
        saliency = saliency + noise.normal(scale=JITTER, size=saliency.shape)
        ordered = None
    ordered = np.sort(saliency, axis=None) if ordered is None else ordered
    index = pixels(points, *size_of(saliency))
    positives = np.sort(saliency.ravel()[index])
    fixated = np.sort(saliency.ravel()[np.unique(index)])
    rest = len(ordered) - len(fixated)
    if not len(index) or not rest:
        return float("nan")
    thresholds = np.unique(positives)[::-1]
    hits = (len(positives) - np.searchsorted(positives, thresholds)) / len(positives)
    above = len(ordered) - np.searchsorted(ordered, thresholds)
    false = (above - (len(fixated) - np.searchsorted(fixated, thresholds))) / rest
    hits, false = np.r_[0, hits, 1], np.r_[0, false, 1]
    return float(np.diff(false) @ (hits[1:] + hits[:-1]) / 2)


def shuffled_auc(saliency: Map, points: Points, negatives: Indices) -> Array:
    """Return the AUC against fixations of other images of each fixation, (N,).

    negatives: flat pixel indices as of `tasks.metrics.shuffled.OtherFixations`, all of them and
    repeats kept. MIT: ten other images, repeats dropped, 100 random draws.
    """
    flat = saliency.ravel()
    return area(flat[pixels(points, *size_of(saliency))], np.sort(flat[negatives]))


def _twice_won(positives: Values, ordered: Values) -> Indices:
    """Return how many negatives each positive exceeds, times two; an equal one counts once."""
    won: Indices = np.searchsorted(ordered, positives) + np.searchsorted(
        ordered, positives, "right"
    )
    return won


def _share(twice: Indices, negatives: int) -> Array:
    return twice / (2 * negatives) if negatives else np.full(len(twice), np.nan)
