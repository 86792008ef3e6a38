"""tasks.metrics of fixations against pysaliency's values, scikit-learn and scipy."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from scipy.integrate import trapezoid
from scipy.ndimage import gaussian_filter
from scipy.stats import entropy, pearsonr, zscore
from shared import folder
from sklearn.metrics import roc_auc_score

from tasks.metrics.fixation import information_gain, log_likelihood, nss, pixels
from tasks.metrics.maps import cc, kldiv, kldiv_mit, sim
from tasks.metrics.ranking import auc, auc_judd, auc_unfixated, shuffled_auc
from tasks.metrics.shuffled import OtherFixations

GOLDEN = folder("saliency") / "metrics_golden"
EXPECTED = json.loads((GOLDEN / "expected.json").read_text())
INPUTS = dict(np.load(GOLDEN / "inputs.npz"))
POINTS = np.stack([INPUTS["x"], INPUTS["y"]], axis=1)
IMAGES = INPUTS["n"]
NUMBERS = range(4)
SIZES = np.array(EXPECTED["sizes_hw"])
OWN = [POINTS[IMAGES == number] for number in NUMBERS]
TRUTHS = [INPUTS[f"empirical_{number}"] for number in NUMBERS]
BASELINES = [INPUTS[f"baseline_logdensity_{number}"] for number in NUMBERS]
OTHERS = OtherFixations(POINTS, IMAGES, SIZES)

Found = dict[str, Any]


def of_maps(name: str) -> Found:
    """Return what we make of the maps of one model, by the names of expected.json."""
    maps = [INPUTS[f"map_{name}_{number}"].astype(np.float64) for number in NUMBERS]
    uniform = [auc(*pair) for pair in zip(maps, OWN, strict=True)]
    shuffled = [shuffled_auc(maps[number], OWN[number], others_of(number)) for number in NUMBERS]
    steps = [nss(*pair) for pair in zip(maps, OWN, strict=True)]
    unfixated = [auc_unfixated(*pair).mean() for pair in zip(maps, OWN, strict=True)]
    pairs = list(zip(maps, TRUTHS, strict=True))
    return {
        "AUC_uniform_per_image": means(uniform),
        "AUC_uniform_mean_over_fixations": np.concatenate(uniform).mean(),
        "AUC_uniform_mean_over_images": np.mean(means(uniform)),
        "AUC_uniform_per_fixation": np.concatenate(uniform),
        "AUC_Judd_no_jitter": np.mean([auc_judd(*pair) for pair in zip(maps, OWN, strict=True)]),
        "AUC_unfixated_all_thresholds_per_image": unfixated,
        "sAUC_shuffled_per_image": means(shuffled),
        "sAUC_shuffled_per_fixation": np.concatenate(shuffled),
        "NSS_per_fixation": np.concatenate(steps),
        "NSS_mean_over_fixations": np.concatenate(steps).mean(),
        "NSS_mean_over_images": np.mean(means(steps)),
        "CC_per_image": [cc(*pair) for pair in pairs],
        "SIM_per_image": [sim(*pair) for pair in pairs],
        "KLDiv_default_min1e-20_per_image": [kldiv(*pair) for pair in pairs],
        "KLDiv_MIT_per_image": [kldiv_mit(*pair) for pair in pairs],
    }


def of_density() -> Found:
    """Return what we make of the log density of the smooth model."""
    smooth = [INPUTS[f"map_smooth_{number}"].astype(np.float64) for number in NUMBERS]
    logs = [np.log(values / values.sum()) for values in smooth]
    pairs = list(zip(logs, OWN, strict=True))
    uniform = [information_gain(*pair) for pair in pairs]
    over = [information_gain(*three) for three in zip(logs, OWN, BASELINES, strict=True)]
    others = [counted(number, leave_out=number) for number in NUMBERS]
    over_others = [information_gain(*three) for three in zip(logs, OWN, others, strict=True)]
    crossed = [log_likelihood(*pair) for pair in zip(others, OWN, strict=True)]
    return {
        "log_likelihood_nats_per_fixation": np.concatenate([log_likelihood(*p) for p in pairs]),
        "IG_bits_vs_uniform_per_fixation": np.concatenate(uniform),
        "IG_bits_vs_uniform_mean": np.concatenate(uniform).mean(),
        "IG_bits_vs_uniform_mean_over_images": np.mean(means(uniform)),
        "IG_bits_vs_BaselineModel_per_fixation": np.concatenate(over),
        "IG_bits_vs_BaselineModel_mean": np.concatenate(over).mean(),
        "IG_bits_vs_CrossvalidatedBaselineModel_mean": np.concatenate(over_others).mean(),
        "CrossvalidatedBaselineModel_log_likelihood_nats_per_fixation": np.concatenate(crossed),
    }


def counted(number: int, leave_out: int | None) -> Any:
    """Return pysaliency's baseline: counts blurred, then a share of the uniform density."""
    height, width = SIZES[number]
    facts = EXPECTED["probabilistic_smooth"]
    sigma = [facts["baseline_bandwidth"] * length for length in (height, width)]
    there = OTHERS.pixels(height, width, leave_out)
    counts = np.bincount(there, minlength=height * width).reshape(height, width)
    density = gaussian_filter(counts.astype(np.float64), sigma) * (1 - facts["baseline_eps"])
    density += facts["baseline_eps"] / density.size
    return np.log(density / density.sum())


