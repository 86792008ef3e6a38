"""One command, many workloads: prepare each, let its contestants take turns, show, keep, draw."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import results
import workload as workloads
from summary import fairness, table
from timing import TIMEOUT_S, Rules
from turns import Turns
from workload import Origin, Workload

from dataprep.manifest import DataError

FAILED, WRONG, INTERRUPTED = 1, 2, 130
QUICK = Rules(warm_s=0.1, seconds=0.2, batches=2)
# An epoch of fewer batches would measure how it begins; a quick run only shows that it works.
COLD_BATCHES, QUICK_COLD_BATCHES = 20, 2


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the command line asks for. given: options that are fields of a workload's `Work`.

    target, png: files of the result alone and of its figure; folder: where the line goes.
    """

    origin: Origin
    root: Path = Path("data/bench")
    peers: tuple[str, ...] = ()
    rules: Rules
    rounds: int = 5
    threads: int = 0
    cold: bool = False
    quick: bool = False
    quiet: bool = False
    timeout_s: float = TIMEOUT_S
    folder: Path | None = None
    target: Path | None = None
    png: Path | None = None
    given: Mapping[str, Any] = field(default_factory=dict)

    @property
    def plain(self) -> bool:
        """Tell whether this is the work as it is by default, with everyone: worth a figure."""
        own = self.origin.data or self.origin.images or self.peers or self.given or self.threads
        return not (own or self.quick)


def names(text: str) -> list[str]:
    """Return workloads of a comma separated list; `all`: those that are there."""
    if text == "all":
        return [name for name in workloads.ALL if find_spec(workloads.NAMES[name][0])]
    chosen = list(dict.fromkeys(text.split(",")))
    if unknown := [name for name in chosen if name not in workloads.NAMES]:
        there = ", ".join([*workloads.NAMES, "all"])
        raise click.BadParameter(f"unknown {', '.join(unknown)}; there are: {there}")
    return chosen


def loaded(chosen: Sequence[str]) -> dict[str, Workload]:
    """Import workloads; UsageError where a single one cannot be, else it is named and left out."""
    found = {}
    for name in chosen:
        try:
            found[name] = workloads.load(name)
        except ImportError as error:
            if len(chosen) == 1:
                raise click.UsageError(f"{name} cannot be loaded: {error}") from None
            say(f"{name} cannot be loaded: {error}")
    return found


def check(request: Request, found: Mapping[str, Workload]) -> None:
    """Raise UsageError for peers and options that no workload here knows, or that do not agree."""
    there = dict.fromkeys(name for one in found.values() for name in one.contestants)
    if unknown := [name for name in request.peers if name not in there]:
        raise click.UsageError(f"unknown contestants {unknown}; there are: {', '.join(there)}")
    known = {one.name for workload in found.values() for one in fields(workload.kind)}
    if foreign := request.given.keys() - known:
        raise click.UsageError(f"--{', --'.join(sorted(foreign))}: not an option of this work")
    if request.cold and request.origin.images:
        why = "each file comes under several names, and would be read from storage once"
        raise click.UsageError(f"--cold does not go with --images: {why}")


def contestants(workload: Workload, peers: Sequence[str], device: str = "cpu") -> list[str]:
    """Return the contestants that are asked for and can run; say which cannot."""
    there = workload.contestants
    chosen = [name for name in peers or there if name in there]
    for name in [name for name in peers if name in chosen and device not in there[name].devices]:
        say(f"{name} does not run: only with --device {' or '.join(there[name].devices)}")
    chosen = [name for name in chosen if device in there[name].devices]
    for name in chosen:
        if missing := there[name].missing:
            say(f"{name} does not run: {', '.join(missing)} is not installed")
    return [name for name in chosen if not there[name].missing]


def readers(workload: Workload, chosen: Sequence[str]) -> list[str]:
    """Return the contestants that a cold run may compare; say which it may not."""
    there = workload.contestants
    limits = [name for name in chosen if there[name].summary.startswith("limit")]
    for name in limits:
        say(f"{name} does not run cold: a limit does only a part of the work, or from memory")
    return [name for name in chosen if name not in limits]


