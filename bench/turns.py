"""Contestants take turns: each in a fresh process, with its best setting, round after round.

What one process measures is timing.py's; what the work is, a workload says.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import files
import timing
import workload as workloads
from digest import digest
from summary import summarise, words
from timing import Rules
from tqdm import tqdm
from workload import Check, Setting

SCRIPT = str(Path(__file__).with_name("loader.py"))
# A larger share of pages left in the cache, and a run would not be cold.
STAYED = 0.01


def one(job: str) -> None:
    """Run one contestant in this process and print what it measured."""
    facts = json.loads(job)
    workload, rules = workloads.load(facts["workload"]), Rules(**facts["rules"])
    work = workload.kind(**facts["work"])
    random.seed(work.seed)
    batches = workload.contestants[facts["name"]].start(work, facts["setting"])
    check: list[Check] = []
    digests: list[str] = []

    def look(batch: Any) -> None:
        if not check:  # only now: what it imports is not the contestant's start-up
            check.append(workload.check(work, facts["name"]))
            digests.append(digest(batch))
        check[0](batch)

    with closing(batches):
        window = timing.measure(batches, work.batch, rules, facts["began"], look)
    timing.answer(window, check=check[0].result(), digest=digests[0], step_s=rules.step_s)


class Turns:
    """Runs the contestants of a workload, and keeps what they measured and who failed.

    cold: an epoch from files that are not in the page cache, instead of a window of time.
    """

    def __init__(
        self,
        name: str,
        work: Any,
        rules: Rules,
        *,
        quick: bool = False,
        cold: bool = False,
        quiet: bool = False,
        timeout_s: float = timing.TIMEOUT_S,
    ) -> None:
        self.name, self.work, self.rules = name, work, rules
        self.quick, self.cold, self.quiet, self.timeout_s = quick, cold, quiet, timeout_s
        self.workload = workloads.load(name)
        self.results: dict[str, list[dict[str, Any]]] = {}
        self.settings: dict[str, Setting] = {}
        self.tried: dict[str, list[Any]] = {}
        self.failed: dict[str, str] = {}
        self.warned = False
        self.bar = tqdm(disable=True)

    def compare(self, names: Sequence[str], rounds: int) -> dict[str, Any]:
        """Find every contestant's setting, let them take turns; return figures and rounds.

        Interrupted, it returns what there is: of who had no turn yet the best of what was tried.
        """
        complete = True
        with tqdm(total=self.runs(names, rounds), disable=self.quiet or None, leave=False) as bar:
            self.bar = bar
            try:
                for name in names:
                    self.choose(name)
                for number in range(rounds):
                    self.warn_if_busy(number)
                    for name in [name for name in names if name not in self.failed]:
                        self.turn(name, first=number == 0)
            except KeyboardInterrupt:
                complete = False
        results = {name: self.results[name] for name in names if self.results.get(name)}
        figures = summarise(results, self.workload, self.work)
        for name, facts in figures.items():
            facts |= {"setting": self.settings[name], "tried": self.tried[name]}
            facts["what"] = self.workload.contestants[name].summary
        shown = {"complete": complete, "failed": self.failed, "contestants": figures}
        return shown | {"rounds": results}

    def runs(self, names: Sequence[str], rounds: int) -> int:
        """Return how many processes there will be."""
        tried = 0 if self.quick else sum(len(self.choices(name)) for name in names)
        return tried + rounds * len(names) * (2 if self.cold and self.rules.step_s else 1)

    def choices(self, name: str) -> list[Setting]:
        """Return the settings worth trying."""
        return self.workload.contestants[name].settings(self.work)

    def choose(self, name: str) -> None:
        """Find the best setting, and note what was tried: [setting, items/s, CPU ms]."""
        self.tried[name], self.settings[name] = [], self.choices(name)[-1]
        if self.quick:
            return
        short = replace(self.rules, seconds=self.rules.seconds / 2, batches=4, step_s=0.0)
        best, faults = 0.0, []
        # Even a single setting: compiled kernels are cached, files are read.
        for setting in self.choices(name):
            try:
                result = self.run(name, setting, short, self.cold)
            except RuntimeError as error:
                faults.append(f"{words(setting)}: {error}")
                continue
            rate, cpu_ms = result["items"] / result["wall_s"], result["cpu_s"] / result["items"]
            self.tried[name].append([setting, round(rate, 1), round(1e3 * cpu_ms, 4)])
            if rate > best:
                best, self.settings[name] = rate, setting
                self.results[name] = [result]
        if not best:
            self.fail(name, faults[-1])
        elif faults:
            self.say(f"{name} does not run with {'; '.join(faults)}", always=True)

    def turn(self, name: str, first: bool) -> None:
        """Run a contestant in one round, or note that it failed."""
        setting = self.settings[name]
        more = {}
        try:
            if self.cold and self.rules.step_s:
                warm = self.run(name, setting, self.rules, cold=False)
                more["warm_step_s"] = self.work.batch * warm["wall_s"] / warm["items"]
            result = self.run(name, setting, self.rules, self.cold) | more
        except RuntimeError as error:
            self.fail(name, str(error))
            return
        self.results[name] = [result] if first else [*self.results[name], result]

    def fail(self, name: str, why: str) -> None:
        """Leave a contestant out from now on."""
        self.failed[name] = why
        self.results.pop(name, None)
        self.say(f"{name} failed: {why}", always=True)

    def run(self, name: str, setting: Setting, rules: Rules, cold: bool) -> dict[str, Any]:
        """Run one contestant in a fresh process; RuntimeError where it fails."""
        self.bar.set_description_str(f"{name} {words(setting)}")
        if cold:
            steps = self.workload.epoch_items(self.work) // self.work.batch
            rules = replace(rules, warm_s=0.0, seconds=0.0, batches=steps - 1)
            self.evict(name)
        elif self.cold:
            for folder in self.folders(name):
                files.warm(folder)
        job: dict[str, Any] = {"workload": self.name, "name": name, "setting": setting}
        job |= {"work": asdict(self.work), "rules": asdict(rules)}
        before, job["began"] = timing.busy(), time.monotonic()
        try:
            result = timing.spawn(SCRIPT, "one", json.dumps(job), timeout_s=self.timeout_s)
        finally:
            self.bar.update()
        rate = result["items"] / result["wall_s"]
        self.say(f"{name} {words(setting)}: {rate:,.0f} {self.workload.unit}s/s")
        return result | {"load_before": before, "cold": cold}

    def evict(self, name: str) -> None:
        """Put what a contestant reads out of the page cache; RuntimeError where it stays."""
        for folder in self.folders(name):
            try:
                stayed = files.evict(folder)
            except OSError as error:
                raise RuntimeError(f"{folder} stays in the page cache: {error}") from None
            if stayed > STAYED:
                raise RuntimeError(f"{100 * stayed:.0f} % of {folder} stayed in the page cache")

    def folders(self, name: str) -> list[Path]:
        """Return what a contestant reads; where it does not say, all that was made, and the set."""
        reads = self.workload.contestants[name].reads
        named = [getattr(self.work, reads)] if reads else [self.work.root, self.work.data]
        return [Path(folder) for folder in named if folder]

    def warn_if_busy(self, number: int) -> None:
        """Say once that the machine has more to do than it has cores."""
        load, cores = timing.busy(), len(os.sched_getaffinity(0))
        if load > cores and not self.warned:
            self.warned = True
            text = f"load {load:.1f} on {cores} cores before round {number + 1}: part of it is the"
            text += " benchmark's own, but somebody else may be busy; trust CPU ms"
            self.say(text, always=True)

    def say(self, text: str, always: bool = False) -> None:
        """Tell the terminal, above the progress bar."""
        if always or not self.quiet:
            tqdm.write(text, file=sys.stderr)
