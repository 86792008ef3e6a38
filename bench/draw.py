"""A result as a figure: CPU time a sample and samples a second, contestant by contestant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter

from dataprep.manifest import DataError

OURS, LIMIT, PEER = "#d1495b", "#b8b8b8", "#4f7cac"
# The legend.
KINDS = (("nostall", OURS), ("peers", PEER), ("limits: part of the work only", LIMIT))
# 10 inches are 1000 pixels.
WIDTH, DPI = 10.0, 100
# Where the longest bar is so many times the shortest, both would not be seen on a linear axis.
LINEAR = 50.0


def save(line: Mapping[str, Any], unit: str, path: Path) -> None:
    """Draw one line of results; DataError where the file cannot be written or nothing was measured.

    The file's ending says of which kind it is: png, svg, pdf.
    """
    if not line["contestants"]:
        raise DataError(path, "", "nothing was measured that could be drawn")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        drawn(line, unit).savefig(path, dpi=DPI)
    except OSError as error:
        raise DataError(path, "", f"figure not saved: {error.strerror}") from None
    except ValueError as error:  # an ending that no writer knows
        raise DataError(path, "", f"figure not saved: {error}") from None


def drawn(line: Mapping[str, Any], unit: str) -> Figure:
    """Return the figure of one line of results."""
    cost, rate = f"cpu_ms_per_{unit}", f"{unit}s_per_s"
    facts = line["contestants"]
    names = sorted(facts, key=lambda name: facts[name][cost]["median"], reverse=True)
    colours = [colour(name, facts[name]["what"]) for name in names]
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.08)
    figure = Figure(figsize=(WIDTH, 1.9 + 0.34 * len(names)), layout=layout)
    left, right = figure.subplots(1, 2, sharey=True)
    _bars(left, names, [facts[name][cost] for name in names], colours)
    _bars(right, names, [facts[name][rate] for name in names], colours)
    _label(left, f"CPU ms per {unit}, whole process tree: less is better")
    _label(right, f"{unit}s/s, median and min–max: more is better")
    used = [Patch(color=shade, label=text) for text, shade in KINDS if shade in colours]
    figure.legend(handles=used, loc="outside lower center", ncols=len(used), frameon=False)
    figure.suptitle(f"{title(line)}\n{subtitle(line)}", fontsize=11)
    return figure


def colour(name: str, what: str) -> str:
    """Return the colour of a contestant: ours, a limit, a peer."""
    if name.startswith("nostall"):
        return OURS
    return LIMIT if what.startswith("limit") else PEER


def title(line: Mapping[str, Any]) -> str:
    """Return which work was measured, and how."""
    work = line.get("work", {})
    shown = [f"{key} {work[key]}" for key in ("size", "scale", "patch", "batch") if key in work]
    text = ": ".join([line["workload"], ", ".join(shown)])
    text += f", accelerator step {line['step_ms']:g} ms" if line.get("step_ms") else ""
    text += ", files cold" if line.get("cold") else ", files in the page cache"
    text += "" if line.get("complete", True) else ", interrupted"
    return text + (" (quick run: figures mean nothing)" if line.get("quick") else "")


def subtitle(line: Mapping[str, Any]) -> str:
    """Return machine, date and commit."""
    machine = line["machine"]
    words = [machine["cpu"], f"{machine['cores']} cores", line["when"][:10]]
    return " · ".join([*words, *filter(None, [line["commit"]])])


def _bars(
    axes: Axes, names: Sequence[str], spreads: Sequence[Mapping[str, float]], colours: Sequence[str]
) -> None:
    """Draw a bar for each median with a whisker from min to max, and write the median beside it."""
    middle = [spread["median"] for spread in spreads]
    low = [spread["median"] - spread["min"] for spread in spreads]
    high = [spread["max"] - spread["median"] for spread in spreads]
    whisker = {"ecolor": "#333333", "elinewidth": 1, "capsize": 2}
    axes.barh(names, middle, xerr=[low, high], color=colours, error_kw=whisker, height=0.72)
    for row, spread in enumerate(spreads):
        axes.annotate(
            _figure(spread["median"]),
            (spread["max"], row),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
        )
    if max(middle) > LINEAR * min(middle):
        axes.set_xscale("log")
        axes.set_xlim(min(middle) / 2, max(spread["max"] for spread in spreads) * 4)
    else:
        axes.set_xlim(0, max(spread["max"] for spread in spreads) * 1.18)


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _label(axes: Axes, text: str) -> None:
    log = " (log)" if axes.get_xscale() == "log" else ""
    axes.set_xlabel(text + log, fontsize=9)
    axes.tick_params(labelsize=9)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axes.grid(axis="x", color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
