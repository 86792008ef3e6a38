"""One number that brings confidences down to what comes true. Legend: N samples, C classes.

Temperature scaling (Guo et al. 2017, arXiv:1706.04599, eq. 9): softmax(logits / T) with the T of
the smallest NLL on samples that nothing else was chosen on. The NLL is convex in 1/T, so that its
derivative

    d NLL / d(1/T) = mean over samples of (Σ_k p_k z_k − z_label)

rises with 1/T, and its root in log T is *the* minimum: found by bracketing, in float64, to machine
precision, or there is none and that is said. The order of logits never changes, nor
does the class that is told.

Own code, since scikit-learn's (`CalibratedClassifierCV(method="temperature")`) and netcal's return
the bound, or where they stopped, in silence; where there is a minimum they agree.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import softmax

Array = npt.NDArray[Any]

LOWEST, HIGHEST = 1e-3, 1e3
PRECISION, TRIES = 1e-13, 200


def fit(logits: Array, labels: Array) -> float:
    """Return the temperature of the smallest NLL; ValueError, one line, where there is none.

    logits (N, C), labels (N,) class numbers.
    """
    logits, labels = _checked(logits, labels)
    shifted = logits - logits.max(axis=1, keepdims=True)
    own = np.take_along_axis(shifted, labels[:, None], axis=1)[:, 0]

    def slope(log_t: float) -> float:
        probabilities = softmax(shifted * np.exp(-log_t), axis=1)
        return float(np.mean((probabilities * shifted).sum(axis=1) - own))

    low, high = float(np.log(LOWEST)), float(np.log(HIGHEST))
    cold, hot = slope(low), slope(high)
    if not np.ptp(shifted, axis=1).any():
        raise ValueError("no temperature: all logits of a sample are equal, of every sample")
    if cold <= 0:
        why = f"every one of these {len(labels):,} samples is told right, or as good as"
        raise ValueError(f"no temperature: the NLL falls down to T = {LOWEST:g}, {why}")
    if hot >= 0:
        why = "the logits know less than chance"
        raise ValueError(f"no temperature: the NLL falls up to T = {HIGHEST:g}, {why}")
    root, told = brentq(
        slope, low, high, xtol=PRECISION, maxiter=TRIES, full_output=True, disp=False
    )
    if not told.converged:
        raise ValueError(f"no temperature: not found in {TRIES} steps ({told.flag})")
    return float(np.exp(root))


def _checked(logits: Array, labels: Array) -> tuple[Array, Array]:
    logits, labels = np.asarray(logits, np.float64), np.asarray(labels, np.int64)
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise ValueError(f"logits of {logits.shape} for labels of {labels.shape}")
    count, classes = logits.shape
    if count < 2 or classes < 2:
        raise ValueError(f"no temperature: {count:,} samples of {classes} classes, want 2 or more")
    if not np.isfinite(logits).all():
        where = int(np.flatnonzero(~np.isfinite(logits).all(axis=1))[0])
        raise ValueError(f"no temperature: logits of row {where} are not finite")
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"labels go from {labels.min()} to {labels.max()}, of {classes} classes")
    if labels.min() == labels.max():
        raise ValueError(f"no temperature: all {count:,} samples are of class {labels[0]}")
    return logits, labels
