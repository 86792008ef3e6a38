"""Classes drawn equally often, beside torch's WeightedRandomSampler, which does so on average."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from loaders.order import Order
from loaders.strategies.balanced import Strategy

# HAM10000's classes, a tenth of their images.
COUNTS = (33, 51, 110, 12, 111, 670, 14)
LABELS = np.repeat(np.arange(7), COUNTS)[np.random.default_rng(0).permutation(sum(COUNTS))]


def epoch(number: int, batch: int = 32, labels: np.ndarray = LABELS, seed: int = 3) -> np.ndarray:
    strategy = Strategy(Order(len(labels), batch, seed))
    strategy.table = {"label": labels}
    steps = strategy.begin(number, 0.0)
    return np.concatenate([np.asarray(strategy.choose(number, step)) for step in range(steps)])


@pytest.mark.parametrize("number", [0, 1, 5])
def test_every_class_has_its_share_of_an_epoch(number: int) -> None:
    rows = epoch(number)
    assert len(rows) == len(LABELS)
    shares = np.bincount(LABELS[rows], minlength=7)
    assert shares.min() >= len(LABELS) // 7 and shares.max() <= -(-len(LABELS) // 7)


def test_no_sample_comes_back_before_all_of_its_class_came() -> None:
    rows = np.concatenate([epoch(number) for number in range(6)])
    for label, count in enumerate(COUNTS):
        visits = Counter(rows[LABELS[rows] == label].tolist())
        drawn = 6 * sum(COUNTS) / 7
        assert max(visits.values()) <= -(-int(drawn + 6) // count)
        if drawn >= count:
            assert len(visits) == count
            assert min(visits.values()) >= int(drawn - 6) // count


def test_batches_are_mixed_as_by_independent_draws() -> None:
    """No long runs of a class: the spread of a class's count in a batch is that of a draw."""
    rows = epoch(0, batch=32)[: len(LABELS) // 32 * 32]
    ours = np.stack([np.bincount(b, minlength=7) for b in LABELS[rows].reshape(-1, 32)])
    weights = torch.from_numpy(1 / np.bincount(LABELS)[LABELS])
    sampler = torch.utils.data.WeightedRandomSampler(
        weights.tolist(), 32 * 2000, generator=torch.Generator().manual_seed(0)
    )
    drawn = LABELS[np.fromiter(sampler, np.int64)].reshape(-1, 32)
    theirs = np.stack([np.bincount(b, minlength=7) for b in drawn])
    assert ours.mean() == theirs.mean() == 32 / 7
    assert 0.6 < ours.std() / theirs.std() < 1.3


def test_a_class_that_the_split_lacks_takes_no_part() -> None:
    labels = np.array([4, 4, 4, 9, 9, 4, 4, 4])
    assert np.bincount(labels[epoch(0, 4, labels)], minlength=10)[[4, 9]].tolist() == [4, 4]


def test_epochs_and_seeds_differ() -> None:
    assert epoch(0).tolist() != epoch(1).tolist()
    assert epoch(0).tolist() != epoch(0, seed=4).tolist()
    assert epoch(2).tolist() == epoch(2).tolist()
