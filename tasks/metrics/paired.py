"""Is one classifier better than another on the same samples? Legend: N samples.

Both tests take samples as independent. Where several show the same lesion, intervals of a
difference from `bootstrap` over lesions are the safer answer.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest, norm, rankdata

Array = npt.NDArray[Any]


class McNemar(NamedTuple):
    """Samples that only a, that only b has right; p: two-sided."""

    only_a: int
    only_b: int
    p: float


class DeLong(NamedTuple):
    """Areas under both ROC curves, a − b with its interval, two-sided p."""

    area_a: float
    area_b: float
    difference: float
    low: float
    high: float
    p: float


def mcnemar(correct_a: Array, correct_b: Array) -> McNemar:
    """Compare accuracies by the exact binomial test of the samples on which they disagree.

    correct: (N,) whether each has a sample right. 1 where they never disagree.
    """
    a, b = np.asarray(correct_a, bool), np.asarray(correct_b, bool)
    if a.shape != b.shape:
        raise ValueError(f"{len(a)} samples beside {len(b)}: not the same ones")
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    p = float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
    return McNemar(only_a, only_b, p)


def delong(scores_a: Array, scores_b: Array, positives: Array, level: float = 0.95) -> DeLong:
    """Compare the areas under two ROC curves of the same samples (DeLong et al. 1988).

    In O(N log N) by midranks (Sun & Xu 2014, IEEE Signal Processing Letters 21(11)). ValueError
    with fewer than two positives or negatives: there is no variance then.
    """
    is_one = np.asarray(positives, bool)
    scores = np.stack([np.asarray(one, np.float64) for one in (scores_a, scores_b)])
    if scores.shape[1:] != is_one.shape or np.isnan(scores).any():
        raise ValueError(f"want a score that is no NaN for each of {len(is_one)} samples, twice")
    there, others = int(is_one.sum()), int((~is_one).sum())
    if min(there, others) < 2:
        raise ValueError(f"{there} positives and {others} negatives: want two or more of each")
    # What share of the others each sample beats: the structural components V10 and V01.
    ranks = rankdata(scores, axis=1)
    wins = (ranks[:, is_one] - rankdata(scores[:, is_one], axis=1)) / others
    losses = 1 - (ranks[:, ~is_one] - rankdata(scores[:, ~is_one], axis=1)) / there
    area_a, area_b = wins.mean(axis=1).tolist()
    spread = np.cov(wins) / there + np.cov(losses) / others
    deviation = float(np.sqrt(max(spread[0, 0] + spread[1, 1] - 2 * spread[0, 1], 0.0)))
    difference = area_a - area_b
    half = float(norm.ppf(0.5 + level / 2)) * deviation
    return DeLong(
        area_a, area_b, difference, difference - half, difference + half, _p(difference, deviation)
    )


def _p(difference: float, deviation: float) -> float:
    """Return the two-sided p; without any spread curves are equal, or surely not."""
    if deviation == 0:
        return 1.0 if difference == 0 else 0.0
    return float(2 * norm.sf(abs(difference) / deviation))
