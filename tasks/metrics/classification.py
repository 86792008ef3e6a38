"""How well classes are told apart. Legend: N samples, C classes.

`scores` (N, C) are logits or probabilities: only their order counts. A matrix (C, C) counts samples
by true class (rows) and predicted class (columns), as scikit-learn's confusion_matrix.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def places(scores: Array, labels: Array) -> Array:
    """Return the place (N,) of each true class in the order of its scores, 0 for the highest.

    Of equal scores the lower class comes first, as in argmax; NaN counts as higher than all, so
    that a network of NaNs is never right.
    """
    own = np.take_along_axis(scores, labels[:, None], axis=1)
    higher = ~(scores <= own)
    earlier = (scores == own) & (np.arange(scores.shape[1]) < labels[:, None])
    return np.asarray((higher | earlier).sum(axis=1))


def hits(scores: Array, labels: Array, k: int = 1) -> Array:
    """Return (N,) 1 where the true class is among the k highest scores, else 0."""
    return (places(scores, labels) < k).astype(np.float64)


def confusion(labels: Array, predicted: Array, classes: int) -> Array:
    """Return the (C, C) matrix of counts."""
    pairs = np.asarray(labels, np.int64) * classes + np.asarray(predicted, np.int64)
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def accuracy(matrix: Array) -> float:
    """Return the share of samples whose class was told."""
    return float(np.trace(matrix) / matrix.sum())


def recalls(matrix: Array) -> Array:
    """Return the share (C,) of each class that was told; NaN for a class without samples."""
    return _shares(np.diag(matrix), matrix.sum(axis=1))


def precisions(matrix: Array) -> Array:
    """Return the share (C,) of what was taken for a class that is of it; NaN where nothing was."""
    return _shares(np.diag(matrix), matrix.sum(axis=0))


def balanced_accuracy(matrix: Array) -> float:
    """Return the mean recall of the classes that have samples."""
    return float(np.nanmean(recalls(matrix)))


def f1(matrix: Array) -> Array:
    """Return 2·TP / (2·TP + FP + FN) of each class (C,); NaN where it neither is nor was taken."""
    return _shares(2 * np.diag(matrix), matrix.sum(axis=0) + matrix.sum(axis=1))


def macro_f1(matrix: Array) -> float:
    """Return the mean F1 of the classes that have samples or were taken for one."""
    return float(np.nanmean(f1(matrix)))


def _shares(part: Array, whole: Array) -> Array:
    shares = np.full(len(whole), np.nan)
    np.divide(part, whole, out=shares, where=whole > 0)
    return shares
