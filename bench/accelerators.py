"""How many emulated accelerators does this machine feed? ResNet-50 as MLPerf Storage emulates it.

    python bench/accelerators.py [--work w1] [--peers nostall,torchvision] [--accelerator h100]

An H100 takes a batch of 400 and computes for 0.224 s: 1,786 samples/s. N of them are N processes,
each with an equal share of the cores and an order of its own (nobody slices one global order),
that meet after every step. The largest N with a utilisation (AU, ranks.py) of 90 % counts. The
settings are tried by one process with all cores; the fastest stays, shrunk to each share. Other
than MLPerf's judge DLIO, which reads bytes alone, every contestant decodes, crops and normalises;
files lie in the page cache, about 91 kB each in w1 (MLPerf: 114,660 bytes).
--judge dlio lets DLIO itself drive the contestants and do the arithmetic (dlio/README.md).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import dlio
import ranks
import results as kept
import suite
import timing
import workload as workloads
from ranks import Share
from suite import say
from summary import words
from workload import Origin

from dataprep.manifest import DataError

# Seconds that a batch of 400 takes, as MLPerf Storage's ResNet-50 configurations say.
ACCELERATORS = {"h100": 0.224, "a100": 0.435}
BATCH, WANTED = 400, 0.9
# More accelerators are not tried.
LIMIT = 64
# Steps for each core in which a setting is tried.
TRIAL_STEPS = 4
WORKS = ("w1", "w1-short", "w1-raw")
HEAD = ("contestant", "feeds", "AU by number", "samples/s at most", "of one", "setting")
Judge = Callable[[Share, int, int, float], float]
JUDGES: dict[str, Judge] = {"own": ranks.au, "dlio": dlio.au}


def most(
    au: Callable[[int], float], guess: int, wanted: float, limit: int
) -> tuple[int, dict[int, float]]:
    """Return the largest number whose AU is enough, and the AU of all that were tried.

    Counts up from a guess that is enough, down from one that is not; 0: not even one.
    """
    tried: dict[int, float] = {}

    def enough(number: int) -> bool:
        tried[number] = au(number)
        return tried[number] >= wanted

    number = min(max(guess, 1), limit)
    if enough(number):
        while number < limit and enough(number + 1):
            number += 1
        return number, tried
    while number > 1:
        number -= 1
        if enough(number):
            return number, tried
    return 0, tried


def measured(share: Share, judge: Judge, rules: Mapping[str, Any]) -> dict[str, Any]:
    """Return what one contestant feeds with its best setting, a mean of runs at each number."""
    batch, steps, compute_s = share.work["batch"], rules["steps"], rules["compute_s"]
    share, settings = ranks.best(share, rules["trial_steps"])
    (ends,) = ranks.run(share, 1, steps, 0.0)
    rate, one = ranks.rate(ends, batch), batch / compute_s
    runs: dict[int, list[float]] = {}

    def au(number: int) -> float:
        runs[number] = [judge(share, number, steps, compute_s) for _ in range(rules["runs"])]
        mean = sum(runs[number]) / len(runs[number])
        say(f"  {share.name} feeds {number}: AU {100 * mean:.1f} %")
        return mean

    feeds, tried = most(au, int(rate / one), rules["wanted"], rules["limit"])
    return {
        "accelerators": feeds,
        "au": {str(number): tried[number] for number in sorted(tried)},
        "runs": {str(number): runs[number] for number in sorted(runs)},
        "samples_per_s": rate,
        "share_of_one": rate / one,
        "setting": share.setting,
        "tried": [[setting, round(speed, 1)] for setting, speed in settings],
    }


def table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the table, who feeds most first."""
    lines = []
    for name in sorted(found, key=lambda name: -found[name]["samples_per_s"]):
        facts = found[name]
        tried = ", ".join(f"{n}: {100 * au:.1f} %" for n, au in facts["au"].items())
        rate = [f"{facts['samples_per_s']:,.0f}", f"{100 * facts['share_of_one']:.0f} %"]
        lines.append([name, f"{facts['accelerators']}", tried, *rate, words(facts["setting"])])
    return timing.table(HEAD, lines)


