"""loaders.kernels: every way of skipping the bytes between two rows reads the same pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loaders import kernels

ROWS = 300  # more than one vectored read takes


def place(file: Any, width: int, box: tuple[int, int, int, int], code: int) -> tuple[Any, ...]:
    y, x, height, wide = box
    return (
        np.array([file.fileno()], np.int32),
        np.array([(y * width + x) * 3]),
        np.array([width * 3]),
        np.array([[height, wide]]),
        np.array([code]),
    )


@pytest.mark.parametrize("width", [100, 700, 3000, 6000])  # gaps of 0.2, 2, 9 and 18 KB
@pytest.mark.parametrize("code", range(8))
def test_every_gap_gives_the_same_pixels(width: int, code: int, tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (ROWS, width, 3), np.uint8)
    (tmp_path / "pixels").write_bytes(image.tobytes())
    want = image[2 : ROWS - 1, 7:40]
    want = want[:, ::-1] if code & 1 else want
    want = want[::-1] if code & 2 else want
    want = want.transpose(1, 0, 2) if code & 4 else want
    scratch = np.empty(kernels.SCRATCH_BYTES, np.uint8)
    raw = np.zeros((1, *want.shape), np.uint8)
    out = np.zeros((1, 3, *want.shape[:2]), np.float32)
    scale, bias = np.full(3, 1 / 255, np.float32), np.zeros(3, np.float32)
    with open(tmp_path / "pixels", "rb") as file:
        where = place(file, width, (2, 7, ROWS - 3, 33), code)
        assert kernels.read_raw(*where, scratch, raw) == -1
        assert kernels.read_float(*where, scale, bias, scratch, out) == -1
    np.testing.assert_array_equal(raw[0], want)
    np.testing.assert_array_equal(out[0].transpose(1, 2, 0), want * np.float32(1 / 255))


@pytest.mark.parametrize("lost_bytes", [1, 9_000 * 100])
def test_a_file_that_ends_inside_a_vectored_read_is_noticed(
    lost_bytes: int, tmp_path: Path
) -> None:
    (tmp_path / "short").write_bytes(bytes(ROWS * 9000 - lost_bytes))
    with open(tmp_path / "short", "rb") as file:
        where = place(file, 3000, (0, 2900, ROWS, 100), 0)
        out = np.zeros((1, ROWS, 100, 3), np.uint8)
        assert kernels.read_raw(*where, np.empty(1 << 18, np.uint8), out) == 0
