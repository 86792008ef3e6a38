"""Figures of the study of batch selection: curves, figures at the end, times, coverage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from jobs import figures
from jobs.results import Results
from jobs.selection import RANDOM, Column, calibration, curves, labels_of
from jobs.selection.calibration import Calibration
from jobs.selection.contest import Contest
from jobs.selection.coverage import Coverage, coverage
from jobs.selection.drawing import Look, fences, grid, look, there
from jobs.study import Picture

MOST_VISITS = 40  # bars of a histogram


def pictures(contest: Contest, results: Results, folder: Path) -> list[Picture]:
    """Draw everything that there is something of."""
    found = []
    budgets = [column for column in contest.columns if not column.noise]
    noises = [column for column in contest.columns if column.budget == "steps"]
    for columns, title in ((budgets, "budgets"), (noises, "noise")):
        if len(columns) > 1:
            found.append(_dots(contest, results, columns, folder / f"accuracy_{title}.png"))
    found += [curves.together(contest, results, one, folder) for one in contest.columns]
    for metric in curves.METRICS:
        found.append(curves.pairs(contest, results, contest.columns[0], metric, folder))
    found += [_times(contest, results, folder), _coverage(contest, results, folder)]
    return [picture for picture in found if picture]


def _dots(
    contest: Contest, results: Results, columns: Sequence[Column], path: Path
) -> Picture | None:
    """Draw test accuracy at the end, a row a contender, beside each other the columns."""
    of_columns = [there(contest, results, column) for column in columns]
    rows = [one for one in contest.contenders if any(one in names for names in of_columns)]
    places = results.places(results.study.headline[0])
    if not rows or not places:
        return None
    size = (4 * len(columns) + 1.5, 1.5 + 0.35 * len(rows))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(1, len(columns), squeeze=False, sharey=True)[0]
    is_noise = any(column.noise for column in columns)
    for axes, column in zip(panels, columns, strict=True):
        _limit(axes, results, [f"{one}-{column.name}" for one in rows], places[0])
        for row, contender in enumerate(rows):
            style = look(contest, contender)
            _dot(axes, results, f"{contender}-{column.name}", places[0], row, style)
        title = "true labels" if is_noise and not column.noise else column.title
        axes.set(title=title, xlabel=f"accuracy on {places[0]}, %")
        axes.grid(alpha=0.3)
        axes.set_yticks(range(len(rows)), rows)
        axes.set_ylim(len(rows) - 0.5, -0.5)
    caption = (
        "Accuracy on the split that was judged once: a small dot a seed; means with 95 % t"
        " intervals over seeds. The line is random's mean in the same column. An arrow: the mean"
        " of a contender far from all others. Wrong labels are in train alone."
    )
    return Picture(figures.save(figure, path, results), caption)


def _limit(axes: Any, results: Results, variants: Sequence[str], place: str) -> None:
    """Show all intervals, but for contenders that would flatten the others' differences."""
    spreads = [results.spread(variant, place, "accuracy") for variant in variants]
    ends = [(one.low, one.mean, one.high) for one in spreads]
    limits = fences(100 * end for many in ends for end in many if end is not None)
    if limits:
        axes.set_xlim(*limits)


def _dot(axes: Any, results: Results, variant: str, place: str, row: int, style: Look) -> None:
    values = [100 * one for one in results.by_seed(variant, place, "accuracy").values()]
    spread, tint = results.spread(variant, place, "accuracy"), style["color"]
    if spread.mean is None:
        return
    mean, (low, high) = 100 * spread.mean, axes.get_xlim()
    if not low <= mean <= high:
        text, at, side = (
            (f"← {mean:.2f}", 0.02, "left") if mean < low else (f"{mean:.2f} →", 0.98, "right")
        )
        beside = axes.get_yaxis_transform()
        axes.text(at, row, text, color=tint, ha=side, va="center", transform=beside)
        return
    axes.plot(values, [row + 0.22] * len(values), ".", color=tint, alpha=0.5, markersize=5)
    error = None if spread.half is None else [100 * spread.half]
    axes.errorbar([mean], [row], None, error, fmt="o", color=tint, capsize=4)
    if row == 0:
        axes.axvline(mean, color=tint, linewidth=1, alpha=0.4)


