"""Figures of what networks said of each test image: reliability, confusion, ROC.

Drawn of each network's run of the lowest seed that is there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from jobs import figures
from jobs.networks import AFTER, BEFORE, Frame, kept, tables
from jobs.networks.looks import look
from jobs.results import Results
from jobs.study import Member, Picture, Variant
from tasks.classes.outputs import Outputs
from tasks.metrics import calibration, classification

INK = 0.5  # of its row, from which a cell's number is white


class Drawn(NamedTuple):
    """A network's run that is drawn, with what it said of each image."""

    variant: Variant
    member: Member
    outputs: Outputs
    facts: kept.Facts
    look: Mapping[str, Any]

    @property
    def label(self) -> str:
        """The network's name."""
        return self.variant.label or self.variant.name


def drawn(results: Results, place: str) -> list[Drawn]:
    """Return the networks of which there is something to draw."""
    return list(_drawn(results, place))


def _drawn(results: Results, place: str) -> Iterator[Drawn]:
    for variant in results.study.variants:
        member = tables.first(results, variant)
        outputs = kept.outputs(member, place.rpartition("/")[2]) if member else None
        facts = kept.calibration(member) if member else None
        if member and outputs and facts:
            yield Drawn(variant, member, outputs, facts, look(results, variant))


def _assessed(one: Drawn, place: str) -> Mapping[str, float | None]:
    """Return a network's figures at a place."""
    splits = (kept.assessment(one.member) or {"splits": {}})["splits"]
    found: Mapping[str, float | None] = splits.get(place.rpartition("/")[2], {"figures": {}})[
        "figures"
    ]
    return found


def seeds(found: list[Drawn]) -> str:
    """Return which runs are drawn."""
    told = ", ".join(map(str, dict.fromkeys(one.member.seed for one in found)))
    return f"Runs of seed {told}."


def reliability(frame: Frame, results: Results, place: str, path: Path) -> Picture | None:
    """Draw accuracy over confidence in bins, before and after temperature scaling."""
    found = drawn(results, place)
    if not found:
        return None
    size = (2.75 * len(found) + 0.4, 6.4)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(
        4, len(found), squeeze=False, sharex=True, sharey="row", height_ratios=(3, 1, 3, 1)
    )
    for column, one in enumerate(found):
        for row, (stage, t) in enumerate(((BEFORE, 1.0), (AFTER, one.facts["temperature"]))):
            above, below = panels[2 * row][column], panels[2 * row + 1][column]
            ece = _assessed(one, place).get(f"ece{stage}")
            _reliability(above, below, one.outputs, t, one.look["color"])
            told = "before" if stage == BEFORE else f"after, T = {t:.2f}"
            title = f"{one.label}\n{told}" if stage == BEFORE else told
            above.set_title(title, fontsize="medium")
            if ece is not None:
                above.text(0.05, 0.93, f"ECE {100 * ece:.1f} %", va="top", fontsize="small")
    for row in (0, 2):
        panels[row][0].set_ylabel("accuracy")
        panels[row + 1][0].set_ylabel("share, %")
    figure.supxlabel("confidence", fontsize="medium")
    caption = (
        "Reliability before (above) and after (below) temperature scaling: accuracy of the images"
        " in each of 15 bins of confidence, the gap to the diagonal hatched; below each the share"
        " of the images in the bins, with mean accuracy (line) and mean confidence (dashed)."
        f" {tables.untouched(frame, place)} {seeds(found)}"
    )
    return Picture(figures.save(figure, path, results), caption)


def _reliability(above: Any, below: Any, outputs: Outputs, t: float, tint: str) -> None:
    confidence, correct = calibration.top(outputs.probabilities(t), outputs.labels)
    bins = calibration.reliability(confidence, correct)
    middles, width = (bins.edges[:-1] + bins.edges[1:]) / 2, np.diff(bins.edges)
    there = bins.counts > 0
    x, wide = middles[there], width[there]
    accuracy, said = bins.accuracy[there], bins.confidence[there]
    above.bar(x, accuracy, wide, color=tint, alpha=0.85, ec="white", lw=0.5)
    above.bar(x, said - accuracy, wide, accuracy, color="none", ec="0.35", hatch="////", lw=0.5)
    above.plot([0, 1], [0, 1], color="black", lw=1, ls="--")
    above.set(xlim=(0, 1), ylim=(0, 1), aspect="auto")
    below.bar(
        x, 100 * bins.counts[there] / bins.counts.sum(), wide, color="0.6", ec="white", lw=0.5
    )
    below.axvline(correct.mean(), color=tint, lw=1.5)
    below.axvline(confidence.mean(), color="black", lw=1.2, ls="--")


