"""How good is a calibrated classifier on samples that nothing was chosen on? With intervals.

AUC and the rates at operating points are of calibrated probabilities: thresholds are on those. The
temperature moves a class's AUC a little, since it orders samples by one of C probabilities.
Legend: N samples, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax

from tasks.classes.calibrated import Calibration
from tasks.classes.outputs import Outputs
from tasks.metrics import bootstrap, calibration, classification, operating

Array = npt.NDArray[Any]

ERRORS = {
    "ece": calibration.ece,
    "mce": calibration.mce,
    "classwise_ece": calibration.classwise_ece,
    "adaptive_ece": calibration.adaptive_ece,
    "brier": calibration.brier,
}
PAIRED = (*ERRORS, "nll")  # figures before and after


@dataclass(frozen=True)
class Judged:
    """labels, predicted, groups (N,); log probabilities (N, C) before and after calibration."""

    labels: Array
    predicted: Array
    before: Array
    after: Array
    groups: Array
    calibrated: Calibration

    def figures(self, rows: Array | slice = slice(None)) -> dict[str, float]:
        """Return all figures over some rows; NaN for what these samples do not decide."""
        labels, classes = self.labels[rows], len(self.calibrated.classes)
        matrix = classification.confusion(labels, self.predicted[rows], classes)
        figures = {
            "accuracy": classification.accuracy(matrix),
            "balanced_accuracy": classification.balanced_accuracy(matrix),
            "macro_f1": classification.macro_f1(matrix),
        }
        after = np.exp(self.after[rows])
        figures |= self._areas(after, labels)
        for suffix, logs in (("before", self.before[rows]), ("after", self.after[rows])):
            shares = np.exp(logs) if suffix == "before" else after
            figures |= {f"{name}_{suffix}": one(shares, labels) for name, one in ERRORS.items()}
            figures[f"nll_{suffix}"] = calibration.nll(logs, labels)
        for name, point in self.calibrated.points.items():
            index = int(point["index"])
            found = operating.rates(after[:, index], labels == index, point["threshold"])
            figures |= {f"{rate}@{name}": value for rate, value in found._asdict().items()}
        return figures

    def _areas(self, shares: Array, labels: Array) -> dict[str, float]:
        """Return the area of each class and their mean, of the classes that these samples have."""
        areas = operating.areas(shares, labels)
        there = areas[~np.isnan(areas)]
        macro = float(there.mean()) if len(there) else float("nan")
        names = zip(self.calibrated.classes, areas.tolist(), strict=True)
        return {"macro_auc": macro} | {f"auc/{name}": area for name, area in names}


@dataclass(frozen=True)
class Assessment:
    """figures, and the 95 % interval of each; what samples do not decide is left out."""

    samples: int
    groups: int
    figures: dict[str, float]
    intervals: dict[str, tuple[float, float]]


def judged(found: Outputs, calibrated: Calibration) -> Judged:
    """Return outputs with what a calibration makes of them; the class is told by the logits."""
    predicted, before = found.logits.argmax(axis=1), log_softmax(found.logits, axis=1)
    after = calibrated.log_probabilities(found.logits)
    return Judged(found.labels, predicted, np.asarray(before), after, found.groups, calibrated)


def assess(one: Judged, resamples: int, seed: int) -> Assessment:
    """Return figures of a split with bootstrap intervals over its groups."""
    known = {name: value for name, value in one.figures().items() if not np.isnan(value)}
    found = bootstrap.intervals(one.figures, one.groups, resamples=resamples, seed=seed)
    between = {name: found[name] for name in known if name in found}
    return Assessment(len(one.labels), len(np.unique(one.groups)), known, between)


def table(found: Assessment, points: Mapping[str, Any]) -> str:
    """Return figures as text to read: before and after, then the rest, each with its interval."""
    lines = [f"  {'':18} {'before':26} after"]
    for name in PAIRED:
        cells = (_cell(found, f"{name}_{suffix}") for suffix in ("before", "after"))
        lines.append(f"  {name:18} {next(cells):26} {next(cells)}".rstrip())
    paired = tuple(f"{name}_" for name in PAIRED)
    rest = [name for name in found.figures if not name.startswith(paired) and "@" not in name]
    lines += [f"  {name:18} {_cell(found, name)}" for name in rest]
    for point, facts in points.items():
        lines.append(f"  {point}: {facts['class']} from {facts['threshold']:.6g} on")
        rates = [name for name in found.figures if name.endswith(f"@{point}")]
        lines += [f"    {name.split('@')[0]:16} {_cell(found, name)}" for name in rates]
    return "\n".join(lines)


def _cell(found: Assessment, name: str) -> str:
    """Return a figure and its interval as text."""
    low, high = found.intervals.get(name, (None, None))
    between = "" if low is None else f" [{low:.4f}, {high:.4f}]"
    return f"{found.figures[name]:.4f}{between}" if name in found.figures else "-"
