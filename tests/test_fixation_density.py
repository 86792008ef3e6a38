"""tasks.metrics.density and .centre against scipy's filter and a direct sum of Gaussians."""

from __future__ import annotations

import csv
import math
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.special import logsumexp
from shared import folder

from tasks.metrics.centre import BANDWIDTH, UNIFORM_SHARE, CentreBias, fitted
from tasks.metrics.density import Sigma, blur, fixation_map
from tasks.metrics.fixation import information_gain


def points_of(count: int, width: float, height: float) -> Any:
    """Return points, more in the middle, some repeated."""
    random = np.random.default_rng(0)
    points = np.clip(random.normal(0.5, 0.25, (count, 2)), 0, 0.999) * (width, height)
    return np.concatenate([points, points[:3]])


@pytest.mark.parametrize("sigma", [1.0, 2.5, 8.0, (3.0, 9.5), 200.0])
def test_blur_equals_scipy(sigma: Sigma) -> None:
    """scipy's is cut far out; at its usual 4 sigma it is 1e-4 off."""
    values = np.random.default_rng(0).random((67, 90)) ** 3
    axes = sigma[::-1] if isinstance(sigma, tuple) else sigma
    want = gaussian_filter(values, axes, mode="constant", truncate=10)
    if sigma == 1.0:  # samples of so narrow a Gaussian sum to 1 + 5e-9 an axis, scipy's to 1
        want = want * (1 + 2 * math.exp(-2 * math.pi**2)) ** 2
    np.testing.assert_allclose(blur(values, sigma), want, atol=1e-13, rtol=1e-12)
    coarse = gaussian_filter(values, axes, mode="constant")
    np.testing.assert_allclose(blur(values, sigma), coarse, rtol=2e-4)


def test_map_of_points_is_the_counts_blurred() -> None:
    points = points_of(40, 90, 67)
    counts = np.zeros((67, 90))
    np.add.at(counts, tuple(points.astype(int).T[::-1]), 1)
    found = fixation_map(points, 67, 90, (3.0, 5.0))
    np.testing.assert_allclose(found, blur(counts, (3.0, 5.0)), atol=1e-14)
    assert found.min() >= 0
    middle = fixation_map(np.array([[100.0, 100.0]]), 201, 201, 10)
    assert middle.sum() == pytest.approx(1, abs=1e-12)
    assert divmod(int(middle.argmax()), 201) == (100, 100)


@pytest.mark.parametrize("sigma", [0.0, 0.9, -3.0, math.nan, math.inf, (5.0, 0.5)])
def test_sigma_too_small(sigma: Sigma) -> None:
    with pytest.raises(ValueError, match="sigma of 1 px or more"):
        blur(np.zeros((5, 5)), sigma)