def confusions(frame: Frame, results: Results, place: str, path: Path) -> Picture | None:
    """Draw a confusion matrix for each network."""
    found = drawn(results, place)
    if not found:
        return None
    columns = 2 if len(found) > 1 else 1
    rows = -(-len(found) // columns)
    figure = Figure(figsize=(4.6 * columns, 4.3 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, one in zip(panels, found, strict=False):
        _confusion(axes, one)
    for axes in panels[len(found) :]:
        axes.set_visible(False)
    figure.supxlabel("predicted class", fontsize="medium")
    figure.supylabel("true class", fontsize="medium")
    caption = (
        "Confusion matrices: numbers of images, shade: their share of the true class (row). The"
        " likeliest class is predicted; no operating point and no temperature changes it."
        f" {tables.untouched(frame, place)} {seeds(found)}"
    )
    return Picture(figures.save(figure, path, results), caption)


def _confusion(axes: Any, one: Drawn) -> None:
    names = one.facts["classes"]
    labels, told = one.outputs.labels, one.outputs.predicted
    matrix = classification.confusion(labels, told, len(names))
    shares = matrix / np.maximum(1, matrix.sum(axis=1, keepdims=True))
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(matrix):
        ink = "white" if shares[row, column] > INK else "black" if count else "0.7"
        axes.text(column, row, str(count), ha="center", va="center", color=ink, fontsize="small")
    axes.set_xticks(range(len(names)), names, rotation=45, fontsize="small")
    axes.set_yticks(range(len(names)), names, fontsize="small")
    right = 100 * float((labels == told).mean())
    balanced = 100 * classification.balanced_accuracy(matrix)
    axes.set_title(f"{one.label}: {right:.1f} %, balanced {balanced:.1f} %", fontsize="medium")


def roc(frame: Frame, results: Results, place: str, path: Path) -> Picture | None:
    """Draw the ROC curve of the positive class, with the operating points."""
    from sklearn.metrics import roc_curve  # here: it takes a while

    found = [
        one for one in drawn(results, place) if (one.outputs.labels == _index(frame, one)).any()
    ]
    if not found:
        return None
    figure = Figure(figsize=(6.4, 5.2), layout="constrained")
    axes = figure.subplots()
    markers = dict(zip(frame.points, "os", strict=True))
    for one in found:
        scores = one.outputs.probabilities(one.facts["temperature"])[:, _index(frame, one)]
        positives = one.outputs.labels == _index(frame, one)
        fpr, tpr, _ = roc_curve(positives, scores, drop_intermediate=False)
        assessed = _assessed(one, place)
        area = assessed.get(frame.auc)
        told = f", AUC {area:.3f}" if area is not None else ""
        axes.plot(fpr, tpr, **one.look, label=f"{one.label}{told}")
        for point, marker in markers.items():
            right, hit = (
                assessed.get(f"{rate}@{point}") for rate in ("specificity", "sensitivity")
            )
            if right is not None and hit is not None:
                axes.plot(
                    1 - right,
                    hit,
                    marker,
                    color=one.look["color"],
                    mec="black",
                    ms=8,
                    clip_on=False,
                    zorder=3,
                )
    for point, marker in markers.items():
        promise = f"threshold of {frame.points[point]}"
        axes.plot([], [], marker, color="white", mec="black", ms=8, label=promise)
    axes.axvline(1 - frame.specificity, color="grey", lw=1, ls=":")
    axes.plot([0, 1], [0, 1], color="grey", lw=1, ls="--")
    axes.set(xlim=(0, 1), ylim=(0, 1.005), aspect="equal")
    axes.set(xlabel="1 − specificity", ylabel="sensitivity", title=f"{frame.positive}, {place}")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", fontsize="small")
    caption = (
        f"ROC of {frame.positive} against all other classes by calibrated probability, with the"
        " operating points whose thresholds were chosen on the split calibration; dotted: the"
        f" wanted specificity. {tables.untouched(frame, place)} {seeds(found)}"
    )
    return Picture(figures.save(figure, path, results), caption)


def _index(frame: Frame, one: Drawn) -> int:
    return int(one.facts["classes"].index(frame.positive))
