"""Figures of a study: those that all share, and how one is saved with what it takes to redo it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from jobs import intervals
from jobs.results import Results
from jobs.study import Picture


def colour(number: int) -> str:
    """Return the colour of a variant by its place in the study: the same in every figure."""
    return f"C{number % 10}"


def save(figure: Figure, path: Path, results: Results) -> Path:
    """Write a PNG that carries command, seeds, places and the data's fingerprints."""
    path.parent.mkdir(parents=True, exist_ok=True)
    prints = {place: one for run in results.runs for place, one in run.fingerprints.items()}
    facts = {
        "command": results.command,
        "seeds": results.seeds,
        "data": prints,
    }
    text = {key: v if isinstance(v, str) else json.dumps(v) for key, v in facts.items()}
    figure.savefig(path, dpi=120, metadata=text)
    return path


def shared(results: Results, folder: Path) -> list[Picture]:
    """Draw what every report shows: headline figures and curves of training."""
    return [*_headline(results, folder / "headline.png"), *_curves(results, folder / "curves.png")]


def points(axes: Any, results: Results, place: str, metric: str) -> None:
    """Draw a metric of every variant: a dot a seed, mean and interval beside them."""
    for number, variant in enumerate(results.variants):
        seeds = list(results.by_seed(variant.name, place, metric).values())
        spread = results.spread(variant.name, place, metric)
        axes.plot([number - 0.12] * len(seeds), seeds, ".", color=colour(number), alpha=0.5)
        if spread.mean is not None:
            error = None if spread.half is None else [spread.half]
            axes.errorbar([number], [spread.mean], error, fmt="o", color=colour(number), capsize=4)
    axes.set_xticks(range(len(results.variants)), [v.label or v.name for v in results.variants])
    axes.set_xlim(-0.6, len(results.variants) - 0.4)
    axes.grid(axis="y", alpha=0.3)


def _headline(results: Results, path: Path) -> list[Picture]:
    """Draw a panel for each headline metric and place."""
    shown = [(m, place) for m in results.study.headline for place in results.places(m)]
    if not shown:
        return []
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(4 * columns, 3 * rows), layout="constrained")
    panels = np.atleast_1d(figure.subplots(rows, columns, squeeze=False)).ravel()
    for axes, (metric, place) in zip(panels, shown, strict=False):
        points(axes, results, place, metric.name)
        axes.set(title=place, ylabel=metric.axis)
        axes.tick_params(axis="x", rotation=20 if len(results.variants) > 3 else 0)
    for axes in panels[len(shown) :]:
        axes.set_visible(False)
    caption = "Headline figures: a small dot a seed, means with 95 % t intervals over seeds."
    return [Picture(save(figure, path, results), caption)]


def _curves(results: Results, path: Path) -> list[Picture]:
    """Draw logged values over the steps: mean over seeds, with its interval."""
    first = results.study.headline[0]
    shown = [("step", name, name) for name in results.study.curves]
    shown.append(("validation", first.name, f"validation: {first.axis}"))
    logs = {v.name: [run.log for run in results.of(v.name)] for v in results.variants}
    drawn = [one for one in shown if _longest(logs, one[0], one[1]) > 1]
    if not drawn:
        return []
    figure = Figure(figsize=(5.5 * len(drawn), 3.8), layout="constrained")
    panels = figure.subplots(1, len(drawn), squeeze=False)[0]
    for axes, (kind, name, title) in zip(panels, drawn, strict=True):
        for number, variant in enumerate(results.variants):
            series = [logged(log, kind, name) for log in logs[variant.name]]
            band(axes, series, variant.label or variant.name, color=colour(number))
        axes.set(xlabel="step", ylabel=title)
        axes.grid(alpha=0.3)
    panels[0].legend()
    caption = "Over training: means over seeds, band: 95 % t interval."
    return [Picture(save(figure, path, results), caption)]


def logged(log: list[dict[str, Any]], kind: str, name: str) -> dict[float, float]:
    """Return step -> value of one kind of a run's log."""
    return {e["step"]: e[name] for e in log if e.get("kind") == kind and name in e}


def _longest(logs: Mapping[str, list[list[dict[str, Any]]]], kind: str, name: str) -> int:
    return max((len(logged(log, kind, name)) for one in logs.values() for log in one), default=0)


def band(
    axes: Any, series: Sequence[Mapping[float, float]], label: str, shade: float = 0.2, **line: Any
) -> None:
    """Draw the mean of several series at the places that all have, and its interval.

    shade: how dark the interval is; 0: none.
    """
    places = sorted(set.intersection(*map(set, series))) if series else []
    spreads = [intervals.spread([one[place] for one in series]) for place in places]
    means = [np.nan if one.mean is None else one.mean for one in spreads]
    axes.plot(places, means, label=label, **line)
    sides = [(one.low, one.high) for one in spreads if one.low is not None]
    if shade and sides and len(sides) == len(places):
        axes.fill_between(
            places, *zip(*sides, strict=True), color=line["color"], alpha=shade, linewidth=0
        )
