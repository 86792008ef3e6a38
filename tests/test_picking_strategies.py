"""Strategies that pick from what was decoded: each rule by hand on ten samples, and all of them.

Ordered SGD and importance sampling have files of their own. Legend: M candidates of a step.
"""

from __future__ import annotations

import io
from collections import Counter
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chisquare, percentileofscore

from dataprep import flags
from loaders import strategies
from loaders.draw import Keys
from loaders.order import Order
from loaders.strategies import gradnorm_is, ordered_sgd, rholoss, selective_backprop

PICKING = {"selective_backprop": "loss", "rholoss": "loss", "gradnorm_is": "gradient_norm"}
TEN = np.array([0.5, 0.1, 0.9, 0.3, 0.7, 0.2, 1.0, 0.4, 0.8, 0.6])


def open_strategy(name: str, rows: int = 10, batch: int = 10, **options: Any) -> Any:
    """Return a strategy over a split of `rows` whose steps have `batch` candidates."""
    kind = strategies.load(name)
    strategy = kind(Order(rows, batch), **options)
    strategy.table = {table: np.zeros(rows) for table in kind.tables}
    return strategy


def keys(size: int, number: int = 0, seed: int = 0) -> Keys:
    return Keys(seed, number, np.arange(size), np.arange(size))


def pick(strategy: Any, score: Any, number: int = 0, seed: int = 0) -> tuple[list[int], list[Any]]:
    """Return places and weights of a step over the first rows."""
    scores = {kind: np.asarray(score, float) for kind in strategy.needs}
    places, weights = strategy.pick(np.arange(len(score)), scores, keys(len(score), number, seed))
    return places.tolist(), weights.tolist()


# Selective Backprop


def test_selective_backprop_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten samples: ranks are tenths, the five smallest -log(u)/rank are drawn.

    With one u for all the five of highest rank are; with a sample of rank 0.1 whose u is nearly 1
    that one comes in the place of the fifth.
    """
    strategy = open_strategy("selective_backprop")
    uniform = np.full(10, 0.5)
    monkeypatch.setattr(Keys, "uniform", lambda self, number=0: uniform)
    assert pick(strategy, TEN) == ([2, 4, 6, 8, 9], [1] * 5)
    uniform[1] = 1e-6  # 1 - u is what counts: -log(1 - 1e-6) / 0.1 = 1e-5
    assert pick(strategy, TEN)[0] == [1, 2, 4, 6, 8]


def test_selective_backprop_ranks_by_history(monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses 1, 2, 3, 4 of late: 0.5 has weight 0, 2 weight 1/2, 9 weight 1 (β = 1)."""
    monkeypatch.setattr(Keys, "uniform", lambda self, number=0: np.array([0.02, 0.5, 0.2, 0.3]))
    strategy = open_strategy("selective_backprop", batch=4)
    strategy.observe(np.arange(4), {"loss": np.array([4.0, 2.0, 3.0, 1.0])})
    # -log(1 - u) / weight: never, 1.39, 0.22, 0.71 (weights 0, 1/2, 1, 1/2)
    assert pick(strategy, [0.5, 2.0, 9.0, 2.5])[0] == [2, 3]
    # With β = 3 the halves are eighths: 5.5, 0.22, 2.9. With β = 0 all are equal: u alone counts.
    strategy.beta = 3.0
    assert pick(strategy, [0.5, 2.0, 9.0, 2.5])[0] == [2, 3]
    strategy.beta = 0.0
    assert pick(strategy, [0.5, 2.0, 9.0, 2.5])[0] == [0, 2]


def test_selective_backprop_draws_by_the_cdf() -> None:
    """How often pairs are drawn agrees with successive draws without replacement (χ², p > 0.1 %).

    Weights come from scipy's percentiles, the probabilities of pairs from enumeration.
    """
    past, now = np.array([0.3, 0.5, 0.9, 0.1, 0.5]), [0.2, 0.5, 0.95, 0.05]
    strategy = open_strategy("selective_backprop", batch=4, beta=1.5)
    strategy.observe(np.arange(5), {"loss": past})
    weights = np.array([percentileofscore(past, loss, "weak") / 100 for loss in now]) ** 1.5
    share = weights / weights.sum()
    wanted: Counter[tuple[int, ...]] = Counter()
    for a, b in permutations(range(4), 2):
        wanted[min(a, b), max(a, b)] += share[a] * share[b] / (1 - share[a])
    draws = 20_000
    found = Counter(tuple(pick(strategy, now, number)[0]) for number in range(draws))
    pairs = [pair for pair in wanted if wanted[pair] > 0]
    assert set(found) <= set(pairs)  # place 3 lies below all: weight 0
    counts, expected = [[table[pair] for pair in pairs] for table in (found, wanted)]
    assert chisquare(counts, np.array(expected) * draws).pvalue > 1e-3
    uniform = chisquare(counts)  # and it can fail: these are not equally likely
    assert uniform.pvalue < 1e-9


