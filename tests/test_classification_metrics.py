"""Metrics of classification against scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn import metrics as peer

from tasks.metrics import classification as own

CLASSES = 6


@pytest.fixture(params=range(6))
def case(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    """Return scores (N, C) and labels (N,); in odd cases a class has no sample."""
    draw = np.random.default_rng(request.param)
    labels = draw.integers(0, CLASSES - request.param % 2, 80)
    return draw.normal(size=(80, CLASSES)) + np.eye(CLASSES)[labels], labels


def test_a_matrix_and_what_follows_from_it(case: tuple[Any, Any]) -> None:
    scores, labels = case
    predicted = scores.argmax(axis=1)
    matrix = own.confusion(labels, predicted, CLASSES)
    every = range(CLASSES)
    np.testing.assert_array_equal(matrix, peer.confusion_matrix(labels, predicted, labels=every))
    assert own.accuracy(matrix) == pytest.approx(peer.accuracy_score(labels, predicted))
    balanced = peer.recall_score(labels, predicted, labels=np.unique(labels), average="macro")
    assert own.balanced_accuracy(matrix) == pytest.approx(balanced)
    f1 = peer.f1_score(labels, predicted, average="macro", zero_division=0)
    assert own.macro_f1(matrix) == pytest.approx(f1)
    settings: dict[str, Any] = {"labels": every, "average": None, "zero_division": np.nan}
    for function, other in ((own.recalls, "recall"), (own.precisions, "precision"), (own.f1, "f1")):
        wanted = getattr(peer, f"{other}_score")(labels, predicted, **settings)
        np.testing.assert_allclose(function(matrix), wanted)


def test_balanced_accuracy_is_sklearns() -> None:
    labels, predicted = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 2, 2])
    wanted = peer.balanced_accuracy_score(labels, predicted)
    assert own.balanced_accuracy(own.confusion(labels, predicted, 3)) == pytest.approx(wanted)


@pytest.mark.parametrize("k", range(1, CLASSES))
def test_top_k(case: tuple[Any, Any], k: int) -> None:
    scores, labels = case
    wanted = peer.top_k_accuracy_score(labels, scores, k=k, labels=range(CLASSES))
    assert own.hits(scores, labels, k).mean() == pytest.approx(wanted)


def test_of_equal_scores_the_first_comes_first() -> None:
    scores = np.array([[1.0, 1.0, 0.0]] * 3)
    assert own.places(scores, np.array([0, 1, 2])).tolist() == [0, 1, 2]
    assert own.places(np.zeros((4, 4)), np.arange(4)).tolist() == [0, 1, 2, 3]


def test_a_network_of_nans_is_never_right() -> None:
    scores = np.full((3, 5), np.nan)
    assert own.hits(scores, np.arange(3), 4).sum() == 0
    mixed = np.array([[np.nan, 2.0, 1.0]])
    assert own.hits(mixed, np.array([1])).sum() == 0