def others_of(number: int) -> Any:
    """Return the negatives of one image, pixels of its size."""
    height, width = SIZES[number]
    return OTHERS.pixels(height, width, number)


def means(values: list[Any]) -> list[float]:
    """Return the mean of each image."""
    return [float(of_image.mean()) for of_image in values]


@pytest.mark.parametrize("name", EXPECTED["models"])
def test_maps_equal_pysaliency(name: str) -> None:
    equal(of_maps(name), EXPECTED["models"][name])


def test_densities_equal_pysaliency() -> None:
    settings = {"baseline_bandwidth", "baseline_eps"}
    want = EXPECTED["probabilistic_smooth"]
    equal(of_density(), {key: value for key, value in want.items() if key not in settings})


def equal(found: Found, want: Found) -> None:
    """Check every value that is wanted, none forgotten: counts of each fixation to the bit."""
    assert set(found) == set(want)
    for key, value in want.items():
        if "AUC_" in key and key.endswith("per_fixation"):
            np.testing.assert_array_equal(found[key], value, err_msg=key)
        np.testing.assert_allclose(found[key], value, rtol=1e-9, atol=1e-14, err_msg=key)


def test_inputs_equal_pysaliency() -> None:
    """The maps that others are compared with are counts of OtherFixations, blurred."""
    names = {"pysaliency", "numpy", "kernel_size_of_empirical_map", "gaussian_mode", "sizes_hw"}
    assert set(EXPECTED) == names | {"models", "probabilistic_smooth"}
    sigma, mode = EXPECTED["kernel_size_of_empirical_map"], EXPECTED["gaussian_mode"]
    for number in NUMBERS:
        height, width = SIZES[number]
        counts = np.bincount(pixels(OWN[number], height, width), minlength=height * width)
        blurred = gaussian_filter(counts.reshape(height, width).astype(float), sigma, mode=mode)
        np.testing.assert_allclose(blurred, TRUTHS[number], atol=1e-14)
        np.testing.assert_allclose(counted(number, None), BASELINES[number], atol=1e-12)


def values(seed: int, levels: int) -> tuple[Any, Any]:
    """Return a map with so many levels (0: no ties) and points with repeats."""
    random = np.random.default_rng(seed)
    made = random.normal(size=(31, 47))
    saliency = np.round(made * levels / 6) if levels else made
    points = random.uniform(0, (47, 31), size=(80, 2))
    return saliency, np.concatenate([points, points[:7]])


@pytest.mark.parametrize("levels", [0, 3, 20])
@pytest.mark.parametrize("seed", range(3))
def test_areas_equal_sklearn(seed: int, levels: int) -> None:
    saliency, points = values(seed, levels)
    flat, index = saliency.ravel(), pixels(points, *saliency.shape)
    negatives = np.random.default_rng(seed).integers(0, flat.size, 500)
    free = np.setdiff1d(np.arange(flat.size), index)
    for found, others in (
        (auc(saliency, points), np.arange(flat.size)),
        (auc_unfixated(saliency, points), free),
        (shuffled_auc(saliency, points, negatives), negatives),
    ):
        truth = np.r_[np.ones(len(index)), np.zeros(len(others))]
        want = roc_auc_score(truth, np.r_[flat[index], flat[others]])
        assert found.mean() == pytest.approx(want, rel=1e-12)
    assert auc_judd(saliency, points) == pytest.approx(judd(flat[index], flat[free]), rel=1e-12)


def judd(positives: Any, negatives: Any) -> float:
    """Return AUC_Judd by counting at each threshold."""
    steps = sorted(set(positives), reverse=True)
    hits = [0, *(np.mean(positives >= step) for step in steps), 1]
    false = [0, *(np.mean(negatives >= step) for step in steps), 1]
    return float(trapezoid(hits, false))


