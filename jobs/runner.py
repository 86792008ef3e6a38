"""Runs what is not finished of a study, one command or several at a time, and says how long yet.

Every command is logged in `jobs.jsonl` of the study's folder; its output in `output.log` of its own
folder. What fails is named and what waits for it left out; the others go on.
"""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import NamedTuple

import click

from dataprep.manifest import DataError
from jobs import child
from jobs.forecast import Forecast, Pace
from jobs.work import Work, state
from tasks.run import REQUEUE

LOG = "jobs.jsonl"
SAY_S = 60.0


class Ended(NamedTuple):
    """How a command went; why: the last line that it wrote."""

    command: Sequence[str]
    seconds: float
    code: int
    why: str


class Runner:
    """Runs the works of one study's folder, `jobs` at a time."""

    def __init__(self, folder: Path, todo: Sequence[Work], jobs: int = 1) -> None:
        self.folder, self.works, self.jobs = folder, list(todo), jobs
        self._labels = {work.label for work in self.works}
        self.done: set[str] = set()
        self.failed: dict[str, str] = {}  # label -> why
        self.left_out: dict[str, str] = {}
        self.stop = child.Stop()
        self._lost: set[tuple[Path, str]] = set()  # folder and kind of what failed
        self._forecast = Forecast(folder / LOG, jobs)
        self._said = 0.0

    def run(self, held: int) -> None:
        """Run everything that is not done; `failed` and `stop` say how it went.

        held: the open lock of the folder, kept by the commands.
        """
        (self.folder / REQUEUE).unlink(missing_ok=True)
        states = [(work, *state(work)) for work in self.works]
        kept = [work.label for work, is_done, _ in states if is_done]
        for work, _, why in states:
            if why:
                self._fail(work, why)
        if kept:
            self._say(f"{len(kept)} of {len(self.works)} are done: {_listed(kept)}")
        self.done |= {*kept}
        pending = [work for work, is_done, why in states if not is_done and not why]
        running: dict[Future[Ended], Pace] = {}
        with self.stop, ThreadPoolExecutor(self.jobs) as pool:
            while True:
                self._start(pending, running, pool, held)
                if not running:
                    break
                for future in wait(running, child.POLL_S, FIRST_COMPLETED).done:
                    self._end(running.pop(future), future.result())
                if time.monotonic() - self._said > SAY_S:
                    self._tell(list(running.values()), pending)
        if self.stop:
            (self.folder / REQUEUE).touch()
            self._say("told to stop; the same command goes on")

    def _start(
        self,
        pending: list[Work],
        running: dict[Future[Ended], Pace],
        pool: ThreadPoolExecutor,
        held: int,
    ) -> None:
        """Start what can be started now."""
        while len(running) < self.jobs and not self.stop:
            work = self._next(pending, [pace.work for pace in running.values()])
            if work is None:
                return
            pending.remove(work)
            is_done, why = state(work)
            if why:
                self._fail(work, why)
            elif is_done:  # by the run of another variant with the same settings
                self.done.add(work.label)
            elif (work.folder(), work.kind) in self._lost:
                self.left_out[work.label] = "the run that it shares failed"
            else:
                pace = Pace(work)
                running[pool.submit(self._one, work, held)] = pace
                self._tell(list(running.values()), pending, pace)

    def _next(self, pending: list[Work], running: Sequence[Work]) -> Work | None:
        """Return the first work that may start beside those running; leave out what cannot."""
        if any(work.alone for work in running):
            return None
        for work in list(pending):
            lost = [label for label in work.after if label in {*self.failed, *self.left_out}]
            if lost:
                self.left_out[work.label] = f"waits for {lost[0]}"
                pending.remove(work)
                continue
            if not self.done.issuperset(self._labels & {*work.after}):
                continue
            if work.alone and running:
                return None  # until it is alone: nothing overtakes it
            if all(work.folder() != other.folder() for other in running):
                return work
        return None

    def _one(self, work: Work, held: int) -> Ended:
        """Do one work, in a thread of the pool."""
        began = time.time()
        command: Sequence[str] = ()
        try:
            if work.act:
                work.act()
                code, last = 0, ""
            else:
                command = work.command()
                log = work.folder() / "output.log"
                alone = self.jobs == 1
                code, last = child.run(command, log, work.label, self.stop, held, alone)
        except (DataError, ValueError, OSError) as error:
            code, last = 2, " ".join(str(error).split())
        return Ended(command, time.time() - began, code, last)

    def _end(self, pace: Pace, ended: Ended) -> None:
        """Take in how a work went."""
        work = pace.work
        done, unknown = state(work)
        pace.look()
        line = {"time": round(time.time(), 3), "label": work.label, "kind": work.kind}
        line |= {"alike": work.alike, "command": shlex.join(ended.command)}
        line |= {"seconds": round(ended.seconds, 3), "code": ended.code, "done": done}
        line |= {"share": round(pace.part(done), 4)}
        with open(self.folder / LOG, "a") as file:
            file.write(json.dumps(line) + "\n")
        if done:
            self.done.add(work.label)
        elif not self.stop:
            why = ended.why if ended.code else unknown or "told to stop before its end"
            log = work.folder() / "output.log"
            self._fail(work, why or f"exit status {ended.code}", f" (all of it: {log})")

    def _fail(self, work: Work, why: str, more: str = "") -> None:
        """Name what failed; what shares its run is left out."""
        self.failed[work.label] = why
        self._lost.add((work.folder(), work.kind))
        self._say(f"{work.label} failed: {why}{more}")

    def _tell(
        self, running: Sequence[Pace], pending: Sequence[Work], begins: Pace | None = None
    ) -> None:
        """Say what begins, or how far that is which runs, and how long all will still take."""
        self._said = time.monotonic()
        for pace in running:
            pace.look()
        left = self._forecast.left(running, pending)
        count = f"[{len(self.works) - len(pending)} of {len(self.works)}]"
        shown = ", ".join(pace.told for pace in ([begins] if begins else running))
        if shown:
            if not begins and self.jobs == 1 and sys.stderr.isatty():
                click.echo("\r\033[K", err=True, nl=False)  # over the bar, which goes on below
            self._say(f"{count} {shown}; {left}")

    def _say(self, text: str) -> None:
        click.echo(f"{time.strftime('%H:%M:%S')} {text}", err=True)


def _listed(labels: Sequence[str], most: int = 8) -> str:
    """Return labels in a line that can be read."""
    more = f" and {len(labels) - most} more" if len(labels) > most else ""
    return ", ".join(labels[:most]) + more