def _times(contest: Contest, results: Results, folder: Path) -> Picture | None:
    """Draw the time of an epoch's worth of steps by the calibration, and the cost, × random."""
    known = calibration.read(contest.frame.folder)
    names = [one for one in contest.contenders if one in known]
    if not names:
        return None
    figure = Figure(figsize=(9, 1.5 + 0.35 * (len(names) + 1)), layout="constrained")
    axes = figure.subplots()
    first = min((known[one] for one in names), key=lambda one: one.series).random
    own = Calibration(0, first, first)
    for row, contender in enumerate([RANDOM, *names]):
        one = known.get(contender, own)
        ratio, rounds = one.ratio("time"), one.rounds()
        error = [[ratio - min(rounds)], [max(rounds) - ratio]]
        tint = look(contest, contender)["color"]
        axes.barh([row], [ratio], xerr=error, color=tint, alpha=0.6, capsize=3)
        seconds = median(one.own.seconds) * contest.frame.epoch_steps()
        text, beside = f"{ratio:.2f} ×  {seconds:.2f} s", axes.get_yaxis_transform()
        axes.text(1.01, row, text, va="center", fontsize="small", transform=beside)
        label = "its cost in forward passes" if row == 0 else None
        axes.plot([one.ratio("cost")], [row], "D", color="white", mec="black", label=label)
    axes.axvline(1.0, color="black", linewidth=1)
    axes.set(xlabel="time of as many steps as random has in an epoch, × random")
    axes.set_yticks(range(len(names) + 1), [RANDOM, *names])
    axes.set_ylim(len(names) + 0.5, -0.5)
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside lower right", fontsize="small")
    caption = (
        "Time of an epoch's worth of steps by the calibration, beside random in the same rounds: as"
        " many samples are trained on. Bars: the median of the rounds; lines: lowest and highest"
        " round. Diamonds: cost in forward passes."
    )
    return Picture(figures.save(figure, folder / "times.png", results), caption)


def _coverage(contest: Contest, results: Results, folder: Path) -> Picture | None:
    """Draw how often samples were trained on, a panel a contender, random behind it."""
    column = contest.columns[0]
    found: dict[str, list[Coverage]] = {}
    for contender in there(contest, results, column):
        runs = results.of(f"{contender}-{column.name}")
        known = [one for one in (coverage(contest, run) for run in runs) if one]
        if known:
            found[contender] = known
    if not found:
        return None
    highest = max(int(np.quantile(one.visits, 0.999)) for many in found.values() for one in many)
    most = min(MOST_VISITS, max(2, highest))
    behind = _shares(found.get(RANDOM, []), most)
    figure, panels = grid(len(found), 2.5, sharey=True)
    for axes, (contender, many) in zip(panels, found.items(), strict=True):
        if behind is not None:
            axes.stairs(behind, np.arange(most + 2) - 0.5, color="black", linewidth=1)
        shares = _shares(many, most)
        tint = look(contest, contender)["color"]
        axes.bar(np.arange(most + 1), shares, width=1, color=tint, alpha=0.6)
        never = 100 * float(np.mean([one.never for one in many]))
        axes.set_title(f"{contender}: {never:.1f} % never", fontsize="medium")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.0f}"))
        axes.tick_params(labelbottom=True, labelleft=True)
        axes.grid(alpha=0.3)
    figure.supxlabel(f"times trained on (the last bar: {most} or more)")
    figure.supylabel("samples, %")
    caption = (
        f"How often each sample of the split train was trained on, {column.title}: share of the"
        f" samples, mean over seeds. Outline: random.{labels_of(column)}"
    )
    return Picture(figures.save(figure, folder / "coverage.png", results), caption)


def _shares(many: Sequence[Coverage], most: int) -> Any:
    """Return the share of samples seen 0, 1, …, `most` or more times; None without a run."""
    if not many:
        return None
    counts = [np.bincount(np.minimum(one.visits, most), minlength=most + 1) for one in many]
    return np.mean([count / count.sum() for count in counts], axis=0)
