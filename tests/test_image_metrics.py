"""tasks.metrics.image against published scores, scikit-image and the formula."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from dataprep.bicubic import upscale
from tasks.metrics.image import luma, psnr, ssim, to_uint8

OUTSIDE = Path(
    os.environ.get("NOSTALL_TEST_DATA") or Path(__file__).resolve().parents[1] / "../shared/data"
)
SET5 = OUTSIDE / "sr" / "Set5"
NAMES = ("baby", "bird", "butterfly", "head", "woman")
RANDOM = np.random.default_rng(0)


def pair(height: int = 45, width: int = 60) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return a smooth picture and a noisy copy."""
    y, x = np.mgrid[:height, :width]
    clean = 128 + 90 * np.sin(np.stack([x / 5, y / 7, (x + y) / 9], -1))
    noisy = clean + RANDOM.normal(0, 12, clean.shape)
    return clean.astype(np.uint8), noisy.clip(0, 255).astype(np.uint8)


def read(path: Path) -> NDArray[np.uint8]:
    """Return the RGB pixels of a file, (H, W, 3)."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize(
    ("scale", "decibels", "similarity"),
    [(2, 33.673, 0.9303), (3, 30.403, 0.8689), (4, 28.429, 0.8111)],
)
def test_set5_of_bicubic(scale: int, decibels: float, similarity: float) -> None:
    if not SET5.is_dir():
        pytest.skip(f"no Set5 in {SET5}; set NOSTALL_TEST_DATA")
    scores = []
    for name in NAMES:
        sr = upscale(read(SET5 / "LR_bicubic" / f"X{scale}" / f"{name}x{scale}.png"), scale)
        hr = read(SET5 / "HR" / f"{name}.png")[: sr.shape[0], : sr.shape[1]]
        scores.append((psnr(sr, hr, scale), ssim(sr, hr, scale)))
    mean = np.mean(scores, axis=0)
    assert mean[0] == pytest.approx(decibels, abs=6e-4)
    assert mean[1] == pytest.approx(similarity, abs=6e-5)


@pytest.mark.parametrize("shave", [0, 3])
@pytest.mark.parametrize("channel", ["y", "rgb"])
def test_equals_skimage(shave: int, channel: Literal["y", "rgb"]) -> None:
    clean, noisy = pair()
    a, b = (i[shave : 45 - shave, shave : 60 - shave].astype(float) for i in (noisy, clean))
    if channel == "y":
        a, b = luma(a), luma(b)
    want = peak_signal_noise_ratio(b, a, data_range=255)
    assert psnr(noisy, clean, shave, channel) == pytest.approx(want, abs=1e-9)
    want = structural_similarity(
        a,
        b,
        data_range=255,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        channel_axis=-1 if channel == "rgb" else None,
    )
    assert ssim(noisy, clean, shave, channel) == pytest.approx(want, abs=1e-9)


def test_known_values() -> None:
    black, grey = np.zeros((12, 12, 3), np.uint8), np.full((12, 12, 3), 10, np.uint8)
    assert psnr(black, black, 0) == math.inf
    assert ssim(grey, grey, 0) == pytest.approx(1)
    assert psnr(black, grey, 2, "rgb") == pytest.approx(20 * math.log10(25.5))
    assert psnr(black, grey, 2) == pytest.approx(20 * math.log10(25.5 * 255 / 219))


def test_border_is_shaved() -> None:
    clean, noisy = pair()
    broken = noisy.copy()
    broken[:4], broken[-4:], broken[:, :4], broken[:, -4:] = 0, 0, 0, 0
    assert psnr(broken, clean, 4) == psnr(noisy, clean, 4) > psnr(broken, clean, 3)
    assert ssim(broken, clean, 4) == ssim(noisy, clean, 4) > ssim(broken, clean, 3)


def test_luma_range() -> None:
    """White is 235 and nothing is rounded."""
    image = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0], [1, 0, 0]]], np.uint8)
    np.testing.assert_allclose(luma(image), [[16, 235, 81.481, 16 + 65.481 / 255]])


def test_to_uint8() -> None:
    values = np.array([-1, 0, 0.5 / 255, 1.5 / 255, 2.5 / 255, 1, 7], np.float64)
    assert to_uint8(values).tolist() == [0, 0, 0, 2, 2, 255, 255]
    assert to_uint8(values.astype(np.float32)).dtype == np.uint8
    with pytest.raises(ValueError, match="finite"):
        to_uint8(np.array([np.nan]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((20, 20), np.uint8), np.zeros((20, 20), np.uint8), 0), r"\(H, W, 3\)"),
        ((np.zeros((20, 20, 3), np.uint8), np.zeros((20, 21, 3), np.uint8), 0), "one size"),
        ((np.zeros((20, 20, 3)), np.zeros((20, 20, 3)), 0), "uint8"),
        ((np.zeros((20, 20, 3), np.uint8), np.zeros((20, 20, 3), np.uint8), 10), "each side"),
        ((np.zeros((20, 20, 3), np.uint8), np.zeros((20, 20, 3), np.uint8), -1), "each side"),
        ((np.zeros((20, 20, 3), np.uint8), np.zeros((20, 20, 3), np.uint8), 0, "l"), "channel"),
    ],
)
def test_bad_arguments(arguments: tuple[Any, ...], message: str) -> None:
    for metric in (psnr, ssim):
        with pytest.raises(ValueError, match=message):
            metric(*arguments)


def test_ssim_needs_one_window() -> None:
    clean, noisy = pair(12, 12)
    assert ssim(noisy, clean, 0) < 1
    with pytest.raises(ValueError, match="11 px or more"):
        ssim(noisy, clean, 1)
