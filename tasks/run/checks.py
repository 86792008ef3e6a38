"""What is looked at before a training begins, so that a mistake is said now and not at its end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from dataprep import derived
from loaders import Dataset, Loader
from models import Recipe
from tasks import Task
from tasks.run.launch import Launch


def before_training(
    dataset: Dataset, loader: Loader, task: Task, recipe: Recipe, launch: Launch
) -> list[str]:
    """Return what a user should know; DataError or ValueError for what cannot be right."""
    if recipe.patience and not (recipe.validate_every or recipe.validate_epochs):
        raise ValueError("--patience counts validations: give --validate-epochs 1 too")
    weights = recipe.task_options.get("class_weights", "none")
    if recipe.strategy == "balanced" and weights != "none":
        raise ValueError(
            "strategy balanced draws rare classes more often, class_weights lets them count more:"
            " choose one, or they count twice (--strategy random, or --task class_weights=none)"
        )
    for table in loader.tables.values():
        _refuse_other_labels(dataset, table, task, recipe)
    return list(_notes(dataset, loader, [recipe.val_split, *launch.judged_splits]))


def _refuse_other_labels(dataset: Dataset, table: str, task: Task, recipe: Recipe) -> None:
    """ValueError where scores were computed against other labels than those trained on."""
    path = dataset.result(table)
    wanted = task.labelling(recipe.task_options)
    for model in derived.origin(path)["made_from"].get("models", ()):
        there = task.labelling(model["task_options"])
        if there != wanted:
            told, own = (", ".join(f"{k}={v}" for k, v in one.items()) for one in (there, wanted))
            options = " ".join(f"--task {k}={v}" for k, v in wanted.items())
            raise ValueError(
                f"{path.name} was scored against other labels ({told}) than this run is trained on"
                f" ({own}): score it again with {options}"
            )


def _notes(dataset: Dataset, loader: Loader, judged: Sequence[str]) -> Iterator[str]:
    for split in dict.fromkeys(judged):
        ids = np.asarray(dataset.split(split))
        both = int((loader.rows(ids) >= 0).sum())
        if both:
            yield (
                f"note: {both:,} of {len(ids):,} samples of split {split} are trained on: figures"
                " on it say little of new samples"
            )
