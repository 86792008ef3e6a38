"""The report that every study shares.

report.html   all of it on one page, pictures included
summary.*     in short, as txt, csv and json: see jobs/summary.py
report.json   every run's figures, means with intervals, paired comparisons, how to do it again
results.csv   variant, seed, set, split, metric, value: one line a figure
table.tex     the tables, for a paper
"""

from __future__ import annotations

import csv
import json
import math
import platform
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from dataprep.manifest import atomic
from jobs import figures, page, plan, summary
from jobs.comparisons import Comparison, compare
from jobs.comparisons import table as compared
from jobs.intervals import Spread
from jobs.plan import Plan
from jobs.results import Result, Results
from jobs.study import Metric, Picture, Table

FILES = (
    *("report.html", "summary.txt", "summary.csv", "summary.json"),
    *("report.json", "results.csv", "table.tex"),
)
SHARED = ("Headline figures", "Paired differences to the baseline")  # titles of tables
PACKAGES = ("nostall", "torch", "torchvision", "timm", "numpy", "scipy")


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that is reported. missing: what the plan asks for and is not there, one line each."""

    plan: Plan
    results: Results
    missing: Sequence[str]
    comparisons: Sequence[Comparison]
    tables: Sequence[Table]
    pictures: Sequence[Picture]
    remarks: Sequence[str] = ()
    files: Sequence[str] = FILES


def write(out: Path, planned: Plan, results: Results, missing: Sequence[str]) -> Report:
    """Write everything into a folder and return it; ValueError where another plan's lies there."""
    planned = plan.record(out, planned)
    (out / "figures").mkdir(parents=True, exist_ok=True)
    found = compare(results)
    tables = [*(results.study.tables(results) if results.runs else ()), headline(results)]
    if found and not (results.study.alone and all(one.n < 2 for one in found)):
        tables.append(compared(found, results))
    pictures = _pictures(results, out / "figures")
    own = results.study.files(results, out) if results.runs else ()
    report = Report(
        plan=planned,
        results=results,
        missing=missing,
        comparisons=found,
        tables=tables,
        pictures=pictures,
        remarks=results.study.remarks(results),
        files=[*FILES, *(path.name for path in own)],
    )
    _save(out / "report.json", _json(facts(report)))
    _save(out / "table.tex", page.tex(report.tables))
    _save(out / "report.html", html(report))
    _save(out / "summary.json", _json(summary.facts(report)))
    _save(out / "summary.txt", summary.page(report))
    for name, rows in (("results.csv", lines(results)), ("summary.csv", summary.lines(report))):
        with atomic(out / name) as path, open(path, "w", newline="") as file:
            csv.writer(file).writerows(rows)
    return report


def _pictures(results: Results, folder: Path) -> list[Picture]:
    if not results.runs:
        return []
    own = list(results.study.figures(results, folder))
    return own if results.study.alone else [*own, *figures.shared(results, folder)]


def _json(value: Any) -> str:
    return json.dumps(_plain(value), indent=1, allow_nan=False)


def facts(report: Report) -> dict[str, Any]:
    """Return report.json."""
    results = report.results
    return {
        "study": report.plan.study,
        "summary": results.study.summary,
        "written": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": report.results.command,
        "plan": asdict(report.plan),
        "versions": versions(),
        "remarks": list(report.remarks),
        "missing": list(report.missing),
        "runs": [_run(one) for one in results.runs],
        "means": _means(results),
        "comparisons": [asdict(one) for one in report.comparisons],
        "tables": [table._asdict() for table in report.tables],
        "figures": [f"figures/{picture.path.name}" for picture in report.pictures],
    }


