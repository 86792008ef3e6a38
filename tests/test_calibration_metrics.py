"""Calibration errors, Brier score and NLL against torchmetrics, scikit-learn, netcal, by hand."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss
from torch.nn import functional as F
from torchmetrics.functional.classification import multiclass_calibration_error

from tasks.metrics import calibration as own

CLASSES, BINS = 7, 15
# Of HAM10000, in the order in which the origin numbered them: akiec bcc bkl df nv mel vasc.
HAM = (327, 514, 1099, 115, 6705, 1113, 142)


@pytest.fixture(params=range(6))
def case(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    """Return logits (N, C) and labels (N,); in odd cases some confidences are exactly 1."""
    draw = np.random.default_rng(request.param)
    labels = draw.integers(0, CLASSES, 1202)
    logits = draw.normal(size=(1202, CLASSES)) * 2 + 1.5 * np.eye(CLASSES)[labels]
    if request.param % 2:
        logits[::9] *= 400
        assert (softmax(logits, axis=1).max(axis=1) == 1).sum() > 50
    return logits, labels


def by_hand(confidence: Any, correct: Any, edges: Any) -> tuple[float, float]:
    """Return ECE and MCE as the definition says it, bin by bin, (low, high]."""
    expected, largest = 0.0, 0.0
    for i, (low, high) in enumerate(pairwise(edges)):
        inside = (confidence > low) & (confidence <= high) | (i == 0) & (confidence <= low)
        if inside.any():
            gap = abs(correct[inside].mean() - confidence[inside].mean())
            expected, largest = expected + gap * inside.mean(), max(largest, gap)
    return expected, largest


def test_ece_and_mce_by_definition(case: tuple[Any, Any]) -> None:
    logits, labels = case
    p = softmax(logits, axis=1)
    edges = np.arange(BINS + 1) / BINS
    ece, mce = by_hand(p.max(axis=1), p.argmax(axis=1) == labels, edges)
    assert own.ece(p, labels) == pytest.approx(ece, abs=1e-12)
    assert own.mce(p, labels) == pytest.approx(mce, abs=1e-12)


def test_bins_are_sklearns(case: tuple[Any, Any]) -> None:
    """Its calibration_curve, with equal widths and with quantiles."""
    logits, labels = case
    p = softmax(logits, axis=1)
    confidence, correct = own.top(p, labels)
    for strategy, edges in (
        ("uniform", None),
        ("quantile", np.percentile(confidence, np.linspace(0, 100, BINS + 1))),
    ):
        true, said = calibration_curve(correct, confidence, n_bins=BINS, strategy=strategy)
        found = own.reliability(confidence, correct, edges)
        there = found.counts > 0
        np.testing.assert_allclose(found.accuracy[there], true, atol=1e-12)
        np.testing.assert_allclose(found.confidence[there], said, atol=1e-12)
        assert np.isnan(found.accuracy[~there]).all() and found.counts.sum() == len(labels)
    assert found.counts @ found.gaps / len(labels) == pytest.approx(own.adaptive_ece(p, labels))


def test_torchmetrics_agrees_but_for_confidence_1(case: tuple[Any, Any]) -> None:
    """Samples of confidence 1 in float32 sit in a sixteenth bin there: its issue 3510."""
    logits, labels = case
    p = softmax(logits, axis=1)
    tensors = torch.from_numpy(p), torch.from_numpy(labels)
    theirs = {
        norm: float(multiclass_calibration_error(*tensors, CLASSES, BINS, norm))
        for norm in ("l1", "max")
    }
    confidence, correct = own.top(p, labels)
    if not (confidence == 1).any():
        assert own.ece(p, labels) == pytest.approx(theirs["l1"], abs=1e-6)
        assert own.mce(p, labels) == pytest.approx(theirs["max"], abs=1e-6)
        return
    confidence = confidence.astype(np.float32).astype(float)  # where more of them are 1
    edges = np.append(np.linspace(0, 1, BINS + 1)[:-1], [np.nextafter(1, 0), 1])
    wrong = by_hand(confidence, correct, edges)
    assert theirs["l1"] == pytest.approx(wrong[0], abs=1e-6)
    assert theirs["max"] == pytest.approx(wrong[1], abs=1e-6)
    assert theirs["l1"] >= own.ece(p, labels) - 1e-6  # cutting a bin in two never lowers the error


def test_confidence_1_by_hand() -> None:
    """Four of confidence 1, half of them right, and four of 0.95, all right: one bin.

    Where torchmetrics says the same, it was mended.
    """
    p = np.array([[1.0, 0.0]] * 4 + [[0.95, 0.05]] * 4)
    labels = np.array([0, 0, 1, 1, 0, 0, 0, 0])
    assert own.ece(p, labels) == pytest.approx(abs(0.75 - 0.975))
    theirs = multiclass_calibration_error(torch.from_numpy(p), torch.from_numpy(labels), 2, BINS)
    assert float(theirs) == pytest.approx((0.5 + 0.05) / 2)
    found = own.reliability(np.array([0.0, 1.0, 1 / 3]), np.array([0, 1, 1]))
    assert np.flatnonzero(found.counts).tolist() == [0, 4, 14]  # 1/3 is the end of the fifth bin


def test_netcal(case: tuple[Any, Any]) -> None:
    """It clips by one ulp, and bins are [low, high): no matter here, no confidence is an edge."""
    metrics = pytest.importorskip("netcal.metrics")
    logits, labels = case
    p = softmax(logits, axis=1)
    assert own.ece(p, labels) == pytest.approx(metrics.ECE(BINS).measure(p, labels), abs=1e-6)
    assert own.mce(p, labels) == pytest.approx(metrics.MCE(BINS).measure(p, labels), abs=1e-6)
    each = [
        metrics.ECE(BINS, detection=True).measure(p[:, k], (labels == k).astype(int))
        for k in range(CLASSES)
    ]
    assert own.classwise_ece(p, labels) == pytest.approx(np.mean(each), abs=1e-6)
    if not (p.max(axis=1) == 1).any():
        equal_mass = metrics.ECE(BINS, equal_intervals=False).measure(p, labels)
        assert own.adaptive_ece(p, labels) == pytest.approx(equal_mass, abs=1e-6)


def test_brier_and_nll(case: tuple[Any, Any]) -> None:
    logits, labels = case
    p = softmax(logits, axis=1)
    every = list(range(CLASSES))
    assert own.brier(p, labels) == pytest.approx(brier_score_loss(labels, p, labels=every))
    theirs = F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels))
    assert own.nll(logits, labels) == pytest.approx(float(theirs), abs=1e-12)
    if not (p == 0).any():
        assert own.nll(logits, labels) == pytest.approx(log_loss(labels, p, labels=every))


def test_brier_is_a_sum_over_classes() -> None:
    """Sure and wrong costs 2; the origin's mean over classes would say 2 / C."""
    assert own.brier(np.eye(CLASSES)[[0]], np.array([1])) == 2
    assert own.brier(np.eye(CLASSES)[[0]], np.array([0])) == 0


