"""A strategy's say in a step: two or three ranks, emulated by threads, do what one alone does.

Batches are a real loader's, with fillers where it makes them; scores are made up.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Barrier
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from toys import FAMILIES, Labelled, built

from loaders import Batch, Dataset, Loader, World
from loaders.draw import Keys
from loaders.strategies import Strategy
from tasks import judging
from tasks.run.selection import gather, select

SCORES: Any = SimpleNamespace(scores=lambda loss, wanted: dict.fromkeys(wanted, loss))
PICKING = ["selective_backprop", "gradnorm_is"]
GLOBAL, CANDIDATES = 5, 2  # of 16 samples: steps of 10 and 6 candidates


@dataclass(frozen=True)
class Meeting(World):
    """A rank that meets the others, threads of this process, where ranks would gather."""

    parts: list[Any] = field(default_factory=list)
    barrier: Any = None

    def gather(self, rows: torch.Tensor) -> torch.Tensor:
        self.parts[self.rank] = rows
        self.barrier.wait(20)
        found = torch.cat(self.parts)
        self.barrier.wait(20)
        return found


def worlds(size: int) -> list[World]:
    parts: list[Any] = [None] * size
    barrier = Barrier(size)
    return [Meeting(rank, size, parts=parts, barrier=barrier) for rank in range(size)]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return built(Labelled(), tmp_path_factory.mktemp("labels"))


def score_of(batch: Batch) -> torch.Tensor:
    """Return scores (B,) that depend on the sample only; fillers have one too."""
    return torch.sin(batch.id.double() * 12.9898) ** 2 + 0.01


def steps(
    dataset: Dataset, name: Any, ranks: int, micro: int = 100, **options: Any
) -> Iterator[list[tuple[Batch, Batch, Any]]]:
    """Yield of each step and each rank: its batch, what is trained on, and what was scored."""
    settings = FAMILIES["labels"].settings | {"strategy": name, "strategy_options": options}
    settings |= {"global_batch_size": GLOBAL, "threads": 1, "seed": 3}
    loaders = [Loader(dataset, world=world, **settings) for world in worlds(ranks)]
    iterators = [iter(loader) for loader in loaders]

    def step(rank: int) -> tuple[Batch, Batch, Any]:
        batch = next(iterators[rank]).clone()
        losses: Any = [score_of(part) for part in batch.split(micro)]
        return batch, *select(loaders[rank], SCORES, batch, losses)

    with ThreadPoolExecutor(ranks) as threads:
        for _ in range(3 * loaders[0].steps):
            found = list(threads.map(step, range(ranks)))
            for loader, (_, _, (ids, scores)) in zip(loaders, found, strict=True):
                loader.observe(ids, scores)
            yield found
    for iterator in iterators:
        iterator.close()


def pictures(batch: Batch) -> set[tuple[int, bytes]]:
    """Return ids with their pixels."""
    pixels = [picture.tobytes() for picture in batch["image"].numpy()]
    return set(zip(batch.id.tolist(), pixels, strict=True))


def trained(found: list[tuple[Batch, Batch, Any]]) -> list[tuple[int, float]]:
    """Return ids and weights of a step on all ranks, fillers left out."""
    pairs = [
        (int(i), float(w))
        for _, chosen, _ in found
        for i, w in zip(chosen.id, chosen.weight, strict=True)
    ]
    return sorted((i, w) for i, w in pairs if w > 0)


@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize("name", [*PICKING, "ordered_sgd"])
def test_ranks_agree_with_one(dataset: Dataset, name: str, ranks: int) -> None:
    """The same samples with the same weights in steps of the same n, also in short steps."""
    options: Any = {"share": 0.4} if name == "ordered_sgd" else {"candidates": CANDIDATES}
    alone = steps(dataset, name, 1, **options)
    together = steps(dataset, name, ranks, micro=2, **options)
    for one, many in zip(alone, together, strict=True):
        assert trained(one) == trained(many)
        wanted = one[0][2]
        for batch, chosen, (ids, scores) in many:
            assert len(chosen) == len(many[0][1])  # DDP: every rank steps equally long
            assert chosen.total == one[0][1].total
            assert ids.tolist() == wanted[0].tolist()
            for kind in scores:
                np.testing.assert_array_equal(scores[kind], wanted[1][kind])
            assert pictures(chosen) <= pictures(batch)  # a rank trains on what it decoded


@pytest.mark.parametrize("name", PICKING)
def test_n_counts_samples_not_weights(dataset: Dataset, name: str) -> None:
    """⌈M / 2⌉ of M candidates: 5 of 10 and 3 of 6; a sample drawn twice counts twice."""
    totals = set()
    for found in steps(dataset, name, 2, candidates=CANDIDATES):
        ids = found[0][2][0]
        assert len(set(ids.tolist())) == len(ids)  # fillers are no candidates
        assert found[0][1].total == len(trained(found)) == len(ids) // 2
        totals.add(found[0][1].total)
    assert totals == {5, 3}


def test_gathered_in_position_order(dataset: Dataset) -> None:
    for one, many in zip(
        steps(dataset, "ordered_sgd", 1), steps(dataset, "ordered_sgd", 2), strict=True
    ):
        batch, _, (ids, _) = one[0]
        real = batch.weight > 0
        assert ids.tolist() == batch.id[real].tolist() == many[1][2][0].tolist()
        np.testing.assert_array_equal(many[0][2][1]["loss"], score_of(batch)[real].numpy())


class One(Strategy):
    """Pick one candidate of the step, heavily."""

    needs = ("loss",)
    candidates = 2
    place = 0

    def pick(self, rows: Any, scores: Any, keys: Keys) -> Any:
        return np.array([self.place]), np.array([2.5], np.float32)


@pytest.mark.parametrize("place", [0, 5])
def test_rank_without_a_pick_has_a_filler(
    dataset: Dataset, place: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It trains on one of its own samples with weight 0, so that the step is DDP's everywhere."""
    monkeypatch.setattr(One, "place", place)
    for found in steps(dataset, One, 2):
        ids = found[0][2][0]
        assert trained(found) == [(ids[place], 2.5)]
        assert [len(chosen) for _, chosen, _ in found] == [1, 1]
        assert [chosen.total for _, chosen, _ in found] == [1, 1]


