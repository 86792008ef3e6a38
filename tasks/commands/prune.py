"""Make a smaller split of a set by scores of its samples."""

from __future__ import annotations

from typing import Literal

import click

from dataprep import derived
from loaders import Dataset
from tasks.commands import root_option, tell_namesakes
from tasks.run import pruning


@click.command("prune")
@click.argument("data", metavar="SET")
@click.option("--by", required=True, metavar="TABLE", help="the scores, such as el2n")
@click.option("--keep", required=True, type=float, help="share of the split to keep")
@click.option("--offset", default=0.0, help="share at the head of the ranking to drop first")
@click.option("--split", default="train", help="the split to choose from")
@click.option(
    "--order",
    type=click.Choice(["highest", "lowest"]),
    default="highest",
    help="which scores stand at the head of the ranking",
)
@click.option("--per-class", is_flag=True, help="the same shares of each class")
@click.option("--name", help="of the new split  [default: such as el2n_keep50]")
@root_option
def command(
    data: str,
    by: str,
    keep: float,
    offset: float,
    split: str,
    order: Literal["highest", "lowest"],
    per_class: bool,
    name: str | None,
    data_root: str | None,
) -> None:
    """Write a smaller split of SET: the samples that rank highest in a table of scores.

    \b
    python -m tasks prune mnist --by el2n --keep 0.5
    python -m tasks prune mnist --by el2n --keep 0.4 --offset 0.05 --per-class
    """
    dataset, rule = Dataset(data, data_root), pruning.Rule(keep, offset, order, per_class)
    name = name or rule.name(derived.plain(dataset.result(by).name))
    if name in dataset.manifest.splits:
        raise ValueError(f"--name {name}: the set has a split of that name")
    kept, facts = pruning.prune(dataset, by, split, rule)
    path = derived.place(dataset.folder, name, facts)
    scores = dataset.table(by)[kept]
    spread = f"scores {scores.min():.4f} to {scores.max():.4f}"
    there = derived.is_there(path)
    if not there:
        derived.write(path, "ids", kept, facts)
    of = f"{len(kept):,} of {len(dataset.split(split)):,} samples of {split}, {spread}"
    print(f"{path.name}{' is there already' if there else ''}: {of}")
    print(f"{'where' if there else 'written'}: {path}")
    tell_namesakes(path)
    print(f"next: python train.py --model MODEL --data {data} --train-split {name}")
