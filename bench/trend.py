"""Results over time as figures: ratios to the baseline, and CPU time a sample of nostall."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import history
from history import OURS, Run
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from dataprep.manifest import DataError

DPI = 100
STYLES: tuple[tuple[Any, str], ...] = (("-", "o"), ("--", "s"), (":", "^"), ("-.", "D"))
RED, BLACK = "#d1495b", "#333333"


def save(runs: Sequence[Run], folder: Path) -> list[Path]:
    """Draw a figure for every workload that ran beside a baseline; return the files."""
    titles = dict.fromkeys(run.title for run in runs if run.baseline)
    paths = []
    for title in titles:
        path = folder / f"{title.replace('/', '-').replace(' ', '-')}.png"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            drawn([r for r in runs if r.title == title and r.baseline], title).savefig(path)
        except OSError as error:
            raise DataError(path, "", f"figure not saved: {error.strerror}") from None
        paths.append(path)
    return paths


def drawn(runs: Sequence[Run], title: str) -> Figure:
    """Return the figure of the runs of one workload: a line for each contestant and machine."""
    figure = Figure(figsize=(11, 10), dpi=DPI, layout="constrained")
    cpu, wall, cost = figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 1.6))
    groups, colours = history.groups(runs), shades(runs)
    baseline = runs[-1].baseline
    for axes, name in ((cpu, "cpu"), (wall, "wall")):
        for group, (line, marker) in zip(groups, _styles(len(groups)), strict=True):
            for who, colour in colours.items():
                _line(axes, runs, group, (name, who), (colour, line, marker))
        axes.axhline(1, color=BLACK, linewidth=0.8)
        _log(axes)
    cpu.set_ylabel(f"CPU time of {baseline} ÷ contestant's")
    wall.set_ylabel(f"samples/s ÷ {baseline}'s")
    for group, (line, marker) in zip(groups, _styles(len(groups)), strict=True):
        _costs(cost, runs, group, line, marker)
    cost.set_ylabel(f"{OURS}: CPU ms")
    cost.set_ylim(bottom=0)
    cost.set_xticks(range(len(runs)), [_tick(run) for run in runs], rotation=60, ha="right")
    for axes in (cpu, wall, cost):
        axes.grid(color="#e4e4e4", linewidth=0.8)
        axes.set_axisbelow(True)
    _legend(figure, groups, colours)
    figure.suptitle(f"{title}: medians of a run, bars span its rounds. Ratios: more is better")
    return figure


def shades(runs: Sequence[Run]) -> dict[str, Any]:
    """Return a colour for every contestant, the best of its last run first; red is ours."""
    last: dict[str, float] = {}
    for run in runs:
        last |= {name: median(ratios) for name, ratios in run.ratios["cpu"].items()}
    names = sorted(last, key=lambda name: -last[name])
    others = [name for name in names if name != OURS]
    palette = colormaps["tab20"]
    free = [palette(i) for i in range(20) if i not in (6, 7)]  # these are red
    colours = {name: free[i % len(free)] for i, name in enumerate(others)}
    return {name: RED if name == OURS else colours[name] for name in names}


def _styles(count: int) -> list[tuple[Any, str]]:
    return [STYLES[i % len(STYLES)] for i in range(count)]


def _line(
    axes: Axes,
    runs: Sequence[Run],
    group: Sequence[Run],
    what: tuple[str, str],
    look: tuple[Any, str, str],
) -> None:
    """Draw one contestant's ratios on one machine, with a bar from the least to the most round."""
    figure, name = what
    colour, line, marker = look
    there = [run for run in group if name in run.ratios[figure]]
    if not there:
        return
    rounds = [run.ratios[figure][name] for run in there]
    _bars(axes, runs, there, rounds, colour, line, marker, 2.4 if name == OURS else 1.2)


def _costs(axes: Axes, runs: Sequence[Run], group: Sequence[Run], line: str, marker: str) -> None:
    there = [run for run in group if run.cpu_ms]
    if there:
        _bars(axes, runs, there, [run.cpu_ms for run in there], RED, line, marker, 2.4)


def _bars(
    axes: Axes,
    runs: Sequence[Run],
    there: Sequence[Run],
    rounds: Sequence[Sequence[float]],
    colour: Any,
    line: str,
    marker: str,
    width: float,
) -> None:
    middle = [median(ones) for ones in rounds]
    low = [m - min(ones) for m, ones in zip(middle, rounds, strict=True)]
    high = [max(ones) - m for m, ones in zip(middle, rounds, strict=True)]
    places = [runs.index(run) for run in there]
    style: dict[str, Any] = {"color": colour, "linestyle": line, "linewidth": width}
    style |= {"marker": marker, "markersize": 4, "elinewidth": 0.8}
    axes.errorbar(places, middle, yerr=[low, high], **style)


def _log(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.yaxis.set_minor_formatter(NullFormatter())


def _tick(run: Run) -> str:
    return " ".join(filter(None, [run.when[:10], run.commit]))


def _legend(figure: Figure, groups: Sequence[Sequence[Run]], colours: Mapping[str, Any]) -> None:
    """Say which colour is who, and which line which machine and settings."""
    who = [Line2D([], [], color=colour, label=name) for name, colour in colours.items()]
    where = [
        Line2D([], [], color=BLACK, linestyle=line, marker=marker, label=_label(group[-1], groups))
        for group, (line, marker) in zip(groups, _styles(len(groups)), strict=True)
    ]
    figure.legend(handles=who, loc="outside right upper", frameon=False)
    figure.legend(handles=where, loc="outside lower center", frameon=False)


def _label(run: Run, groups: Sequence[Sequence[Run]]) -> str:
    """Return machine and way of one group, and those settings in which groups differ."""
    flat = [_flat(group[-1]) for group in groups]
    differ = {key for one in flat for key in one if any(o.get(key) != one[key] for o in flat)}
    own = [f"{key} {value}" for key, value in _flat(run).items() if key in differ]
    return ", ".join(filter(None, [run.place, run.way, *own]))


def _flat(run: Run) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in ("work", "set"):
        if isinstance(there := run.settings.get(name), dict):
            found |= there
    return found
