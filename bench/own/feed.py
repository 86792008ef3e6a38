"""What a recipe's task wants of a set: the very fields and stages that train.py asks for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import models
import tasks
from dataprep.manifest import DataError
from loaders import Dataset
from loaders.stages import Normalise
from loaders.stages.flip import Flip
from loaders.stages.random_resized_crop import RandomResizedCrop
from own.work import Work
from tasks import Feed

SPLIT, BATCH, SIZE = "train", 64, 224
# ImageNet's, of pixels in [0, 1].
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Training:
    """A set, the split to train on, and what the loader shall deliver in which batches."""

    dataset: Dataset
    split: str
    feed: Feed
    batch: int


def training(work: Work) -> Training:
    """Return what is loaded for a work; DataError where recipe and set do not go together."""
    dataset = Dataset(work.data)
    if not work.model:
        return Training(dataset, SPLIT, labelled(), work.batch or BATCH)
    there = models.recipes()
    if work.model not in there:
        raise DataError("--model", work.model, f"no such recipe; there are: {', '.join(there)}")
    family, recipe = there[work.model]
    try:
        net = models.build(family, blank=True, **recipe.net)  # of its weights nothing is asked
        task = tasks.load(recipe.task)(dataset, net, **recipe.task_options)
        task.check(recipe.train_split)
        feed = task.feed(training=True)
    except DataError:
        raise
    except ValueError as error:
        raise DataError(dataset.folder, work.model, str(error)) from None
    return Training(dataset, recipe.train_split, feed, work.batch or recipe.global_batch_size)


def labelled() -> Feed:
    """Return the usual work on images with labels."""
    crop = RandomResizedCrop(height=SIZE, width=SIZE)
    normalise = Normalise(field="image", mean=MEAN, std=STD)
    return Feed(("image", "label"), (crop, Flip(), normalise))


def suitable(data: Path) -> str:
    """Return the recipe for a set of which none is named: "" for images with labels.

    DataError says what the set would need.
    """
    dataset = Dataset(data)
    if {"image", "label"} <= dataset.fields.keys():
        return ""
    whys = []
    for model in models.recipes():
        try:
            training(Work(root="", data=str(data), model=model))
            return model
        except DataError as error:
            whys.append(f"{model}: {error.why}")
    there = ", ".join(dataset.fields)
    why = f"has {there}; without --model a set needs image and label, or what a recipe wants"
    raise DataError(dataset.folder, "", f"{why} ({'; '.join(whys)})")