class Spy(Strategy):
    """Note what it is asked, and train on everything."""

    needs = ("loss",)
    seen: list[Any]

    def pick(self, rows: Any, scores: Any, keys: Keys) -> Any:
        self.seen.append((self.order.seed, rows, keys))
        return super().pick(rows, scores, keys)


@pytest.mark.parametrize("ranks", [1, 2])
def test_keys_are_the_sample_s_own(
    dataset: Dataset, ranks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Position, id and epoch are the batch's; draws are never those of a stage (slots from 0).

    Else a sample would be picked the likelier because it is flipped.
    """
    seen: list[Any] = []
    monkeypatch.setattr(Spy, "seen", seen, raising=False)
    for found in steps(dataset, Spy, ranks):
        seed, rows, keys = seen[-1]
        ids, position = (
            np.concatenate([getattr(b, name)[b.weight > 0].numpy() for b, _, _ in found])
            for name in ("id", "position")
        )
        assert keys.ids.tolist() == ids.tolist() == dataset.split("train")[rows].tolist()
        assert keys.positions.tolist() == position.tolist()
        assert keys.epoch == found[0][0].epoch
        for slot in range(16):
            stage = Keys(seed, found[0][0].epoch, position, ids).at(slot)
            assert not set(stage.words().tolist()) & set(keys.words().tolist())


def test_judging_gives_modes_back() -> None:
    """A module that was frozen in evaluation mode stays so; all are judged in that mode."""
    net = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.BatchNorm1d(3), torch.nn.ReLU())
    net[1].eval()
    with pytest.raises(ZeroDivisionError), judging(net):
        assert not any(module.training for module in net.modules())
        raise ZeroDivisionError
    assert [module.training for module in net.modules()] == [True, True, False, True]


def test_gather_alone() -> None:
    """Weight 0 says what is a filler, whatever its score."""
    batch = Batch(
        {}, torch.tensor([4, 7, 7]), torch.arange(3), torch.tensor([1.0, 1.0, 0.0]), total=2.0
    )
    loader: Any = SimpleNamespace(world=World())
    ids, scores = gather(loader, batch, {"loss": torch.tensor([0.5, 0.25, 9.0])})
    assert ids.tolist() == [4, 7] and scores["loss"].tolist() == [0.5, 0.25]
