"""`python -m jobs study | list`: comparisons of several recipes over several seeds."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import torch

from dataprep import flags
from jobs import plan, report, results, settings, studies
from jobs.plan import Plan
from jobs.report import Report
from jobs.runner import Runner, works
from jobs.study import Evaluation, Member, Options, Study
from tasks.run.launch import Launch


@click.group(cls=flags.Group, context_settings={"show_default": True, "max_content_width": 100})
def main() -> None:
    """Compare recipes: train each over several seeds, judge all alike, write one report.

    \b
    python -m jobs list
    python -m jobs study saliency --dry-run
    python -m jobs study saliency --seeds 0,1,2
    """


@main.command("list")
def list_() -> None:
    """Show the studies and what each compares.

    \b
    python -m jobs list
    """
    for name in studies.names():
        study = studies.load(name)
        variants = ", ".join(variant.name for variant in study.variants)
        print(f"{name}: {study.summary}\n  variants: {variants}; seeds: {_joined(study.seeds)}")


@main.command()
@click.argument("name")
@click.option("--seeds", help="comma separated; later ones may be added  [default: the study's]")
@click.option("--variants", help="comma separated: run and report these only  [default: all]")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="a recipe's setting for all variants: lr=0.01, net.width=16, task.patch=12; repeatable",
)
@click.option(
    "--evaluate",
    "evaluations",
    multiple=True,
    metavar="SET[:SPLIT,…]",
    help="judge every run on this set too, instead of the study's own further sets; repeatable",
)
@click.option("--runs", default="runs", type=Path, help="runs lie in RUNS/NAME/<variant>-s<seed>")
@click.option("--out", type=Path, help="folder of the report  [default: RUNS/NAME]")
@click.option("--nproc", default=0, help="processes a run trains on; 0: one a GPU, else one")
@click.option("--data-root", help="where built sets lie  [default: $NOSTALL_DATA, else ./data]")
@click.option("--dry-run", is_flag=True, help="print the commands that are left to run, and stop")
@click.option("--report-only", is_flag=True, help="run nothing, write the report of what is there")
@flags.options(Launch)
def study(
    name: str,
    seeds: str | None,
    variants: str | None,
    overrides: tuple[str, ...],
    evaluations: tuple[str, ...],
    runs: Path,
    out: Path | None,
    nproc: int,
    data_root: str | None,
    dry_run: bool,
    report_only: bool,
    **launch: Any,
) -> int:
    """Run what is not finished of a study and write its report.

    Killed anywhere, the same command goes on: finished runs are kept, a run that was stopped
    resumes by itself, one that fails is named while the others go on. The report (report.html,
    report.json, results.csv, table.tex) has means with intervals over seeds and paired tests
    against the first variant. The flags from --micro-batch on say how to run; they may change when
    a study goes on.

    \b
    python -m jobs study saliency --dry-run
    python -m jobs study saliency --seeds 0,1,2
    python -m jobs study saliency --set epochs=1 --set data=mini --runs tries --device cpu
    python -m jobs study saliency --report-only
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError("start a study as one process: it starts its runs' ranks by itself")
    chosen = _chosen(studies.load(name), variants, evaluations)
    folders = dict.fromkeys([runs / name, out or runs / name])
    before = plan.recorded(runs / name)
    given = settings.read(overrides)
    if before and report_only and not given:
        given = dict(before.overrides)
    asked = _seeds(seeds) if seeds else tuple(before.seeds if before else chosen.seeds)
    planned = Plan(study=name, overrides=given, seeds=asked)
    for folder in folders:
        plan.refuse_changes(folder, plan.recorded(folder) or planned, planned)
    flags.replace(Launch(), launch)  # a mistake is said now, not by every run
    options = Options(
        runs=runs,
        overrides=given,
        data_root=data_root,
        ranks=_ranks(nproc, launch["device"]),
        launch={key: value for key, value in launch.items() if value not in (None, ())},
    )
    members = _members(name, chosen, asked, options)
    if dry_run:
        return _dry(chosen, members)
    failed: dict[str, str] = {}
    if not report_only:
        planned, runner = _run(runs / name, planned, chosen, members)
        failed = runner.failed
        if runner.stop:
            return 128 + runner.stop.signal
    elif before:
        planned = Plan(study=name, overrides=given, seeds=sorted({*asked, *before.seeds}))
    written = _report(chosen, planned, options, failed, out or runs / name)
    return _show(written, out or runs / name, failed)


def _run(
    folder: Path, planned: Plan, chosen: Study, members: Sequence[Member]
) -> tuple[Plan, Runner]:
    """Run what is not finished; return the plan with the seeds of earlier calls, and the runner."""
    for member in members:
        member.check()
    with plan.locked(folder) as held:
        planned = plan.record(folder, planned)
        runner = Runner(folder, list(works(chosen, members)))
        runner.run(held)
    return planned, runner


