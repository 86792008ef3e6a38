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


def aligned(matrices: Array, sizes: Array) -> tuple[Array, Array] | None:
    """Return (boxes (B, 4: y, x, h, w), dihedral codes (B,)): the source of each output, turned.

    sizes (B, 2) are output heights and widths; boxes may fall between pixels. None where a sample
    is rotated or sheared.
    """
    linear = matrices[:, :2, :2]
    turned = np.abs(linear[:, 0, 1]) > np.abs(linear[:, 0, 0])
    kept = np.where(turned[:, None], linear[:, (0, 1), (1, 0)], linear[:, (0, 1), (0, 1)])
    other = np.where(turned[:, None], linear[:, (0, 1), (0, 1)], linear[:, (0, 1), (1, 0)])
    if not (np.abs(other) * sizes.max() < 1e-6).all():
        return None
    ends = kept * np.where(turned[:, None], sizes, sizes[:, ::-1])  # x, y of the far corner
    corner = matrices[:, :2, 2] + np.minimum(ends, 0)
    codes = (kept[:, 0] < 0) + 2 * (kept[:, 1] < 0) + 4 * turned
    boxes = np.concatenate([corner[:, ::-1], np.abs(ends)[:, ::-1]], axis=1)
    return boxes, codes.astype(np.int64)


def is_exact(boxes: Array, codes: Array, sizes: Array) -> bool:
    """Tell whether every output pixel is a source pixel: nothing is resampled."""
    turned = (codes & 4) != 0
    wanted = np.where(turned[:, None], sizes[:, ::-1], sizes)
    between = np.abs(boxes - np.rint(boxes)).max()
    return bool(max(between, np.abs(boxes[:, 2:] - wanted).max()) < 1e-6)


def exact(matrices: Array, sizes: Array) -> tuple[Array, Array] | None:
    """Return whole (boxes (B, 4: y, x, h, w), codes (B,)) where nothing is resampled, else None."""
    found = aligned(matrices, sizes)
    if found is None or not is_exact(*found, sizes):
        return None
    return np.rint(found[0]).astype(np.int64), found[1]


def extent(matrices: Array, sizes: Array) -> Array:
    """Return the (B, 4: y, x, h, w) bounding boxes of what outputs of these sizes show."""
    across = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])  # corners: y, x
    corners = across[None] * sizes[:, None]
    seen = np.einsum("bij,bkj->bki", matrices[:, :2, :2], corners[..., ::-1])
    seen += matrices[:, None, :2, 2]
    low, high = seen.min(1)[:, ::-1], seen.max(1)[:, ::-1]
    return np.concatenate([low, high - low], axis=1)


def cover(boxes: Array, bounds: Array, support: Array) -> Array:
    """Return the whole pixels (B, 4 int: y, x, h, w) that a filter reads for boxes, inside bounds.

    support (B, 2): how far it reaches beyond a box, in pixels.
    """
    first = np.floor(bounds[:, :2] + 1e-6)
    last = np.ceil(bounds[:, :2] + bounds[:, 2:] - 1e-6) - 1
    # A rotated box may lie outside altogether; it then covers the nearest pixel.
    low = np.clip(np.floor(boxes[:, :2] - support + 1e-6), first, last)
    ends = np.ceil(boxes[:, :2] + boxes[:, 2:] + support - 1e-6)
    high = np.minimum(ends, last + 1)
    return np.concatenate([low, np.maximum(high - low, 1)], axis=1).astype(np.int64)


def move_points(points: Array, matrix: Array, size: Array) -> tuple[Array, Array]:
    """Return points (M, 2: x, y) moved from source to output, and which lie inside it."""
    linear = np.linalg.inv(matrix)
    moved = points @ linear[:2, :2].T + linear[:2, 2]
    inside = np.all((moved >= 0) & (moved < np.asarray(size)[::-1]), axis=1)
    return moved, inside
