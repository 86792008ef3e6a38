"""`python -m jobs study | list`: comparisons of several recipes over several seeds."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import click
import torch

from dataprep import flags
from jobs import settings, studies
from jobs.conduct import Choice, Conduct
from jobs.study import Execution
from tasks.run.launch import Launch

SETTINGS = {"show_default": True, "max_content_width": 100}
MOST = 6  # variants named in a line


@click.group(cls=flags.Group, context_settings=SETTINGS)
def main() -> None:
    """Compare recipes: train each over several seeds, judge all alike, write one report.

    \b
    python -m jobs list
    python -m jobs study saliency --dry-run
    python -m jobs study batch_selection --data fashion_mnist --runs 5 --quick
    """


@main.command("list")
def list_() -> None:
    """Show the studies and what each compares.

    \b
    python -m jobs list
    """
    for name in studies.names():
        kind = studies.load(name)
        study = kind.study(kind.options(), Execution(runs=Path("runs")))
        variants = [variant.name for variant in study.variants]
        more = f" and {len(variants) - MOST} more" if len(variants) > MOST else ""
        seeds = ",".join(map(str, study.seeds))
        print(f"{name}: {kind.summary}")
        print(f"  variants: {', '.join(variants[:MOST])}{more}; seeds: {seeds}")


class Studies(flags.Group):
    """One subcommand a study, its options those that all share and its own."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return studies.names()

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        return _command(studies.load(name))


@main.command("study", cls=Studies, subcommand_metavar="STUDY [OPTIONS]")
def study_() -> None:
    """Run what is not finished of a study and write its report.

    Killed anywhere, the same command goes on: finished runs are kept, a run that was stopped
    resumes by itself, one that fails is named while the others go on.

    \b
    python -m jobs study saliency --seeds 0,1,2
    python -m jobs study batch_selection --help
    """


def _command(kind: studies.Kind) -> click.Command:
    @click.command(kind.name, cls=flags.Command, context_settings=SETTINGS, short_help=kind.summary)
    @flags.options(kind.options)
    @click.option(
        "--runs", type=click.IntRange(1), help="runs of each variant: the first of its seeds"
    )
    @click.option("--seeds", help="comma separated; later ones may be added")
    @click.option("--variants", help="comma separated: run and report these only  [default: all]")
    @click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="KEY=VALUE",
        help="a recipe's setting for all variants: lr=0.01, net.width=16; repeatable",
    )
    @click.option(
        "--evaluate",
        "evaluations",
        multiple=True,
        metavar="SET[:SPLIT,…]",
        help="judge every run on this set too, instead of the study's own further sets; repeatable",
    )
    @click.option("--into", default="runs", type=Path, help="runs lie in INTO/STUDY/<variant>-s…")
    @click.option("--out", type=Path, help="folder of the report  [default: INTO/STUDY]")
    @click.option("--nproc", default=0, help="processes a run trains on; 0: one a GPU, else one")
    @click.option("--jobs", default=1, type=click.IntRange(1), help="commands at a time")
    @click.option("--data-root", help="where built sets lie  [default: $NOSTALL_DATA, else ./data]")
    @click.option(
        "--notify",
        multiple=True,
        metavar="URL",
        envvar="NOSTALL_NOTIFY",
        help="tell by Apprise how it went: mailto://…, slack://…, json://…; repeatable"
        "  [default: $NOSTALL_NOTIFY]",
    )
    @click.option("--dry-run", is_flag=True, help="print the commands that are left to run")
    @click.option(
        "--report-only", is_flag=True, help="run nothing, write a report of what is there"
    )
    @flags.options(Launch)
    def command(**given: Any) -> int:
        return _conduct(kind, given)

    command.help = _help(kind)
    return command


def _help(kind: studies.Kind) -> str:
    return f"""{kind.summary}

    Killed anywhere, the same command goes on: finished runs are kept, a run that was stopped
    resumes by itself, one that fails is named while the others go on. The report (report.html,
    summary.txt, summary.csv, summary.json; report.json, results.csv, table.tex) has means with
    intervals over seeds and paired tests. The flags from --micro-batch on say how to run; they may
    change when a study goes on.

    \b
    python -m jobs study {kind.name} --dry-run
    python -m jobs study {kind.name} --runs 3 --set lr=0.002 --into tries --device cpu
    python -m jobs study {kind.name} --report-only
    """


def _conduct(kind: studies.Kind, given: dict[str, Any]) -> int:
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError("start a study as one process: it starts its runs' ranks by itself")
    launch = {name: given[name] for name in vars(Launch())}
    flags.replace(Launch(), launch)  # a mistake is said now, not by every run
    execution = Execution(
        runs=given["into"],
        overrides=settings.read(given["overrides"]),
        data_root=given["data_root"],
        ranks=_ranks(given["nproc"], given["device"]),
        launch={key: value for key, value in launch.items() if value not in (None, ())},
    )
    choice = Choice(**{field.name: given[field.name] for field in dataclasses.fields(Choice)})
    typed = {name: given[name] for name in vars(kind.options())}
    return Conduct(kind.name, typed, choice, execution).run()


def _ranks(nproc: int, device: str | None) -> int:
    if nproc < 0:
        raise ValueError("--nproc must be at least 0")
    return nproc or (1 if device == "cpu" else max(1, torch.cuda.device_count()))


if __name__ == "__main__":
    main()
