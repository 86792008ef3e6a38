"""Intervals by resampling groups: samples of one lesion come and go together.

Legend: N samples, G groups, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Figures = Callable[[Array], Mapping[str, float]]

RESAMPLES = 1000


def intervals(
    figures: Figures,
    groups: Array,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, tuple[float, float]]:
    """Return the percentile interval of each figure.

    figures: of the samples whose rows it is given, repeats included; NaN, or not there, where a
    resample lacks what it needs (a class): left out of that figure's percentiles. (NaN, NaN) where
    it never has a value. Two sides of (1 − level) / 2 each.

    A figure that grows by noise alone (a mean of absolute values: ECE, MCE) is larger in resamples
    than in the sample; its interval lies high, and may even lie above it.
    """
    found: dict[str, list[float]] = {}
    for rows in draws(groups, resamples, seed):
        for name, value in figures(rows).items():
            found.setdefault(name, []).append(value)
    sides = (1 - level) / 2, (1 + level) / 2
    return {name: _between(np.array(values), sides) for name, values in found.items()}


def draws(groups: Array, resamples: int, seed: int) -> Iterator[Array]:
    """Yield the rows of R resamples: G groups drawn with replacement, all samples of each.

    groups (N,): a number each sample. A resample's length varies with the sizes of its groups.
    """
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    by_group = np.argsort(group, kind="stable")
    starts = np.cumsum(sizes) - sizes
    generator = np.random.default_rng(seed)
    for _ in range(resamples):
        chosen = generator.integers(len(sizes), size=len(sizes))
        lengths = sizes[chosen]
        firsts = np.repeat(starts[chosen] - (np.cumsum(lengths) - lengths), lengths)
        yield by_group[firsts + np.arange(len(firsts))]


def _between(values: Array, sides: tuple[float, float]) -> tuple[float, float]:
    there = values[~np.isnan(values)]
    if not len(there):
        return float("nan"), float("nan")
    low, high = np.quantile(there, sides).tolist()
    return low, high