def versions() -> dict[str, str]:
    """Return the versions of what decides figures."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # not installed, or run from a checkout
            continue
    return found


def _run(one: Result) -> dict[str, Any]:
    return {
        "run": one.member.name,
        "variant": one.member.variant.name,
        "seed": one.member.seed,
        "commands": _commands(one),
        "recipe": one.member.run.facts(),
        "figures": one.figures,
        "data": one.fingerprints,
    }


def _commands(one: Result) -> list[str]:
    """Return what trained a run, and what judged it on further sets."""
    judged = [one.member.evaluation(evaluation) for evaluation in one.evaluations]
    return [shlex.join(command) for command in (one.member.command(), *judged)]


def _means(results: Results) -> list[dict[str, Any]]:
    """Return mean and interval of every figure of every variant, over its seeds."""
    found = []
    for variant in results.variants:
        runs = results.of(variant.name)
        for place in (*results.own, *results.further):
            names = dict.fromkeys(name for run in runs for name in run.figures.get(place, {}))
            for metric in names:
                seeds = list(results.by_seed(variant.name, place, metric))
                spread = results.spread(variant.name, place, metric)
                where = {"variant": variant.name, "place": place, "metric": metric}
                found.append({**where, "seeds": seeds, **asdict(spread)})
    return found


def lines(results: Results) -> list[list[Any]]:
    """Return results.csv: one line for each figure of each run."""
    found: list[list[Any]] = [["variant", "seed", "set", "split", "metric", "value"]]
    for run in results.runs:
        for place, values in run.figures.items():
            name, _, split = place.rpartition("/")
            start = [run.member.variant.name, run.member.seed, name, split]
            found += [[*start, metric, value] for metric, value in values.items()]
    return found


def headline(results: Results) -> Table:
    """Return the study's main table: a row a variant, a column a metric and place."""
    columns = [
        (metric, place) for metric in results.study.headline for place in results.places(metric)
    ]
    header = ["variant", "seeds", *(f"{_titled(metric)} · {place}" for metric, place in columns)]
    rows = []
    for variant in results.variants:
        spreads = [results.spread(variant.name, place, m.name) for m, place in columns]
        seeds = len(results.of(variant.name))
        rows.append([variant.label or variant.name, str(seeds), *map(ranged, spreads)])
    note = "Mean ± half of the 95 % t interval over seeds; one seed has no interval."
    return Table("Headline figures", header, rows, note)


def ranged(spread: Spread) -> str:
    """Return a mean and half its interval as text."""
    if spread.mean is None:
        return "n/a"
    half = spread.half
    return f"{spread.mean:.4g}" if half is None else f"{spread.mean:.4g} ± {half:.2g}"


def _titled(metric: Metric) -> str:
    arrow = {"higher": " ↑", "lower": " ↓", "neither": ""}[metric.better]
    return metric.axis + arrow


def html(report: Report) -> str:
    """Return report.html."""
    plan_, results = report.plan, report.results
    blocks = [page.paragraph(results.study.summary)]
    if report.remarks:
        blocks.append(page.warning("Before you read on", report.remarks))
    if report.missing:
        blocks.append(page.warning("Not complete", report.missing))
    # Where a study draws all of its figures, what all studies share comes behind them.
    last = [one for one in report.tables if results.study.alone and one.title in SHARED]
    blocks += [page.table(one) for one in report.tables if one not in last]
    blocks += [page.picture(one) for one in report.pictures]
    blocks += [page.table(one) for one in last]
    for title, told in (
        ("Options of the study", plan_.options),
        ("Settings given by --set, for all variants", plan_.overrides),
    ):
        if told:
            rows = [(key, _told(value)) for key, value in told.items()]
            blocks.append(page.table(Table(title, ("", ""), rows)))
    blocks.append(page.table(_data(results)))
    again = [results.command, *(command for one in results.runs for command in _commands(one))]
    blocks.append(page.commands("How to do it again: the study, or its runs one by one", again))
    packages = list(versions().items())
    blocks.append(page.table(Table("Versions at the time of the report", ("", ""), packages)))
    return page.html(f"Study {plan_.study}", blocks)


def _told(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _data(results: Results) -> Table:
    """Return which bytes everything was measured on."""
    prints: dict[str, set[str]] = {}
    for run in results.runs:
        for place, fingerprint in run.fingerprints.items():
            prints.setdefault(place, set()).add(fingerprint)
    rows = [[place, ", ".join(sorted(found))] for place, found in prints.items()]
    return Table("Data: set/split and the set's fingerprint", ("place", "fingerprint"), rows)


def _save(path: Path, text: str) -> None:
    with atomic(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    """Return a value in JSON's types: what is not finite becomes null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, int | str | bool | None) else str(value)
