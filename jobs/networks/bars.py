"""Bars of the study of networks: figures with their intervals, calibration, times."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

from matplotlib.figure import Figure

from jobs import figures, intervals
from jobs.networks import AFTER, BEFORE, CALIBRATIONS, Frame, Shown, kept, tables
from jobs.networks.looks import OPEN, colour, half_bar, name_networks
from jobs.results import Results
from jobs.study import Picture, Variant

DRAWN = ("ece", "brier", "nll")
BATCHES = ("1", "32")


def metrics(frame: Frame, results: Results, place: str, path: Path) -> Picture | None:
    """Draw the figures that networks are told apart by, a panel each."""
    shown = [one for one in frame.figures if _is_known(results, place, one.name)]
    if not shown:
        return None
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(3.6 * columns, 2.9 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, one in zip(panels, shown, strict=False):
        _bars(axes, results, place, one)
    for axes in panels[len(shown) :]:
        axes.set_visible(False)
    caption = f"Figures by network. {tables.untouched(frame, place)} {_lines(results)}"
    return Picture(figures.save(figure, path, results), caption)


def calibration(frame: Frame, results: Results, place: str, path: Path) -> Picture | None:
    """Draw calibration errors and scores before and after temperature scaling."""
    shown = [one for one in CALIBRATIONS if one.name in DRAWN]
    shown = [one for one in shown if _is_known(results, place, one.name + AFTER)]
    if not shown:
        return None
    figure = Figure(figsize=(3.8 * len(shown), 3.1), layout="constrained")
    for axes, one in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        for stage in (BEFORE, AFTER):
            for number, variant in enumerate(results.study.variants):
                found = measured(results, variant, place, one.name + stage)
                if found is not None:
                    value, low, high = (one.scale * part for part in found)
                    tint = colour(results, variant)
                    half_bar(axes, number, value, (low, high), tint, stage == BEFORE)
        name_networks(axes, results)
        axes.set_title(one.axis, fontsize="medium")
        axes.set_ylim(bottom=0)
    caption = (
        "Calibration before (hatched) and after (filled) temperature scaling, lower is better."
        f" {tables.untouched(frame, place)} {_lines(results)}"
    )
    return Picture(figures.save(figure, path, results), caption)


def times(results: Results, path: Path) -> Picture | None:
    """Draw the time of an image and images a second: one image at a time, and 32."""
    found = {
        one.name: [facts for run in results.of(one.name) if (facts := kept.timing(run.member))]
        for one in results.variants
    }
    if not any(found.values()):
        return None
    figure = Figure(figsize=(9, 3.3), layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, title in zip(panels, ("inference, ms an image", "throughput, images/s"), strict=True):
        for number, variant in enumerate(results.study.variants):
            for batch in BATCHES:
                ms = _milliseconds(found.get(variant.name, []), batch)
                if ms is None:
                    continue
                value, low, high = ms if axes is panels[0] else (1e3 / one for one in ms)
                ends = (min(low, high), max(low, high))
                half_bar(axes, number, value, ends, colour(results, variant), batch == BATCHES[0])
        axes.set_title(title, fontsize="medium")
        name_networks(axes, results)
    first = panels[0]
    handles = [
        first.bar([0], [0], color="white", ec="grey", hatch=OPEN),
        first.bar([0], [0], color="grey"),
    ]
    figure.legend(handles, ["one at a time", "32 at a time"], loc="outside right upper")
    devices = dict.fromkeys(str(one["device"]) for many in found.values() for one in many)
    caption = (
        f"Inference on {'; '.join(devices)}: random images of each network's own size,"
        " synchronised, after a warm-up; median of the rounds, lines: fastest and slowest round."
    )
    return Picture(figures.save(figure, path, results), caption)


def _milliseconds(found: list[kept.Facts], batch: str) -> tuple[float, float, float] | None:
    """Return the time of an image with the fastest and the slowest round, over seeds."""
    known = [one["batches"][batch] for one in found if batch in one["batches"]]
    if not known:
        return None
    low, high = min(one["low"] for one in known), max(one["high"] for one in known)
    return median(one["ms_per_image"] for one in known), low, high


def _bars(axes: Any, results: Results, place: str, shown: Shown) -> None:
    """Draw a bar for each network, with its interval and its value."""
    highest = 0.0
    for number, variant in enumerate(results.study.variants):
        found = measured(results, variant, place, shown.name)
        if found is None:
            axes.text(number, 0, "n/a", ha="center", va="bottom", color="grey")
            continue
        value, low, high = (shown.scale * one for one in found)
        axes.bar([number], [value], color=colour(results, variant), width=0.7, alpha=0.85)
        error = [[value - low], [high - value]]
        axes.errorbar([number], [value], error, color="black", capsize=4, lw=1.2)
        axes.annotate(
            shown.text(found[0]),
            (number, high),
            (0, 3),
            textcoords="offset points",
            ha="center",
            fontsize="small",
        )
        highest = max(highest, high)
    name_networks(axes, results)
    axes.set_title(shown.axis, fontsize="medium")
    axes.set_ylim(0, 1.15 * highest or 1)


def measured(
    results: Results, variant: Variant, place: str, metric: str
) -> tuple[float, float, float] | None:
    """Return a figure and the ends of its interval: of the bootstrap, or of t over seeds."""
    found = results.by_seed(variant.name, place, metric)
    spread = intervals.spread(list(found.values()))
    if spread.mean is None:
        return None
    if spread.low is not None and spread.high is not None:
        return spread.mean, spread.low, spread.high
    run = next(one for one in results.of(variant.name) if one.member.seed in found)
    low, high = kept.interval(run.member, place, metric) or (spread.mean, spread.mean)
    return spread.mean, min(low, spread.mean), max(high, spread.mean)


def _lines(results: Results) -> str:
    """Return what the lines on bars are."""
    many = len(results.seeds) > 1
    what = "t intervals over seeds" if many else "percentile bootstrap over lesions"
    return f"Lines: 95 % {what}."


def _is_known(results: Results, place: str, metric: str) -> bool:
    return any(results.by_seed(one.name, place, metric) for one in results.variants)
