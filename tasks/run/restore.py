"""From names to things: a recipe with what was typed, a network and its task out of a run.

With `launch`, the only module of tasks that knows `models`; commands use it, tasks do not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

import models
import tasks
from dataprep import flags
from loaders import Dataset, strategies
from models import Recipe
from tasks.run import Run, load_checkpoint


def recipe_of(model: str, given: Mapping[str, Any]) -> Recipe:
    """Return a recipe with what was typed; ValueError where a key=value fits no signature."""
    family, recipe = models.recipes()[model]
    if given.get("epochs") and not given.get("steps"):
        recipe = dataclasses.replace(recipe, steps=0)
    recipe = flags.replace(recipe, given)
    takers = {
        "net": models.load(family).build,
        "task_options": tasks.load(recipe.task),
        "strategy_options": strategies.load(recipe.strategy),
    }
    typed: dict[str, Any] = {
        name: flags.typed(getattr(recipe, name), taker) for name, taker in takers.items()
    }
    return dataclasses.replace(recipe, **typed)


def restore(
    run: Run,
    checkpoint: Path | None = None,
    device: str = "cpu",
    dataset: Dataset | None = None,
    **task_options: Any,
) -> tuple[tasks.Task, torch.nn.Module]:
    """Return the task and the trained network of a run, ready to use.

    checkpoint: default the run's best. dataset: what to evaluate on; None: to predict only.
    task_options replace the recipe's.
    """
    facts = run.facts()
    recipe = Recipe(**facts["recipe"])
    net = models.build(facts["family"], blank=True, **recipe.net)
    weights = checkpoint or run.best()
    models.initialise(net, load_checkpoint(weights))
    kind = tasks.load(recipe.task)
    options = {**recipe.task_options, **flags.typed(task_options, kind)}
    classes, own_label = facts.get("classes") or [], options.get("label", "label") == "label"
    if dataset is None and own_label and len(classes) == getattr(net, "classes", -1):
        options.setdefault("names", tuple(classes))
    task = kind(dataset, net, **options)
    task.equip(run.folder, weights)
    return task, net.to(device).eval()
