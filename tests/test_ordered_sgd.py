"""Ordered SGD: the mean of the largest losses, and how many when.

Legend: G samples of a step.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from loaders.order import Order
from loaders.strategies.ordered_sgd import Strategy

TEN = np.array([0.5, 0.1, 0.9, 0.3, 0.7, 0.2, 1.0, 0.4, 0.8, 0.6])


def open_strategy(rows: int = 10, batch: int = 10, share: float | None = None) -> Strategy:
    return Strategy(Order(rows, batch), share=share)


def observe(strategy: Any, hits: int, size: int) -> None:
    correct = np.arange(size) < hits
    strategy.observe(np.arange(size), {"loss": np.zeros(size), "correct": correct.astype(float)})


def weigh(strategy: Any, loss: Any) -> list[float]:
    weights: list[float] = strategy.weigh(np.arange(len(loss)), {"loss": np.asarray(loss)}).tolist()
    return weights


def test_ordered_sgd_by_hand() -> None:
    """Ten losses, a share of 0.3: the three largest (places 2, 6, 8) count 10/3 each."""
    weights = weigh(open_strategy(share=0.3), TEN)
    assert weights == pytest.approx([0, 0, 10 / 3, 0, 0, 0, 10 / 3, 0, 10 / 3, 0])
    step = np.dot(weights, TEN) / 10  # as a step's loss is Σ w·ℓ / n
    assert step == pytest.approx((0.9 + 1.0 + 0.8) / 3)


def test_ordered_sgd_is_the_mean_of_the_top_losses() -> None:
    loss = torch.rand(64, dtype=torch.double, generator=torch.Generator().manual_seed(3))
    for share, q in ((1, 64), (1 / 2, 32), (1 / 4, 16), (1 / 8, 8), (1 / 16, 4)):
        weights = weigh(open_strategy(batch=64, share=share), loss.numpy())
        assert np.count_nonzero(weights) == q
        assert np.dot(weights, loss.numpy()) / 64 == pytest.approx(
            float(loss.topk(q).values.mean())
        )


def test_ordered_sgd_shrinks_with_training_accuracy() -> None:
    """Of a split of 1,000 in steps of 64: q 64, 32, 16, 8, 4 from exactly 80, 90, 95, 99.5 %."""
    for hits, q in ((799, 64), (800, 32), (899, 32), (900, 16), (950, 8), (994, 8), (995, 4)):
        strategy = open_strategy(1000, 64)
        observe(strategy, hits, 1000)
        assert np.count_nonzero(weigh(strategy, np.arange(64.0))) == q, hits


def test_ordered_sgd_looks_at_one_epoch() -> None:
    """Ten samples, by hand: unknown until ten were seen, then only the last ten count."""
    strategy = open_strategy(10, 4)
    observe(strategy, 4, 4)
    observe(strategy, 4, 4)
    assert strategy.level == 0  # all eight right, but two were not seen yet
    observe(strategy, 0, 2)
    assert strategy.hits == 8 and strategy.level == 1  # 8 of 10
    observe(strategy, 1, 4)  # the oldest four, all right, give way: 5 of 10
    assert strategy.hits == 5 and strategy.level == 1  # never falls back
    for _ in range(3):
        observe(strategy, 4, 4)
    assert strategy.hits == 10 and strategy.level == 4
    observe(strategy, 0, 25)  # more at once than the split holds
    assert strategy.hits == 0 and strategy.level == 4


def test_ordered_sgd_counts_like_a_list() -> None:
    """The ring agrees with counting the last N of everything seen, whatever the steps' sizes."""
    strategy, everything = open_strategy(37, 8), np.zeros(0)
    rng = np.random.default_rng(1)
    for _ in range(200):
        correct = rng.random(rng.integers(1, 12)) < 0.6
        strategy.observe(np.arange(len(correct)), {"loss": correct * 0.0, "correct": correct * 1.0})
        everything = np.concatenate([everything, correct])
        assert strategy.hits == everything[-37:].sum()


def test_ordered_sgd_edges() -> None:
    fixed = open_strategy(share=1 / 16)
    assert weigh(fixed, [0.5] * 10) == [10] + [0] * 9  # constant: the earliest place
    assert weigh(fixed, [0.5] * 64) == [16] * 4 + [0] * 60
    assert weigh(fixed, [3.0]) == [1]  # a last batch of one
    for share, size, q in ((1 / 4, 10, 3), (0.07, 100, 7), (1e-9, 10, 1)):
        assert np.count_nonzero(weigh(open_strategy(share=share), np.arange(size))) == q
    for bad in (np.nan, np.inf, -np.inf):
        assert weigh(fixed, [1.0, bad, 2.0]) == [0, 3, 0]
    assert weigh(open_strategy(), TEN) == [1] * 10  # nothing known yet
    observe(fixed, 10, 10)
    assert np.count_nonzero(weigh(fixed, np.arange(64.0))) == 4