def chosen(name: str, peers: str | None) -> list[str]:
    """Return the contestants that are asked for and can run; limits do only part of the work."""
    there = workloads.load(name).contestants
    whole = [one for one in there if not there[one].summary.startswith("limit")]
    names = peers.split(",") if peers else whole
    if unknown := [one for one in names if one not in whole]:
        raise click.UsageError(f"unknown contestants {unknown}; there are: {', '.join(whole)}")
    for one in names:
        if missing := there[one].missing:
            say(f"{one} does not run: {', '.join(missing)} is not installed")
    return [one for one in names if not there[one].missing and "cpu" in there[one].devices]


def compare(
    name: str, work: Any, names: Sequence[str], judge: Judge, rules: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the figures of each contestant, and why others failed.

    Interrupted, it returns those of the contestants that were through.
    """
    found: dict[str, Any] = {}
    failed: dict[str, str] = {}
    complete = True
    try:
        with suite.stoppable():
            for one in names:
                try:
                    found[one] = measured(Share(name, one, asdict(work)), judge, rules)
                except RuntimeError as error:
                    failed[one] = str(error)
                    say(f"{one} failed: {error}")
    except KeyboardInterrupt:
        complete = False
    return {"complete": complete, "failed": failed, "contestants": found}


def prepared(
    name: str, judge: str, root: Path, names: Sequence[str], quick: bool, given: Mapping[str, Any]
) -> Any:
    """Return the work with all that the contestants read; one line and exit code 2: impossible."""
    workload = workloads.load(name)
    try:
        dlio.check(judge)
        work = workload.kind(root=str(root.resolve()), data="", **given)
        return workload.prepare(work, Origin(None, None, quick), names)
    except DataError as error:
        say(str(error))
        raise SystemExit(suite.WRONG) from None


@click.command(context_settings={"show_default": True})
@click.option("--work", "name", type=click.Choice(WORKS), default="w1")
@click.option("--root", type=click.Path(path_type=Path), default=Path("data/bench"))
@click.option("--peers", help="contestants, comma separated  [default: all]")
@click.option("--accelerator", type=click.Choice([*ACCELERATORS, "custom"]), default="h100")
@click.option("--compute-s", type=click.FloatRange(0, min_open=True), help="custom: of a batch")
@click.option("--batch", type=click.IntRange(1), default=BATCH)
@click.option("--steps", type=click.IntRange(2), default=30, help="the first counts for nothing")
@click.option("--runs", type=click.IntRange(1), default=3, help="their mean counts; MLPerf: 5")
@click.option("--limit", type=click.IntRange(1), default=LIMIT, help="more are not tried")
@click.option("--threads", type=click.IntRange(0), default=0, help="of all  [0: one a core]")
@click.option("--judge", type=click.Choice(list(JUDGES)), default="own")
@click.option("--quick", is_flag=True, help="tiny images and batches: only to see it work")
@kept.saving
def main(
    *, name: str, root: Path, peers: str | None, accelerator: str, compute_s: float | None,
    judge: str, threads: int, quick: bool,
    results: Path | None, no_save: bool, target: Path | None, **rules: Any,
) -> None:  # fmt: skip
    """Find how many emulated accelerators each contestant feeds."""
    if (accelerator == "custom") != (compute_s is not None):
        raise click.UsageError("--compute-s belongs to --accelerator custom, and that needs it")
    plain = not (peers or threads or quick) and accelerator == next(iter(ACCELERATORS))
    plain = plain and (rules["batch"], rules["limit"]) == (BATCH, LIMIT)
    rules |= {"compute_s": compute_s or ACCELERATORS[accelerator], "wanted": WANTED}
    rules |= {"trial_steps": TRIAL_STEPS}
    if quick:
        rules |= {"batch": 8, "steps": 4, "runs": 1, "limit": 1, "trial_steps": 0}
    kept.facts_of_run()
    names = chosen(name, peers)
    given = {"threads": threads or len(os.sched_getaffinity(0)), "batch": rules["batch"]}
    work = prepared(name, judge, root, names, quick, given)
    facts: dict[str, Any] = {"workload": name, "quick": quick, "plain": plain}
    facts |= {"accelerator": accelerator, "judge": judge, "rules": rules}
    facts |= workloads.load(name).facts(work)
    facts |= compare(name, work, names, JUDGES[judge], rules)
    found = facts["contestants"]
    print(table(found) if found else "nothing was measured")
    if found:
        kept.finish("accelerators", facts, kept.destination(results, no_save, quick), target)
    if not facts["complete"]:
        raise SystemExit(suite.INTERRUPTED)
    raise SystemExit(suite.FAILED if facts["failed"] or not found else 0)


if __name__ == "__main__":
    main()
