"""Where to draw the line: thresholds, the rates at one, areas under curves. Legend: N, C.

`scores` (N,) are of one class, `positives` (N,) say whether a sample is of it; who scores
`threshold` or more is called positive. Candidates for a threshold are the scores that occur, as in
scikit-learn's `roc_curve`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

Array = npt.NDArray[Any]

MARGIN = 1e-4  # of a threshold: more than a score changes when it is computed again


class Rates(NamedTuple):
    """Shares at a threshold; NaN where there is nothing to divide by.

    Of the positives, sensitivity is called so; of the negatives, specificity is not. Of those
    called positive, ppv is; of the others, npv is not.
    """

    sensitivity: float
    specificity: float
    ppv: float
    npv: float


def specific(scores: Array, positives: Array, least: float) -> float:
    """Return the smallest threshold whose specificity is at least `least`: never below it.

    Equal scores go together, so it may lie well above. Just above the highest score, and nobody is
    called positive, where no score does. ValueError where there is no negative.
    """
    scores, positives = _checked(scores, positives, least)
    negatives = np.sort(scores[~positives])
    _need(len(negatives), "negative")
    # The last negative that must be refused; whoever scores the same is refused with it.
    refused = negatives[_count(len(negatives), least) - 1]
    above = scores[scores > refused]
    return float(above.min() if len(above) else np.nextafter(refused, np.inf))


def sensitive(scores: Array, positives: Array, least: float) -> float:
    """Return the largest threshold whose sensitivity is at least `least`: never below it.

    ValueError where there is no positive.
    """
    scores, positives = _checked(scores, positives, least)
    own = np.sort(scores[positives])
    _need(len(own), "positive")
    return float(own[len(own) - _count(len(own), least)])


def settled(scores: Array, threshold: float) -> float:
    """Return a threshold that parts these samples alike, and is no score of theirs.

    A score computed again, alone or on another device, differs in its last digits, and the sample
    that set the threshold would fall on either side of it. So it lies `MARGIN` lower, but nearer to
    that sample than to the next lower one; higher where nobody is to be called positive.
    """
    below, above = scores[scores < threshold], scores[scores >= threshold]
    if not len(above):
        return float(below.max() * (1 + MARGIN))
    gap = above.min() - (below.max() if len(below) else 0.0)
    return float(above.min() - min(gap / 2, above.min() * MARGIN))


def rates(scores: Array, positives: Array, threshold: float) -> Rates:
    """Return the rates at a threshold."""
    called, is_one = np.asarray(scores) >= threshold, np.asarray(positives, bool)
    hits, said, there = int((called & is_one).sum()), int(called.sum()), int(is_one.sum())
    right = len(called) - said - there + hits  # neither called so nor so
    return Rates(
        _share(hits, there),
        _share(right, len(called) - there),
        _share(hits, said),
        _share(right, len(called) - said),
    )


def areas(scores: Array, labels: Array) -> Array:
    """Return the area (C,) under each class's ROC curve against all others; NaN without either.

    By ranks (Mann-Whitney), ties counting one half: equal to scikit-learn's `roc_auc_score`, which
    refuses a set or a resample that lacks a class. Their mean is its macro one-versus-rest AUC.
    """
    is_one = labels[:, None] == np.arange(scores.shape[1])
    there = is_one.sum(axis=0).astype(np.float64)
    won = (rankdata(scores, axis=0) * is_one).sum(axis=0) - there * (there + 1) / 2
    pairs = there * (len(labels) - there)
    found = np.full(len(there), np.nan)
    np.divide(won, pairs, out=found, where=pairs > 0)
    return found


def _count(among: int, least: float) -> int:
    """Return the smallest count whose share of `among` is at least `least`."""
    # By the division that also makes the share: no rounding can tell them apart.
    return int(np.argmax(np.arange(1, among + 1) / among >= least)) + 1


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def _need(count: int, kind: str) -> None:
    if not count:
        raise ValueError(f"no {kind} sample: no threshold can be chosen")


def _checked(scores: Array, positives: Array, least: float) -> tuple[Array, Array]:
    scores, is_one = np.asarray(scores, np.float64), np.asarray(positives, bool)
    if not 0 < least <= 1:
        raise ValueError(f"want a rate above 0 and up to 1, not {least}")
    if scores.shape != is_one.shape or scores.ndim != 1:
        raise ValueError(f"scores of {scores.shape} for samples of {is_one.shape}")
    if np.isnan(scores).any():
        raise ValueError("a score is NaN")
    return scores, is_one
