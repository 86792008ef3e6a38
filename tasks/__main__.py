"""`python -m tasks evaluate | predict | preview | score | prune`: the use of a trained network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import click
import numpy as np
import torch

import models
import tasks
from dataprep import derived, flags
from loaders import Dataset, Loader, World, strategies
from models import Recipe
from tasks.run import Run, pruning, report, scoring
from tasks.run.restore import recipe_of, restore

root_option = click.option(
    "--data-root", help="where built sets lie  [default: $NOSTALL_DATA, else ./data]"
)
device_option = click.option(
    "--device",
    default="cuda" if torch.cuda.is_available() else "cpu",
    type=click.Choice(["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]),
    help="where to compute",
)


task_option = click.option(
    "--task", "task_options", multiple=True, metavar="KEY=VALUE", help="another task setting"
)
tile_option = click.option(
    "--tile", default=0, help="LR pixels of a tile, for images too large for memory"
)


@contextmanager
def memory_explained() -> Iterator[None]:
    """Turn a GPU's out-of-memory error into one line that says what to do."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise ValueError("out of memory: try --tile 256, or --device cpu") from None


@click.group(cls=flags.Group, context_settings={"show_default": True})
def main() -> None:
    """Judge, use and look at what was trained; RUN is a run folder, such as runs/shufflemixer."""


@main.command()
@click.argument("run", type=Path)
@click.option("--data", help="another built set  [default: the run's own]")
@click.option(
    "--split",
    "splits",
    multiple=True,
    help="repeatable  [default: all that it was not trained on; of folds the run's own]",
)
@click.option("--checkpoint", type=Path, help="[default: the run's best]")
@tile_option
@task_option
@click.option(
    "--on-bad",
    type=click.Choice(["stop", "skip"]),
    default="stop",
    help="a sample that cannot be read: stop, or leave it out and count it",
)
@device_option
@root_option
def evaluate(
    run: Path,
    data: str | None,
    splits: tuple[str, ...],
    checkpoint: Path | None,
    tile: int,
    task_options: tuple[str, ...],
    on_bad: Literal["stop", "skip"],
    device: str,
    data_root: str | None,
) -> None:
    """Print the metrics of RUN on its validation split or on another set.

    \b
    python -m tasks evaluate runs/shufflemixer_demo
    python -m tasks evaluate runs/shufflemixer --data srbench --split set5
    python -m tasks evaluate runs/saliency --data cat2000 --split val
    """
    folder = Run(run)
    options = flags.pairs(task_options) | ({"tile": tile} if tile else {})
    dataset = Dataset(data or folder.facts()["recipe"]["data"], data_root)
    task, net = restore(folder, checkpoint, device, dataset, **options)
    recipe = folder.facts()["recipe"]
    if dataset.manifest.fingerprint == folder.facts()["fingerprint"]:
        task.recall(recipe["train_split"])
    chosen = splits or _judged(dataset, recipe, folder.facts()["fingerprint"])
    if not chosen:
        raise ValueError(f"{task.dataset.folder} has a train split only: name it by --split")
    results = []
    for split in chosen:
        with memory_explained():
            judged = tasks.evaluate(task, net, split, world=World(), device=device, on_bad=on_bad)
        results.append(judged)
        bad = len(task.dataset.split(split)) - len(judged.ids)
        left_out = f", {bad} bad ones left out" if bad else ""
        print(f"{task.dataset.manifest.name} {split}: {len(judged.ids)} samples{left_out}")
        print(task.table(judged.figures))
    for path in report.write_evaluations(folder, task, results, checkpoint or folder.best()):
        print(f"written: {path}")


def _judged(dataset: Dataset, recipe: Mapping[str, Any], fingerprint: str) -> list[str]:
    """Return the splits of a set that a run was not trained on."""
    there = dataset.manifest.splits
    others = [name for name in there if not name.startswith(("train", "fold"))]
    if dataset.manifest.fingerprint != fingerprint:
        return others
    if recipe["train_split"].startswith("fold"):
        return [recipe["val_split"]]
    trained = dataset.split(recipe["train_split"])
    return [name for name in others if (trained.rows(np.asarray(dataset.split(name))) < 0).all()]


@main.command()
@click.argument("run", type=Path)
@click.argument("images", nargs=-1, required=True, type=Path)
@click.option("--out", default=Path("predictions"), type=Path, help="folder for the results")
@click.option("--checkpoint", type=Path, help="[default: the run's best]")
@tile_option
@task_option
@device_option
def predict(
    run: Path,
    images: tuple[Path, ...],
    out: Path,
    checkpoint: Path | None,
    tile: int,
    task_options: tuple[str, ...],
    device: str,
) -> None:
    """Apply RUN to image files of any size, grey and transparent ones too.

    \b
    python -m tasks predict runs/shufflemixer photo.png --out enlarged
    python -m tasks predict runs/saliency photo.jpg --out maps
    """
    options = flags.pairs(task_options) | ({"tile": tile} if tile else {})
    task, net = restore(Run(run), checkpoint, device, **options)
    out.mkdir(parents=True, exist_ok=True)
    with torch.no_grad(), memory_explained():
        for path in images:
            print(task.predict(net, path, out))


@main.command()
@click.option("--model", required=True, type=click.Choice(sorted(models.recipes())), help="recipe")
@click.option("--out", default=Path("preview.png"), type=Path, help="picture to write")
@click.option("--samples", default=8, help="samples to show")
@root_option
@flags.options(Recipe, {"strategy": strategies.names()})
def preview(model: str, out: Path, samples: int, data_root: str | None, **given: Any) -> None:
    """Write a picture of batches as the network will see them in training.

    \b
    python -m tasks preview --model shufflemixer_demo --data sample
    """
    recipe = recipe_of(model, given)
    dataset = Dataset(recipe.data, data_root)
    net = models.build(models.recipes()[model][0], blank=True, **recipe.net)
    task = tasks.load(recipe.task)(dataset, net, **recipe.task_options)
    task.check(recipe.train_split)
    loader = Loader(
        dataset,
        split=recipe.train_split,
        **vars(task.feed(training=True)),
        global_batch_size=samples,
        seed=recipe.seed,
    )
    batch = next(iter(loader))
    facts = {"model": model, "ids": batch.id.tolist(), "data": dataset.manifest.fingerprint}
    print(report.save_picture(out, report.contact_sheet(batch), facts))


@main.command()
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
def score(
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
    _tell_namesakes(path)


@main.command()
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
def prune(
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
    _tell_namesakes(path)
    print(f"next: python train.py --model MODEL --data {data} --train-split {name}")


def _tell_namesakes(path: Path) -> None:
    """Say where a result's plain name no longer tells which one is meant."""
    same = derived.namesakes(path)
    if same:
        named = f"{derived.plain(path.name)} is also the name of {', '.join(same)}"
        click.echo(f"{named}: say {path.name} where you mean this one", err=True)


if __name__ == "__main__":
    main()
