"""How fast does each library decode JPEGs, and how much of that does the loader reach?

    python bench/decode.py [--images FOLDER] [--peers pillow,opencv] [--threads 8]

Whole files from memory, one thread and many, beside the loader's own decoder; then the same
decoders in worker processes of a torch DataLoader; then the loader itself (w1 of bench/loader.py).
A fresh process for every library and round, libraries take turns. Before that the pixels of each
are compared with Pillow's: a mean difference above 2 grey levels is named.
Exit code 1 where the loader or its decoder failed, or a peer while it was measured.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import decode_jobs
import results as kept
import suite
import timing
from decode_table import tables
from decoders import DECODERS, LIMIT, OWN_LIMIT, Held
from suite import say
from timing import Rules
from turns import Turns
from workload import Origin

from dataprep import flags
from dataprep.manifest import atomic

FILES = 1024  # held in memory: far more bytes than the caches hold
LOADER = "loader"
OURS = "nostall"
WORK = "w1"
Results = dict["Case", list[dict[str, Any]]]


@dataclass(frozen=True)
class Case:
    """One measurement. workers: processes of a DataLoader; None: threads of one process."""

    name: str
    threads: int = 1
    workers: int | None = None

    @property
    def where(self) -> str:
        """Return what it runs on, in words."""
        return f"{self.threads} threads" if self.workers is None else f"{self.workers} workers"


class Comparison:
    """The files, the rules, what was measured, and who failed: why."""

    def __init__(self, held: Held, stored: Path, loader: Turns, rules: Rules) -> None:
        self.held, self.stored, self.loader, self.rules = held, stored, loader, rules
        self.found: Results = {}
        self.failed: dict[str, str] = {}

    def spawn(self, name: str, **job: Any) -> dict[str, Any]:
        """Run a job of one library in a fresh process; RuntimeError where it fails."""
        facts = {"name": name, "held": str(self.stored), "rules": asdict(self.rules)} | job
        return timing.spawn(__file__, "one", json.dumps(facts | {"began": time.monotonic()}))

    def looks(self, names: Sequence[str]) -> tuple[dict[str, Any], dict[str, str]]:
        """Compare pixels with Pillow's; return what was seen, and why others do not run.

        A peer that does not run is not there; our own decoder has failed.
        """
        seen, missing = {}, {}
        for name in names:
            try:
                found = self.spawn(name, look=True)
            except RuntimeError as error:  # other pixels than asked for, or none
                found = {"missing": str(error)}
            is_ours = name.startswith(OURS)
            if is_ours and found.get("same") is False:
                found = {"missing": f"pixels are {found['mean']:.2g} grey levels off Pillow's"}
            if "missing" not in found:
                seen[name] = found
            elif is_ours:
                self.fail(name, found["missing"])
            else:
                missing[name] = found["missing"]
                say(f"{name} does not run: {missing[name]}")
        return seen, missing

    def fail(self, name: str, why: str) -> None:
        """Leave a library out from now on, with all that was measured of it."""
        self.failed[name] = why
        self.found = {case: runs for case, runs in self.found.items() if case.name != name}
        say(f"{name} failed: {why}")

    def measure(self, cases: Sequence[Case], rounds: int) -> None:
        """Let all take turns."""
        self.found = {case: [] for case in cases}
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}")
            for case in cases:
                if case.name in self.failed:
                    continue
                try:
                    self.found[case].append(self.run(case))
                except RuntimeError as error:
                    self.fail(case.name, f"{case.where}: {error}")

    def run(self, case: Case) -> dict[str, Any]:
        """Measure once; RuntimeError where that fails."""
        if case.name == LOADER:
            setting = {"threads": case.threads}
            found = self.loader.run("nostall", setting, self.rules, cold=False)
        else:
            found = self.spawn(case.name, threads=case.threads, workers=case.workers)
        say(f"  {case.name}, {case.where}: {found['items'] / found['wall_s']:,.0f} images/s")
        return found

    def figures(self, case: Case) -> dict[str, Any]:
        """Return the figures of one case over its rounds, beside the limits on as many threads."""
        rates, costs = self._rates(case), self._costs(case)
        facts: dict[str, Any] = {
            "images_per_s": timing.spread(rates),
            "cpu_ms_per_image": timing.spread(costs),
        }
        if not (case.name in DECODERS and DECODERS[case.name].cuts):
            pixels = float(self.held.sizes.prod(axis=1).mean()) / 1e6
            facts["megapixels_per_s"] = timing.spread([rate * pixels for rate in rates])
        for key, name in (("times_limit", LIMIT), ("times_own_limit", OWN_LIMIT)):
            limit = Case(name, case.threads)
            if limit in self.found:
                wall = timing.ratios(rates, self._rates(limit))
                facts[key] = {"wall": wall, "cpu": timing.ratios(self._costs(limit), costs)}
        return facts

    def _rates(self, case: Case) -> list[float]:
        return [one["items"] / one["wall_s"] for one in self.found[case]]

    def _costs(self, case: Case) -> list[float]:
        return [1e3 * one["cpu_s"] / one["items"] for one in self.found[case]]

    def summary(self, seen: dict[str, Any]) -> dict[str, Any]:
        """Return {library: what it is, its pixels, figures by threads and by workers}."""
        facts: dict[str, Any] = {
            name: {"what": DECODERS[name].summary, **seen[name], "threads": {}, "workers": {}}
            for name in seen
        }
        facts[LOADER] = {"what": "the Loader, host engine: decode, resize, batch", "threads": {}}
        facts = {name: facts[name] for name in facts if name not in self.failed}
        for case in self.found:
            kind, many = ("threads", case.threads)
            if case.workers is not None:
                kind, many = "workers", case.workers
            facts[case.name][kind][str(many)] = self.figures(case)
        return facts


def cases(names: Sequence[str], threads: Sequence[int], workers: Sequence[int]) -> list[Case]:
    """Return the measurements of a round; those with threads of their own need no workers."""
    alone = [name for name in names if not DECODERS[name].own_threads]
    every = [Case(name, many) for many in threads for name in (*names, LOADER)]
    return every + [Case(name, workers=many) for name in alone for many in workers]


def compare(root: Path, origin: Origin, rules: Rules, most: int) -> Comparison:
    """Make files and set, and hold a choice of them."""
    turns = Turns(WORK, None, rules, quick=origin.quick, quiet=True)
    kind: Any = turns.workload.kind
    asked_for = kind(root=str(root), data="", threads=most)
    turns.work = work = turns.workload.prepare(asked_for, origin, ["nostall"])
    held = decode_jobs.hold(Path(work.files), Path(work.data), FILES)
    stored = root / f"decode-{Path(work.files).name}.json"
    with atomic(stored) as file:
        file.write_text(json.dumps(asdict(held)))
    return Comparison(held, stored, turns, rules)


def asked(peers: str | None) -> list[str]:
    """Return the libraries that are asked for; UsageError for one that is none."""
    names = list(dict.fromkeys(peers.split(","))) if peers else list(DECODERS)
    if unknown := [name for name in names if name not in DECODERS]:
        raise click.UsageError(f"unknown libraries {unknown}; there are: {', '.join(DECODERS)}")
    return names


@click.group(cls=flags.Group, invoke_without_command=True, context_settings={"show_default": True})
@click.option("--images", type=click.Path(path_type=Path), help="a folder of JPEGs of your own")
@click.option("--root", type=click.Path(path_type=Path), default=Path("data/bench"))
@click.option("--peers", help="libraries, comma separated  [default: all]")
@click.option("--rounds", type=click.IntRange(1), default=3)
@click.option("--seconds", default=1.5, help="length of one window")
@click.option("--threads", type=click.IntRange(0), default=0, help="at most  [0: one a core]")
@click.option("--workers/--no-workers", default=True, help="DataLoader workers too, 0, 1, 2 …")
@click.option("--quick", is_flag=True, help="tiny images, one short round: only to see it work")
@kept.saving
@click.pass_context
def main(context: click.Context, /, **options: Any) -> None:
    """Measure JPEG decoders, and the loader beside them."""
    if context.invoked_subcommand is None:
        measure(**options)


def measure(
    *, images: Path | None, root: Path, peers: str | None, rounds: int, seconds: float,
    threads: int, workers: bool, quick: bool,
    results: Path | None, no_save: bool, target: Path | None,
) -> None:  # fmt: skip
    """Do what was asked for; leave by the exit code."""
    names, folder = asked(peers), kept.destination(results, no_save, quick)
    plain = workers and not (images or peers or threads or quick)
    rules = Rules(warm_s=0.5, seconds=seconds, batches=4)
    rules, rounds = (suite.QUICK, 1) if quick else (rules, rounds)
    kept.facts_of_run()
    most = threads or len(os.sched_getaffinity(0))
    comparison = compare(root.resolve(), Origin(None, images, quick), rules, most)
    seen, missing = comparison.looks(names)
    counts = timing.counts(most) if workers else []
    comparison.measure(cases(list(seen), sorted({1, most}), counts), rounds)
    facts = {
        "quick": quick,
        "plain": plain,
        "set": comparison.loader.workload.facts(comparison.loader.work)["set"],
        "held": {"files": len(comparison.held.paths)},
        "rules": asdict(rules) | {"rounds": rounds},
        "limits": [LIMIT, OWN_LIMIT],
        "not_available": missing,
        "failed": comparison.failed,
        "libraries": comparison.summary(seen),
    }
    print(tables(facts["libraries"]))
    for name, why in comparison.failed.items():
        print(f"failed: {name}: {why}")
    if facts["libraries"]:
        kept.finish("decode", facts, folder, target)
    raise SystemExit(1 if comparison.failed else 0)


main.command("one", hidden=True)(click.argument("job")(decode_jobs.one))

if __name__ == "__main__":
    main()
