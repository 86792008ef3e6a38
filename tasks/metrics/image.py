"""Fidelity of a picture, with the conventions that published super-resolution scores use.

Those are BasicSR's: 8-bit images, `shave` pixels cut off each side, then Y of BT.601 in studio
range, not rounded. Each other choice moves a score by 0.01 to 1.3 dB. Shapes: H W pixels.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Channel = Literal["y", "rgb"]
Image = NDArray[np.uint8]

PEAK = 255.0
WINDOW = 11  # pixels
SIGMA = 1.5  # pixels


def to_uint8(image: NDArray[np.floating[Any]]) -> Image:
    """Return the 8-bit image of values in [0, 1]: clamped, rounded half to even.

    ValueError where a value is not finite.
    """
    if not np.isfinite(image).all():
        raise ValueError("the image has values that are not finite")
    rounded: Image = np.rint(np.clip(image, 0, 1) * PEAK).astype(np.uint8)
    return rounded


def luma(image: NDArray[Any]) -> NDArray[np.float64]:
    """Return Y, (H, W), in [16, 235] and unrounded, of (H, W, 3) RGB in [0, 255] (BT.601)."""
    y: NDArray[np.float64] = image @ np.array([65.481, 128.553, 24.966]) / PEAK + 16
    return y


def psnr(sr: Image, hr: Image, shave: int, channel: Channel = "y") -> float:
    """Return the peak signal-to-noise ratio in dB, inf for equal images, both (H, W, 3) RGB.

    ValueError for images that are not 8-bit RGB of one size, or that vanish when shaved.
    """
    a, b = _comparable(sr, hr, shave, channel, least=1)
    error = float(np.mean((a - b) ** 2))
    return 10 * math.log10(PEAK**2 / error) if error else math.inf


def ssim(sr: Image, hr: Image, shave: int, channel: Channel = "y") -> float:
    """Return the structural similarity, at most 1, both (H, W, 3) RGB (Wang et al. 2004, eq. 13).

    Gaussian window of 11 px, sigma 1.5 px, only where it fits whole; RGB: the channels' mean.
    ValueError as for `psnr`, or where less than a window remains.
    """
    a, b = _comparable(sr, hr, shave, channel, least=WINDOW)
    c1, c2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
    mean_a, mean_b = _blur(a), _blur(b)
    variances = _blur(a * a) - mean_a**2 + _blur(b * b) - mean_b**2
    covariance = _blur(a * b) - mean_a * mean_b
    light = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    return float(np.mean(light * (2 * covariance + c2) / (variances + c2)))


def _comparable(
    sr: Image, hr: Image, shave: int, channel: Channel, least: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the two as float64 (H, W) or (H, W, 3), shaved."""
    if sr.shape != hr.shape or sr.ndim != 3 or sr.shape[2] != 3:
        raise ValueError(f"want two (H, W, 3) images of one size, not {sr.shape} and {hr.shape}")
    if sr.dtype != np.uint8 or hr.dtype != np.uint8:
        raise ValueError(f"want uint8 images, not {sr.dtype} and {hr.dtype}")
    if channel not in ("y", "rgb"):
        raise ValueError(f"channel must be 'y' or 'rgb', not {channel!r}")
    height, width = sr.shape[:2]
    if shave < 0 or min(height, width) - 2 * shave < least:
        raise ValueError(
            f"{height} x {width} px less {shave} px each side: want {least} px or more"
        )
    inner = np.s_[shave : height - shave, shave : width - shave]
    a, b = sr[inner].astype(np.float64), hr[inner].astype(np.float64)
    return (luma(a), luma(b)) if channel == "y" else (a, b)


def _blur(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Gaussian-weighted mean around each pixel whose window fits."""
    taps = cv2.getGaussianKernel(WINDOW, SIGMA)
    reach = WINDOW // 2
    blurred: NDArray[Any] = cv2.sepFilter2D(image, cv2.CV_64F, taps, taps)
    return blurred[reach:-reach, reach:-reach]