def check_epoch(request: Request, name: str, workload: Workload, work: Any) -> None:
    """Raise UsageError where an epoch is too short to be measured cold."""
    least = QUICK_COLD_BATCHES if request.quick else COLD_BATCHES
    items = workload.epoch_items(work)
    if not items:
        raise click.UsageError(f"--cold: all that {name} reads is read before the first batch")
    if (steps := items // work.batch) < least:
        why = f"an epoch of {name} is {steps} batches of {work.batch}, not at least {least}"
        raise click.UsageError(f"--cold: {why} (--quick: {QUICK_COLD_BATCHES})")


def run(request: Request, found: Mapping[str, Workload]) -> int:
    """Measure one workload after the other; return the exit code."""
    check(request, found)
    results.facts_of_run()  # the commit that is measured is the one of now
    code = 0
    try:
        with stoppable():
            for name in found:
                one = request if len(found) == 1 else _own_files(request, name)
                code = max(code, _run_one(one, name, found[name]))
                if code == INTERRUPTED:
                    break
    except KeyboardInterrupt:
        return INTERRUPTED
    return code


@contextmanager
def stoppable() -> Iterator[None]:
    """Let SIGTERM do what Ctrl-C does: what was measured so far is kept."""

    def stop(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _own_files(request: Request, name: str) -> Request:
    """Return the request with files of this workload's own: result.json is result-w1.json."""
    target, png = (
        path.with_stem(f"{path.stem}-{name}") if path else None
        for path in (request.target, request.png)
    )
    return replace(request, target=target, png=png)


def _run_one(request: Request, name: str, workload: Workload) -> int:
    """Measure one workload, show and keep it; return the exit code."""
    try:
        chosen = contestants(workload, request.peers, request.given.get("device", "cpu"))
        chosen = readers(workload, chosen) if request.cold else chosen
        if not chosen:
            raise DataError(name, "", "no contestant that is asked for can run")
        work = prepared(request, workload, chosen)
        if request.cold:
            check_epoch(request, name, workload, work)
        facts = measured(request, name, work, chosen)
        show(name, facts, workload)
        whole = results.keep("loader", facts, request.folder, request.target)
        if path := figure(request, name):
            import draw  # matplotlib: not for the processes that measure

            draw.save(whole, workload.unit, path)
    except (DataError, click.UsageError) as error:  # other workloads may still be measured
        say(str(error))
        return WRONG
    if not facts["complete"]:
        return INTERRUPTED
    return FAILED if facts["failed"] else 0


def prepared(request: Request, workload: Workload, chosen: Sequence[str]) -> Any:
    """Return the work with everything made that the contestants read."""
    known = {one.name for one in fields(workload.kind)}
    given = {key: value for key, value in request.given.items() if key in known}
    given["threads"] = request.threads or len(os.sched_getaffinity(0))
    work = workload.kind(root=str(request.root.resolve()), data="", **given)
    return workload.prepare(work, request.origin, chosen)


def measured(request: Request, name: str, work: Any, chosen: Sequence[str]) -> dict[str, Any]:
    """Let the contestants take turns; return what a line of results tells."""
    rounds = 1 if request.quick else request.rounds
    turns = Turns(
        name,
        work,
        request.rules,
        quick=request.quick,
        cold=request.cold,
        quiet=request.quiet,
        timeout_s=request.timeout_s,
    )
    missing = {n: c.missing for n, c in turns.workload.contestants.items() if c.missing}
    facts = {
        "workload": name,
        "quick": request.quick,
        "step_ms": 1e3 * request.rules.step_s,
        "cold": request.cold,
        "plain": request.plain,
        "peers": list(request.peers),
        "options": dict(request.given),
    }
    facts |= turns.workload.facts(work) | {"rules": asdict(request.rules) | {"rounds": rounds}}
    return facts | {"not_installed": missing} | turns.compare(chosen, rounds)


def show(name: str, facts: Mapping[str, Any], workload: Workload) -> None:
    """Print the tables of a result, and who failed."""
    print(f"\n{name}" + ("" if facts["complete"] else ": interrupted, what was measured so far"))
    if facts["contestants"]:
        print(table(facts["contestants"], workload))
        print("\n" + fairness(facts["contestants"], workload))
    for failed, why in facts["failed"].items():
        print(f"failed: {failed}: {why}")


def figure(request: Request, name: str) -> Path | None:
    """Return where the figure goes: beside the results where those are of the work as it is."""
    if request.png or not (request.folder and request.plain):
        return request.png
    kind = ("-step" if request.rules.step_s else "") + ("-cold" if request.cold else "")
    return request.folder / f"{name}{kind}.png"


def say(text: str) -> None:
    """Tell the terminal."""
    print(text, file=sys.stderr, flush=True)
