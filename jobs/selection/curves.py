"""Curves of validation over each budget: all strategies together, and each over random."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from jobs import figures
from jobs.results import Results
from jobs.selection import RANDOM, Column, calibration, informed, labels_of
from jobs.selection.contest import Contest
from jobs.selection.drawing import fences, grid, look, there
from jobs.study import Picture

AXES = {
    "steps": "step",
    "cost": "cost, epochs of random",
    "time": "reference time, epochs of random",
}
METRICS = {"accuracy": "validation accuracy, %", "loss": "validation loss, nats"}
EARLY = 2  # validations that limits leave out: all rise there
NEAR = 0.02  # validations that differ by no more, as a share of the steps, are compared

Series = dict[float, float]
Runs = Mapping[int, Series]  # by seed


def together(contest: Contest, results: Results, column: Column, folder: Path) -> Picture | None:
    """Draw all contenders over a column's budget: accuracy, loss, and accuracy beside random's."""
    drawn = {metric: _drawn(contest, results, column, metric) for metric in METRICS}
    if not any(drawn["accuracy"].values()):
        return None
    random = drawn["accuracy"].get(RANDOM, {})
    above = {one: _above(runs, random) for one, runs in drawn["accuracy"].items()}
    figure = Figure(figsize=(16, 5), layout="constrained")
    panels = figure.subplots(1, len(METRICS) + 1)
    titles = [*METRICS.values(), "validation accuracy − random's of the same seed, %"]
    for axes, lines, title in zip(panels, [*drawn.values(), above], titles, strict=True):
        for contender, runs in lines.items():
            shade = 0.07 if lines is above else 0.15 if contender == RANDOM else 0
            series = list(runs.values())
            figures.band(axes, series, contender, shade=shade, **look(contest, contender))
        axes.set(xlabel=AXES[column.budget], ylabel=title)
        axes.grid(alpha=0.3)
        _limit(axes, lines.values())
    figure.suptitle(f"All strategies at {column.title}")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center")
    caption = (
        f"Over training, {column.title}: means over seeds on the split val; left and middle with"
        " the 95 % t interval of random alone, right with all. Every learning rate falls to"
        " 0 at its end. Right: differences of runs of the same seed at the same share of their"
        " steps. The first validations, and who is far from all others, may lie outside."
        f"{labels_of(column)}{informed([*drawn['accuracy']])}"
    )
    path = folder / f"curves_{column.name}.png"
    return Picture(figures.save(figure, path, results), caption)


def pairs(
    contest: Contest, results: Results, column: Column, metric: str, folder: Path
) -> Picture | None:
    """Draw each contender over random, a panel each."""
    drawn = _drawn(contest, results, column, metric)
    others = [one for one in drawn if one != RANDOM]
    if not others or RANDOM not in drawn:
        return None
    figure, panels = grid(len(others), 2.7, sharey=False)
    for axes, contender in zip(panels, others, strict=True):
        for one in (RANDOM, contender):
            series = list(drawn[one].values())
            figures.band(axes, series, one, **look(contest, one) | {"linestyle": "-"})
        axes.set_title(contender, fontsize="medium")
        axes.grid(alpha=0.3)
        corner = "lower right" if metric == "accuracy" else "upper right"
        axes.legend(fontsize="small", loc=corner)
        _limit(axes, [drawn[RANDOM], drawn[contender]])
    figure.supxlabel(AXES[column.budget])
    figure.supylabel(METRICS[metric])
    caption = (
        f"Each strategy over random, {column.title}: {METRICS[metric]}; means over seeds, band:"
        " 95 % t interval. Every panel has a scale of its own."
        f"{labels_of(column)}{informed(others)}"
    )
    path = folder / f"pairs_{metric}.png"
    return Picture(figures.save(figure, path, results), caption)


def _drawn(contest: Contest, results: Results, column: Column, metric: str) -> dict[str, Runs]:
    """Return place on the column's axis -> validation metric, of each contender by seed."""
    unit = 100 if metric == "accuracy" else 1
    found: dict[str, Runs] = {}
    for contender in there(contest, results, column):
        scale = _scale(contest, contender, column)
        runs = results.of(f"{contender}-{column.name}")
        logged = {run.member.seed: figures.logged(run.log, "validation", metric) for run in runs}
        found[contender] = {
            seed: {scale * step: unit * value for step, value in one.items()}
            for seed, one in logged.items()
        }
    return found


def _scale(contest: Contest, contender: str, column: Column) -> float:
    """Return what a step is on a column's axis."""
    if column.budget == "steps":
        return 1.0
    known = calibration.read(contest.frame.folder).get(contender)
    return (known.ratio(column.budget) if known else 1.0) / contest.frame.epoch_steps()


def _above(runs: Runs, random: Runs) -> Runs:
    """Return values less those of random's run of the same seed at the same share of the steps."""
    return {seed: _less(own, random[seed]) for seed, own in runs.items() if random.get(seed)}


def _less(own: Series, base: Series) -> Series:
    """Return differences where both were validated; the last validations always are a pair."""
    *early, last = sorted(own)
    *others, end = sorted(base)
    found = {}
    for place in early:
        nearest = min(others, key=lambda other: abs(other / end - place / last), default=None)
        if nearest is not None and abs(nearest / end - place / last) <= NEAR:
            found[place] = own[place] - base[nearest]
    return {**found, last: own[last] - base[end]}


def _limit(axes: Any, drawn: Iterable[Runs]) -> None:
    """Show the means of all but the first validations; bands may reach beyond."""
    means: list[float] = []
    for many in drawn:
        values = [list(one.values())[EARLY:] for one in many.values()]
        shortest = min(map(len, values), default=0)
        means += np.mean([one[:shortest] for one in values], axis=0).tolist() if shortest else []
    limits = fences(means)
    if limits:
        axes.set_ylim(*limits)