def test_selective_backprop_remembers_the_last_losses() -> None:
    strategy = open_strategy("selective_backprop", history=5)
    for first in range(0, 12, 3):
        strategy.observe(np.arange(3), {"loss": np.arange(first, first + 3.0)})
    assert strategy.losses.tolist() == [7, 8, 9, 10, 11]
    strategy.observe(np.arange(8), {"loss": np.array([*TEN[:7], np.nan])})
    assert strategy.losses.tolist() == TEN[2:7].tolist()


def test_selective_backprop_fills_up_with_zero_weights() -> None:
    """Below all losses of late everything has weight 0: then all are equally likely."""
    strategy = open_strategy("selective_backprop", batch=4)
    strategy.observe(np.arange(2), {"loss": np.array([5.0, 6.0])})
    found = Counter(i for number in range(2000) for i in pick(strategy, [1, 2, 3, 4], number)[0])
    assert chisquare([found[i] for i in range(4)]).pvalue > 1e-3
    assert all(3 in pick(strategy, [1, 2, 3, 7], number)[0] for number in range(50))


# RHO-LOSS


def test_rholoss_by_hand() -> None:
    """Of ten the two of largest loss − irreducible loss: 0.5 at place 4 and 0.45 at place 9.

    The largest loss (place 6) is a noisy label's: it cannot be learnt.
    """
    strategy = open_strategy("rholoss", candidates=5)
    strategy.table["irreducible_loss"] = np.array(
        [0.4, 0.1, 0.6, 0.3, 0.2, 0.1, 1.1, 0.1, 0.6, 0.15]
    )
    assert pick(strategy, TEN) == ([4, 9], [1, 1])


def test_rholoss_looks_up_rows() -> None:
    """The table is by row of the split, not by place in the batch."""
    strategy = open_strategy("rholoss", 100, 4, candidates=4)
    strategy.table["irreducible_loss"] = np.linspace(1, 0, 100)
    rows = np.array([99, 3, 50, 7])
    places, _ = strategy.pick(rows, {"loss": np.array([0.4, 1.2, 0.7, 1.3])}, keys(4))
    assert places.tolist() == [0]  # 0.40, 0.23, 0.21, 0.37


def test_rholoss_refuses_what_was_not_scored() -> None:
    strategy = open_strategy("rholoss", 100, irreducible_loss="irreducible_loss-0123456789ab")
    strategy.table["irreducible_loss"][[70, 90]] = np.nan
    with pytest.raises(ValueError, match=r"-0123456789ab: 2 of 100 .* not scored") as error:
        pick(strategy, TEN)  # at the first step, though neither row is among its ten
    assert "row 70" in str(error.value) and "\n" not in str(error.value)


# All of them


