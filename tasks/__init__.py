"""Tasks: what is learnt. One file a task; loss, metrics and report live together there.

A task sees a network only as something to call, and says what the loader shall deliver. Legend:
B samples of a (micro-)batch.
"""

from __future__ import annotations

import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import Tensor
from tqdm import tqdm

from loaders import Batch, Dataset, Loader, World
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


class Prediction(NamedTuple):
    """What a network made of one file: the files written, what it says, and that in a line."""

    written: tuple[Path, ...]
    said: Mapping[str, Any] = {}
    line: str = ""


class Evaluation(NamedTuple):
    """ids, ascending; (N,) values of every metric, a sample each; figures over all of them."""

    split: str
    ids: Array
    values: dict[str, Array]
    figures: dict[str, float]


class Task(ABC):
    """Base of all tasks; options are annotated keyword arguments of `__init__` (`--task k=v`).

    Without a set (None) a task can predict, nothing else.
    """

    # The metric that names the best checkpoint, larger is better; and others that may.
    best: ClassVar[str]
    better: ClassVar[Mapping[str, Literal["higher", "lower"]]] = {}
    # Metrics shown in a line; (): all.
    headline: ClassVar[tuple[str, ...]] = ()
    # Metrics whose curves are drawn over training, and their axis; (): the headline.
    curves: ClassVar[tuple[str, ...]] = ()
    curves_unit: ClassVar[str] = ""
    # Samples on a rank at a time in evaluation.
    evaluation_batch: ClassVar[int] = 64

    def __init__(self, dataset: Dataset | None, net: torch.nn.Module) -> None:
        self._dataset, self.net = dataset, net

    @property
    def dataset(self) -> Dataset:
        """The set this task was opened with."""
        assert self._dataset is not None, "opened to predict only"
        return self._dataset

    @abstractmethod
    def feed(self, training: bool) -> Feed:
        """Return fields and stages for training or for evaluation."""

    def check(self, split: str) -> None:  # noqa: B027
        """Refuse a training split that this task cannot use, with a DataError."""

    def begin(self, split: str) -> None:  # noqa: B027
        """Give the network what it takes from the training split as a whole, before step 0."""

    def records(self, split: str) -> dict[str, dict[str, Array]]:
        """Return what a run should keep of its training split: file name -> columns."""
        return {}

    def recall(self, split: str) -> None:  # noqa: B027
        """Hear what a trained network's own training split was, to judge it on the same set."""

    @classmethod
    def labelling(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return which of a task's options say what is right: scores of other labels do not fit."""
        return {}

    @abstractmethod
    def loss(self, net: Net, batch: Batch, step: int) -> Loss:
        """Return the loss of one micro-batch.

        What belongs to a step as a whole (a regulariser) is added to every sample's loss: its
        weighted mean over micro-batches and ranks is then that term, once.
        """

    def scores(self, loss: Loss, wanted: tuple[str, ...]) -> dict[str, Tensor]:
        """Return (B,) scores for a strategy; ValueError where this task has none of them."""
        if loss.per_sample is None or set(wanted) - {"loss"}:
            name = type(self).__module__.removeprefix("tasks.")
            raise ValueError(f"task {name} has no per-sample {', '.join(wanted)}")
        return {"loss": loss.per_sample.detach()}

    @abstractmethod
    def metrics(self, net: Net, batch: Batch) -> dict[str, Array]:
        """Return (B,) values of each metric."""

    def report(self, values: Mapping[str, Array]) -> dict[str, float]:
        """Summarise metrics over all samples: their means."""
        return {name: float(np.mean(value)) for name, value in values.items()}

    def table(self, figures: Mapping[str, float]) -> str:
        """Return figures as text to read: a line each."""
        return "\n".join(f"  {name:18} {value:.4f}" for name, value in figures.items())

    def probe(self, net: Net) -> dict[str, float]:
        """Return figures of the network itself, beside those of samples."""
        return {}

    def equip(self, run: Path, checkpoint: Path) -> None:  # noqa: B027
        """Hear whose weights these are, to use what else was found out about them."""

    def predict(self, net: Net, path: Path, out: Path) -> Prediction:
        """Apply the network to one file and write the result into a folder."""
        raise ValueError(f"task {type(self).__module__} cannot predict single files")

    def drawings(self, judged: Evaluation) -> dict[str, Array]:
        """Return figures (H, W, 3) uint8 of an evaluation as a whole, by name."""
        return {}

    def panels(self, net: Net, batch: Batch) -> dict[str, Array]:
        """Return pictures (H, W, 3) uint8 of a few samples, by name."""
        return {}


@contextmanager
def judging(net: torch.nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode, and each of its modules back into the mode it had.

    So that a score has no dropout in it, and its pass counts in no batch norm's statistics.
    """
    training = [module for module in net.modules() if module.training]
    net.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


class Objective(torch.nn.Module):
    """Network and loss as one module: one DDP forward per micro-step."""

    def __init__(self, task: Task, net: torch.nn.Module, needs: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.net, self._task, self._needs = net, task, needs

    def forward(
        self, batch: Batch, step: int
    ) -> tuple[Tensor, bool, dict[str, Tensor], dict[str, Tensor]]:
        """Return the loss, whether it is per sample (B,), its terms and the strategy's scores."""
        loss = self._task.loss(self.net, batch, step)
        value = loss.per_sample if loss.per_sample is not None else loss.scalar
        assert value is not None, "a task returns per_sample or scalar"
        scores = self._task.scores(loss, self._needs) if self._needs else {}
        return value, loss.per_sample is not None, dict(loss.terms), scores


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


def evaluation_loader(task: Task, split: str, world: World, **loading: Any) -> Loader:
    """Return a loader that brings every sample of a split once, in order."""
    return Loader(
        task.dataset,
        split=split,
        **vars(task.feed(training=False)),
        global_batch_size=task.evaluation_batch * world.size,
        shuffle=False,
        epochs=1,
        world=world,
        **loading,
    )


@torch.no_grad()
def evaluate(task: Task, net: Net, split: str, **loading: Any) -> Evaluation:
    """Judge a network on a split: each sample once, on any number of ranks."""
    loader = evaluation_loader(task, split, **loading)
    found: list[tuple[Array, dict[str, Array]]] = []
    # A bar on rank 0's terminal only; None: not where there is none.
    quiet = None if loader.world.is_first else True
    for batch in tqdm(loader, split, loader.steps, leave=False, disable=quiet, unit="batch"):
        real = batch.weight.cpu().numpy() > 0
        if real.any():
            values = task.metrics(net, batch)
            found.append((batch.id.numpy()[real], {k: v[real] for k, v in values.items()}))
    loader.close()
    if loader.world.size > 1:
        everyone: list[Any] = [None] * loader.world.size
        dist.all_gather_object(everyone, found)
        found = [part for rank in everyone for part in rank]
    ids = np.concatenate([part[0] for part in found])
    order = np.argsort(ids)
    values = {
        name: np.concatenate([part[1][name] for part in found])[order] for name in found[0][1]
    }
    return Evaluation(split, ids[order], values, task.report(values) | task.probe(net))


@torch.no_grad()
def pictures(task: Task, net: Net, split: str, count: int = 4, **loading: Any) -> dict[str, Array]:
    """Return the task's pictures of the first samples of a split."""
    loader = evaluation_loader(task, split, **loading)
    shown: dict[str, Array] = {}
    for batch in loader:
        shown |= task.panels(net, batch)
        if len(shown) >= count:
            break
    loader.close()
    return shown
