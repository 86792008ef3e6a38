"""Do probabilities come true? Calibration errors, Brier score, NLL. Legend: N samples, C classes.

`probabilities` (N, C) have rows that sum to 1, `labels` (N,) are class numbers. Errors are shares:
0.02 is 2 %. A bin is (low, high], the first one holds 0 too, as in Guo et al. 2017
(arXiv:1706.04599, eqs. 2-5) and in scikit-learn's `calibration_curve`.

Own code, since torchmetrics 1.9 computes in float32, puts a confidence that is 1 there into a bin
of its own (issue 3510: ECE can only grow by that) and other edges into the upper bin, and takes
logits that happen to lie in [0, 1] for probabilities; netcal 1.4 takes labels of two classes for a
binary problem, uses [low, high), and its ACE is another figure (the mean of bins, unweighted);
scikit-learn has neither. Brier and NLL equal scikit-learn's `brier_score_loss` and `log_loss`,
which clips: here they come from logits, so that a probability that rounds to 0 costs what it costs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax

Array = npt.NDArray[Any]

BINS = 15
TOLERANCE = 1e-4  # of the sum of a row: probabilities may come from float32


class Bins(NamedTuple):
    """M bins of a reliability diagram: edges (M + 1,), the rest (M,); NaN where a bin is empty."""

    edges: Array
    counts: Array
    accuracy: Array
    confidence: Array

    @property
    def gaps(self) -> Array:
        """|accuracy − confidence| of each bin, 0 where it is empty."""
        gaps: Array = np.nan_to_num(np.abs(self.accuracy - self.confidence))
        return gaps


def reliability(confidence: Array, correct: Array, edges: Array | None = None) -> Bins:
    """Return samples binned by confidence, in 15 equal widths or between `edges`.

    ValueError where `correct` is no yes or no: given class numbers this would yield a figure too,
    their mean minus the mean confidence.
    """
    edges = equal_widths() if edges is None else edges
    hits = np.asarray(correct)
    if not np.isin(hits, (0, 1)).all():
        raise ValueError("want 1 where a prediction is right and 0 where not, not class numbers")
    if not ((confidence >= 0) & (confidence <= 1)).all():  # false for NaN too
        raise ValueError("confidences lie between 0 and 1")
    counts, sums, right = _totals(confidence[:, None], hits[:, None], edges[:, None])
    filled = np.where(counts > 0, counts, np.nan)[0]
    return Bins(edges, counts[0], right[0] / filled, sums[0] / filled)


def top(probabilities: Array, labels: Array) -> tuple[Array, Array]:
    """Return the confidence (N,) in the likeliest class, and whether it is the true one (N,)."""
    _check(probabilities, labels)
    return probabilities.max(axis=1), probabilities.argmax(axis=1) == labels


def ece(probabilities: Array, labels: Array, bins: int = BINS) -> float:
    """Return the expected calibration error: Σ |bin| / N · |accuracy − confidence| (eq. 3)."""
    return _expected(reliability(*top(probabilities, labels), equal_widths(bins)))


def mce(probabilities: Array, labels: Array, bins: int = BINS) -> float:
    """Return the largest |accuracy − confidence| of a bin (eq. 5); one sample may decide it."""
    return float(reliability(*top(probabilities, labels), equal_widths(bins)).gaps.max())


def adaptive_ece(probabilities: Array, labels: Array, bins: int = BINS) -> float:
    """Return the ECE of bins that hold equally many samples (Nixon et al. 2019, of the top class).

    Their edges are quantiles of the confidence; equal confidences share a bin, so the order of
    samples is of no matter.
    """
    confidence, correct = top(probabilities, labels)
    edges = np.quantile(confidence, np.linspace(0, 1, bins + 1))
    return _expected(reliability(confidence, correct, edges))


def classwise_ece(probabilities: Array, labels: Array, bins: int = BINS) -> float:
    """Return the mean over all C classes of the ECE of "is it this class?" (Kull et al. 2019)."""
    _check(probabilities, labels)
    classes = probabilities.shape[1]
    edges = np.repeat(equal_widths(bins)[:, None], classes, axis=1)
    _, sums, right = _totals(probabilities, labels[:, None] == np.arange(classes), edges)
    return float(np.abs(right - sums).sum() / probabilities.size)


def brier(probabilities: Array, labels: Array) -> float:
    """Return the mean over samples of Σ_k (p_k − y_k)², from 0 to 2.

    The sum, not the mean over classes: that one is smaller by the factor C.
    """
    _check(probabilities, labels)
    own = np.take_along_axis(probabilities, labels[:, None], axis=1)[:, 0]
    return float(np.mean((probabilities**2).sum(axis=1) - own**2 + (1 - own) ** 2))


def nll(logits: Array, labels: Array) -> float:
    """Return the mean of −log softmax(logits) at the true class, in nats."""
    said = log_softmax(np.asarray(logits, np.float64), axis=1)
    return float(-np.mean(np.take_along_axis(said, labels[:, None], axis=1)))


def equal_widths(bins: int = BINS) -> Array:
    """Return the edges of equally wide bins over [0, 1]."""
    if bins < 1:
        raise ValueError("want at least 1 bin")
    return np.linspace(0, 1, bins + 1)


def _totals(confidence: Array, correct: Array, edges: Array) -> tuple[Array, Array, Array]:
    """Return counts, Σ confidence and Σ correct of each column's bins, (columns, bins) each."""
    bins, columns = len(edges) - 1, confidence.shape[1]
    # Inner edges only: what lies on an outer one, or rounds past it, belongs to the outer bin.
    places = np.empty(confidence.shape, np.int64)
    for column in range(columns):
        found = np.searchsorted(edges[1:-1, column], confidence[:, column])
        places[:, column] = found + bins * column
    flat, size = places.ravel(), bins * columns
    totals = [np.bincount(flat, minlength=size)]
    totals += [np.bincount(flat, part.ravel(), size) for part in (confidence, correct)]
    counts, sums, right = (total.reshape(columns, bins) for total in totals)
    return counts, sums, right


def _expected(bins: Bins) -> float:
    return float(bins.counts @ bins.gaps / bins.counts.sum())


def _check(probabilities: Array, labels: Array) -> None:
    count, classes = probabilities.shape
    if not count or labels.shape != (count,):
        raise ValueError(
            f"want a label for each of {count} rows and at least one, not {labels.shape}"
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"labels go from {labels.min()} to {labels.max()}, of {classes} classes")
    whole = np.abs(probabilities.sum(axis=1) - 1) <= TOLERANCE  # false for NaN too
    if not whole.all() or probabilities.min() < 0:
        raise ValueError("rows of probabilities are not negative and sum to 1: these do not")
