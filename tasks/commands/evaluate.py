"""Judge a run on splits of its set, or of another one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import click
import numpy as np

import tasks
from dataprep import flags
from loaders import Dataset, World
from tasks.commands import (
    device_option,
    memory_explained,
    root_option,
    task_option,
    tile_option,
)
from tasks.run import Run, report
from tasks.run.restore import restore


@click.command("evaluate")
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
def command(
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
