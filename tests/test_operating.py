"""Thresholds, rates and areas against scikit-learn and by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as peer

from tasks.metrics import operating as own

RATES = (0.5, 0.8, 0.9, 0.95, 0.99, 1.0)


@pytest.fixture(params=range(6))
def case(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    """Return scores (N,) and positives (N,); in odd cases many scores are equal, some exactly 1."""
    draw = np.random.default_rng(request.param)
    positives = draw.random(300) < 0.2
    scores = draw.beta(1 + 2 * positives, 3)
    return (scores * 12).round() / 12 if request.param % 2 else scores, positives


@pytest.mark.parametrize("least", RATES)
def test_thresholds_are_those_of_the_roc_curve(case: tuple[Any, Any], least: float) -> None:
    """The smallest with such a specificity, the largest with such a sensitivity."""
    scores, positives = case
    false, true, thresholds = peer.roc_curve(positives, scores, drop_intermediate=False)
    enough = thresholds[(1 - false >= least) & np.isfinite(thresholds)]
    found = own.specific(scores, positives, least)
    if len(enough):
        assert found == pytest.approx(enough.min(), abs=1e-12)
    else:
        assert found == np.nextafter(scores.max(), 2)
    wanted = thresholds[true >= least].max()
    assert own.sensitive(scores, positives, least) == pytest.approx(wanted, abs=1e-12)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_never_below_and_no_better_one(data: st.DataObject) -> None:
    """Not the nearest: no smaller threshold holds the rate, and this one does."""
    size = data.draw(st.integers(2, 30))
    grid = st.lists(st.integers(0, 8), min_size=size, max_size=size)
    scores = np.array(data.draw(grid)) / 8
    sides = st.lists(st.booleans(), min_size=size, max_size=size)
    positives = np.array(data.draw(sides.filter(lambda s: 0 < sum(s) < len(s))))
    least = data.draw(st.sampled_from([*RATES, 1 / 3, 0.1, 0.7]))
    found = own.specific(scores, positives, least)
    assert own.rates(scores, positives, found).specificity >= least
    lower = scores[scores < found]
    if len(lower):
        assert own.rates(scores, positives, lower.max()).specificity < least
    found = own.sensitive(scores, positives, least)
    assert own.rates(scores, positives, found).sensitivity >= least
    higher = np.append(scores[scores > found], 2).min()
    assert own.rates(scores, positives, higher).sensitivity < least


@pytest.mark.parametrize("least", RATES)
def test_settled_thresholds_stand_last_digits(case: tuple[Any, Any], least: float) -> None:
    """Computed again, float32 and alone, a score differs: nobody changes sides by that."""
    scores, positives = case
    noise = 1 + 1e-6 * np.random.default_rng(0).choice([-1, 1], len(scores))
    for choose in (own.specific, own.sensitive):
        found = choose(scores, positives, least)
        settled = own.settled(scores, found)
        assert settled == pytest.approx(found, rel=2 * own.MARGIN)
        assert ((scores >= settled) == (scores >= found)).all()
        apart = np.diff(np.unique(scores[np.abs(scores - found) < 0.01])).min(initial=1) > 1e-5
        assert not apart or ((scores * noise >= settled) == (scores >= found)).all()


def test_exact_shares_are_enough() -> None:
    """19 of 20 are 95 %: rounding must not ask for the twentieth."""
    negatives = np.arange(20) / 100
    scores = np.append(negatives, [0.185, 0.5])
    positives = np.arange(22) >= 20
    assert own.specific(scores, positives, 0.95) == 0.185
    assert own.rates(scores, positives, 0.185).specificity == 0.95
    assert own.specific(scores, positives, 0.951) == 0.5
    assert own.sensitive(scores, positives, 0.5) == 0.5
    assert own.sensitive(scores, positives, 0.51) == 0.185


def test_all_scores_equal() -> None:
    """Both sides go together: nobody is called, or all are."""
    scores, positives = np.ones(6), np.arange(6) < 2
    found = own.specific(scores, positives, 0.95)
    assert found == np.nextafter(1, 2)
    rates = own.rates(scores, positives, found)
    assert rates[:2] == (0, 1) and np.isnan(rates.ppv) and rates.npv == pytest.approx(4 / 6)
    assert own.sensitive(scores, positives, 0.95) == 1
    rates = own.rates(scores, positives, 1)
    assert rates[:2] == (1, 0) and rates.ppv == pytest.approx(2 / 6) and np.isnan(rates.npv)


def test_rates(case: tuple[Any, Any]) -> None:
    scores, positives = case
    for threshold in (0.2, 0.5, 0.75):
        called = scores >= threshold
        found = own.rates(scores, positives, threshold)
        assert found.sensitivity == pytest.approx(peer.recall_score(positives, called))
        assert found.specificity == pytest.approx(peer.recall_score(~positives, ~called))
        precision = peer.precision_score(positives, called, zero_division=np.nan)
        assert found.ppv == pytest.approx(precision, nan_ok=True)
        assert found.npv == pytest.approx(peer.precision_score(~positives, ~called))


@pytest.mark.parametrize("ties", [False, True])
def test_areas(ties: bool) -> None:
    draw = np.random.default_rng(3)
    labels = draw.integers(0, 5, 400)
    scores = np.exp(draw.normal(size=(400, 5)) + np.eye(5)[labels])
    scores = scores.round() + 1 if ties else scores
    scores /= scores.sum(axis=1, keepdims=True)
    found = own.areas(scores, labels)
    each = [peer.roc_auc_score(labels == k, scores[:, k]) for k in range(5)]
    np.testing.assert_allclose(found, each, atol=1e-12)
    macro = peer.roc_auc_score(labels, scores, multi_class="ovr", average="macro")
    assert found.mean() == pytest.approx(macro, abs=1e-12)
    few = labels < 3
    assert np.isnan(own.areas(scores[few], labels[few])).tolist() == [False] * 3 + [True] * 2
    alone = labels == 1
    assert np.isnan(own.areas(scores[alone], labels[alone])).all()


@pytest.mark.parametrize(
    ("scores", "positives", "least", "why"),
    [
        ([0.1, 0.2], [1, 1], 0.95, "no negative sample"),
        ([0.1, 0.2], [0, 1], 0.0, "want a rate above 0"),
        ([0.1, 0.2], [0, 1], 1.1, "want a rate above 0"),
        ([0.1, 0.2], [0, 1], np.nan, "want a rate above 0"),
        ([np.nan, 0.2], [0, 1], 0.9, "NaN"),
        ([0.1], [0, 1], 0.9, "for samples of"),
    ],
)
def test_refused(scores: Any, positives: Any, least: float, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        own.specific(np.array(scores), np.array(positives), least)


def test_no_positive() -> None:
    with pytest.raises(ValueError, match="no positive sample"):
        own.sensitive(np.array([0.1, 0.2]), np.zeros(2), 0.9)
