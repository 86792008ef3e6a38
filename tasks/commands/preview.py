"""Look at what a network will be trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import models
import tasks
from dataprep import flags
from loaders import Dataset, Loader, strategies
from models import Recipe
from tasks.commands import root_option
from tasks.run import report
from tasks.run.restore import recipe_of


@click.command("preview")
@click.option("--model", required=True, type=click.Choice(sorted(models.recipes())), help="recipe")
@click.option("--out", default=Path("preview.png"), type=Path, help="picture to write")
@click.option("--samples", default=8, help="samples to show")
@root_option
@flags.options(Recipe, {"strategy": strategies.names()})
def command(model: str, out: Path, samples: int, data_root: str | None, **given: Any) -> None:
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
