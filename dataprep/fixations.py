"""Fixations of one stimulus as an array of points, wherever they come from.

Legend: M fixations; points (M, 6) float64 as in COLUMNS, NaN where a layout does not say; x and y
are continuous, (0, 0) is the top left corner of the image and int() of them the pixel.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import io as matlab
from scipy import ndimage, sparse

from dataprep import hdf5, image
from dataprep.manifest import DataError, Field

Array = npt.NDArray[Any]
Points = npt.NDArray[np.float64]

COLUMNS = ("x_px", "y_px", "subject", "order", "start_s", "duration_s")
UNITS = ("px", "px", "1", "1", "s", "s")
FIELD = Field(kind="points", dtype="float64", shape=(None, len(COLUMNS)), unit=",".join(UNITS))

# The dots of a JPEG of points are 0 or 255 and have soft edges.
THRESHOLD = 127
# Between black and white: nearly all of a blurred map, next to nothing of dots.
GREY = 48, 208
# Of people who look at one pixel of one stimulus, and the share of pixels that is looked at.
MOST_VIEWERS, MOST_MARKED = 32, 0.01
MAT_73 = b"MATLAB 7.3"


class LeftOut(DataError):
    """A stimulus that the user's own option leaves out: counted and named, never fatal."""

    is_choice = True


def from_columns(columns: Mapping[str, Array]) -> Points:
    """Return points (M, 6) from arrays (M,) by the names of COLUMNS."""
    return np.stack([np.asarray(columns[name], np.float64) for name in COLUMNS], axis=1)


def from_marks(marks: Array) -> Points:
    """Return a point in the middle of each marked pixel of (H, W): row by row, no more is known."""
    rows, columns = np.nonzero(marks)
    points = np.full((len(rows), len(COLUMNS)), np.nan)
    points[:, 0], points[:, 1] = columns + 0.5, rows + 0.5
    return points


def marks_of_image(data: bytes, path: Path, name: str) -> Array:
    """Return the marked pixels (H, W) of an image of dots; DataError where it is bad."""
    try:
        pixels = image.decode(data, upright=False).pixels
    except ValueError as error:
        raise DataError(path, name, str(error)) from None
    grey, dots = pixels[..., 0], pixels[..., 0] > THRESHOLD
    if np.count_nonzero((grey > GREY[0]) & (grey < GREY[1])) > np.count_nonzero(dots):
        raise DataError(path, name, "has more grey than white: a blurred map, not points")
    return dots


def marks_of_mat(data: bytes, path: Path, name: str, variable: str) -> Array:
    """Return the marked pixels (H, W) of a MATLAB file of version 4 to 7.3; DataError if bad."""
    try:
        read = _mat_73 if data.startswith(MAT_73) else _mat_5
        found, marks = read(data, variable)
    # Damaged files make both readers raise nearly anything.
    except Exception as error:
        why = " ".join(str(error).split()) or type(error).__name__
        raise DataError(path, name, f"damaged or not a MATLAB file ({why[:100]})") from None
    if marks is None:
        has = f"it has {', '.join(found)}" if found else "it is empty"
        raise DataError(path, name, f"has no variable {variable}: {has}")
    if marks.ndim != 2 or marks.dtype.kind not in "buif":
        raise DataError(path, name, f"{variable} is {marks.dtype} of {marks.shape}, not a matrix")
    if not _are_points(marks):
        raise DataError(path, name, f"{variable} has other values than 0 and 1: not points")
    return np.asarray(marks != 0)


def _are_points(marks: Array) -> bool:
    """Tell marks of one value, or counts at a few pixels, from a blurred map."""
    values = np.unique(marks[marks != 0]).astype(np.float64)
    if not np.isfinite(values).all() or (values < 0).any():
        return False
    is_count = not (values % 1).any() and values.max(initial=0) <= MOST_VIEWERS
    is_few = np.count_nonzero(marks) < MOST_MARKED * marks.size
    return len(values) <= 1 or bool(is_count and is_few)


def _mat_5(data: bytes, variable: str) -> tuple[list[str], Array | None]:
    found = matlab.loadmat(io.BytesIO(data), variable_names=[variable])
    if variable not in found:
        return [name for name, _, _ in matlab.whosmat(io.BytesIO(data))], None
    value = found[variable]
    return [variable], np.asarray(value.todense() if sparse.issparse(value) else value)


def _mat_73(data: bytes, variable: str) -> tuple[list[str], Array | None]:
    with hdf5.open(data, variable) as file:
        node = hdf5.Node(file, variable)
        if not node.has(variable):
            return [name for name in node.names() if not name.startswith("#")], None
        # MATLAB stores columns first.
        return [variable], node.numbers(variable, "biuf").T


def inside(points: Points, height: int, width: int) -> npt.NDArray[np.bool_]:
    """Return which points lie in the image; one that is not a number does not."""
    x, y = points[:, 0], points[:, 1]
    return (x >= 0) & (x < width) & (y >= 0) & (y < height)


def pixels(points: Points) -> set[tuple[int, int]]:
    """Return the pixels (x, y) that points lie in."""
    return set(map(tuple, points[np.isfinite(points[:, :2]).all(axis=1), :2].astype(int).tolist()))


def density(
    points: Points, height: int, width: int, sigma_px: float, reduce: int
) -> npt.NDArray[np.float32]:
    """Return a map of 1 / `reduce` of the size: points blurred with `sigma_px` of the image.

    Sums to 1: what the blur moves over the border is shared out. Points must lie inside.
    ValueError where the blur is wider than the image.
    """
    if sigma_px > max(height, width):
        raise ValueError(f"--sigma-px {sigma_px:g} is above the longest side of {width}x{height}")
    size = max(1, round(height / reduce)), max(1, round(width / reduce))
    scale = size[0] / height, size[1] / width
    rows, columns = (
        np.minimum((points[:, axis] * by).astype(np.int64), side - 1)
        for axis, by, side in zip((1, 0), scale, size, strict=True)
    )
    counts = np.zeros(size)
    np.add.at(counts, (rows, columns), 1.0)
    blurred = ndimage.gaussian_filter(counts, [sigma_px * by for by in scale], mode="constant")
    return np.asarray(blurred / blurred.sum(), np.float32)
