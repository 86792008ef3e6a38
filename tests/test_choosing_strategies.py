"""Strategies that choose before anything is decoded: each rule by hand on ten samples.

The two of tests/test_smart.py and those of tests/test_picking_strategies.py are not here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import binom, chisquare
from trainings import TEN, epoch, observe, open_strategy

from loaders import strategies
from loaders.order import Order
from loaders.strategies.online_rank import ranks

# Fixed


def test_fixed_is_storage_order() -> None:
    for number in (0, 1):
        rows = [one.tolist() for one in epoch(open_strategy("fixed"), number)]
        assert rows == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_fixed_drops_and_groups_as_the_order_does() -> None:
    dropping = strategies.load("fixed")(Order(10, 4, last="drop"))
    assert [one.tolist() for one in epoch(dropping, 0)] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    grouped = strategies.load("fixed")(Order(5, 2, groups=np.array([1, 0, 1, 0, 1])))
    assert [one.tolist() for one in epoch(grouped, 0)] == [[1, 3], [0, 2], [4]]


# InfoBatch


def test_infobatch_by_hand() -> None:
    """The mean of ten losses is 0.55: rows 1, 3, 5, 7 and 0 are below it."""
    strategy = open_strategy("infobatch")
    first = epoch(strategy, 0, loss=TEN)
    assert sorted(np.concatenate([one.rows for one in first])) == list(range(10))
    assert all((one.weights == 1).all() for one in first)
    second = epoch(strategy, 1, progress=0.2)
    weights = {int(r): float(w) for one in second for r, w in zip(*one, strict=True)}
    assert len(weights) == sum(len(one.rows) for one in second) < 10
    assert {row for row in weights if weights[row] == 1} == {2, 4, 6, 8, 9}
    assert all(weights[row] == 2 for row in set(weights) & {0, 1, 3, 5, 7})


def test_infobatch_keeps_the_expected_gradient() -> None:
    """Over many epochs Σ w of each sample is what it is when all are taken."""
    strategy = open_strategy("infobatch", ratio=0.75)
    epoch(strategy, 0, loss=TEN)
    total, kept = np.zeros(10), np.zeros(10)
    for number in range(1, 2001):
        for one in epoch(strategy, number):
            total[one.rows] += one.weights
            kept[one.rows] += 1
    easy = np.array([0, 1, 3, 5, 7])
    assert (binom.cdf(kept[easy], 2000, 0.25) > 1e-4).all()
    assert (binom.sf(kept[easy] - 1, 2000, 0.25) > 1e-4).all()
    assert total[[2, 4, 6, 8, 9]].tolist() == [2000] * 5
    np.testing.assert_allclose(total[easy], kept[easy] * 4)


@pytest.mark.parametrize("initial", [3.0, 0.1, 1 / 3, 1e-30, 7e8])
def test_infobatch_drops_nothing_where_all_are_equal(initial: float) -> None:
    """However the mean of equal numbers is rounded: a first epoch has all samples, once."""
    for rows in (3, 7, 10_007):
        strategy = open_strategy("infobatch", rows=rows, batch=64, initial=initial)
        assert strategy.begin(0, 0.0) == -(-rows // 64)
        assert len(strategy.kept) == rows
        assert not strategy.easy.any()


def test_infobatch_ends_with_all_samples() -> None:
    strategy = open_strategy("infobatch")
    epoch(strategy, 0, loss=TEN)
    assert strategy.begin(7, 0.8749) <= 3
    assert len(strategy.kept) < 10
    last = epoch(strategy, 8, progress=0.875)
    assert sorted(np.concatenate([one.rows for one in last])) == list(range(10))
    assert all((one.weights == 1).all() for one in last)


def test_infobatch_shuffles_each_epoch() -> None:
    strategy = open_strategy("infobatch", rows=100, batch=100)
    orders = [tuple(epoch(strategy, number)[0].rows.tolist()) for number in range(5)]
    assert len(set(orders)) == 5
    assert tuple(range(100)) not in orders


def test_infobatch_makes_at_least_one_step() -> None:
    """Ten samples in tens that drop: whatever is left is one batch, though a short one."""
    strategy: Any = strategies.load("infobatch")(Order(10, 10, 5, last="drop"), ratio=0.9)
    epoch(strategy, 0, loss=np.arange(10.0))
    (rows, weights) = epoch(strategy, 1)[0]
    assert 5 <= len(rows) < 10
    assert len(weights) == len(rows)


# Online batch selection


def test_online_rank_distribution() -> None:
    """Ten ranks at s = 100: p(i) ∝ 100^(−i/10), so the first has 1 − 100^(−0.1) over 0.99."""
    uniform = (np.arange(100_000) + 0.5) / 100_000
    for pressure in (1.0, 1.0 + 1e-9, 2.0, 100.0, 1e8):
        want = np.exp(-np.log(pressure) * np.arange(10) / 10)
        found = np.bincount(ranks(uniform, 10, pressure), minlength=10) / 100_000
        np.testing.assert_allclose(found, want / want.sum(), atol=2e-5)
    assert ranks(np.array([0, 1 - 2**-53]), 10, 100.0).tolist() == [0, 9]


def test_online_rank_prefers_by_the_last_loss() -> None:
    """The order of ten by loss is 6 2 8 4 9 0 7 3 5 1; visits follow the distribution."""
    strategy = open_strategy("online_rank", rows=10, batch=10)
    first = epoch(strategy, 0, loss=TEN)
    assert sorted(np.concatenate(first)) == list(range(10))
    visits = np.zeros(10)
    for number in range(1, 500):
        for rows in epoch(strategy, number):
            np.add.at(visits, rows, 1)  # independent draws: one may come twice in a batch
    assert strategy.ranked.tolist() == [6, 2, 8, 4, 9, 0, 7, 3, 5, 1]
    want = 100.0 ** (-np.arange(10) / 10)
    assert chisquare(visits[strategy.ranked], want / want.sum() * visits.sum()).pvalue > 1e-3


def test_online_rank_anneals_over_the_run() -> None:
    """From 100 to 1 by way of 10; at the end every sample is as likely as any."""
    strategy = open_strategy("online_rank")
    pressures = []
    for progress in (0.0, 0.5, 1.0):
        strategy.begin(1, progress)
        pressures.append(strategy.now)
    np.testing.assert_allclose(pressures, [100, 10, 1])
    rising = open_strategy("online_rank", pressure=4.0, final=9.0)
    rising.begin(3, 0.5)
    assert rising.now == pytest.approx(6)


def test_online_rank_forgets_no_loss_for_one_that_is_none() -> None:
    strategy = open_strategy("online_rank")
    observe(strategy, np.arange(10), TEN)
    for unsound in (np.inf, -np.inf, np.nan):
        observe(strategy, [3], [unsound])
    strategy.begin(1, 0.0)
    assert strategy.ranked.tolist() == [6, 2, 8, 4, 9, 0, 7, 3, 5, 1]


def test_online_rank_ranks_when_it_is_told_to() -> None:
    often, once = (open_strategy("online_rank", batch=2, refresh=n) for n in (2, 0))
    for strategy in (often, once):
        epoch(strategy, 0, loss=TEN)
        strategy.begin(1, 0.0)
        observe(strategy, np.arange(10), 1 - TEN)
        strategy.choose(1, 1)
        assert strategy.ranked[0] == 6
        strategy.choose(1, 2)
    assert often.ranked[0] == 1
    assert once.ranked[0] == 6