def real() -> tuple[Any, Any, Any]:
    """Return points (pixels), image numbers and sizes (height, width) of 30 stimuli of MIT1003."""
    data = folder("saliency")
    with open(data / "mit1003_names_sizes.csv", newline="") as file:
        sizes = {
            row["stem"]: (int(row["height"]), int(row["width"])) for row in csv.DictReader(file)
        }
    with open(data / "mit1003_real" / "fixations.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["fixation_index"] != "0" and row["x_px"]]
    names = sorted({row["stimulus"] for row in rows})
    points = np.array([(float(row["x_px"]), float(row["y_px"])) for row in rows])
    images = np.array([names.index(row["stimulus"]) for row in rows])
    shapes = np.array([sizes[name] for name in names])
    inside = ((points >= 0) & (points < shapes[images][:, ::-1])).all(axis=1)
    return points[inside], images[inside], shapes


def kernels(length: int, along: Any) -> Any:
    """Return the Gaussian of each point, at the pixel centres of an axis: (length, M)."""
    centres = (np.arange(length) + 0.5) / length
    return np.exp(-0.5 * ((centres[:, None] - along) / BANDWIDTH) ** 2)


def test_leaving_one_out_equals_direct_sums() -> None:
    """All 30 stimuli, at their fixations and at other pixels: the same to 1e-9."""
    points, images, sizes = real()
    relative = points / sizes[images][:, ::-1]
    bias = CentreBias(relative)
    random = np.random.default_rng(0)
    ys = {height: kernels(height, relative[:, 1]) for height in set(sizes[:, 0])}
    xs = {width: kernels(width, relative[:, 0]) for width in set(sizes[:, 1])}
    assert len(sizes) == 30
    for number, (height, width) in enumerate(sizes):
        mine = images == number
        found = bias.log_density(height, width, relative[mine])
        assert abs(logsumexp(found)) < 1e-9
        anywhere = random.integers(0, (width, height), (300, 2))
        column, row = np.concatenate([points[mine].astype(int), anywhere]).T
        x, y = xs[width], ys[height]
        mass = (x.sum(axis=0) * y.sum(axis=0))[~mine].sum()
        want = (x[column] * y[row])[:, ~mine].sum(axis=1) / mass
        want = np.log((1 - UNIFORM_SHARE) * want + UNIFORM_SHARE / (height * width))
        np.testing.assert_allclose(found[row, column], want, atol=1e-9)
        alone = CentreBias(relative[~mine]).log_density(height, width)
        np.testing.assert_allclose(found, alone, atol=1e-9)


def test_gain_is_the_same_at_every_size() -> None:
    """Densities are per pixel and sum to 1: the gain over uniform must not know the size."""
    points, images, sizes = real()
    relative = points / sizes[images][:, ::-1]
    bias = CentreBias(relative, bandwidth=0.06)
    own = relative[images == 0]
    continuous = bias.gain(own).mean()
    for height, width in ((96, 128), (300, 200), (768, 1024), (1080, 1920)):
        map_ = bias.log_density(height, width, own)
        gain = information_gain(map_, own * (width, height)).mean()
        assert gain == pytest.approx(continuous, abs=0.005)


def test_fitted_bandwidth_foretells_best() -> None:
    """30 images want a wider Gaussian than 1,003: by 0.07 bit."""
    points, images, sizes = real()
    relative = points / sizes[images][:, ::-1]
    shuffled = np.random.default_rng(0).permutation(len(points))
    best = fitted(relative[shuffled], images[shuffled])
    own = [relative[images == number] for number in range(30)]
    gains = {
        bandwidth: np.concatenate([CentreBias(relative, bandwidth).gain(of) for of in own]).mean()
        for bandwidth in (BANDWIDTH, 0.04, best.bandwidth, 0.1)
    }
    assert max(gains, key=lambda width: gains[width]) == best.bandwidth
    assert gains[best.bandwidth] - gains[BANDWIDTH] == pytest.approx(0.07, abs=0.01)


def test_nothing_left_is_uniform() -> None:
    points = points_of(10, 1, 1)
    for bias, own in ((CentreBias(points), points), (CentreBias(np.zeros((0, 2))), None)):
        found = bias.log_density(6, 7, own)
        np.testing.assert_allclose(found, -math.log(42))
    assert CentreBias(points).gain(points).tolist() == [0] * len(points)
    everything = CentreBias(points, uniform_share=1).grid_log_density(5)
    np.testing.assert_allclose(everything, -math.log(25))


def test_many_points_come_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    points = points_of(100, 1, 1)
    want = CentreBias(points).grid_log_density(32)
    monkeypatch.setattr("tasks.metrics.centre.CHUNK", 7)
    np.testing.assert_allclose(CentreBias(points).grid_log_density(32), want, atol=1e-12)


def test_bad_arguments() -> None:
    points = np.full((2, 2), 0.5)
    for wrong in (points * 3, -points, points * math.nan):
        with pytest.raises(ValueError, match="want relative points"):
            CentreBias(wrong)
    with pytest.raises(ValueError, match=r"\(M, 2\)"):
        CentreBias(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="uniform share"):
        CentreBias(points, uniform_share=0)
    with pytest.raises(ValueError, match="bandwidth"):
        CentreBias(points, bandwidth=20)
    with pytest.raises(ValueError, match="3 points to leave out of 2"):
        CentreBias(points).log_density(4, 4, np.full((3, 2), 0.5))
    strangers = CentreBias(np.full((9, 2), 0.2))
    for fails in (strangers.gain, lambda own: strangers.log_density(40, 50, own)):
        with pytest.raises(ValueError, match="not among those of the centre bias"):
            fails(np.full((2, 2), 0.7))
