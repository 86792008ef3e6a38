"""All saliency metrics of an image at once, applied to densities as the Tuebingen board does."""

from __future__ import annotations

import numpy as np

from tasks.metrics.density import Sigma, blur, fixation_map
from tasks.metrics.fixation import (
    Array,
    Indices,
    Map,
    Points,
    information_gain,
    nss,
    pixels,
    size_of,
)
from tasks.metrics.maps import cc, kldiv, kldiv_mit, sim
from tasks.metrics.ranking import area, auc, auc_judd

TOLERANCE = 1e-3  # of the sum of a density: float32 over millions of pixels


def score(
    log_density: Map, points: Points, baseline: Map, negatives: Indices, sigma_px: Sigma
) -> dict[str, float]:
    """Return the scores of a predicted log density, each the mean over the image's fixations.

    ll, ig: bit per fixation over uniform, over the baseline (a log density too). nss: of the
    density. auc, auc_judd: against all, against unfixated pixels. sauc: against negatives
    (`OtherFixations.pixels`), of the log ratio to the baseline. cc, kldiv, kldiv_mit (nats), sim:
    of the density blurred with sigma_px beside the fixation map of sigma_px (the board's SIM is
    of a map optimised for it: higher). fixations: their number, the image's weight in averages
    per fixation. ValueError without a fixation, and for what is no log density per pixel.
    """
    if not len(points):
        raise ValueError("no fixation")
    density = _density(log_density, "log density")
    _density(baseline, "baseline")
    if not np.isfinite(baseline.min()):
        raise ValueError("the baseline is 0 somewhere")
    ordered = np.sort(log_density, axis=None)
    truth = fixation_map(points, *size_of(log_density), sigma_px)
    blurred = blur(density, sigma_px)
    scores = {
        "ll": information_gain(log_density, points).mean(),
        "ig": information_gain(log_density, points, baseline).mean(),
        "nss": nss(density, points).mean(),
        "auc": auc(log_density, points, ordered).mean(),
        "auc_judd": auc_judd(log_density, points, ordered),
        "sauc": _ratio_auc(log_density, baseline, points, negatives).mean(),
        "cc": cc(blurred, truth),
        "kldiv": kldiv(blurred, truth),
        "kldiv_mit": kldiv_mit(blurred, truth),
        "sim": sim(blurred, truth),
        "fixations": len(points),
    }
    return {name: float(value) for name, value in scores.items()}


def _density(log_density: Map, name: str) -> Array:
    """Return the density; ValueError where it does not sum to 1 over the pixels."""
    density: Array = np.exp(log_density, dtype=np.float64)
    total = float(density.sum())
    if not abs(total - 1) <= TOLERANCE:  # also true of NaN
        raise ValueError(f"the {name} sums to {total:g} over its pixels, not to 1")
    return density


def _ratio_auc(log_density: Map, baseline: Map, points: Points, negatives: Indices) -> Array:
    """Return `shuffled_auc` of the log ratio, taken only where it is asked for."""
    flat, below = log_density.ravel(), baseline.ravel()
    index = pixels(points, *size_of(log_density))
    positives, others = (flat[places] - below[places] for places in (index, negatives))
    return area(positives, np.sort(others))
