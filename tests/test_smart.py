"""Batches half explored, half of what was hard: both rules by hand on ten samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import chisquare
from trainings import TEN, epoch, observe, open_strategy

from loaders import strategies
from loaders.order import Order

# Smart


def test_smart_sees_all_then_the_hardest() -> None:
    """Ten samples, top 0.4: the pool are those of loss 0.7 and more, rows 2, 4, 6, 8."""
    strategy = open_strategy("smart", top=0.4)
    first = epoch(strategy, 0, loss=TEN)
    assert [len(rows) for rows in first] == [4, 4, 2]
    assert sorted(np.concatenate(first)) == list(range(10))
    second = epoch(strategy, 1, loss=TEN)
    assert [len(rows) for rows in second] == [4, 4, 2]
    assert strategy.pool.tolist() == [2, 4, 6, 8]
    assert strategy.done == 5  # two, two and one of the second lap
    lap = np.concatenate(second + epoch(strategy, 2, loss=TEN))
    assert set(lap.tolist()) == set(range(10))
    for rows in second:
        assert len(set(rows.tolist())) == len(rows)
        assert len({2, 4, 6, 8} & set(rows.tolist())) >= len(rows) // 2


def test_smart_history_is_bias_corrected() -> None:
    """Losses 1, then 3 at β = 0.9: m = 0.9·0.1·1 + 0.1·3 = 0.39, over 1 − 0.9² = 0.19."""
    strategy = open_strategy("smart")
    observe(strategy, [3, 7], [1.0, 2.0])
    np.testing.assert_allclose(strategy.history[[3, 7]], [1, 2], rtol=1e-6)
    observe(strategy, [3], [3.0])
    np.testing.assert_allclose(strategy.history[3], 0.39 / 0.19, rtol=1e-6)
    losses, decay = np.random.default_rng(0).gamma(1, 1, 40), 0.7
    long = open_strategy("smart", decay=decay)
    for loss in losses:
        observe(long, [5], [loss])
    weights = (1 - decay) * decay ** np.arange(len(losses))[::-1]
    np.testing.assert_allclose(
        long.history[5], weights @ losses / (1 - decay ** len(losses)), rtol=1e-5
    )


def test_smart_without_decay_keeps_the_last_loss() -> None:
    strategy = open_strategy("smart", decay=0.0)
    observe(strategy, [1, 2], [5.0, 4.0])
    observe(strategy, [1], [0.25])
    assert strategy.history[[1, 2]].tolist() == [0.25, 4.0]


def test_smart_looks_for_its_pool_every_few_steps() -> None:
    strategy = open_strategy("smart", batch=2, top=0.2, refresh=2)
    epoch(strategy, 0, loss=TEN)
    strategy.choose(1, 0)
    assert strategy.pool.tolist() == [2, 6]
    for _ in range(60):  # the mean forgets what was
        observe(strategy, np.arange(10), 1 - TEN)
    strategy.choose(1, 1)
    assert strategy.pool.tolist() == [2, 6]
    strategy.choose(1, 2)
    assert strategy.pool.tolist() == [1, 5]


def test_smart_draws_equal_histories_at_the_edge() -> None:
    """Two of six equal ones complete the pool: each comes a third of the time."""
    found = np.zeros(10)
    for seed in range(600):
        strategy: Any = strategies.load("smart")(Order(10, 4, seed), top=0.4)
        strategy.history[:] = [9, 1, 1, 1, 8, 1, 1, 1, 0, 0]
        strategy._find_pool(seed)
        found[strategy.pool] += 1
    assert found[[0, 4]].tolist() == [600, 600]
    assert found[8:].tolist() == [0, 0]
    assert chisquare(found[[1, 2, 3, 5, 6, 7]]).pvalue > 1e-3


def test_smart_exploits_uniformly() -> None:
    """Of the pool each comes equally often, and so does each place of a batch."""
    strategy = open_strategy("smart", rows=100, batch=10, explore=0.0, top=0.2)
    loss = np.arange(100.0)
    epoch(strategy, 0, loss=loss)
    visits, places = np.zeros(100), np.zeros(10)
    for number in range(1, 60):
        for rows in epoch(strategy, number):
            assert len(set(rows.tolist())) == 10
            visits[rows] += 1
            places += rows == 90
    assert visits[:80].sum() == 0
    assert chisquare(visits[80:]).pvalue > 1e-3
    assert chisquare(places).pvalue > 1e-3


def test_smart_mixes_its_batch() -> None:
    """Ranks take slices of a batch: each place is explored as often as any."""
    strategy = open_strategy("smart", rows=1000, batch=10, explore=0.3, top=0.02)
    epoch(strategy, 0, loss=np.arange(1000.0))
    hard = sum(
        (rows >= 980).astype(int) for number in range(1, 4) for rows in epoch(strategy, number)
    )
    assert hard.sum() > 300 * 7
    assert chisquare(hard).pvalue > 1e-3


@pytest.mark.parametrize("last", ["fill", "drop"])
@pytest.mark.parametrize("explore", [0.1, 0.5, 1.0])
def test_smart_laps_take_one_over_explore_epochs(explore: float, last: Any) -> None:
    strategy: Any = strategies.load("smart")(Order(210, 20, 1, last=last), explore=explore)
    loss = np.sin(np.arange(210.0)) ** 2
    epoch(strategy, 0, loss=loss)
    number, share = 1, round(20 * explore)
    while strategy.lap == 0:  # an order that drops leaves ten for the second epoch
        strategy.choose(1, 0)
    done = strategy.done
    for number in range(1, 100):
        begun = strategy.lap
        epoch(strategy, number, loss=loss)
        if strategy.lap > begun:
            break
    assert number <= np.ceil((210 - done) / (share * strategy.order.steps)) + 1


@pytest.mark.parametrize(
    "wrong", [{"explore": 1.5}, {"top": 0.0}, {"decay": 1.0}, {"refresh": 0}, {"decay": np.nan}]
)
def test_smart_refuses_settings(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="smart wants explore 0 to 1"):
        open_strategy("smart", **wrong)


# Smart as it was


def test_smart_origin_by_hand() -> None:
    """Ten samples in fives: int(2.5) = 2 of all and 3 of the top int(2.0) = 2, so four a batch."""
    strategy = open_strategy("smart_origin", batch=5)
    assert strategy.begin(0, 0.0) == 2
    strategy.history[:] = TEN
    for step in range(50):
        rows = strategy.choose(0, step).tolist()
        assert len(rows) == 4
        assert {2, 6} <= set(rows)


def test_smart_origin_credits_the_mean_of_the_batch() -> None:
    """Row 3 comes twice: 0.9·(0.9·0 + 0.1·5) + 0.1·5 = 0.95; row 1 once: 0.9·1 + 0.1·5 = 1.4."""
    strategy = open_strategy("smart_origin", batch=4)
    strategy.history[1] = 1.0
    observe(strategy, [3, 1, 3, 8], [2.0, 6.0, 2.0, 10.0])
    np.testing.assert_allclose(strategy.history[[3, 1, 8, 0]], [0.95, 1.4, 0.5, 0])


def test_smart_origin_covers_as_little_as_it_did() -> None:
    """Seen s after t·N draws of each half: s' = (1 − s) + max(0, 1 − s/0.2), as the top fifth are
    those seen and, until these are enough, the first that were not.

    So s = (1 − exp(−6t))/3 up to a fifth, at t = ln(2.5)/6, then 1 − 0.8·exp(−(t − ln(2.5)/6)).
    Of 60,000 in batches of 64 that is 43.5 % in the first epoch and 92.3 % in five.
    """
    strategy = open_strategy("smart_origin", rows=3000, batch=16)
    base = np.random.default_rng(0).gamma(0.5, 1, 3000)
    visits, seen = np.zeros(3000, int), []
    for number in range(5):
        for step in range(strategy.begin(number, number / 5)):
            rows = strategy.choose(number, step)
            observe(strategy, rows, base[rows] * np.exp(-0.3 * visits[rows]) + 0.02)
            np.add.at(visits, rows, 1)
        seen.append((visits > 0).mean())
    epochs = np.arange(1, 6)
    want = 1 - 0.8 * np.exp(-(epochs * 0.5 * (187 * 16 / 3000) - np.log(2.5) / 6))
    np.testing.assert_allclose(seen, want, atol=0.02)
    busiest = np.sort(visits)[::-1][:600].sum() / visits.sum()
    assert 0.58 < busiest < 0.66  # half of all draws and a fifth of the others, and luck


def test_smart_origin_brings_a_sample_twice() -> None:
    """Some batch of sixteen among 64 holds one twice; `smart` never does."""
    found = [len(set(rows.tolist())) for rows in epoch(open_strategy("smart_origin", 64, 16), 0)]
    assert min(found) < 16
