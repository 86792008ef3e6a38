"""Intervals and paired tests: what a study may say from few seeds and many samples.

Legend: n values; an interval covers the mean with 95 %. What cannot be known is None, never NaN.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

Values = npt.NDArray[np.float64]

LEVEL = 0.95
RESAMPLES = 10_000


@dataclass(frozen=True)
class Spread:
    """A mean over seeds with its t interval; one value has neither deviation nor interval."""

    n: int
    mean: float | None
    sd: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def half(self) -> float | None:
        """Half the interval's width."""
        return None if self.high is None or self.low is None else (self.high - self.low) / 2


@dataclass(frozen=True)
class Paired:
    """The mean difference of pairs, its interval and two-sided p values."""

    n: int
    mean: float
    low: float | None = None
    high: float | None = None
    p_t: float | None = None
    p_wilcoxon: float | None = None


def spread(values: Sequence[float]) -> Spread:
    """Return mean ± t(0.975, n - 1) · s/√n of the finite values."""
    finite = np.array([value for value in values if math.isfinite(value)])
    n = len(finite)
    if n < 2:
        return Spread(n, float(finite[0]) if n else None)
    mean, sd = float(finite.mean()), float(finite.std(ddof=1))
    half = float(stats.t.ppf((1 + LEVEL) / 2, n - 1)) * sd / math.sqrt(n)
    return Spread(n, mean, sd, mean - half, mean + half)


def over_seeds(differences: Sequence[float]) -> Paired | None:
    """Return the t interval and tests of few paired differences; None without a finite one."""
    found = spread(differences)
    if found.mean is None:
        return None
    finite = np.array([value for value in differences if math.isfinite(value)])
    return Paired(found.n, found.mean, found.low, found.high, *_tests(finite))


def over_samples(differences: Sequence[float], seed: int = 0) -> Paired | None:
    """Return the percentile-bootstrap interval and tests of many paired differences."""
    finite = np.array([value for value in differences if math.isfinite(value)])
    if len(finite) < 2:
        return None
    low, high = bootstrap(finite, seed)
    return Paired(len(finite), float(finite.mean()), low, high, *_tests(finite))


def bootstrap(values: Values, seed: int) -> tuple[float, float]:
    """Return the percentile interval of the mean over resamples (Efron 1979), chunk by chunk."""
    rng, means = np.random.default_rng(seed), np.empty(RESAMPLES)
    chunk = max(1, 2_000_000 // len(values))
    for first in range(0, RESAMPLES, chunk):
        rows = min(chunk, RESAMPLES - first)
        drawn = rng.integers(len(values), size=(rows, len(values)))
        means[first : first + rows] = values[drawn].mean(axis=1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _tests(differences: Values) -> tuple[float | None, float | None]:
    """Return p of the paired t-test and of Wilcoxon's signed ranks; None where undefined."""
    if len(differences) < 2:
        return None, None
    if not differences.any():
        return 1.0, 1.0
    wilcoxon = float(stats.wilcoxon(differences).pvalue)
    sd = differences.std(ddof=1)
    if sd <= 1e-12 * np.abs(differences).max():  # all alike: t is infinite, and says nothing
        return None, wilcoxon
    return float(stats.ttest_1samp(differences, 0.0).pvalue), wilcoxon


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """Return p values corrected for their number (Holm 1979); those not known stay out."""
    known = sorted((p, place) for place, p in enumerate(ps) if p is not None)
    corrected: list[float | None] = [None] * len(ps)
    largest = 0.0
    for rank, (p, place) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        corrected[place] = largest
    return corrected
