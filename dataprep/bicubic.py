"""MATLAB-compatible bicubic resizing by a whole factor, bit-exact for 8-bit images.

Shapes: H W pixels, C channels, S the scale. The published super-resolution sets were made by
MATLAB's imresize on uint8, which no common library reproduces: it mirrors the border, resizes the
height first and rounds to uint8 between the two passes.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dataprep.compiled import compiled

Border = Literal["symmetric", "replicate"]
Image = NDArray[np.uint8]


def downscale(image: Image, scale: int, border: Border = "symmetric") -> Image:
    """Return the low-resolution image, (H // S, W // S[, C]), of an 8-bit (H, W[, C]) one.

    Rows and columns beyond a multiple of S are cut off at the bottom and right first. `replicate`
    is what older MATLAB releases did; it differs in the outer 2 output pixels alone.
    ValueError for another dtype or shape, a scale below 1, or an image smaller than the scale.
    """
    _check(image, scale, border)
    height, width = image.shape[0] // scale, image.shape[1] // scale
    if not height or not width:
        raise ValueError(f"image of {image.shape[:2]} px is smaller than the scale {scale}")
    cropped = image[: height * scale, : width * scale]
    return _resize(cropped, (height, width), float(scale), float(scale), border)


def upscale(image: Image, scale: int, border: Border = "symmetric") -> Image:
    """Return the 8-bit (H, W[, C]) image enlarged to (H * S, W * S[, C]): the bicubic baseline.

    ValueError for another dtype or shape, an empty image, or a scale below 1.
    """
    _check(image, scale, border)
    size = image.shape[0] * scale, image.shape[1] * scale
    return _resize(image, size, 1 / scale, 1.0, border)


def _check(image: Image, scale: int, border: Border) -> None:
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or not image.size:
        raise ValueError(
            f"want a uint8 image of (H, W) or (H, W, C), not {image.dtype} of {image.shape}"
        )
    if isinstance(scale, bool) or not isinstance(scale, int | np.integer) or scale < 1:
        raise ValueError(f"scale must be a whole number of at least 1, not {scale!r}")
    if border not in ("symmetric", "replicate"):
        raise ValueError(f"border must be 'symmetric' or 'replicate', not {border!r}")


def _resize(
    image: Image, size: tuple[int, int], step: float, stretch: float, border: Border
) -> Image:
    """Resize to `size`; `step` is source pixels per output pixel, `stretch` widens the kernel."""
    height, width = image.shape[:2]
    pixels = np.ascontiguousarray(image).reshape(height, width, -1)
    rows, row_weights = _taps(height, size[0], step, stretch, border == "symmetric")
    columns, column_weights = _taps(width, size[1], step, stretch, border == "symmetric")
    low = _resize_height(pixels.reshape(height, -1), rows, row_weights)
    out: Image = _resize_width(
        low.reshape(size[0], width, pixels.shape[2]), columns, column_weights
    )
    return out.reshape(*size, *image.shape[2:])


@compiled
def _cubic(x: float) -> float:
    """Return Keys' cubic with a = -0.5 (Keys 1981, eq. 15)."""
    x = abs(x)
    if x <= 1.0:
        return 1.5 * x * x * x - 2.5 * x * x + 1.0
    if x <= 2.0:
        return -0.5 * x * x * x + 2.5 * x * x - 4.0 * x + 2.0
    return 0.0


@compiled
def _taps(
    length: int, count: int, step: float, stretch: float, mirror: bool
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the source index and the weight of every tap of every output, both (count, taps)."""
    taps = int(np.ceil(4 * stretch)) + 2
    indices = np.empty((count, taps), np.int64)
    weights = np.empty((count, taps), np.float64)
    for k in range(count):
        centre = (k + 1) * step + 0.5 * (1 - step)  # MATLAB counts pixels from 1
        first = int(np.floor(centre - 2 * stretch))
        total = 0.0
        for t in range(taps):
            weights[k, t] = _cubic((centre - (first + t)) / stretch) / stretch
            total += weights[k, t]
            at = first + t - 1
            if mirror:
                at %= 2 * length
                indices[k, t] = min(at, 2 * length - 1 - at)
            else:
                indices[k, t] = min(max(at, 0), length - 1)
        for t in range(taps):
            weights[k, t] /= total
    return indices, weights


@compiled
def _resize_height(
    source: Image, indices: NDArray[np.int64], weights: NDArray[np.float64]
) -> Image:
    """Resize (H, W * C) along its height; the row is the inner loop, so that it vectorises."""
    count, taps = indices.shape
    width = source.shape[1]
    out = np.empty((count, width), np.uint8)
    total = np.empty(width, np.float64)
    for k in range(count):
        total[:] = 0.0
        for t in range(taps):
            weight = weights[k, t]
            if weight != 0.0:
                row = source[indices[k, t]]
                for x in range(width):
                    total[x] += weight * row[x]
        for x in range(width):
            out[k, x] = np.uint8(min(max(total[x] + 0.5, 0.0), 255.0))
    return out


@compiled
def _resize_width(source: Image, indices: NDArray[np.int64], weights: NDArray[np.float64]) -> Image:
    """Resize (H, W, C) along its width."""
    height, _, channels = source.shape
    count, taps = indices.shape
    out = np.empty((height, count, channels), np.uint8)
    for y in range(height):
        for k in range(count):
            for c in range(channels):
                total = 0.0
                for t in range(taps):
                    total += weights[k, t] * source[y, indices[k, t], c]
                out[y, k, c] = np.uint8(min(max(total + 0.5, 0.0), 255.0))
    return out
