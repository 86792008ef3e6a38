"""What the figures of the study share: looks, panels and limits.

A contender has the same colour and the same kind of line everywhere; random is black.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from jobs import figures
from jobs.results import Results
from jobs.selection import RANDOM, Column
from jobs.selection.contest import Contest

LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)))
PANELS = 4  # beside each other

Look = dict[str, Any]


def look(contest: Contest, contender: str) -> Look:
    """Return colour and kind of line of a contender."""
    if contender == RANDOM:
        return {"color": "black", "linestyle": "-", "linewidth": 2}
    number = [name for name in contest.contenders if name != RANDOM].index(contender)
    return {"color": figures.colour(number), "linestyle": LINES[number % len(LINES)]}


def there(contest: Contest, results: Results, column: Column) -> list[str]:
    """Return the contenders of which a run in a column is finished."""
    return [one for one in contest.contenders if results.of(f"{one}-{column.name}")]


def fences(values: Iterable[float]) -> tuple[float, float] | None:
    """Return limits that show these values, but none beyond Tukey's outer fences.

    One contender that fails would else flatten all differences between the others.
    """
    known = np.array([value for value in values if np.isfinite(value)])
    if not len(known):
        return None
    low, high = (float(one) for one in np.quantile(known, [0.25, 0.75]))
    reach = 3 * (high - low)
    inside = known[(known >= low - reach) & (known <= high + reach)]
    margin = 0.08 * float(np.ptp(inside)) or 1e-3
    return float(inside.min()) - margin, float(inside.max()) + margin


def grid(count: int, height: float, sharey: bool) -> tuple[Figure, list[Any]]:
    """Return a figure of so many panels over one kind of axis, and these."""
    columns = min(PANELS, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(3.3 * columns, height * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=sharey).ravel()
    for axes in panels[count:]:
        axes.set_visible(False)
    for axes in panels[max(0, count - columns) : count]:  # the lowest of each column
        axes.tick_params(labelbottom=True)
    return figure, list(panels[:count])
