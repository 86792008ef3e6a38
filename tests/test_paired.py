"""McNemar and DeLong against their definitions and scikit-learn; intervals over groups."""

from __future__ import annotations

from math import comb
from typing import Any

import numpy as np
import pytest
from scipy.stats import bootstrap as peer_bootstrap
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from tasks.metrics import bootstrap, paired


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (0, 5), (3, 9), (10, 10), (1, 30)])
def test_mcnemar_by_counting(only_a: int, only_b: int) -> None:
    a = np.r_[np.ones(only_a), np.zeros(only_b), np.ones(7), np.zeros(4)]
    b = np.r_[np.zeros(only_a), np.ones(only_b), np.ones(7), np.zeros(4)]
    found = paired.mcnemar(a, b)
    assert found[:2] == (only_a, only_b)
    n = only_a + only_b
    tail = sum(comb(n, k) for k in range(min(only_a, only_b) + 1)) / 2**n
    assert found.p == pytest.approx(min(1, 2 * tail))
    assert paired.mcnemar(b, a).p == found.p


def quadratic(a: Any, b: Any, positives: Any) -> tuple[float, float, float]:
    """Return areas and the variance of their difference as DeLong et al. define them, O(N²)."""
    parts = []
    for scores in (a, b):
        ones, others = scores[positives], scores[~positives]
        wins = (ones[:, None] > others) + 0.5 * (ones[:, None] == others)
        parts.append((wins.mean(axis=1), wins.mean(axis=0)))
    s10 = np.cov([part[0] for part in parts]) / positives.sum()
    s01 = np.cov([part[1] for part in parts]) / (~positives).sum()
    along = np.array([1, -1])
    return parts[0][0].mean(), parts[1][0].mean(), float(along @ (s10 + s01) @ along)


@pytest.mark.parametrize("seed", range(5))
def test_delong_is_its_definition(seed: int) -> None:
    """Also with ties, within a network and between positives and negatives."""
    draw = np.random.default_rng(seed)
    positives = draw.random(180) < 0.25
    a = draw.normal(size=180) + positives
    b = 0.6 * a + 0.6 * draw.normal(size=180) + 0.3 * positives
    if seed % 2:
        a, b = a.round(), (2 * b).round()
    found = paired.delong(a, b, positives)
    area_a, area_b, variance = quadratic(a, b, positives)
    assert found.area_a == pytest.approx(area_a, abs=1e-12)
    assert found.area_a == pytest.approx(roc_auc_score(positives, a), abs=1e-12)
    assert found.area_b == pytest.approx(roc_auc_score(positives, b), abs=1e-12)
    assert found.difference == pytest.approx(area_a - area_b, abs=1e-12)
    half = norm.ppf(0.975) * np.sqrt(variance)
    assert (found.low, found.high) == pytest.approx(
        (found.difference - half, found.difference + half)
    )
    assert found.p == pytest.approx(2 * norm.cdf(-abs(found.difference) / np.sqrt(variance)))
    back = paired.delong(b, a, positives)
    assert (back.difference, back.p) == pytest.approx((-found.difference, found.p))


def test_delong_keeps_its_level() -> None:
    """Two networks of equal worth: about one p in twenty is below 0.05."""
    draw, below = np.random.default_rng(0), 0
    for _ in range(400):
        positives = np.arange(120) < 40
        common = draw.normal(size=120) + positives
        a, b = (common + draw.normal(size=120) for _ in range(2))
        below += paired.delong(a, b, positives).p < 0.05
    assert 6 <= below <= 36


def test_delong_without_spread() -> None:
    scores, positives = np.arange(10.0), np.arange(10) > 5
    same = paired.delong(scores, scores, positives)
    assert same[2:] == (0, 0, 0, 1) and same.area_a == 1
    assert paired.delong(scores, -scores, positives)[2:] == (1, 1, 1, 0)


@pytest.mark.parametrize(
    ("a", "positives", "why"),
    [
        ([1.0, 2, 3], [0, 0, 1], "1 positives and 2 negatives"),
        ([1.0, np.nan, 3, 4], [0, 0, 1, 1], "no NaN"),
        ([1.0, 2, 3], [0, 0, 1, 1], "of 4 samples"),
    ],
)
def test_delong_refuses(a: Any, positives: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        paired.delong(np.array(a), np.array(a), np.array(positives))


def test_mcnemar_wants_the_same_samples() -> None:
    with pytest.raises(ValueError, match="not the same"):
        paired.mcnemar(np.ones(3), np.ones(4))


def test_groups_come_and_go_together() -> None:
    groups = np.array([7, 3, 7, 9, 3, 7])
    members = {7: [0, 2, 5], 3: [1, 4], 9: [3]}
    counts = np.zeros(6)
    for rows in bootstrap.draws(groups, 600, seed=1):
        found, times = np.unique(rows, return_counts=True)
        often = dict(zip(found.tolist(), times.tolist(), strict=True))
        for own in members.values():
            assert len({often.get(row, 0) for row in own}) == 1
        assert sum(often.get(own[0], 0) for own in members.values()) == 3  # so many groups
        counts[found] += times
    np.testing.assert_allclose(counts / 600, 1, atol=0.15)


def test_intervals_are_scipys() -> None:
    """Of single samples; both are random, so they agree to a tenth of their width."""
    values = np.random.default_rng(0).exponential(size=200)
    own = bootstrap.intervals(
        lambda rows: {"mean": values[rows].mean()}, np.arange(200), resamples=4000
    )["mean"]
    peer = peer_bootstrap(
        (values,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(5)
    ).confidence_interval
    assert own == pytest.approx(tuple(peer), abs=0.1 * (peer.high - peer.low))


def test_twins_tell_no_more_than_one() -> None:
    """Every sample five times: over groups the interval stays, over samples it would shrink."""
    values = np.random.default_rng(2).normal(size=80)
    five, groups = np.repeat(values, 5), np.repeat(np.arange(80), 5)

    def width(values: Any, groups: Any) -> float:
        low, high = bootstrap.intervals(lambda rows: {"m": values[rows].mean()}, groups)["m"]
        return high - low

    assert width(five, groups) == pytest.approx(width(values, np.arange(80)))  # the same draws
    assert width(five, np.arange(400)) < 0.6 * width(values, np.arange(80))


def test_seeded_and_blind_to_what_is_missing() -> None:
    groups = np.arange(12)

    def figures(rows: Any) -> dict[str, float]:
        rare = rows[rows < 1]
        return {"n": float(len(rows)), "rare": 1.0 if len(rare) else np.nan, "never": np.nan}

    found = bootstrap.intervals(figures, groups, resamples=50, seed=3)
    assert found["n"] == (12, 12) and found["rare"] == (1, 1)
    assert np.isnan(found["never"]).all()
    value = np.random.default_rng(0).random(12)
    one, two, other = (
        bootstrap.intervals(lambda rows: {"v": value[rows].mean()}, groups, seed=seed)
        for seed in (3, 3, 4)
    )
    assert one == two != other
