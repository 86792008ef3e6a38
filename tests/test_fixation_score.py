"""tasks.metrics.score: all metrics of one image, equal to each alone, and what it refuses."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.special import log_softmax
from sklearn.metrics import roc_auc_score

from tasks.metrics.centre import CentreBias
from tasks.metrics.fixation import information_gain, nss
from tasks.metrics.maps import cc, kldiv, kldiv_mit, sim
from tasks.metrics.ranking import auc, auc_judd
from tasks.metrics.score import score
from tasks.metrics.shuffled import OtherFixations

HEIGHT, WIDTH, IMAGES, EACH = 60, 85, 5, 40
SIGMA = 4.0


class Scene:
    """Images of one size with fixations, and a log density that foretells those of image 0."""

    def __init__(self) -> None:
        random = np.random.default_rng(0)
        self.relative = np.clip(random.normal(0.5, 0.2, (IMAGES * EACH, 2)), 0, 0.999)
        self.points = self.relative * (WIDTH, HEIGHT)
        images = np.repeat(np.arange(IMAGES), EACH)
        others = OtherFixations(self.points, images, np.full((IMAGES, 2), (HEIGHT, WIDTH)))
        self.negatives = others.pixels(HEIGHT, WIDTH, 0)
        self.relative, self.own = self.relative[:EACH], self.points[:EACH]
        bias = CentreBias(self.points / (WIDTH, HEIGHT), 0.08)
        self.baseline = bias.log_density(HEIGHT, WIDTH, self.relative)
        counts = np.zeros((HEIGHT, WIDTH))
        np.add.at(counts, tuple(self.own.astype(int).T[::-1]), 1)
        self.counts = counts
        seen = gaussian_filter(counts, 6) + random.uniform(1e-3, 2e-3, counts.shape)
        self.logs = log_softmax(np.log(seen))

    def score(self, **changed: Any) -> dict[str, float]:
        """Return the scores, some arguments replaced."""
        given = {
            "log_density": self.logs,
            "points": self.own,
            "baseline": self.baseline,
            "negatives": self.negatives,
            "sigma_px": SIGMA,
        }
        return score(**(given | changed))


SCENE = Scene()


def test_each_score_is_its_metric() -> None:
    logs, own, found = SCENE.logs, SCENE.own, SCENE.score()
    blurred = gaussian_filter(np.exp(logs), SIGMA, mode="constant", truncate=9)
    truth = gaussian_filter(SCENE.counts, SIGMA, mode="constant", truncate=9)
    ratio = (logs - SCENE.baseline).ravel()
    index = own.astype(int) @ (1, WIDTH)
    labels = np.r_[np.ones(EACH), np.zeros(len(SCENE.negatives))]
    want = {
        "ll": information_gain(logs, own).mean(),
        "ig": information_gain(logs, own, SCENE.baseline).mean(),
        "nss": nss(np.exp(logs), own).mean(),
        "auc": auc(np.exp(logs), own).mean(),
        "auc_judd": auc_judd(np.exp(logs), own),
        "sauc": roc_auc_score(labels, ratio[np.r_[index, SCENE.negatives]]),
        "cc": cc(blurred, truth),
        "kldiv": kldiv(blurred, truth),
        "kldiv_mit": kldiv_mit(blurred, truth),
        "sim": sim(blurred, truth),
        "fixations": EACH,
    }
    assert list(found) == list(want)
    assert found == pytest.approx(want, rel=1e-8)
    assert all(type(value) is float for value in found.values())
    assert found["ig"] > 0.2
    assert found["sauc"] > 0.6


def test_float32_is_close() -> None:
    found = SCENE.score(log_density=SCENE.logs.astype(np.float32))
    assert found == pytest.approx(SCENE.score(), rel=1e-4)


def test_baseline_gains_nothing_over_itself() -> None:
    found = SCENE.score(log_density=SCENE.baseline)
    assert found["ig"] == 0
    assert found["sauc"] == 0.5
    flat = np.full((HEIGHT, WIDTH), -math.log(HEIGHT * WIDTH))
    found = SCENE.score(log_density=flat)
    assert found["ll"] == pytest.approx(0, abs=1e-12)
    assert found["nss"] == 0
    assert found["auc"] == found["auc_judd"] == 0.5


def test_sigma_along_each_axis() -> None:
    assert SCENE.score(sigma_px=(SIGMA, SIGMA)) == SCENE.score()
    assert SCENE.score(sigma_px=(SIGMA, 2 * SIGMA))["cc"] != SCENE.score()["cc"]


def test_no_probability_at_all() -> None:
    """A pixel with a fixation may have none: a gain of minus infinity, the others finite."""
    logs = SCENE.logs.copy()
    x, y = SCENE.own[0].astype(int)
    logs[y, x] = -math.inf
    found = SCENE.score(log_density=log_softmax(logs))
    assert found["ll"] == found["ig"] == -math.inf
    assert all(map(math.isfinite, (found[key] for key in found if key not in ("ll", "ig"))))


def test_threads_agree() -> None:
    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(lambda _: SCENE.score(), range(12)))
    assert all(run == runs[0] for run in runs)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"points": np.zeros((0, 2))}, "no fixation"),
        ({"log_density": SCENE.logs + math.log(HEIGHT * WIDTH)}, "log density sums to 5100"),
        ({"log_density": np.exp(SCENE.logs)}, "log density sums to"),
        ({"log_density": np.where(SCENE.counts > 0, math.nan, SCENE.logs)}, "sums to nan"),
        ({"log_density": SCENE.logs.ravel()}, r"\(H, W\)"),
        ({"baseline": SCENE.baseline / math.log(2)}, "baseline sums to"),
        ({"baseline": log_softmax(np.where(SCENE.counts > 0, -math.inf, 0))}, "0 somewhere"),
        ({"baseline": SCENE.baseline.T}, "baseline of"),
        ({"points": SCENE.own + WIDTH}, "outside of 85 x 60 px"),
    ],
)
def test_bad_arguments(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SCENE.score(**changed)
