"""dataprep.bicubic against MATLAB's own files and against the formula."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dataprep.bicubic import Border, downscale, upscale

OUTSIDE = Path(
    os.environ.get("NOSTALL_TEST_DATA") or Path(__file__).resolve().parents[1] / "../shared/data"
)
SET5 = OUTSIDE / "sr" / "Set5"
NAMES = ("baby", "bird", "butterfly", "head", "woman")


def read(path: Path) -> NDArray[np.uint8]:
    """Return the RGB pixels of a file, (H, W, 3)."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def noise(*shape: int) -> NDArray[np.uint8]:
    """Return random pixels, black and white over-represented so that overshoot gets clipped."""
    values = np.random.default_rng(shape).integers(-128, 384, shape)
    return values.clip(0, 255).astype(np.uint8)


def slow_pass(
    image: NDArray[np.uint8], size: int, step: float, stretch: float, border: Border
) -> NDArray[np.uint8]:
    """Resize axis 0 with the full weight matrix, straight from the formula of imresize."""
    length = len(image)
    centre = np.arange(1, size + 1) * step + (1 - step) / 2
    matrix = np.zeros((size, length))
    for k, u in enumerate(centre):
        taps = np.arange(np.floor(u - 2 * stretch), np.floor(u - 2 * stretch) + 4 * stretch + 2)
        x = np.abs(u - taps) / stretch
        near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
        weight = np.where(x <= 1, near, np.where(x <= 2, far, 0))
        padded = np.arange(length)
        if border == "symmetric":
            padded = np.pad(padded, 5 * length, mode="symmetric")
        else:
            padded = np.pad(padded, 5 * length, mode="edge")
        np.add.at(matrix[k], padded[taps.astype(int) - 1 + 5 * length], weight / weight.sum())
    exact = np.tensordot(matrix, image.astype(float), axes=1)
    # 1e-9 above: a tie that rounding error put a hair below one half still rounds up
    return np.floor(exact + 0.5 + 1e-9).clip(0, 255).astype(np.uint8)


def slow(image: NDArray[np.uint8], scale: int, up: bool, border: Border) -> NDArray[np.uint8]:
    """Resize the height, round, resize the width, round."""
    if not up:
        image = image[: image.shape[0] // scale * scale, : image.shape[1] // scale * scale]
    step, stretch = (1 / scale, 1) if up else (scale, scale)
    for _ in range(2):
        size = image.shape[0] * scale if up else image.shape[0] // scale
        image = slow_pass(image, size, step, stretch, border).swapaxes(0, 1)
    return image


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", NAMES)
def test_equals_matlab(name: str, scale: int) -> None:
    if not SET5.is_dir():
        pytest.skip(f"no Set5 in {SET5}; set NOSTALL_TEST_DATA")
    expected = read(SET5 / "LR_bicubic" / f"X{scale}" / f"{name}x{scale}.png")
    np.testing.assert_array_equal(downscale(read(SET5 / "HR" / f"{name}.png"), scale), expected)


@pytest.mark.parametrize("border", ["symmetric", "replicate"])
@pytest.mark.parametrize("scale", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("shape", [(37, 29, 3), (41, 23), (6, 5, 1), (5, 31, 4)])
def test_equals_formula(shape: tuple[int, ...], scale: int, border: Border) -> None:
    image = noise(*shape)
    np.testing.assert_array_equal(
        downscale(image, scale, border), slow(image, scale, up=False, border=border)
    )
    np.testing.assert_array_equal(
        upscale(image, scale, border), slow(image, scale, up=True, border=border)
    )


def test_borders_differ_only_at_the_edge() -> None:
    image = noise(64, 64, 3)
    differs = downscale(image, 4) != downscale(image, 4, "replicate")
    assert differs.any()
    assert not differs[2:-2, 2:-2].any()


def test_constant_stays_constant() -> None:
    for value in (0, 1, 77, 255):
        image = np.full((50, 31, 3), value, np.uint8)
        for scale in (2, 3, 4):
            assert (downscale(image, scale) == value).all()
            assert (upscale(image, scale) == value).all()


def test_channels_are_independent() -> None:
    image = noise(40, 28, 3)
    whole = downscale(image, 4), upscale(image, 3)
    for c in range(3):
        np.testing.assert_array_equal(downscale(image[..., c], 4), whole[0][..., c])
        np.testing.assert_array_equal(upscale(image[..., c], 3), whole[1][..., c])


def test_order_of_the_passes_matters() -> None:
    """Both roundings are there: width first gives other bytes."""
    image = noise(64, 64)
    assert (downscale(image.T, 4).T != downscale(image, 4)).any()


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_cut_to_a_multiple(scale: int) -> None:
    image = noise(43, 59, 3)
    height, width = 43 // scale, 59 // scale
    out = downscale(image, scale)
    assert out.shape == (height, width, 3)
    np.testing.assert_array_equal(out, downscale(image[: height * scale, : width * scale], scale))


def test_layout_of_the_input_does_not_matter() -> None:
    image = noise(24, 36, 3)
    for view in (np.asfortranarray(image), image[::-1, ::-1], image.swapaxes(0, 1)):
        np.testing.assert_array_equal(downscale(view, 2), downscale(view.copy(), 2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((8, 8), np.float32), 2), "uint8"),
        ((np.zeros(8, np.uint8), 2), "uint8"),
        ((np.zeros((0, 8), np.uint8), 2), "uint8"),
        ((np.zeros((8, 8), np.uint8), 0), "scale"),
        ((np.zeros((8, 8), np.uint8), 1.5), "scale"),
        ((np.zeros((8, 8), np.uint8), 2, "wrap"), "border"),
    ],
)
def test_bad_arguments(arguments: tuple[Any, ...], message: str) -> None:
    for function in (downscale, upscale):
        with pytest.raises(ValueError, match=message):
            function(*arguments)


def test_image_smaller_than_the_scale() -> None:
    with pytest.raises(ValueError, match="smaller than the scale"):
        downscale(noise(3, 9, 3), 4)
