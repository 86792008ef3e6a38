"""Importance sampling by gradient norm: unbiased, of less variance, and a test that can fail.

Legend: M candidates, P parameters, R draws.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chi2, chisquare
from torch.nn.functional import cross_entropy, one_hot

from loaders.draw import Keys
from loaders.order import Order
from loaders.strategies.gradnorm_is import Strategy

SEEDS = range(5)  # fixed before any result was seen


def open_strategy(batch: int = 10, **options: Any) -> Strategy:
    """Return a strategy whose steps have `batch` candidates."""
    return Strategy(Order(100, batch), **options)


def keys(size: int, number: int, seed: int = 0) -> Keys:
    return Keys(seed, number, np.arange(size), np.arange(size))


def pick(strategy: Strategy, score: Any, number: int = 0) -> tuple[list[int], list[float]]:
    """Return places and weights of a step."""
    scores, size = {"gradient_norm": np.asarray(score, float)}, len(score)
    places, weights = strategy.pick(np.arange(size), scores, keys(size, number))
    return places.tolist(), weights.tolist()


def test_gradnorm_is_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten scores of sum 20: p is a twentieth of each, w = 1 / (10 p) = 2 / score."""
    score = [1, 1, 1, 1, 1, 1, 2, 2, 4, 6]  # ends 1, 2, 3, 4, 5, 6, 8, 10, 14, 20
    draws = np.array([0.049, 0.95, 0.31, 0.70, 0.69] + [0.0] * 5) * 1.0
    monkeypatch.setattr(Keys, "uniform", lambda self, number=0: draws)
    strategy = open_strategy(candidates=2, smoothing=0)
    places, weights = pick(strategy, score)
    assert places == [0, 9, 6, 9, 8]  # 0.98, 19, 6.2, 14, 13.8 of 20
    assert weights == pytest.approx([2, 1 / 3, 1, 1 / 3, 1 / 2])
    strategy.smoothing = 0.5  # p = score / 40 + 1 / 20: ends 3, 6, … 18, 22, 26, 32, 40 of 40
    places, weights = pick(strategy, score)
    assert places == [0, 9, 4, 8, 8]  # 1.96, 38, 12.4, 28, 27.6 of 40
    assert weights == pytest.approx([4 / 3, 1 / 2, 4 / 3, 2 / 3, 2 / 3])
    strategy.smoothing = 1.0
    assert pick(strategy, score)[1] == [1] * 5


class Regression:
    """A softmax regression at random weights: per-sample gradients (M, P) and scores (M,).

    Few of its 24 samples are hard. Gradients are autograd's, of each sample alone; those of the
    last class are left out, since the classes' gradients sum to 0.
    """

    def __init__(self, seed: int, hard: int = 3) -> None:
        random = torch.Generator().manual_seed(seed)
        x = torch.randn(24, 4, dtype=torch.double, generator=random)
        weight = torch.randn(4, 3, dtype=torch.double, generator=random, requires_grad=True)
        label = (x @ weight).argmax(1)
        label[:hard] = (label[:hard] + 1) % 3
        logits = 2.5 * x @ weight
        losses = cross_entropy(logits, label, reduction="none")
        each = [torch.autograd.grad(loss, weight, retain_graph=True)[0] for loss in losses]
        self.gradients = torch.stack(each)[..., :-1].flatten(1).numpy()
        self.full = torch.autograd.grad(losses.mean(), weight)[0][:, :-1].flatten().numpy()
        self.score = (logits.softmax(1) - one_hot(label, 3)).norm(dim=1).detach().numpy()

    def estimates(self, draws: int, seed: int, mutate: Any = None, **options: Any) -> Any:
        """Return (R, P) gradients of Σ w·ℓ / n as a step makes them; mutate: changes weights."""
        strategy = open_strategy(24, **options)
        scores, rows = {"gradient_norm": self.score}, np.arange(24)
        found = np.empty((draws, self.gradients.shape[1]))
        for number in range(draws):
            places, weights = strategy.pick(rows, scores, keys(24, number, seed))
            weights = mutate(weights) if mutate else weights
            found[number] = weights @ self.gradients[places] / len(places)
        return found


def standard_errors(estimates: Any, full: Any) -> tuple[float, float]:
    """Return how far the mean is from the full gradient: along it, and over all directions.

    The second is Hotelling's T²; below chi2's 99.73 % (3 standard errors) where unbiased.
    """
    off = estimates.mean(0) - full
    covariance = np.cov(estimates.T) / len(estimates)
    along = full / np.linalg.norm(full)
    one = float(off @ along / np.sqrt(along @ covariance @ along))
    return one, float(off @ np.linalg.solve(covariance, off))


LIMIT = chi2.ppf(0.9973, df=8)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_gradnorm_is_unbiased(seed: int, smoothing: float) -> None:
    """Over 10,000 steps the mean gradient is the full one within 3 standard errors."""
    problem = Regression(seed)
    estimates = problem.estimates(10_000, seed, smoothing=smoothing)
    one, all_ = standard_errors(estimates, problem.full)
    assert abs(one) < 3 and all_ < LIMIT


@pytest.mark.parametrize("seed", SEEDS)
def test_bias_would_be_found(seed: int) -> None:
    """The same test fails for weights of 1 and for weights that are divided by their own mean."""
    problem = Regression(seed)
    for mutate in (np.ones_like, lambda weights: weights / weights.mean()):
        one, all_ = standard_errors(problem.estimates(10_000, seed, mutate), problem.full)
        assert abs(one) > 3 and all_ > LIMIT


def test_gradnorm_is_lowers_the_variance() -> None:
    """Where few of many samples are hard, the variance is below half of uniform drawing's.

    And both are what theory says: (Σ ‖g‖² / (M² p) − ‖ḡ‖²) / n.
    """
    problem, variances = Regression(7), {}
    norms, full = (problem.gradients**2).sum(1), problem.full @ problem.full
    for smoothing in (0.0, 0.1, 1.0):
        estimates = problem.estimates(4000, 7, smoothing=smoothing)
        variances[smoothing] = ((estimates - problem.full) ** 2).sum(1).mean()
        p = (1 - smoothing) * problem.score / problem.score.sum() + smoothing / 24
        theory = ((norms / (24**2 * p)).sum() - full) / 8
        assert variances[smoothing] == pytest.approx(theory, rel=0.1)
    assert variances[0.0] < variances[1.0] / 2 and variances[0.1] < variances[1.0] / 2


def test_gradnorm_is_edges() -> None:
    uniform = open_strategy(candidates=2)
    counts = Counter(i for number in range(2000) for i in pick(uniform, [0.0] * 10, number)[0])
    assert chisquare([counts[i] for i in range(10)]).pvalue > 1e-3
    assert pick(uniform, [0.0] * 10)[1] == [1] * 5
    assert pick(uniform, [0.7] * 10)[1] == pytest.approx([1] * 5)
    exact = open_strategy(candidates=1, smoothing=0)
    drawn = {i for number in range(300) for i in pick(exact, [0, 1, 0, 0, 2, 0, 0], number)[0]}
    assert drawn == {1, 4}  # what has no gradient is not drawn, also not at either end
    bounded = open_strategy(candidates=1, smoothing=0.1)
    heaviest = max(w for number in range(300) for w in pick(bounded, [1e-9, 1, 1], number)[1])
    assert heaviest == pytest.approx(10, rel=1e-6)
