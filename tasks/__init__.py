"""Tasks: what is learnt. One file a task; loss, metrics and report live together there.

A task sees a network only as something to call, and says what the loader shall deliver. Legend:
B samples of a (micro-)batch.
"""

from __future__ import annotations

import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import Tensor

from loaders import Batch, Dataset, Loader
from loaders.stages import Stage

Array = npt.NDArray[Any]
Net = Callable[..., Any]


@dataclass(frozen=True)
class Feed:
    """What a task wants from the loader; the names are the loader's."""

    fields: tuple[str, ...]
    stages: tuple[Stage, ...] = ()
    reference: str | None = None
    groups: Literal["size"] | None = None


@dataclass(frozen=True)
class Loss:
    """per_sample (B,) where the loss is a mean over samples; else None and `scalar`.

    terms: (B,) or scalar parts, detached, for the log.
    """

    per_sample: Tensor | None
    scalar: Tensor | None = None
    terms: Mapping[str, Tensor] = field(default_factory=dict)


class Task(ABC):
    """Base of all tasks; options are annotated keyword arguments of `__init__` (`--task k=v`)."""

    # The metric that names the best checkpoint, larger is better.
    best: ClassVar[str]
    # Samples on a rank at a time in evaluation; None: as in training.
    evaluation_batch: ClassVar[int | None] = None

    def __init__(self, dataset: Dataset, net: torch.nn.Module) -> None:
        self.dataset, self.net = dataset, net

    @abstractmethod
    def feed(self, training: bool) -> Feed:
        """Return fields and stages for training or for evaluation."""

    @abstractmethod
    def loss(self, net: Net, batch: Batch, step: int) -> Loss:
        """Return the loss of one micro-batch; the network is called once."""

    def scores(self, loss: Loss, wanted: tuple[str, ...]) -> dict[str, Tensor]:
        """Return (B,) scores for a strategy; ValueError where this task has none of them."""
        if loss.per_sample is None or set(wanted) - {"loss"}:
            raise ValueError(f"task {type(self).__name__} has no per-sample {', '.join(wanted)}")
        return {"loss": loss.per_sample.detach()}

    @abstractmethod
    def metrics(self, net: Net, batch: Batch) -> dict[str, Array]:
        """Return (B,) values of each metric."""

    def report(self, values: Mapping[str, Array]) -> dict[str, float]:
        """Summarise metrics over all samples: their means."""
        return {name: float(np.mean(value)) for name, value in values.items()}

    def panels(self, net: Net, batch: Batch) -> dict[str, Array]:
        """Return pictures (H, W, 3) uint8 of a few samples, by name."""
        return {}


def names() -> list[str]:
    """Return the names of all tasks."""
    modules = pkgutil.iter_modules(__path__)
    return sorted(m.name for m in modules if not m.ispkg and m.name != "__main__")


def load(name: str) -> type[Task]:
    """Return the task class of one file; ValueError lists the choices."""
    if name not in names():
        raise ValueError(f"no task {name!r}; there are: {', '.join(names())}")
    task: type[Task] = import_module(f"{__name__}.{name}").Task
    return task


@torch.no_grad()
def evaluate(task: Task, net: Net, loader: Loader) -> tuple[Array, dict[str, Array]]:
    """Return ids, ascending, and (N,) values of every metric: each sample once, on any ranks."""
    found: list[tuple[Array, dict[str, Array]]] = []
    for batch in loader:
        real = batch.weight.cpu().numpy() > 0
        if not real.any():
            continue
        values = task.metrics(net, batch)
        found.append((batch.id.numpy()[real], {k: v[real] for k, v in values.items()}))
    if loader.world.size > 1:
        everyone: list[Any] = [None] * loader.world.size
        dist.all_gather_object(everyone, found)
        found = [part for rank in everyone for part in rank]
    ids = np.concatenate([part[0] for part in found])
    order = np.argsort(ids)
    names_ = found[0][1]
    return ids[order], {n: np.concatenate([p[1][n] for p in found])[order] for n in names_}