def test_jitter_breaks_ties() -> None:
    saliency, points = values(0, 3)
    apart, plain = values(0, 0)[0], auc_judd(saliency, points)
    noisy = [auc_judd(saliency, points, noise=np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert noisy[0] == noisy[1] != noisy[2] != plain
    noise = np.random.default_rng(0)
    assert auc_judd(apart, points, noise=noise) == pytest.approx(auc_judd(apart, points), abs=1e-4)


def test_sorted_values_change_nothing() -> None:
    saliency, points = values(0, 20)
    ordered = np.sort(saliency, axis=None)
    for metric in (auc, auc_unfixated, auc_judd):
        np.testing.assert_array_equal(metric(saliency, points, ordered), metric(saliency, points))


def test_maps_equal_scipy() -> None:
    random = np.random.default_rng(0)
    a, b = random.random((2, 31, 47))
    p, q = a / a.sum(), b / b.sum()
    assert cc(a, b) == pytest.approx(pearsonr(a.ravel(), b.ravel()).statistic, rel=1e-12)
    for metric in (kldiv, kldiv_mit):
        assert metric(a, b) == pytest.approx(entropy(q.ravel(), p.ravel()), rel=1e-10)
    assert sim(a, b) == pytest.approx(1 - np.abs(p - q).sum() / 2, rel=1e-12)
    points = random.uniform(0, (47, 31), size=(20, 2))
    want = zscore(a, axis=None)[tuple(points.astype(int).T[::-1])]
    np.testing.assert_allclose(nss(a, points), want, rtol=1e-12)


def test_constant_and_empty_maps() -> None:
    flat, ramp = np.full((4, 5), 0.1), np.arange(20.0).reshape(4, 5)
    points = np.array([[0.0, 0.0], [4.99, 3.99]])
    assert cc(flat, ramp) == cc(ramp, flat) == cc(flat, flat) == 0
    assert nss(flat, points).tolist() == [0, 0]
    assert sim(np.zeros((4, 5)), flat) == sim(flat, flat) == pytest.approx(1)
    assert kldiv_mit(np.zeros((4, 5)), flat) == pytest.approx(0, abs=1e-12)
    everywhere = np.stack(np.meshgrid(np.arange(5.0), np.arange(4.0)), -1).reshape(-1, 2)
    assert np.isnan(auc_judd(ramp, everywhere))
    assert np.isnan(auc_unfixated(ramp, everywhere)).all()
    assert np.isnan(shuffled_auc(ramp, points, np.zeros(0, np.int64))).all()


def test_others_keep_whole_pixels() -> None:
    """Whole x of images of one size stay where they are; others are scaled, then cut."""
    x = np.arange(1920.0)
    points = np.stack([x, np.zeros(1920)], axis=1)
    others = OtherFixations(points, np.arange(1920) % 2, np.array([[1080, 1920], [1080, 1920]]))
    assert others.pixels(1080, 1920, 0).tolist() == list(range(1, 1920, 2))
    assert sorted(others.pixels(1080, 1920)) == list(range(1920))
    half = np.repeat(np.arange(960), 2)
    assert sorted(others.pixels(540, 960)) == half.tolist()
    edge = np.array([[np.nextafter(7, 0), np.nextafter(3, 0)]])
    other = OtherFixations(edge, np.array([1]), np.array([[9, 9], [3, 7]]))
    assert other.pixels(5, 10, 0).tolist() == [49]
    assert other.pixels(5, 10, 1).size == 0


@pytest.mark.parametrize("point", [(-0.1, 0), (0, 4), (5, 0), (float("nan"), 0)])
def test_points_outside(point: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=r"outside of 5 x 4 px"):
        nss(np.zeros((4, 5)), np.array([(0.0, 0.0), point]))
    with pytest.raises(ValueError, match="outside of its image"):
        OtherFixations(np.array([point]), np.array([0]), np.array([[4, 5]]))


def test_bad_arguments() -> None:
    flat, points = np.zeros((4, 5)), np.zeros((1, 2))
    with pytest.raises(ValueError, match=r"\(N, 2\)"):
        nss(flat, np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"\(H, W\)"):
        nss(flat[0], points)
    with pytest.raises(ValueError, match="baseline of"):
        information_gain(flat, points, flat.T)
    for metric in (cc, kldiv, kldiv_mit, sim):
        with pytest.raises(ValueError, match="one size"):
            metric(flat, flat.T)