@pytest.mark.parametrize("name", PICKING)
@pytest.mark.parametrize("candidates", [1, 2, 3, 10])
@pytest.mark.parametrize("size", [1, 2, 7, 10])
def test_picks_a_fixed_share(name: str, candidates: int, size: int) -> None:
    """⌈M / candidates⌉ of any batch, also a short one; without replacement but for gradnorm_is."""
    strategy = open_strategy(name, 40, 10 * candidates, candidates=candidates)
    assert strategy.batch == 10
    score = np.random.default_rng(size).random(size)
    places, weights = pick(strategy, score)
    assert len(places) == len(weights) == -(-size // candidates)
    assert set(places) <= set(range(size))
    if name != "gradnorm_is":
        assert places == sorted(set(places)) and weights == [1] * len(places)
        assert candidates > 1 or places == list(range(size))


@pytest.mark.parametrize("name", PICKING)
def test_picks_are_a_function_of_the_keys(name: str) -> None:
    strategy = open_strategy(name, candidates=2)
    first = [pick(strategy, TEN, number) for number in range(20)]
    assert first == [pick(open_strategy(name, candidates=2), TEN, number) for number in range(20)]
    varied = len({tuple(places) for places, _ in first})
    assert varied == 1 if name == "rholoss" else varied > 10


@pytest.mark.parametrize("name", PICKING)
def test_constant_scores(name: str) -> None:
    """Nothing to choose by: rholoss takes the earliest, the others all samples alike."""
    strategy = open_strategy(name, candidates=2)
    counts = Counter(i for number in range(2000) for i in pick(strategy, [0.3] * 10, number)[0])
    if name == "rholoss":
        assert set(counts) == set(range(5))
    else:
        assert chisquare([counts[i] for i in range(10)]).pvalue > 1e-3


@pytest.mark.parametrize("name", PICKING)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_score_that_is_not_finite_is_picked(name: str, bad: float) -> None:
    """So that the guard of the step names the sample; and where there is none it is forgotten."""
    strategy = open_strategy(name, candidates=2)
    before = [pick(strategy, TEN, number) for number in range(20)]
    score = TEN.copy()
    score[1] = bad  # the smallest of all
    for number in range(20):
        assert 1 in pick(strategy, score, number)[0]
    strategy.observe(np.arange(10), {"loss": score, "gradient_norm": score})
    if name == "selective_backprop":
        assert np.isfinite(strategy.losses).all()
    else:
        assert before == [pick(strategy, TEN, number) for number in range(20)]
    assert len(pick(strategy, [bad] * 10)[0]) == 5


@pytest.mark.parametrize("name", ["ordered_sgd", *PICKING])
def test_goes_on_from_a_state(name: str) -> None:
    """Through a checkpoint's file, in the middle of an epoch; the state does not change later."""

    def step(strategy: Any, number: int) -> Any:
        rng = np.random.default_rng(number)
        loss, correct = rng.exponential(1 + number, 10), (rng.random(10) < 0.9 + number / 100) * 1.0
        scores = {"loss": loss, "gradient_norm": loss, "correct": correct}
        rows = np.arange(10)
        made = [strategy.weigh(rows, scores).tolist()] if strategy.weighs() else []
        made += [part.tolist() for part in strategy.pick(rows, scores, keys(10, number))]
        strategy.observe(rows, scores)
        return made

    whole = open_strategy(name, 25)
    for number in range(5):
        step(whole, number)
    file, state = io.BytesIO(), whole.state()
    rest = [step(whole, number) for number in range(5, 12)]
    torch.save(
        {k: torch.from_numpy(v) if hasattr(v, "shape") else v for k, v in state.items()}, file
    )
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    resumed = open_strategy(name, 25)
    resumed.load({k: v.numpy() if hasattr(v, "numpy") else v for k, v in saved.items()})
    assert [step(resumed, number) for number in range(5, 12)] == rest
    if state:  # and it can fail: what was observed matters
        fresh = open_strategy(name, 25)
        assert [step(fresh, number) for number in range(5, 12)] != rest


@pytest.mark.parametrize(
    ("name", "pair", "why"),
    [
        ("ordered_sgd", "share=0", "share=0.0: want more than 0 and at most 1"),
        ("ordered_sgd", "share=1.5", "share=1.5: want more than 0"),
        ("selective_backprop", "beta=-1", "beta=-1.0: want 0 or more"),
        ("selective_backprop", "beta=nan", "beta=nan: want 0 or more"),
        ("selective_backprop", "history=0", "history=0: want 1 or more"),
        ("selective_backprop", "candidates=x", "candidates=x: want a whole number"),
        ("rholoss", "beta=1", "unknown key 'beta'; there are: candidates, irreducible_loss"),
        ("gradnorm_is", "smoothing=2", "smoothing=2.0: want 0 to 1"),
    ],
)
def test_options_are_checked(name: str, pair: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as error:
        kind = strategies.load(name)
        kind(Order(10, 10), **flags.typed([pair], kind))
    assert "\n" not in str(error.value)


def test_hooks_and_needs() -> None:
    """What the loader and the step read from the classes."""
    for module in (ordered_sgd, selective_backprop, rholoss, gradnorm_is):
        kind = module.Strategy
        assert not kind.chooses()  # so each step is heard before the next
        assert kind.picks() != kind.weighs()
    assert ordered_sgd.Strategy.listens() and selective_backprop.Strategy.listens()
    assert rholoss.Strategy.tables == ("irreducible_loss",)
    widths = {name: strategies.load(name).width({}) for name in PICKING}
    assert widths == {"selective_backprop": 2, "rholoss": 10, "gradnorm_is": 3}
