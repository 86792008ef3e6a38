"""Did the loader get slower? The newest result of every workload beside those before it.

    python bench/track.py [--plot FOLDER] [--fall 0.15] [--window 10] [--wall] [--json FILE]

The rule: a run's ratio (CPU time of the baseline ÷ nostall's) is the median of its rounds. It fell
if it lies more than --fall below the median of at most --window earlier runs, and more than twice
the scatter of single rounds. Other work and other machines are not compared; one round never falls.
A run in which nostall failed, or was not measured while others were, fell too.

CPU time does not see waiting; --wall judges samples/s too, which other jobs on the machine move.
Interrupted runs count for nothing. Exit code 1: something fell, 2: no results, or a damaged line.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import history
import results as kept
import timing
import trend
from history import Run, Verdict

from dataprep.manifest import DataError

FELL, WRONG = 1, 2
NOTHING = "nothing could be judged: no newest run has an earlier one to stand beside"
HEAD = (
    "workload",
    "contestant",
    "against",
    "by",
    "earlier",
    "was",
    "is",
    "change",
    "limit",
    "",
    "on",
)
PathOption = click.Path(path_type=Path)


def files(folder: Path, ratios: Path | None) -> list[Path]:
    """Return the files to read; DataError where there is none in the folder."""
    found = sorted(folder.glob("*.jsonl"))
    if not found:
        raise DataError(folder, "", "no results: no file *.jsonl")
    earlier = [ratios] if ratios and ratios.exists() and ratios not in found else []
    return found + earlier


def table(verdicts: Sequence[Verdict]) -> str:
    """Return the verdicts as a table."""
    lines = []
    for one in verdicts:
        title = " ".join(filter(None, [one.run.title, one.run.way]))
        ratio = [f"{one.before:.3g}", f"{one.now:.3g}", f"{100 * one.change:+.0f} %"]
        end = [f"{one.limit:.3g}", word(one), one.run.place]
        start = [title, one.name, one.run.baseline, one.figure, f"{one.earlier}"]
        lines.append([*start, *ratio, *end])
    return timing.table(HEAD, lines)


def word(verdict: Verdict) -> str:
    """Return a verdict in a word."""
    return "fell" if verdict.fell else "low" if verdict.low else "ok"


def unjudged(group: Sequence[Run]) -> str:
    """Return why nothing is said of the newest run of a group."""
    run = group[-1]
    if not run.baseline:
        return f"no baseline ({' or '.join(history.BASELINES)}) ran"
    if not any(name.startswith(history.OURS) for name in run.ratios["cpu"]):
        return f"{history.OURS} did not run"
    return "nothing to compare with: no earlier run of this work on such a machine"


def report(groups: Sequence[Sequence[Run]], figures: Sequence[str], **rule: Any) -> list[Verdict]:
    """Judge every group, print the table and who was not judged; return the verdicts."""
    found = []
    for group in groups:
        verdicts = history.verdicts(group, figures, **rule)
        if not verdicts:
            run = group[-1]
            title = " ".join(filter(None, [run.title, run.way]))
            print(f"{title} ({run.place}): {unjudged(group)}")
        found += verdicts
    if found:
        print(table(found))
    for verdict in found:
        if verdict.low:
            print(f"{word(verdict)}: {verdict}")
    return found


def lost(runs: Sequence[Run]) -> list[str]:
    """Return a line for each contestant of ours that the newest run of its work has lost."""
    return [
        f"fell: {run.title}{', ' * bool(run.way)}{run.way}: {name} {why},"
        f" {run.commit or '?'}, {run.place}"
        for run in history.losses(runs)
        for name, why in run.lost.items()
    ]


def remember(runs: Sequence[Run], path: Path) -> None:
    """Append the ratios of those runs to a file that does not hold them yet."""
    known = {(run.kind, run.when) for run in (history.read([path]) if path.exists() else ())}
    for run in runs:
        if (run.baseline or run.lost) and (run.kind, run.when) not in known:
            kept.append(path.stem, run.facts(), path.parent)


def answer(
    verdicts: Sequence[Verdict], gone: Sequence[str], rule: dict[str, Any]
) -> dict[str, Any]:
    """Return the verdicts as JSON holds them."""
    judged = [
        {
            "workload": one.run.workload,
            "quick": one.run.quick,
            "way": one.run.way,
            "machine": one.run.machine,
            "contestant": one.name,
            "against": one.run.baseline,
            "figure": one.figure,
            "earlier": one.earlier,
            "was": one.before,
            "is": one.now,
            "limit": one.limit,
            "fell": one.fell,
            "commits": [one.since, one.run.commit],
        }
        for one in verdicts
    ]
    fell = any(one.fell for one in verdicts) or bool(gone)
    return {"rule": rule, "fell": fell, "lost": list(gone), "judged": judged}


def jsonl(context: click.Context, option: click.Parameter, path: Path | None) -> Path | None:
    """Refuse a file that is not named like the others."""
    if path and path.suffix != ".jsonl":
        raise click.BadParameter("the name of a file of ratios ends in .jsonl")
    return path


@click.command(context_settings={"show_default": True})
@click.option("--results", type=PathOption, default=kept.FOLDER, show_default="bench/results")
@click.option("--fall", type=click.FloatRange(0, 1, True, True), default=0.15, help="share of it")
@click.option("--window", type=click.IntRange(1), default=10, help="earlier runs that count")
@click.option("--wall", is_flag=True, help="judge samples/s too")
@click.option("--plot", type=PathOption, help="draw a figure a workload into this folder")
@click.option("--ratios", type=PathOption, callback=jsonl, help="keep ratios; earlier ones count")
@click.option("--report", "only", is_flag=True, help="exit code 0 even if something fell")
@click.option("--json", "target", type=PathOption, help="write the verdicts here")
def main(
    results: Path,
    fall: float,
    window: int,
    wall: bool,
    plot: Path | None,
    ratios: Path | None,
    only: bool,
    target: Path | None,
) -> None:
    """Compare the newest result of every workload with those before it."""
    rule = {"fall": fall, "window": window}
    try:
        runs = history.read(files(results, ratios))
        fresh = history.read(files(results, None)) if ratios else []
        if not runs:
            print("nothing to compare with: these results hold no rounds")
        found = report(history.groups(runs), ("cpu", "wall") if wall else ("cpu",), **rule)
        gone = lost(runs)
        for line in gone or (() if found else (NOTHING,)):
            print(line)
        if ratios:
            remember(fresh, ratios)
        if target:
            write(target, answer(found, gone, rule))
        if plot:
            for path in trend.save(runs, plot):
                print(path)
    except DataError as error:
        print(error, file=sys.stderr)
        raise SystemExit(WRONG) from None
    fell = gone or any(one.fell for one in found)
    raise SystemExit(FELL if fell and not only else 0)


def write(target: Path, facts: dict[str, Any]) -> None:
    """Write JSON; DataError where that fails."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
    except OSError as error:
        raise DataError(target, "", f"not written: {error.strerror}") from None


if __name__ == "__main__":
    main()
