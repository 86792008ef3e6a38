"""Score every sample of a set by trained networks."""

from __future__ import annotations

from pathlib import Path

import click

from dataprep import derived, flags
from loaders import Dataset
from tasks.commands import (
    device_option,
    memory_explained,
    root_option,
    task_option,
    tell_namesakes,
)
from tasks.run import scoring


@click.command("score")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=Path)
@click.option("--data", help="the built set to score  [default: the first run's own]")
@click.option("--what", required=True, type=click.Choice(list(scoring.SCORES)), help="the score")
@click.option("--split", default="train", help="comma separated, or all")
@click.option(
    "--checkpoint", type=Path, help="a file, or a name in each run  [default: each run's best]"
)
@click.option("--name", help="of the table  [default: WHAT]")
@click.option("--allow-overlap", is_flag=True, help="irreducible losses of a model's own samples")
@task_option
@device_option
@root_option
def command(
    runs: tuple[Path, ...],
    data: str | None,
    what: str,
    split: str,
    checkpoint: Path | None,
    name: str | None,
    allow_overlap: bool,
    task_options: tuple[str, ...],
    device: str,
    data_root: str | None,
) -> None:
    """Score every sample of a set by RUN, the mean over several; kept under the set's derived/.

    \b
    python -m tasks score runs/holdout --data mnist --what irreducible_loss
    python -m tasks score runs/early-s1 runs/early-s2 --data mnist --what el2n --split train,val
    """
    using = scoring.models_of(runs, checkpoint, flags.pairs(task_options))
    dataset = Dataset(data or using[0].recipe["data"], data_root)
    splits = scoring.splits_of(dataset, split)
    if what == "irreducible_loss" and not allow_overlap:
        for one in scoring.refuse_overlap(using, dataset, splits):
            click.echo(f"{one.run.folder} is of another set: not known what it saw", err=True)
    facts = scoring.made_from(using, dataset, what, splits)
    path = derived.place(dataset.folder, name or what, facts)
    if derived.is_there(path):
        print(
            f"{path.name} is there already: {scoring.spread(derived.values(path, dataset.samples))}"
        )
        return print(f"where: {path}")
    with memory_explained():
        table = scoring.score(using, dataset, what, splits, device)
    derived.write(path, "values", table, facts, runs=[str(run) for run in runs])
    print(f"{path.name}: {scoring.spread(table)}\nwritten: {path}")
    tell_namesakes(path)
