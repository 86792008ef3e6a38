"""Drawings of calibration: reliability diagrams, ROC curves with operating points.

Pictures are (H, W, 3) uint8. Legend: N samples, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_curve

from tasks.classes.assessment import Assessment, Judged
from tasks.metrics.calibration import Bins, top
from tasks.metrics.calibration import reliability as binned

Array = npt.NDArray[Any]

DPI = 120
BLUE, RED, GOLD, GREY = "#3b6ea5", "#c8553d", "#e0a93b", "#9aa5b1"
MARKS = "os^D"
NAMES = {"ece": "ECE", "mce": "MCE", "nll": "NLL", "brier": "Brier"}


def of_calibration(one: Judged, found: Assessment, title: str) -> Array:
    """Draw the reliability of the told class before and after calibration."""
    columns = []
    for suffix, logs in (("before", one.before), ("after", one.after)):
        bins = binned(*top(np.exp(logs), one.labels))
        shown = (f"{text} {found.figures[f'{name}_{suffix}']:.4f}" for name, text in NAMES.items())
        columns.append((f"{suffix} calibration", bins, "  ".join(shown)))
    how = f"T = {one.calibrated.temperature:.3f}"
    return reliability(columns, f"{title}: {found.samples:,} samples, {how}")


def of_points(one: Judged, found: Assessment, title: str) -> Array | None:
    """Draw the ROC curve of the operating points' class; None where it has no points or samples."""
    points = one.calibrated.points
    names = {point["class"]: int(point["index"]) for point in points.values()}
    for name, index in names.items():
        positives = one.labels == index
        if positives.any() and not positives.all():
            low, high = found.intervals.get(f"auc/{name}", (None, None))
            between = "" if low is None else f" [{low:.3f}, {high:.3f}]"
            area = f"{found.figures[f'auc/{name}']:.3f}{between}"
            title = f"{title}: {name}, {positives.sum():,} of {len(positives):,} samples"
            return roc(np.exp(one.after[:, index]), positives, points, title, area)
    return None


def reliability(columns: Sequence[tuple[str, Bins, str]], title: str) -> Array:
    """Draw reliability diagrams beside each other: (name, bins, text of figures) each."""
    figure = _figure(4.8 * len(columns), 6.6)
    figure.suptitle(title)
    cells = figure.subplots(
        2, len(columns), height_ratios=(3, 1), sharex=True, sharey="row", squeeze=False
    )
    for (name, bins, text), (upper, lower) in zip(columns, cells.T, strict=True):
        _bars(upper, bins)
        upper.set(xlim=(0, 1), ylim=(0, 1))
        upper.set_title(f"{name}\n{text}", size=10)
        _counts(lower, bins)
    cells[0, 0].set_ylabel("accuracy")
    cells[1, 0].set_ylabel("samples")
    cells[0, 0].legend(loc="upper left", fontsize=7.5)
    return _pixels(figure)


def roc(
    scores: Array, positives: Array, points: Mapping[str, Mapping[str, Any]], title: str, area: str
) -> Array:
    """Draw the ROC curve of one class, with what each operating point does on these samples."""
    figure = _figure(5.6, 5.6)
    axes = figure.subplots()
    false, true, _ = roc_curve(positives, scores, drop_intermediate=False)
    axes.plot([0, 1], [0, 1], "--", color=GREY, lw=1, label="chance")
    axes.plot(false, true, color=BLUE, lw=2, clip_on=False, label=f"AUC {area}")
    for mark, (name, point) in zip(MARKS, points.items(), strict=False):
        called = scores >= point["threshold"]
        place = called[~positives].mean(), called[positives].mean()
        text = f"{name}: p ≥ {point['threshold']:.4g}\nsens {place[1]:.3f}, spec {1 - place[0]:.3f}"
        axes.plot(*place, mark, color=RED, ms=9, mec="white", label=text, clip_on=False, zorder=3)
        if point["wanted"] == "specificity":
            axes.axvline(1 - point["least"], color=RED, lw=0.8, ls=":")
        else:
            axes.axhline(point["least"], color=RED, lw=0.8, ls=":")
    axes.set(title=title, xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.set(xlabel="1 − specificity", ylabel="sensitivity")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", fontsize=9)
    return _pixels(figure)


def _bars(axes: Any, bins: Bins) -> None:
    """Draw the accuracy of each bin, and between it and the mean confidence the gap."""
    there = bins.counts > 0
    left, width = bins.edges[:-1][there], np.diff(bins.edges)[there]
    reached, said = bins.accuracy[there], bins.confidence[there]
    facts: dict[str, Any] = {"width": width, "align": "edge", "edgecolor": "white", "lw": 0.5}
    lower = np.minimum(reached, said)
    axes.bar(left, lower, color=BLUE, label="accuracy", **facts)
    facts |= {"bottom": lower, "hatch": "///", "alpha": 0.55}
    axes.bar(left, said - lower, color=RED, label="too sure: confidence above it", **facts)
    axes.bar(left, reached - lower, color=GOLD, label="not sure enough: below it", **facts)
    axes.plot([0, 1], [0, 1], "--", color="black", lw=1, label="as it should be")
    axes.plot(said, reached, "o", color="black", ms=3.5, clip_on=False, label="mean of a bin")
    axes.grid(alpha=0.25)


def _counts(axes: Any, bins: Bins) -> None:
    width = np.diff(bins.edges)
    axes.bar(
        bins.edges[:-1], bins.counts, width, align="edge", color=GREY, edgecolor="white", lw=0.5
    )
    there = bins.counts > 0
    mean = float(bins.counts[there] @ bins.confidence[there] / bins.counts.sum())
    right = float(bins.counts[there] @ bins.accuracy[there] / bins.counts.sum())
    axes.axvline(mean, color=RED, lw=1.5, label=f"mean confidence {mean:.3f}")
    axes.axvline(right, color=BLUE, lw=1.5, ls="--", label=f"accuracy {right:.3f}")
    axes.set(xlabel="confidence", yscale="symlog")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.legend(loc="upper left", fontsize=7)


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure  # slow to import: for reports

    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def _pixels(figure: Any) -> Array:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