def origins_ece(confidence: Any, accuracies: Any) -> float:
    """Return the binned error as the origin computes it; whatever it is given as accuracies."""
    return by_hand(confidence, accuracies, np.linspace(0, 1, BINS + 1))[0]


def test_class_ids_are_no_accuracies() -> None:
    """The origin's ECE averaged class ids: 2.73 on HAM10000, printed as 2.73 %, for any network.

    Ours takes probabilities and labels, so that there is nothing to mistake; the piece below it
    refuses class ids.
    """
    draw = np.random.default_rng(0)
    labels = np.repeat(np.arange(len(HAM)), HAM)
    assert labels.mean() == pytest.approx(3.62, abs=0.01)
    confidence = draw.beta(8, 1, len(labels)).clip(0.3)  # mean 0.89, like the origin's networks
    said = np.where(draw.random(len(labels)) < confidence, labels, (labels + 1) % len(HAM))
    p = np.repeat((1 - confidence)[:, None] / (len(HAM) - 1), len(HAM), axis=1)
    p[np.arange(len(labels)), said] = confidence
    assert confidence.mean() == pytest.approx(0.89, abs=0.01)
    assert origins_ece(confidence, labels) == pytest.approx(2.73, abs=0.02)
    assert own.ece(p, labels) < 0.01  # these confidences come true
    assert own.ece(p, labels) == pytest.approx(origins_ece(confidence, said == labels))
    with pytest.raises(ValueError, match="not class numbers"):
        own.reliability(confidence, labels)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_errors_are_shares_whatever_comes(data: st.DataObject) -> None:
    """On a coarse grid, so that edges and ties are hit; order and empty bins are of no matter."""
    count = data.draw(st.integers(1, 40))
    grid = st.lists(st.integers(0, 30), min_size=3, max_size=3).filter(any)
    rows = np.array(data.draw(st.lists(grid, min_size=count, max_size=count)), float)
    p = rows / rows.sum(axis=1, keepdims=True)
    classes = st.lists(st.integers(0, 2), min_size=count, max_size=count)
    labels = np.array(data.draw(classes))
    confidence, correct = own.top(p, labels)
    expected, largest = by_hand(confidence, correct, np.linspace(0, 1, BINS + 1))
    assert own.ece(p, labels) == pytest.approx(expected, abs=1e-12)
    assert own.mce(p, labels) == pytest.approx(largest, abs=1e-12)
    assert 0 <= own.ece(p, labels) <= own.mce(p, labels) + 1e-12 <= 1 + 1e-12
    order = np.random.default_rng(0).permutation(count)
    for figure in (own.ece, own.mce, own.adaptive_ece, own.classwise_ece, own.brier):
        assert figure(p[order], labels[order]) == pytest.approx(figure(p, labels), abs=1e-12)


@pytest.mark.parametrize(
    ("p", "labels", "why"),
    [
        ([[0.5, 0.4]], [0], "sum to 1"),
        ([[1.5, -0.5]], [0], "sum to 1"),
        ([[np.nan, 1.0]], [0], "sum to 1"),
        ([[0.5, 0.5]], [2], "of 2 classes"),
        ([[0.5, 0.5]], [0, 1], "a label for each of 1 rows"),
        (np.zeros((0, 2)), np.zeros(0, int), "at least one"),
    ],
)
def test_what_is_no_probability(p: Any, labels: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        own.ece(np.array(p), np.array(labels))
