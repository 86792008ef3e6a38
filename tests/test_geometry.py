"""Geometry against numpy's own flips, turns and slices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from loaders import geometry, kernels


def turned(image: Any, code: int) -> Any:
    """Return numpy's version of a dihedral code."""
    image = image[:, ::-1] if code & 1 else image
    image = image[::-1] if code & 2 else image
    return image.swapaxes(0, 1) if code & 4 else image


def sampled(image: Any, matrix: Any, size: Any) -> Any:
    """Return the output that a matrix describes, pixel by pixel from its definition."""
    height, width = (int(side) for side in size)
    out = np.zeros((height, width), image.dtype)
    for y in range(height):
        for x in range(width):
            sx, sy, _ = matrix @ (x + 0.5, y + 0.5, 1)
            out[y, x] = image[int(np.floor(sy)), int(np.floor(sx))]
    return out


@pytest.mark.parametrize("code", range(8))
def test_crop_and_turn_compose(code: int) -> None:
    image = np.arange(30 * 40).reshape(30, 40)
    box = np.array([[5, 9, 12, 17]])
    crop = geometry.crop(box[:, 0], box[:, 1])
    turn = geometry.dihedral(np.array([code]), box[:, 2:])
    size = box[:, 2:] if not code & 4 else box[:, :1:-1]
    want = turned(image[5:17, 9:26], code)
    np.testing.assert_array_equal(sampled(image, (crop @ turn)[0], size[0]), want)
    found = geometry.exact(crop @ turn, size)
    assert found is not None
    np.testing.assert_array_equal(found[0], box)
    assert found[1].tolist() == [code]


@pytest.mark.parametrize("code", range(8))
def test_two_turns_are_one(code: int) -> None:
    image = np.arange(12 * 12).reshape(12, 12)
    size = np.array([[12, 12]])
    for second in range(8):
        matrices = geometry.dihedral(np.array([code]), size) @ geometry.dihedral(
            np.array([second]), size
        )
        found = geometry.exact(matrices, size)
        assert found is not None
        want = turned(turned(image, code), second)
        np.testing.assert_array_equal(turned(image, int(found[1][0])), want)


@pytest.mark.parametrize("code", range(8))
def test_another_field_gets_the_same_place(code: int) -> None:
    """On a grid 4 times as fine, and on one of unequal ratios, boxes scale with it."""
    crop = geometry.crop(np.array([3]), np.array([5]))
    size = np.array([[8, 6]])
    out = size[:, ::-1] if code & 4 else size
    matrices = crop @ geometry.dihedral(np.array([code]), size)
    for ratio in ([[4.0, 4.0]], [[2.0, 3.0]]):
        fine, fine_out = geometry.for_field(matrices, out, np.array(ratio))
        found = geometry.exact(fine, fine_out)
        assert found is not None
        y, x = ratio[0]
        np.testing.assert_array_equal(found[0], [[3 * y, 5 * x, 8 * y, 6 * x]])
        assert found[1].tolist() == [code]


def test_between_pixels_is_not_exact() -> None:
    matrices = geometry.crop(np.array([0.5]), np.array([1.0]))
    assert geometry.exact(matrices, np.array([[4, 4]])) is None
    assert geometry.exact(geometry.identity(1) * [2, 2, 1], np.array([[4, 4]])) is None


@pytest.mark.parametrize("code", range(8))
def test_points_go_where_pixels_go(code: int) -> None:
    rng = np.random.default_rng(code)
    image = np.zeros((20, 30), np.uint8)
    box = np.array([[4, 6, 10, 15]])
    points = np.stack([rng.integers(0, 30, 40), rng.integers(0, 20, 40)], axis=1) + 0.5
    image[points[:, 1].astype(int), points[:, 0].astype(int)] = 1
    matrix = geometry.crop(box[:, 0], box[:, 1]) @ geometry.dihedral(np.array([code]), box[:, 2:])
    size = np.array([15, 10] if code & 4 else [10, 15])
    moved, inside = geometry.move_points(points, matrix[0], size)
    found = np.zeros(size, np.uint8)
    found[moved[inside, 1].astype(int), moved[inside, 0].astype(int)] = 1
    np.testing.assert_array_equal(found, turned(image[4:14, 6:21], code))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("scratch", [1 << 18, 700])
def test_kernels_read_what_numpy_slices(
    dtype: Any, channels: int, scratch: int, tmp_path: Any
) -> None:
    """Every code, band size and channel count, for narrow crops and whole rows of a wide image."""
    image = np.random.default_rng(0).integers(0, 255, (40, 900, channels)).astype(dtype)
    path = tmp_path / "pixels"
    path.write_bytes(b"head" * 2 + image.tobytes())
    pixel = channels * image.itemsize
    with open(path, "rb") as file:
        for y, x, height, width in ((3, 5, 17, 11), (0, 0, 40, 900), (39, 899, 1, 1)):
            for code in range(8):
                place = (
                    np.array([file.fileno()], np.int32),
                    np.array([8 + y * 900 * pixel + x * pixel]),
                    np.array([900 * pixel]),
                    np.array([[height, width]]),
                    np.array([code]),
                )
                buffer = np.empty(max(scratch, width * pixel) // image.itemsize, dtype)
                want = turned(image[y : y + height, x : x + width], code)
                raw = np.zeros((1, *want.shape), dtype)
                assert kernels.read_raw(*place, buffer, raw) == -1
                np.testing.assert_array_equal(raw[0], want)
                scale, bias = (np.linspace(1, 2, channels, dtype=np.float32) for _ in "ab")
                out = np.zeros((1, channels, *want.shape[:2]), np.float32)
                assert kernels.read_float(*place, scale, bias, buffer, out) == -1
                np.testing.assert_allclose(
                    out[0].transpose(1, 2, 0), want * scale + bias, rtol=1e-6
                )


def test_kernels_name_the_row_that_fails(tmp_path: Any) -> None:
    path = tmp_path / "short"
    path.write_bytes(bytes(100))
    with open(path, "rb") as file:
        count = 3
        place = (
            np.full(count, file.fileno(), np.int32),
            np.array([0, 40, 60]),
            np.full(count, 30),
            np.full((count, 2), 2),
            np.zeros(count, np.int64),
        )
        out = np.zeros((count, 2, 2, 3), np.uint8)
        assert kernels.read_raw(*place, np.empty(100, np.uint8), out) == -1
        place[1][1] = 99
        assert kernels.read_raw(*place, np.empty(100, np.uint8), out) == 1
