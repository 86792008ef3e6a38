"""Looks that the figures of networks share: a network has one colour and one kind of line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jobs import figures
from jobs.results import Results
from jobs.study import Variant

LineStyle = str | tuple[int, tuple[int, ...]]

LINES: Sequence[LineStyle] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
OPEN, FULL = "///", None  # hatches of two bars beside each other


def look(results: Results, variant: Variant) -> dict[str, Any]:
    """Return colour and kind of line of a network, by its place in the study."""
    number = [one.name for one in results.study.variants].index(variant.name)
    return {"color": figures.colour(number), "linestyle": LINES[number % len(LINES)]}


def colour(results: Results, variant: Variant) -> str:
    """Return the colour of a network."""
    return str(look(results, variant)["color"])


def name_networks(axes: Any, results: Results) -> None:
    """Write the networks below their bars."""
    names = [one.label or one.name for one in results.study.variants]
    axes.set_xticks(range(len(names)), names, rotation=20, ha="right", fontsize="small")
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)


def half_bar(
    axes: Any, at: float, value: float, ends: tuple[float, float], tint: str, is_open: bool
) -> None:
    """Draw one of two bars beside each other, with its interval."""
    face, hatch = ("white", OPEN) if is_open else (tint, FULL)
    side = at - 0.2 if is_open else at + 0.2
    axes.bar([side], [value], 0.38, color=face, ec=tint, hatch=hatch, lw=1.2)
    error = [[max(0.0, value - ends[0])], [max(0.0, ends[1] - value)]]
    axes.errorbar([side], [value], error, color="black", capsize=3, lw=1)
