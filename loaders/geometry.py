"""Where each output pixel comes from: 3×3 matrices, composed per sample, scaled per field.

A matrix maps output to source. Coordinates are continuous, (x, y), the top-left corner of the
top-left pixel is (0, 0), so pixel i covers [i, i + 1) and a fixation at x lies in pixel int(x).
The same matrix, scaled, moves images, maps and points of every size. Legend: B batch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def identity(count: int) -> Array:
    """Return (B, 3, 3) matrices that change nothing."""
    matrices = np.zeros((count, 3, 3))
    matrices[:, (0, 1, 2), (0, 1, 2)] = 1.0
    return matrices


def crop(tops: Array, lefts: Array) -> Array:
    """Return matrices of crops at (B,) offsets."""
    matrices = identity(len(tops))
    matrices[:, 0, 2], matrices[:, 1, 2] = lefts, tops
    return matrices


def dihedral(codes: Array, sizes: Array) -> Array:
    """Return matrices of the 8 symmetries of the square: flip x (1), flip y (2), transpose (4).

    sizes (B, 2) are heights and widths before; the flips come first, the transposition last.
    """
    matrices = np.zeros((len(codes), 3, 3))
    turned = (codes & 4) != 0
    for axis, bit in ((0, 1), (1, 2)):
        flipped = (codes & bit) != 0
        sign = np.where(flipped, -1.0, 1.0)
        matrices[:, axis, axis] = np.where(turned, 0.0, sign)
        matrices[:, axis, 1 - axis] = np.where(turned, sign, 0.0)
        matrices[:, axis, 2] = np.where(flipped, sizes[:, 1 - axis], 0.0)
    matrices[:, 2, 2] = 1.0
    return matrices


def for_field(matrices: Array, sizes: Array, ratio: Array) -> tuple[Array, Array]:
    """Carry matrices and output sizes from the reference field to another one.

    ratio (B, 2) is field pixels per reference pixel, (y, x). A transposing matrix swaps the axes
    of the output, so the output's ratio is swapped with them.
    """
    swaps = np.abs(matrices[:, 0, 1]) > np.abs(matrices[:, 0, 0])
    out = np.where(swaps[:, None], ratio[:, ::-1], ratio)
    scaled = matrices.copy()
    scaled[:, :2] *= ratio[:, ::-1, None]
    scaled[:, :, :2] /= out[:, None, ::-1]
    return scaled, sizes * out


def exact(matrices: Array, sizes: Array) -> tuple[Array, Array] | None:
    """Return (boxes (B, 4: y, x, h, w), dihedral codes (B,)) where no resampling is needed.

    sizes (B, 2) are output heights and widths. None where any sample falls between pixels.
    """
    linear, whole = matrices[:, :2, :2], np.rint(matrices)
    permutation = (np.abs(whole[:, :2, :2]).sum(1) == 1).all() and (
        np.abs(whole[:, :2, :2]).sum(2) == 1
    ).all()
    if not (permutation and np.abs(matrices - whole).max() < 1e-6):
        return None
    if not np.abs(sizes - np.rint(sizes)).max() < 1e-6:
        return None
    turned = whole[:, 0, 0] == 0
    signs = linear.sum(2)  # (B, 2): x, y of the source
    codes = (signs[:, 0] < 0) + 2 * (signs[:, 1] < 0) + 4 * turned
    extent = np.where(turned[:, None], sizes[:, ::-1], sizes)  # source height, width
    corner = np.where(signs < 0, whole[:, :2, 2] - extent[:, ::-1], whole[:, :2, 2])
    boxes = np.concatenate([corner[:, ::-1], extent], axis=1)
    return np.rint(boxes).astype(np.int64), codes.astype(np.int64)


def move_points(points: Array, matrix: Array, size: Array) -> tuple[Array, Array]:
    """Return points (M, 2: x, y) moved from source to output, and which lie inside it."""
    linear = np.linalg.inv(matrix)
    moved = points @ linear[:2, :2].T + linear[:2, 2]
    inside = np.all((moved >= 0) & (moved < np.asarray(size)[::-1]), axis=1)
    return moved, inside