def _chosen(study: Study, variants: str | None, evaluations: Sequence[str]) -> Study:
    """Return a study with the variants and further sets that were named."""
    if variants:
        known = {variant.name: variant for variant in study.variants}
        names = [name.strip() for name in variants.split(",")]
        for name in names:
            if name not in known:
                raise ValueError(f"no variant {name!r}; there are: {', '.join(known)}")
        study = replace(study, variants=tuple(v for v in study.variants if v.name in names))
    if evaluations:
        found = [text.partition(":") for text in evaluations]
        sets = [
            Evaluation(data=data, splits=tuple(splits.split(",")) if splits else ("val",))
            for data, _, splits in found
        ]
        study = replace(study, evaluations=tuple(sets))
    return study


def _seeds(text: str) -> tuple[int, ...]:
    found = flags.parse(text, tuple[int, ...])
    if not found or min(found) < 0:
        raise ValueError(f"--seeds {text}: want whole numbers of 0 and more, comma separated")
    return tuple(dict.fromkeys(found))


def _ranks(nproc: int, device: str | None) -> int:
    if nproc < 0:
        raise ValueError("--nproc must be at least 0")
    return nproc or (1 if device == "cpu" else max(1, torch.cuda.device_count()))


def _members(name: str, study: Study, seeds: Sequence[int], options: Options) -> list[Member]:
    """Return all runs, seed by seed, so that a study cut short has whole pairs."""
    members = [Member(name, one, seed, options) for seed in seeds for one in study.variants]
    for member in members:
        member.facts  # noqa: B018 - a setting that does not fit is said now
    return members


def _dry(study: Study, members: Sequence[Member]) -> int:
    """Print the commands in their order; what is done is a comment."""
    for member in members:
        if member.run.exists:
            member.check()
    for one in study.evaluations:
        if not results.is_built(one, members[0].options.data_root):
            print(f"# no run is judged on {one.data}: no such set")
    for work in works(study, members):
        print(("# done: " if work.is_done else "") + shlex.join(work.command()))
    return 0


def _report(
    study: Study, planned: Plan, options: Options, failed: Mapping[str, str], out: Path
) -> Report:
    members = _members(planned.study, study, planned.seeds, options)
    for member in members:
        if member.run.exists:
            member.check(needs_data=False)
    found = results.read(study, members, _command(planned, study, options))
    return report.write(out, planned, found, list(_missing(study, members, failed)))


def _command(planned: Plan, study: Study, options: Options) -> str:
    """Return the command that makes the whole study again, in another folder."""
    whole = studies.load(planned.study)
    parts = ["python", "-m", "jobs", "study", planned.study, "--seeds", _joined(planned.seeds)]
    if study.variants != whole.variants:
        parts += ["--variants", ",".join(variant.name for variant in study.variants)]
    for key, value in planned.overrides.items():
        parts += ["--set", f"{key}={value}"]
    if study.evaluations != whole.evaluations:
        for one in study.evaluations:
            parts += ["--evaluate", f"{one.data}:{','.join(one.splits)}"]
    parts += ["--nproc", str(options.ranks), *options.rooted()]
    return shlex.join([*parts, *settings.launch_arguments(options.launch)])


def _missing(study: Study, members: Sequence[Member], failed: Mapping[str, str]) -> Iterator[str]:
    """Yield what the plan asks for and is not there."""
    for one in study.evaluations:
        if not results.is_built(one, members[0].options.data_root):
            yield f"no run is judged on {one.data}: no such set (python -m dataprep list)"
    for work in works(study, members):
        if not work.is_done and (not work.evaluation or work.member.is_finished):
            what = "not judged" if work.evaluation else "not trained to its end"
            why = failed.get(work.label)
            yield f"{work.label}: {what}" + (f" ({why})" if why else "")


def _show(written: Report, out: Path, failed: Mapping[str, str]) -> int:
    """Print the tables' figures and where everything lies; 1 where a run failed."""
    for table in written.tables:
        print(f"\n{table.title}")
        rows = [table.header, *table.rows]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            print("  " + "  ".join(cells).rstrip())
    print()
    for line in written.missing:
        print(f"missing: {line}")
    for name in ("report.html", "report.json", "results.csv", "table.tex"):
        print(f"written: {out / name}")
    for label, why in failed.items():
        click.echo(f"error: {label}: {why}", err=True)
    return 1 if failed else 0


def _joined(seeds: Sequence[int]) -> str:
    return ",".join(map(str, seeds))


if __name__ == "__main__":
    main()
