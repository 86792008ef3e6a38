"""Figures of the study of networks, place by place, and the curves of training."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from jobs import figures
from jobs.networks import Frame, bars, diagrams, tables
from jobs.networks.looks import look
from jobs.results import Results
from jobs.study import Picture

CURVES = (
    ("step", "loss", "training loss"),
    ("validation", "loss", "validation loss"),
    ("validation", "balanced_accuracy", "validation balanced accuracy, %"),
)


def pictures(frame: Frame, results: Results, folder: Path) -> list[Picture]:
    """Draw everything that there is something of."""
    drawers = {
        "metrics": bars.metrics,
        "calibration": bars.calibration,
        "reliability": diagrams.reliability,
        "roc": diagrams.roc,
        "confusion": diagrams.confusions,
    }
    found = []
    for place in tables.places(frame, results):
        split = place.rpartition("/")[2]
        for name, draw in drawers.items():
            found.append(draw(frame, results, place, folder / f"{name}-{split}.png"))
    found += [bars.times(results, folder / "inference.png"), curves(results, folder)]
    return [one for one in found if one]


def curves(results: Results, folder: Path) -> Picture | None:
    """Draw losses and balanced accuracy over the steps of training."""
    logs = {one.name: [run.log for run in results.of(one.name)] for one in results.variants}
    drawn = [
        (kind, name, title)
        for kind, name, title in CURVES
        if any(figures.logged(log, kind, name) for many in logs.values() for log in many)
    ]
    if not drawn:
        return None
    figure = Figure(figsize=(4.4 * len(drawn), 3.6), layout="constrained")
    panels = figure.subplots(1, len(drawn), squeeze=False)[0]
    for axes, (kind, name, title) in zip(panels, drawn, strict=True):
        for variant in results.variants:
            unit = 1 if name == "loss" else 100
            series = [
                {step: unit * value for step, value in figures.logged(log, kind, name).items()}
                for log in logs[variant.name]
            ]
            style = look(results, variant) | {"marker": "." if kind == "validation" else ""}
            figures.band(axes, series, variant.label or variant.name, **style)
        axes.set(xlabel="step", ylabel=title)
        axes.grid(alpha=0.3)
    lines = panels[0].get_legend_handles_labels()
    figure.legend(*lines, loc="outside right upper", fontsize="small")
    many = " Means over seeds, band: 95 % t interval." if len(results.seeds) > 1 else ""
    caption = (
        "Training: loss of the batches as logged, and figures of the split val, by which the best"
        f" weights are chosen; these judge nothing.{many}"
    )
    return Picture(figures.save(figure, folder / "curves.png", results), caption)
