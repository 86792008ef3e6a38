"""`python -m tasks evaluate | predict | preview`: what a trained network is worth, and its use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import click
import torch

import models
import tasks
from dataprep import flags
from loaders import Dataset, Loader, World
from models import Recipe
from tasks.run import Run, report
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
    help="repeatable  [default: all but train; of folds the run's own]",
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
    results = {}
    for split in chosen:
        with memory_explained():
            judged = tasks.evaluate(task, net, split, world=World(), device=device, on_bad=on_bad)
        results[split] = judged.figures
        bad = len(task.dataset.split(split)) - len(judged.ids)
        left_out = f", {bad} bad ones left out" if bad else ""
        print(f"{task.dataset.manifest.name} {split}: {len(judged.ids)} samples{left_out}")
        print(task.table(judged.figures))
        print(f"written: {report.write_values(folder, dataset, judged, 'evaluation')}")
    facts = report.origin(folder, ", ".join(results), task.dataset.manifest.fingerprint)
    facts["checkpoint"] = report.identity(checkpoint or folder.best())
    name = f"evaluation-{dataset.manifest.name}.json"
    path = folder.write_json(name, {"figures": results, "origin": facts})
    print(f"written: {path}")


def _judged(dataset: Dataset, recipe: Mapping[str, Any], fingerprint: str) -> list[str]:
    """Return the splits of a set that a run was not trained on."""
    folds = recipe["train_split"] != "train"
    if folds and dataset.manifest.fingerprint == fingerprint:
        return [recipe["val_split"]]
    named = dataset.manifest.splits
    return [name for name in named if name != "train" and not name.startswith("fold")]


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
@flags.options(Recipe)
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


if __name__ == "__main__":
    main()
