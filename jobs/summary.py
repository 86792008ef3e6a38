"""The report in short: summary.json, summary.csv and summary.txt.

summary.csv   a line for each variant, place and headline metric: mean, 95 % t interval over seeds,
              difference to the baseline with its interval, p values and verdict; n/a is empty
summary.txt   the tables as plain text, with what is missing and how to do it again
summary.json  both in one
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from jobs.study import Table

if TYPE_CHECKING:
    from jobs.report import Report

COMPARED = ("baseline", "difference", "low", "high", "p_t", "p_wilcoxon", "p_holm", "verdict")
HEADER = ("variant", "label", "place", "metric", "seeds", "mean", "sd", "low", "high")


def rows(report: Report) -> Iterator[dict[str, Any]]:
    """Yield a row for each variant, place and headline metric."""
    results = report.results
    compared = {
        (one.variant, one.place, one.metric): asdict(one)
        for one in report.comparisons
        if one.over == "seeds"
    }
    for metric in results.study.headline:
        for place in results.places(metric):
            for variant in results.variants:
                spread = results.spread(variant.name, place, metric.name)
                where = (variant.name, variant.label, place, metric.name)
                found = (spread.n, spread.mean, spread.sd, spread.low, spread.high)
                row = dict(zip(HEADER, (*where, *found), strict=True))
                to = compared.get((variant.name, place, metric.name), {})
                yield row | {_renamed(name): to.get(name) for name in COMPARED}


def _renamed(name: str) -> str:
    """Return a name of a comparison's column: its interval is not that of the mean."""
    return f"difference_{name}" if name in ("low", "high") else name


def lines(report: Report) -> list[list[Any]]:
    """Return summary.csv."""
    found = list(rows(report))
    header = [*HEADER, *map(_renamed, COMPARED)]
    return [header, *(["" if row[k] is None else row[k] for k in header] for row in found)]


def facts(report: Report) -> dict[str, Any]:
    """Return summary.json."""
    results = report.results
    prints = {place: one for run in results.runs for place, one in run.fingerprints.items()}
    return {
        "study": report.plan.study,
        "summary": results.study.summary,
        "command": results.command,
        "plan": asdict(report.plan),
        "data": prints,
        "remarks": list(report.remarks),
        "missing": list(report.missing),
        "rows": list(rows(report)),
        "tables": [table._asdict() for table in report.tables],
    }


def page(report: Report) -> str:
    """Return summary.txt."""
    parts = [f"Study {report.plan.study}: {report.results.study.summary}"]
    if report.remarks:
        parts.append("\n".join(["Before you read on", *(f"  {line}" for line in report.remarks)]))
    if report.missing:
        parts.append("\n".join(["Not complete", *(f"  {line}" for line in report.missing)]))
    parts += [text(table) for table in report.tables]
    parts.append(f"How to do it again\n  {report.results.command}")
    return "\n\n".join(parts)


def text(table: Table) -> str:
    """Return a table as text to read."""
    shown: list[Sequence[str]] = [*([table.header] if any(table.header) else []), *table.rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    body = []
    for row in shown:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        body.append("  " + "  ".join(cells).rstrip())
    note = textwrap.wrap(table.note, 100, initial_indent="  ", subsequent_indent="  ")
    return "\n".join([table.title, *body, *note])
