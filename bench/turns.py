"""Contestants take turns: each in a fresh process, with its best setting, round after round.

What one process measures is timing.py's; what the work is, a workload says.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
import timing
import workload as workloads
from files import size_bytes
from timing import Rules, Spread
from workload import Check, Setting, Workload

Results = dict[str, list[dict[str, Any]]]
SCRIPT = str(Path(__file__).with_name("loader.py"))


def one(job: str) -> None:
    """Run one contestant in this process and print what it measured."""
    facts = json.loads(job)
    workload, rules = workloads.load(facts["workload"]), Rules(**facts["rules"])
    work = workload.kind(**facts["work"])
    random.seed(work.seed)
    batches = workload.contestants[facts["name"]].start(work, facts["setting"])
    check: list[Check] = []

    def look(batch: Any) -> None:
        if not check:  # only now: what it imports is not the contestant's start-up
            check.append(workload.check(work, facts["name"]))
        check[0](batch)

    with closing(batches):
        window = timing.measure(batches, work.batch, rules, facts["began"], look)
    timing.answer(window, check=check[0].result())


class Turns:
    """A workload by its name, its work and its rules: runs contestants."""

    def __init__(self, name: str, work: Any, rules: Rules, quick: bool) -> None:
        self.name, self.work, self.rules, self.quick = name, work, rules, quick
        self.workload = workloads.load(name)

    def run(self, name: str, setting: Setting, rules: Rules) -> dict[str, Any]:
        """Run one contestant in a fresh process."""
        job = {"workload": self.name, "name": name, "setting": setting}
        job |= {"work": asdict(self.work), "rules": asdict(rules)}
        before = timing.busy()
        try:
            result = timing.spawn(SCRIPT, "one", json.dumps(job | {"began": time.monotonic()}))
        except RuntimeError as error:
            raise click.ClickException(f"{name} {setting}: {error}") from None
        rate = result["items"] / result["wall_s"]
        say(f"  {name} {words(setting)}: {rate:,.0f} {self.workload.unit}s/s")
        return result | {"load_before": before}

    def choose(self, name: str) -> tuple[Setting, list[Any]]:
        """Return the best setting, and what was tried: [setting, items/s, CPU ms]."""
        settings = self.workload.contestants[name].settings(self.work)
        if self.quick:
            return settings[-1], []
        short = replace(self.rules, seconds=self.rules.seconds / 2, batches=4)
        tried: list[Any] = []
        for setting in settings:  # even a single one: compiled kernels are cached, files are read
            result = self.run(name, setting, short)
            rate = result["items"] / result["wall_s"]
            cpu_ms = 1e3 * result["cpu_s"] / result["items"]
            tried.append([setting, round(rate, 1), round(cpu_ms, 4)])
        return max(tried, key=lambda row: row[1])[0], tried

    def compare(self, names: Sequence[str], rounds: int) -> dict[str, Any]:
        """Find every contestant's setting, let them take turns; return figures and rounds."""
        chosen = {name: self.choose(name) for name in names}
        results: Results = {name: [] for name in names}
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}")
            for name in names:
                results[name].append(self.run(name, chosen[name][0], self.rules))
        summary = summarise(results, self.workload, self.work)
        for name, (setting, tried) in chosen.items():
            summary[name] |= {"setting": setting, "tried": tried}
            summary[name]["what"] = self.workload.contestants[name].summary
        return {"contestants": summary, "rounds": results}


def summarise(results: Results, workload: Workload, work: Any) -> dict[str, dict[str, Any]]:
    """Return the figures of every contestant over its rounds."""
    unit, item = workload.unit, workload.item_bytes(work)
    rates = {n: [r["items"] / r["wall_s"] for r in rounds] for n, rounds in results.items()}
    costs = {n: [1e3 * r["cpu_s"] / r["items"] for r in rounds] for n, rounds in results.items()}
    summary = {}
    for name, rounds in results.items():
        facts: dict[str, Any] = {
            f"{unit}s_per_s": timing.spread(rates[name]),
            "mb_per_s": timing.spread([rate * item / 1e6 for rate in rates[name]]),
            f"cpu_ms_per_{unit}": timing.spread(costs[name]),
            "first_batch_s": timing.spread([r["first_s"] for r in rounds]),
            "anonymous_mb": timing.spread([r["anonymous_bytes"] / 1e6 for r in rounds]),
            "check": rounds[0]["check"],
        }
        if folder := getattr(work, workload.contestants[name].reads, None):
            facts["disk_mb"] = round(size_bytes(Path(folder)) / 1e6, 1)
        if "nostall" in results:
            facts["nostall_times_faster"] = timing.ratios(rates["nostall"], rates[name])
            facts["nostall_times_less_cpu"] = timing.ratios(costs[name], costs["nostall"])
        for top in workload.against:
            if top.name in results:
                wall = timing.ratios(rates[name], rates[top.name])
                facts[top.key] = {"wall": wall, "cpu": timing.ratios(costs[top.name], costs[name])}
        summary[name] = facts
    return summary


def table(summary: Mapping[str, Any], workload: Workload) -> str:
    """Return the table, the fastest first, without columns in which nothing stands."""
    lines = [_head(workload), *rows(summary, workload)]
    columns = [cells for cells in zip(*lines, strict=True) if any(cells[1:])]
    first, *others = zip(*columns, strict=True)
    return timing.table(first, others)


def _head(workload: Workload) -> list[str]:
    shown = [text for top in workload.against for text in top.heads]
    first = ["contestant", f"{workload.unit}s/s (min-max)", "MB/s", "CPU ms"]
    return [
        *first,
        "nostall is × wall",
        "× CPU",
        *shown,
        "first s",
        "MB anon.",
        "MB disk",
        "setting",
    ]


def rows(summary: Mapping[str, Any], workload: Workload) -> list[list[str]]:
    """Return the lines of the table."""
    key, lines = f"{workload.unit}s_per_s", []
    for name in sorted(summary, key=lambda n: -summary[n][key]["median"]):
        facts = summary[name]
        rate = facts[key]
        against = [_short(facts.get(f"nostall_times_{what}")) for what in ("faster", "less_cpu")]
        for top in workload.against:
            share, times = facts.get(top.key, {}), 100 if top.percent else 1
            against += [_short(share.get(w), times) for w in ("wall", "cpu")[: len(top.heads)]]
        lines.append(
            [
                name,
                f"{rate['median']:,.0f} ({rate['min']:,.0f}-{rate['max']:,.0f})",
                f"{facts['mb_per_s']['median']:,.0f}",
                _short(facts[f"cpu_ms_per_{workload.unit}"]),
                *against,
                f"{facts['first_batch_s']['median']:.1f}",
                f"{facts['anonymous_mb']['median']:,.0f}",
                f"{facts['disk_mb']:,.0f}" if "disk_mb" in facts else "",
                words(facts.get("setting", {})),
            ]
        )
    return lines


def _short(spread: Spread | None, times: float = 1) -> str:
    return f"{times * spread['median']:.3g}" if spread else ""


def words(setting: Setting) -> str:
    """Return a setting as text."""
    return " ".join(f"{key}={value}" for key, value in setting.items())


def say(text: str) -> None:
    """Tell the terminal how far the benchmark is."""
    print(text, file=sys.stderr, flush=True)
