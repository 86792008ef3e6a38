"""Emulated accelerators: processes that take a batch, sleep for its step, and meet.

Accelerator utilisation (AU), as MLPerf Storage has it: time asleep ÷ time in all, the first step
left out. Waiting for the slowest rank counts as time, as in synchronous training.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from statistics import mean
from threading import BrokenBarrierError
from typing import Any

import workload as workloads
from workload import Batches, Setting

# Ranks that wait so long for each other have stopped.
PATIENCE_S = 600.0
# What one step may take on average, beside that.
STEP_S = 10.0
# Those that have answered, or were told to end, may take so long to stop their workers.
FAREWELL_S = 20.0
# A setting is tried no longer than this.
TRIAL_S = 20.0
Start = Callable[[int, int], Batches]
# What a setting counts; all else in it are switches.
COUNTS = ("threads", "workers")


@dataclass(frozen=True)
class Share:
    """One contestant of a workload. work, setting: for all cores; None: the last setting it has."""

    workload: str
    name: str
    work: dict[str, Any]
    setting: Setting | None = None

    @property
    def settings(self) -> list[Setting]:
        """Return those worth trying on the whole machine."""
        workload = workloads.load(self.workload)
        return workload.contestants[self.name].settings(workload.kind(**self.work))

    def __call__(self, rank: int, ranks: int) -> Batches:
        """Start it as one of `ranks` processes: own seed, equal share of the threads."""
        workload = workloads.load(self.workload)
        threads = max(1, self.work["threads"] // ranks)
        own = {"threads": threads, "seed": self.work["seed"] + rank}
        work = workload.kind(**self.work | own)
        random.seed(work.seed)
        contestant = workload.contestants[self.name]
        if self.setting is None:
            return contestant.start(work, contestant.settings(work)[-1])
        return contestant.start(work, scaled(self.setting, self.work["threads"], threads))


def scaled(setting: Setting, cores: int, share: int) -> Setting:
    """Return a setting found on all cores as it is on a share of them.

    Workers and threads shrink with the cores, one more than cores stays one more; switches stay.
    """

    def fewer(count: int) -> int:
        if count >= cores:
            return share + count - cores
        return max(1, count * share // cores) if count else 0

    return {key: fewer(value) if key in COUNTS else value for key, value in setting.items()}


def utilisation(ends: Sequence[float], compute_s: float) -> float:
    """Return the AU of one rank. ends: when its steps ended, the meeting included."""
    return (len(ends) - 1) * compute_s / (ends[-1] - ends[0])


def rate(ends: Sequence[float], batch: int) -> float:
    """Return samples/s of one rank without the first step."""
    return (len(ends) - 1) * batch / (ends[-1] - ends[0])


def drive(
    batches: Iterator[Any],
    steps: int,
    compute_s: float,
    meet: Callable[[], object],
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.perf_counter,
    most_s: float = inf,
) -> list[float]:
    """Take batches, sleep for each, meet the other ranks; return when each step ended.

    most_s: a rank that is alone takes no more so long after its first step.
    """
    ends: list[float] = []
    for _ in range(steps):
        next(batches)
        if compute_s:
            sleep(compute_s)
        meet()
        ends.append(clock())
        if ends[-1] - ends[0] > most_s:
            break
    return ends


def best(share: Share, steps: int) -> tuple[Share, list[list[Any]]]:
    """Try the settings on one rank; return the share with the fastest, and [setting, rate] of all.

    steps: for each core; 0: nothing is tried. RuntimeError where the contestant runs with none.
    """
    cores, settings = share.work["threads"], share.settings
    tried: list[list[Any]] = []
    faults: list[RuntimeError] = []
    for setting in settings if steps and len(settings) > 1 else ():
        try:
            (ends,) = run(replace(share, setting=setting), 1, max(2, steps) * cores, 0.0, TRIAL_S)
        except RuntimeError as error:
            faults.append(error)
            continue
        # As many workers as cores bring as many batches at once: whole rounds of them count.
        begin = min(cores, len(ends) - 1) - 1
        tried.append([setting, rate(ends[begin:], share.work["batch"])])
    if faults and not tried:
        raise faults[-1]
    chosen = max(tried, key=lambda one: one[1])[0] if tried else settings[-1]
    return replace(share, setting=chosen), tried


def _rank(
    start: Start,
    place: tuple[int, int],
    steps: int,
    compute_s: float,
    most_s: float,
    barrier: Any,
    to: Connection,
) -> None:
    """Be one rank; send the ends of its steps, or why it failed."""
    os.setpgid(0, 0)  # whatever the contestant starts ends with it
    try:
        with closing(start(*place)) as batches:
            meet = partial(barrier.wait, PATIENCE_S)
            to.send(drive(batches, steps, compute_s, meet, most_s=most_s))
    except BrokenBarrierError:
        to.send("the others did not come")
    except StopIteration:
        to.send("has no batch left")
    except Exception as error:
        to.send(f"{type(error).__name__}: {error}".splitlines()[0])


def run(
    start: Start, ranks: int, steps: int, compute_s: float, most_s: float = inf
) -> list[list[float]]:
    """Run so many ranks at once; return the ends of the steps of each. most_s: as of `drive`.

    RuntimeError where one fails or dies: the others end too.
    """
    context = get_context("spawn")
    barrier, processes, froms = context.Barrier(ranks), [], []
    try:
        for number in range(ranks):
            mine, theirs = context.Pipe(duplex=False)
            place = (number, ranks)
            arguments = (start, place, steps, compute_s, most_s, barrier, theirs)
            process = context.Process(target=_rank, args=arguments)
            process.start()
            theirs.close()  # the only other end is the rank's: it closes when that dies
            processes.append(process)
            froms.append(mine)
        answers = _answers(froms, PATIENCE_S + STEP_S * steps)
        for process in processes:
            process.join(FAREWELL_S)
        return answers
    finally:
        for process in processes:
            _end(process)


def _answers(froms: Sequence[Connection], patience_s: float) -> list[list[float]]:
    """Wait for all ranks, but for none after the first that failed."""
    answers: dict[int, list[float]] = {}
    while len(answers) < len(froms):
        waiting = [end for number, end in enumerate(froms) if number not in answers]
        if not (ready := wait(waiting, patience_s)):
            raise RuntimeError(f"no answer after {patience_s:.0f} s")
        for end in ready:
            number = next(i for i, one in enumerate(froms) if one is end)
            try:
                answer = froms[number].recv()
            except EOFError:
                raise RuntimeError(f"rank {number} died") from None
            if isinstance(answer, str):
                raise RuntimeError(f"rank {number}: {answer}")
            answers[number] = answer
    return [answers[number] for number in range(len(froms))]


def _end(process: Any) -> None:
    """End a rank and all that it started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(ProcessLookupError):
        process.kill()  # it had no group of its own yet
    process.join()


def au(start: Start, ranks: int, steps: int, compute_s: float) -> float:
    """Return the mean AU of so many ranks."""
    return mean(utilisation(ends, compute_s) for ends in run(start, ranks, steps, compute_s))
