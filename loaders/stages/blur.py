"""A Gaussian blur of drawn width. Legend: B batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from loaders.draw import Keys
from loaders.stages import Array, Photometric


@dataclass(frozen=True, kw_only=True)
class Blur(Photometric):
    """Blur with sigma (pixels) uniform between two limits, with a probability.

    The window is 2·⌈3 sigma⌉ + 1 pixels, mirrored at borders about the last pixel's centre.
    Engines differ by at most 1 grey level, in one pixel of a thousand.
    """

    sigma: tuple[float, float] = (0.1, 2.0)
    probability: float = 0.5

    def __post_init__(self) -> None:
        low, high = self.sigma
        if not 0 < low <= high:
            raise ValueError(f"sigma is two positive numbers, ascending, not {low}, {high}")
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability lies between 0 and 1, not at {self.probability}")

    def draw(self, keys: Keys) -> dict[str, Array]:
        """Draw `sigma` and `window` (B,); a window of 1 pixel changes nothing."""
        low, high = self.sigma
        sigmas = low + keys.uniform(0) * (high - low)
        applied = keys.uniform(1) < self.probability
        windows = np.where(applied, 2 * np.ceil(3 * sigmas) + 1, 1)
        return {"sigma": sigmas.astype(np.float32), "window": windows.astype(np.float32)}

    def host(self, image: Array, drawn: dict[str, Array]) -> Array:
        """Blur one image (H, W, 3)."""
        window, sigma = int(drawn["window"]), float(drawn["sigma"])
        if window == 1:
            return image
        # GaussianBlur would round the weights of 8-bit images to 8 binary digits (2 grey levels off
        # at black on white) and take twice as long.
        weights = cv2.getGaussianKernel(window, sigma, cv2.CV_32F)
        border = cv2.BORDER_REFLECT_101
        blurred = cv2.sepFilter2D(image, cv2.CV_32F, weights, weights, borderType=border)
        rounded: Array = cv2.convertScaleAbs(blurred)
        return rounded

    def graph(self, image: Any, drawn: dict[str, Any]) -> Any:
        """Blur by gaussian_blur, whose border is the same."""
        from loaders.dali import fn, types

        window = fn.cast(drawn["window"], dtype=types.INT32)
        return fn.gaussian_blur(image, sigma=drawn["sigma"], window_size=window)
