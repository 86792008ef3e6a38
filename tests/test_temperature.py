"""The temperature against scikit-learn, netcal and a plain search; what has none is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator

from tasks.classes.temperature import HIGHEST, LOWEST, fit
from tasks.metrics.calibration import ece, nll

CLASSES = 7


def drawn(seed: int, true: float = 1.6, count: int = 900) -> tuple[Any, Any]:
    """Return logits that tell `true` times too much, and labels (N,)."""
    draw = np.random.default_rng(seed)
    honest = draw.normal(size=(count, CLASSES)) * 2
    p = softmax(honest, axis=1)
    labels = (p.cumsum(axis=1) < draw.random((count, 1))).sum(axis=1).clip(max=CLASSES - 1)
    return honest * true, labels


@pytest.mark.parametrize("true", [0.02, 0.7, 1.0, 1.6, 40.0])
def test_a_known_temperature_is_found(true: float) -> None:
    logits, labels = drawn(1, true, 20_000)
    found = fit(logits, labels)
    assert found == pytest.approx(true, rel=0.03)
    assert nll(logits / found, labels) <= nll(logits, labels)
    if true >= 1.6:
        assert ece(softmax(logits / found, axis=1), labels) < 0.02
        assert ece(softmax(logits, axis=1), labels) > 0.05


class Logits(ClassifierMixin, BaseEstimator):
    """Gives scikit-learn the logits that it is given."""

    def fit(self, x: Any, y: Any) -> Logits:
        self.classes_ = np.unique(y)
        return self

    def decision_function(self, x: Any) -> Any:
        return x

    def predict(self, x: Any) -> Any:
        return x.argmax(axis=1)


def of_scikit_learn(logits: Any, labels: Any) -> Any:
    """Return its classifier, calibrated."""
    frozen = FrozenEstimator(Logits().fit(logits, labels))
    return CalibratedClassifierCV(frozen, method="temperature", ensemble=False).fit(logits, labels)


def its_temperature(peer: Any) -> float:
    return 1 / float(peer.calibrated_classifiers_[0].calibrators[0].beta_)


@pytest.mark.parametrize("seed", range(4))
def test_scikit_learn_finds_the_same(seed: int) -> None:
    logits, labels = drawn(seed)
    peer, own = of_scikit_learn(logits, labels), fit(logits, labels)
    assert own == pytest.approx(its_temperature(peer), abs=1e-6)
    np.testing.assert_allclose(
        softmax(logits / own, axis=1), peer.predict_proba(logits), rtol=0, atol=1e-6
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_netcal_finds_the_same() -> None:
    """It gets probabilities, its number is 1 / T, and it stops a little early."""
    scaling = pytest.importorskip("netcal.scaling")
    logits, labels = drawn(5)
    peer = scaling.TemperatureScaling()
    peer.fit(softmax(logits, axis=1), labels)
    assert fit(logits, labels) == pytest.approx(1 / peer.temperature[0], rel=1e-3)


@pytest.mark.parametrize("seed", range(4))
def test_no_other_temperature_is_better(seed: int) -> None:
    """To the last bits of the NLL, also of far too sharp logits (probabilities of exactly 1)."""
    logits, labels = drawn(seed, true=(0.1, 1, 30, 300)[seed])
    found = fit(logits, labels)
    plain = minimize_scalar(
        lambda u: nll(logits / np.exp(u), labels), bounds=(-6, 6), options={"xatol": 1e-10}
    )
    assert plain.success and found == pytest.approx(np.exp(plain.x), rel=1e-5)
    assert nll(logits / found, labels) <= plain.fun + 1e-12


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.01, 100), st.integers(2, 6))
def test_the_class_that_is_told_never_changes(seed: int, spread: float, classes: int) -> None:
    """Logits as a network gives them: float32."""
    draw = np.random.default_rng(seed)
    logits = (draw.normal(size=(50, classes)) * spread).astype(np.float32).astype(np.float64)
    labels = np.where(draw.random(50) < 0.6, logits.argmax(axis=1), draw.integers(0, classes, 50))
    try:
        found = fit(logits, labels)
    except ValueError:
        return
    assert LOWEST < found < HIGHEST
    np.testing.assert_array_equal((logits / found).argmax(axis=1), logits.argmax(axis=1))


def test_constants_and_scales_are_of_no_matter() -> None:
    logits, labels = drawn(2)
    found = fit(logits, labels)
    assert fit(logits + 1000 * np.arange(len(labels))[:, None], labels) == pytest.approx(found)
    assert fit(logits * 7, labels) == pytest.approx(7 * found)


EYE = np.eye(3)[np.array([0, 1, 2, 0, 1, 2])]
TRUTH = np.array([0, 1, 2, 0, 1, 2])


@pytest.mark.parametrize(
    ("logits", "labels", "why"),
    [
        (EYE, TRUTH, "falls down to T = 0.001, every one of these 6 samples is told right"),
        (EYE * 1e4, TRUTH, "falls down to T"),
        (-EYE, TRUTH, "falls up to T = 1000, the logits know less than chance"),
        (np.zeros((6, 3)), TRUTH, "all logits of a sample are equal"),
        (np.where(EYE > 0, np.nan, 0), TRUTH, "logits of row 0 are not finite"),
        (np.where(np.arange(6)[:, None] == 4, np.inf, EYE), TRUTH, "logits of row 4"),
        (EYE[:1], TRUTH[:1], "1 samples of 3 classes"),
        (EYE[:, :1], np.zeros(6, int), "6 samples of 1 classes"),
        (EYE, np.ones(6, int), "all 6 samples are of class 1"),
        (EYE, TRUTH + 1, "labels go from 1 to 3, of 3 classes"),
        (EYE, TRUTH[:4], "labels of"),
    ],
)
def test_what_has_no_temperature(logits: Any, labels: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why) as error:
        fit(logits, labels)
    assert "\n" not in str(error.value)


def test_scikit_learn_says_nothing_at_its_bound() -> None:
    """Why there is own code: where no temperature exists, it returns one."""
    assert its_temperature(of_scikit_learn(np.tile(EYE, (5, 1)), np.tile(TRUTH, 5))) < 0.2
