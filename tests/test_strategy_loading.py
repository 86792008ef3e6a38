"""Every strategy through real loaders over a small built set, on one, two and three ranks.

Ranks are threads that meet where processes would gather; each step is taken as train.py takes it.
"""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor
from toys import FAMILIES, built
from trainings import through_a_file

from dataprep import derived
from loaders import Batch, Dataset, Loader, World, strategies
from tasks.run.selection import gather, select, weigh

STEPS = 8  # of 16 samples in batches of 6: two epochs and more


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Twenty samples with a table for each strategy that wants one."""
    dataset = built(FAMILIES["labels"].source, tmp_path_factory.mktemp("sets") / "labels")
    for table in {table for name in strategies.names() for table in strategies.load(name).tables}:
        made_from = {"data": dataset.manifest.fingerprint}
        path = derived.place(dataset.folder, table, made_from)
        derived.write(path, "values", np.cos(np.arange(dataset.samples)) ** 2, made_from)
    return dataset


@pytest.fixture(params=strategies.names())
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Meeting:
    """Where ranks that are threads gather."""

    def __init__(self, size: int) -> None:
        self.parts: list[Tensor] = [torch.zeros(0)] * size
        self.barrier = threading.Barrier(size, timeout=60)


@dataclass(frozen=True)
class Together(World):
    """One of some ranks in this process."""

    meeting: Meeting = field(default_factory=lambda: Meeting(1))

    def gather(self, rows: Tensor) -> Tensor:
        self.meeting.parts[self.rank] = rows
        self.meeting.barrier.wait()
        whole = torch.cat(self.meeting.parts)
        self.meeting.barrier.wait()
        return whole


class Scoring:
    """A task's say: scores that depend on the sample alone."""

    def scores(self, loss: Tensor, wanted: tuple[str, ...]) -> dict[str, Tensor]:
        values = torch.sin(loss.double() * 12.9898) ** 2 + 0.01
        every = {"loss": values, "gradient_norm": values.sqrt(), "correct": values < 0.4}
        return {need: every[need].float() for need in wanted}


class Part(NamedTuple):
    """What a rank decoded and trained on in a step: (id, weight), fillers left out."""

    decoded: list[int]
    trained: list[tuple[int, float]]
    total: float


def step(loader: Loader, batch: Batch) -> Part:
    """Take a step as train.py does."""
    strategy, task = loader.strategy, Scoring()
    decoded = batch.id[batch.weight > 0].tolist()
    scores = task.scores(batch.id, strategy.needs)
    if strategy.picks() and not batch.final:
        batch, seen = select(loader, task, batch, [batch.id])  # type: ignore[arg-type, list-item]
    elif strategy.weighs():
        batch, seen = weigh(loader, batch, scores)
    else:
        seen = gather(loader, batch, scores)
    if loader.listens:
        loader.observe(*seen)
    used = batch.weight > 0
    pairs = zip(batch.id[used].tolist(), batch.weight[used].tolist(), strict=True)
    return Part(decoded, list(pairs), float(batch.total))


def open_loaders(dataset: Dataset, name: str, ranks: int, **other: Any) -> list[Loader]:
    few = {"candidates": 2} if strategies.load(name).picks() else {}
    meeting = Meeting(ranks)
    settings = dict(FAMILIES["labels"].settings) | {"strategy": name, "strategy_options": few}
    return [
        Loader(
            dataset,
            world=Together(rank=rank, size=ranks, meeting=meeting),
            **{"global_batch_size": 6, "seed": 7, "threads": 1, "epochs": 9} | settings | other,
        )
        for rank in range(ranks)
    ]


def train(loaders: list[Loader], steps: int = STEPS) -> list[list[Part]]:
    """Return steps × ranks parts."""

    def rank(loader: Loader) -> list[Part]:
        found, batches = [], iter(loader)
        for _ in range(steps):
            found.append(step(loader, next(batches).clone()))
        batches.close()
        return found

    with ThreadPoolExecutor(len(loaders)) as threads:
        return [list(parts) for parts in zip(*threads.map(rank, loaders), strict=True)]


def whole(steps: list[list[Part]]) -> list[Counter[tuple[int, float]]]:
    """Return what each global step trained on."""
    return [Counter(pair for part in parts for pair in part.trained) for parts in steps]


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_share_one_global_batch(name: str, ranks: int, dataset: Dataset) -> None:
    """What ranks train on is disjoint, and together what one rank trains on alone."""
    alone = train(open_loaders(dataset, name, 1))
    shared = train(open_loaders(dataset, name, ranks))
    assert whole(shared) == whole(alone)
    assert len(set(map(str, whole(alone)))) > 1
    for parts, (one,) in zip(shared, alone, strict=True):
        assert {part.total for part in parts} == {one.total}
        assert [sample for part in parts for sample in part.decoded] == one.decoded


@pytest.mark.parametrize("prefetch", [0, 6])
def test_prefetch_changes_nothing(name: str, prefetch: int, dataset: Dataset) -> None:
    usual = train(open_loaders(dataset, name, 1, feedback_lag=4))
    assert train(open_loaders(dataset, name, 1, feedback_lag=4, prefetch=prefetch)) == usual


def test_resume_on_other_ranks(name: str, dataset: Dataset) -> None:
    """After any step, from one rank to two, with batches read ahead and lost."""
    unbroken = whole(train(open_loaders(dataset, name, 1), STEPS))
    for done in range(1, STEPS):
        first = open_loaders(dataset, name, 1)
        train(first, done)
        state = through_a_file(first[0].state())
        resumed = open_loaders(dataset, name, 2)
        for loader in resumed:
            loader.load(state)
        assert whole(train(resumed, STEPS - done)) == unbroken[done:], f"after step {done}"


def test_total_is_what_was_trained_on(name: str, dataset: Dataset) -> None:
    """The loss is Σ w·ℓ over so many samples: none of them is a filler."""
    weighs = strategies.load(name).weighs()  # those with weight 0 are in the sum as well
    for (part,) in train(open_loaders(dataset, name, 1)):
        assert part.total == len(part.decoded if weighs else part.trained)


def test_dropped_samples_are_not_decoded(dataset: Dataset) -> None:
    """InfoBatch: what it drops is in no batch, and there are fewer batches."""
    loader = open_loaders(dataset, "infobatch", 1, epochs=6, feedback_lag=1)[0]
    batches = [(batch.epoch, step(loader, batch)) for batch in loader]
    for epoch in range(6):
        parts = [part for number, part in batches if number == epoch]
        decoded = sum(len(part.decoded) for part in parts)
        assert len(parts) == -(-decoded // 6)
        assert decoded == sum(len(part.trained) for part in parts)
        assert decoded == 16 if epoch == 0 else 4 <= decoded <= 16
    assert len(batches) < 6 * 3
