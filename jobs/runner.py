"""Runs what is not finished of a study, one command after another, and says how long it takes.

Every command is logged in `jobs.jsonl` of the study's folder; its output in `output.log` of the
run's folder. What fails is named, and the others go on.
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import click

from dataprep.progress import clock
from jobs import child, results
from jobs.study import Evaluation, Member, Study
from tasks.run import REQUEUE

LOG = "jobs.jsonl"


@dataclass(frozen=True)
class Work:
    """One command: a run's training, or its evaluation on a further set."""

    member: Member
    evaluation: Evaluation | None = None

    @property
    def kind(self) -> str:
        """What it is a case of, for estimates of time."""
        return f"evaluate {self.evaluation.data}" if self.evaluation else "train"

    @property
    def label(self) -> str:
        """Its name in messages."""
        on = f" on {self.evaluation.data}" if self.evaluation else ""
        return self.member.name + on

    @property
    def is_done(self) -> bool:
        """True where its result is there."""
        if not self.evaluation:
            return self.member.is_finished
        return self.member.is_finished and results.is_evaluated(self.member, self.evaluation)

    def command(self) -> list[str]:
        """Return the command to give now."""
        if self.evaluation:
            return self.member.evaluation(self.evaluation)
        return self.member.command()


def works(study: Study, members: Sequence[Member]) -> Iterator[Work]:
    """Yield all commands of a study in their order: a run, then what is measured on it."""
    for member in members:
        yield Work(member)
        data, split = (member.facts["recipe"][key] for key in ("data", "val_split"))
        for evaluation in study.evaluations:
            is_own = evaluation.data == data and evaluation.splits == (split,)
            if not is_own and results.is_built(evaluation, member.options.data_root):
                yield Work(member, evaluation)


class Runner:
    """Runs the works of one study's folder."""

    def __init__(self, folder: Path, todo: Sequence[Work]) -> None:
        self.folder, self.works = folder, list(todo)
        self.failed: dict[str, str] = {}  # label -> why
        self.stop = child.Stop()

    def run(self, held: int) -> None:
        """Run everything that is not done; `failed` and `stop` say how it went.

        held: the open lock of the folder, kept by the commands.
        """
        (self.folder / REQUEUE).unlink(missing_ok=True)
        kept = [work.label for work in self.works if work.is_done]
        if kept:
            self._say(f"{len(kept)} of {len(self.works)} are done: {', '.join(kept)}")
        with self.stop:
            for number, work in enumerate(self.works, 1):
                if self.stop:
                    break
                if work.label not in kept:
                    self._one(number, work, held)
        if self.stop:
            (self.folder / REQUEUE).touch()
            self._say("told to stop; the same command goes on")

    def _one(self, number: int, work: Work, held: int) -> None:
        if work.evaluation and not work.member.is_finished:
            return  # its training failed, which was said
        self._say(
            f"[{number} of {len(self.works)}] {work.label}: {work.kind}; {self._left(number)}"
        )
        command, began = work.command(), time.time()
        log = work.member.run.folder / "output.log"
        code, last = child.run(command, log, work.label, self.stop, held)
        done = work.is_done
        self._log(work, command, time.time() - began, code, done)
        if not done and not self.stop:
            why = last if code else "told to stop before its end"
            self.failed[work.label] = why or f"exit status {code}"
            self._say(f"{work.label} failed: {self.failed[work.label]} (all of it: {log})")

    def _left(self, number: int) -> str:
        """Return the time that the works from this one on will take, by those done before."""
        spent: dict[str, float] = {}
        for line in self._lines():
            spent[line["label"]] = spent.get(line["label"], 0.0) + line["seconds"]
        known = [work for work in self.works if work.label in spent and work.is_done]
        total = 0.0
        for work in self.works[number - 1 :]:
            if work.is_done:
                continue
            same = [other for other in known if other.kind == work.kind]
            alike = [o for o in same if o.member.variant == work.member.variant] or same
            if not alike:
                return "time left in all: not known before the first one of its kind"
            total += mean(spent[other.label] for other in alike)
        return f"time left in all: {clock(total)}"

    def _log(
        self, work: Work, command: Sequence[str], seconds: float, code: int, done: bool
    ) -> None:
        line = {"time": round(time.time(), 3), "label": work.label, "kind": work.kind}
        line |= {"command": shlex.join(command), "seconds": round(seconds, 3)}
        with open(self.folder / LOG, "a") as file:
            file.write(json.dumps(line | {"code": code, "done": done}) + "\n")

    def _lines(self) -> list[dict[str, Any]]:
        path = self.folder / LOG
        found = []
        for text in path.read_text().splitlines() if path.exists() else ():
            try:
                found.append(json.loads(text))
            except ValueError:  # the last line of a killed study
                continue
        return found

    def _say(self, text: str) -> None:
        click.echo(f"{time.strftime('%H:%M:%S')} {text}", err=True)
