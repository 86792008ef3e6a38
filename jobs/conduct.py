"""Conduct a study: what was typed becomes a plan, commands that are run, and a report."""

from __future__ import annotations

import dataclasses
import json
import shlex
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from dataprep import flags
from dataprep.manifest import DataError
from dataprep.progress import clock
from jobs import again, notify, plan, report, results, studies, summary
from jobs.plan import Plan
from jobs.report import Report
from jobs.runner import Runner
from jobs.study import Evaluation, Execution, Member, Study
from jobs.work import Work, missing, needed, state, works


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What was typed of a study, beside its own options and how to run it."""

    seeds: str | None = None
    runs: int | None = None
    variants: str | None = None
    evaluations: Sequence[str] = ()
    out: Path | None = None
    jobs: int = 1
    dry_run: bool = False
    report_only: bool = False
    notify: Sequence[str] = ()


class Conduct:
    """One study in one folder."""

    def __init__(self, name: str, typed: Mapping[str, Any], choice: Choice, execution: Execution):
        self.name, self.choice, self.notice = name, choice, notify.Notice(choice.notify)
        self.folder = execution.runs / name
        self.out = choice.out or self.folder
        self.kind = studies.load(name)
        before = self._before()
        if before and choice.report_only and not execution.overrides:
            execution = replace(execution, overrides=dict(before.overrides))
        self.execution = execution
        options = self._options(typed, before)
        self.study = self._chosen(self._made(options))
        self.plan = Plan(
            study=name,
            overrides=execution.overrides,
            seeds=self._seeds(before),
            options=_plain(options),
            free=self.kind.free,
            untyped=before.untyped if before else _untyped(options, typed),
        )
        for folder in dict.fromkeys([self.folder, self.out]):
            plan.refuse_changes(folder, plan.recorded(folder) or self.plan, self.plan)
        for key in {*self.study.own} & {*execution.overrides}:
            raise ValueError(f"--set {key}: {self.study.own[key]}")
        # All that is compared, now or by an earlier call: whose runs may be shared, and reported.
        self.whole_plan = self.plan.joined(before) if before else self.plan
        whole = flags.replace(self.kind.options(), _tuples(self.whole_plan.options))
        self.whole = self._made(whole)

    def _before(self) -> Plan | None:
        """Return the plan of the folder, without items of lists that are not there any more."""
        found = plan.recorded(self.folder)
        lists = dict(found.options) if found else {}
        for key in {*self.kind.choices} & {*lists}:
            known = self.kind.choices[key]
            for item in [one for one in lists[key] if one not in known]:
                click.echo(f"{self.folder}: left out, no {item!r} in {key} any more", err=True)
            lists[key] = [one for one in lists[key] if one in known]
        return replace(found, options=lists) if found else None

    def _made(self, options: Any) -> Study:
        return self.kind.study(options, self.execution)

    def _options(self, typed: Mapping[str, Any], before: Plan | None) -> Any:
        """Return the study's options: typed, else lists (for a report: all) as recorded."""
        given = {key: value for key, value in typed.items() if value is not None}
        if before:
            kept = _tuples(before.options)
            if not self.choice.report_only:
                kept = {key: value for key, value in kept.items() if isinstance(value, tuple)}
                every = vars(self.kind.options())
                more = {key: (*kept[key], *every[key]) for key in before.untyped if key in kept}
                kept |= {key: tuple(dict.fromkeys(items)) for key, items in more.items()}
            given = kept | given
        return flags.replace(self.kind.options(), given)

    def _seeds(self, before: Plan | None) -> tuple[int, ...]:
        text, runs = self.choice.seeds, self.choice.runs
        if text and runs:
            raise ValueError("give --runs or --seeds, not both")
        if runs:
            return self.study.seeds_of(runs)
        if not text:
            return tuple(before.seeds) if before else self.study.seeds
        try:
            found = flags.parse(text, tuple[int, ...])
        except ValueError:
            found = ()
        if not found or min(found) < 0:
            raise ValueError(f"--seeds {text}: want whole numbers of 0 and more, comma separated")
        return tuple(dict.fromkeys(found))

    def _chosen(self, study: Study) -> Study:
        """Return a study with the variants and further sets that were named."""
        if self.choice.variants:
            known = {variant.name: variant for variant in study.variants}
            names = [name.strip() for name in self.choice.variants.split(",")]
            for name in names:
                if name not in known:
                    raise ValueError(f"no variant {name!r}; there are: {', '.join(known)}")
            kept = tuple(variant for variant in study.variants if variant.name in names)
            study = replace(study, variants=kept)
        study = replace(study, preparations=needed(study))
        if self.choice.evaluations:
            found = [text.partition(":") for text in self.choice.evaluations]
            sets = [
                Evaluation(data=data, splits=tuple(splits.split(",")) if splits else ("val",))
                for data, _, splits in found
            ]
            study = replace(study, evaluations=tuple(sets))
        return study

    def members(self, study: Study, seeds: Sequence[int]) -> list[Member]:
        """Return runs, seed by seed, so that a study cut short has whole pairs."""
        names = {variant.name for variant in study.variants}
        launch = {**study.launch, **self.execution.launch}
        judged = dict.fromkeys([*study.judge, *filter(None, launch.get("judge", "").split(","))])
        launch |= {"judge": ",".join(judged)} if judged else {}
        execution = replace(self.execution, launch=launch)
        found = []
        for seed in seeds:
            peers: list[Member] = []
            for variant in self.whole.variants:
                one = Member(self.name, variant, seed, execution, peers)
                if one.is_ready:
                    one.facts  # noqa: B018 - a setting that does not fit is said now
                peers.append(one)
            found += [one for one in peers if one.variant.name in names]
        return found

    def run(self) -> int:
        """Do what was asked and tell who wants to know; returns the exit status."""
        if self.choice.dry_run:
            return self._dry(self.members(self.study, self.plan.seeds))
        began = time.monotonic()
        try:
            return self._done(began)
        except (DataError, ValueError, OSError) as error:
            self._tell("failed", "failure", [" ".join(str(error).split())], began)
            raise

    def _done(self, began: float) -> int:
        members = self.members(self.study, self.plan.seeds)
        failed: dict[str, str] = {}
        if self.choice.report_only and not plan.recorded(self.folder):
            if not any(member.is_ready and member.run.exists for member in members):
                raise ValueError(f"{self.folder}: nothing was run here yet")
        if not self.choice.report_only:
            for member in members:
                if member.is_ready:
                    member.check()
            runner = self._run(members)
            failed = runner.failed
            if runner.stop:
                told = ["The same command goes on.", *notify.named(failed)]
                self._tell("told to stop", "warning", told, began)
                return 128 + runner.stop.signal
        written = self._report(failed)
        code = show(written, self.out, failed)
        said = notify.named(failed) or [f"missing: {line}" for line in written.missing]
        how = "finished" if not said else "failed" if failed else "finished, not complete"
        self._tell(how, "success" if not said else "failure" if failed else "warning", said, began)
        return code

    def _tell(self, how: str, kind: notify.Kind, lines: Sequence[str], began: float) -> None:
        """Tell who wants to know how it went."""
        spent, where = clock(time.monotonic() - began), f"{socket.gethostname()}:{self.out}"
        self.notice.send(f"study {self.name}: {how}", [*lines, f"{spent} · {where}"], kind)

    def _run(self, members: Sequence[Member]) -> Runner:
        with plan.locked(self.folder) as held:
            plan.record(self.folder, self.plan)
            runner = Runner(self.folder, list(works(self.study, members)), self.choice.jobs)
            runner.run(held)
        return runner

    def _dry(self, members: Sequence[Member]) -> int:
        """Print the commands in their order; what is done, or not known yet, is a comment."""
        for member in members:
            if member.is_ready and member.run.exists:
                member.check()
        for one in self.study.evaluations:
            if not results.is_built(one, self.execution.data_root):
                click.echo(f"# no run is judged on {one.data}: no such set")
        todo = list(works(self.study, members))
        labels = {work.label for work in todo}
        done = {work.label for work in todo if state(work)[0]}
        shown: set[tuple[Path, str]] = set()
        for work in todo:
            lacks = [] if work.part_of else [one for one in work.after if one in labels - done]
            run = (work.folder(), work.kind)
            if work.act or run in shown:  # the run of another variant with the same settings
                continue
            shown.add(run)
            if lacks:
                click.echo(f"# later: {work.label}, after {', '.join(lacks)}")
            else:
                click.echo(("# done: " if work.label in done else "") + shlex.join(work.command()))
        return 0

    def _report(self, failed: Mapping[str, str]) -> Report:
        shown = self._of_whole()
        members = self.members(shown, self.whole_plan.seeds)
        for member in members:
            if member.is_ready and member.run.exists:
                member.check(needs_data=False)
        found = results.read(shown, members, self._command(shown))
        lacking = self._missing(list(works(shown, members)), failed)
        return report.write(self.out, self.whole_plan, found, lacking)

    def _of_whole(self) -> Study:
        """Return the study that is reported: what earlier calls asked for is in it."""
        if self.choice.variants:
            return self.study
        return self._chosen(self.whole)

    def _missing(self, todo: Sequence[Work], failed: Mapping[str, str]) -> list[str]:
        """Return what the plan asks for and is not there."""
        gone = [
            f"no run is judged on {one.data}: no such set (python -m dataprep list)"
            for one in self.study.evaluations
            if not results.is_built(one, self.execution.data_root)
        ]
        return [*gone, *missing(todo, failed)]

    def _command(self, shown: Study) -> str:
        """Return the command that makes the whole study again, in another folder."""
        variants = shown.variants if self.choice.variants else None
        evaluations = shown.evaluations if self.choice.evaluations else None
        return again.command(self.whole_plan, self.execution, variants, evaluations)


def _plain(options: Any) -> dict[str, Any]:
    """Return options in JSON's types."""
    facts: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(options)))
    return facts


def _untyped(options: Any, typed: Mapping[str, Any]) -> list[str]:
    """Return the names of the lists that are the study's own."""
    return [key for key, v in vars(options).items() if isinstance(v, tuple) and typed[key] is None]


def _tuples(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return recorded options as a dataclass has them."""
    return {key: tuple(v) if isinstance(v, list) else v for key, v in options.items()}


def show(written: Report, out: Path, failed: Mapping[str, str]) -> int:
    """Print the tables' figures and where everything lies; 1 where a command failed."""
    for table in written.tables:
        click.echo("\n" + summary.text(table))
    click.echo()
    for line in written.remarks:
        click.echo(f"warning: {line}")
    for line in written.missing:
        click.echo(f"missing: {line}")
    for name in written.files:
        click.echo(f"written: {out / name}")
    for label, why in failed.items():
        click.echo(f"error: {label}: {why}", err=True)
    return 1 if failed else 0
