"""A small real set for classifiers: scikit-learn's handwritten digits, 8×8 pixels, 360 of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.datasets import load_digits
from toys import Toy

import models
import tasks
from dataprep.manifest import Field
from dataprep.raw import Raw
from dataprep.sources import Entry, Sample
from loaders import Batch, Dataset, Loader, World
from tasks.classify import Task

COUNT, SIDE = 360, 8
CLASSES = [f"digit {i}" for i in range(10)]


@dataclass(frozen=True, kw_only=True)
class Digits(Toy):
    """Two thirds to train on, a third to validate; beside the class whether it is odd."""

    shard_entries: ClassVar[int] = 200

    def fields(self) -> dict[str, Field]:
        number = Field(kind="value", dtype="int64")
        image = Field(kind="image", dtype="uint8", shape=(SIDE, SIDE), scale=1 / 255)
        size = Field(kind="value", dtype="float64")
        return {"image": image, "label": number, "odd": number, "ink": size}

    def entries(self, raw: Raw) -> list[Entry]:
        return [Entry(f"{i:03d}", "val" if i % 3 == 2 else "train", {}) for i in range(COUNT)]

    def classes(self, entries: Any) -> list[str]:
        return CLASSES

    def read(self, raw: Raw, entry: Entry) -> Iterator[Sample]:
        images, labels = digits()
        i = int(entry.name)
        values = {"label": int(labels[i]), "odd": int(labels[i] % 2), "ink": float(images[i].sum())}
        yield Sample(entry.name, {"image": images[i], **values})


@cache
def digits() -> tuple[Any, Any]:
    images, labels = load_digits(return_X_y=True)
    return (images[:COUNT] * 15).astype(np.uint8).reshape(-1, SIDE, SIDE), labels[:COUNT]


def net_of(**settings: Any) -> Any:
    torch.manual_seed(0)
    return models.build("mlp", **{"side": SIDE, **settings})


def task_of(dataset: Dataset | None, net: Any = None, **options: Any) -> Task:
    task = tasks.load("classify")(dataset, net or net_of(), **options)
    assert isinstance(task, Task)
    return task


def batches(task: Task, world: World | None = None, training: bool = True) -> list[Batch]:
    settings: dict[str, Any] = {"global_batch_size": 50, "epochs": 1, "seed": 3, "threads": 1}
    feed = vars(task.feed(training))
    loader = Loader(task.dataset, split="train", world=world or World(), **feed, **settings)
    return [batch.clone() for batch in loader]
