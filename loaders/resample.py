"""Compiled resampling: a box of an image to any size, antialiased, flipped and scaled at once.

Two passes as in Pillow's resize (triangle filter, as wide as the image shrinks), columns first: a
line is a weighted sum of source rows, then each output pixel a short dot product along it. Output
is float32; Pillow rounds between the passes, so results differ by less than one level. Legend:
C channels, H W pixels of the output, h w of the source.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dataprep.compiled import compiled
from loaders.kernels import line_rgb
from loaders.lanes import FEW, PIXEL_BYTES, dot, dot_few

Array = npt.NDArray[Any]

KINDS = {"nearest": 0, "linear": 1, "cubic": 2}
_CUBIC = -0.5  # Pillow's, so its BICUBIC


class Workspace:
    """One thread's memory for tables and lines; it grows to the largest image seen."""

    def __init__(self) -> None:
        self.first = np.zeros((2, 0), np.int64)
        self.weights = np.zeros((2, 0, 0), np.float32)
        self.line = np.zeros(0, np.float32)

    def fit(self, box: Array, height: int, width: int, channels: int, columns: int) -> None:
        """Make room for an output of height × width from a box (y, x, h, w) of so many columns."""
        side = max(height, width)
        shrink = max(box[2], box[3]) / min(height, width) if side else 1.0
        taps = max(int(4 * max(shrink, 1.0)) + 3, FEW)
        if self.first.shape[1] < side or self.weights.shape[2] < taps:
            side, taps = max(side, self.first.shape[1]), max(taps, self.weights.shape[2])
            self.first = np.zeros((2, side), np.int64)
            self.weights = np.zeros((2, side, taps), np.float32)
        # A dot product reads as many pixels at the right edge as elsewhere, and weighs them 0.
        size = (columns + self.weights.shape[2] + 1) * channels
        if len(self.line) < size:
            self.line = np.zeros(size, np.float32)


@compiled
def _weight(kind: int, x: float) -> float:
    """Return the filter at x, which is in pixels of the coarser side."""
    x = abs(x)
    if kind == 1:
        return max(1.0 - x, 0.0)
    if x < 1.0:
        return ((_CUBIC + 2.0) * x - (_CUBIC + 3.0)) * x * x + 1.0
    if x < 2.0:
        return (((x - 5.0) * x + 8.0) * x - 4.0) * _CUBIC
    return 0.0


@compiled
def _table(
    kind: int, start: float, extent: float, size: int, flip: bool, first: Array, weights: Array
) -> int:
    """Fill, for each output pixel, its first source pixel and the weights from there on.

    start, extent: the box along this axis, in a source of `size` pixels; a flipped output is
    filled backwards. Returns the taps of the widest pixel.
    """
    count, most = len(first), 1
    scale = extent / count
    reach = (2.0 if kind == 2 else 1.0) * max(scale, 1.0)
    shrink = max(scale, 1.0)
    for i in range(count):
        to = count - 1 - i if flip else i
        centre = start + (i + 0.5) * scale
        weights[to] = 0.0
        if kind == 0:
            first[to] = min(max(int(np.floor(centre)), 0), size - 1)
            weights[to, 0] = 1.0
            continue
        low = max(int(np.floor(centre - reach + 0.5)), 0)
        low = min(low, size - 1)
        high = max(min(int(np.floor(centre + reach + 0.5)), size), low + 1)
        total = 0.0
        for k in range(high - low):
            value = _weight(kind, (low + k + 0.5 - centre) / shrink)
            weights[to, k] = value
            total += value
        if total == 0.0:
            weights[to, 0], total = 1.0, 1.0
        for k in range(high - low):
            weights[to, k] /= total
        first[to] = low
        most = max(most, high - low)
    return most


@compiled
def _is_one_row(weights: Array) -> bool:
    """Tell whether the first of these weights is all."""
    for k in range(1, len(weights)):
        if weights[k] != 0.0:
            return False
    return bool(weights[0] == 1.0)


@compiled
def _one_row(row: Array, weight: float, line: Array) -> None:
    for i in range(len(line)):
        line[i] = np.float32(row[i]) * weight


@compiled
def _two_rows(row: Array, other: Array, weight: float, share: float, line: Array) -> None:
    for i in range(len(line)):
        line[i] = np.float32(row[i]) * weight + np.float32(other[i]) * share


@compiled
def _add_row(row: Array, weight: float, line: Array) -> None:
    for i in range(len(line)):
        line[i] += np.float32(row[i]) * weight


@compiled
def _add_two(row: Array, other: Array, weight: float, share: float, line: Array) -> None:
    for i in range(len(line)):
        line[i] += np.float32(row[i]) * weight + np.float32(other[i]) * share


@compiled
def _column(
    src: Array, top: int, begin: int, end: int, rows: int, weights: Array, line: Array
) -> None:
    """Write the weighted sum of source rows top…, values begin…end of each, to the line."""
    while rows > 1 and weights[rows - 1] == 0.0:
        rows -= 1
    if rows == 1:
        _one_row(src[top, begin:end], weights[0], line)
        return
    _two_rows(src[top, begin:end], src[top + 1, begin:end], weights[0], weights[1], line)
    for k in range(2, rows - 1, 2):
        row, other = src[top + k, begin:end], src[top + k + 1, begin:end]
        _add_two(row, other, weights[k], weights[k + 1], line)
    if rows % 2:
        _add_row(src[top + rows - 1, begin:end], weights[rows - 1], line)


@compiled
def _along_rgb(
    line: Array, first: Array, weights: Array, taps: int, scale: Array, bias: Array,
    r: Array, g: Array, b: Array,
) -> None:  # fmt: skip
    """Write three output rows = dot products along the line × scale + bias."""
    start, table, pitch = line.ctypes.data, weights.ctypes.data, 4 * weights.shape[1]
    a0, a1, a2, b0, b1, b2 = scale[0], scale[1], scale[2], bias[0], bias[1], bias[2]
    if taps <= FEW:
        for x in range(len(r)):
            at, by = np.uintp(start + first[x] * PIXEL_BYTES), np.uintp(table + x * pitch)
            r[x], g[x], b[x] = dot_few(at, by, a0, a1, a2, b0, b1, b2)
        return
    for x in range(len(r)):
        at, by = np.uintp(start + first[x] * PIXEL_BYTES), np.uintp(table + x * pitch)
        r[x], g[x], b[x] = dot(at, by, taps, a0, a1, a2, b0, b1, b2)


@compiled
def _along(
    line: Array, first: Array, weights: Array, taps: int, channels: int, channel: int,
    scale: float, bias: float, out: Array,
) -> None:  # fmt: skip
    """Write one output row of one channel."""
    for x in range(len(out)):
        total = np.float32(0.0)
        for k in range(taps):
            # Past the end only where the weight is 0.
            i = min((first[x] + k) * channels + channel, len(line) - 1)
            total += line[i] * weights[x, k]
        out[x] = total * scale + bias


@compiled
def resample(
    src: Array,
    place: Array,
    box: Array,
    code: int,
    kind: int,
    scale: Array,
    bias: Array,
    first: Array,
    weights: Array,
    line: Array,
    out: Array,
) -> None:
    """Write out (C, H, W) float32 = the box of an image, resampled, flipped, × scale + bias.

    src (h, w × C): the image's rows. place (4: y, x, h, w): the pixels of it that filters may see;
    box (4 float): what the output shows, relative to place. code: flip x 1, flip y 2 (not 4:
    `turn` it afterwards). kind: one of KINDS. scale, bias (C,). first, weights, line: a Workspace.
    """
    channels, height, width = out.shape
    count = place[3] * channels
    begin = place[1] * channels
    rows, columns = first[0, :height], first[1, :width]
    _table(kind, box[0], box[2], place[2], (code & 2) != 0, rows, weights[0, :height])
    taps = _table(kind, box[1], box[3], place[3], (code & 1) != 0, columns, weights[1, :width])
    most = weights.shape[2]
    # Columns that are only moved or mirrored: no sums along the line. (Images that already have one
    # of the two sides asked for, most of MIT1003 say, take less than a third of the time.)
    left, step = int(box[1]), -3 if code & 1 else 3
    is_moved = box[1] == left and left >= 0 and box[3] == width and left + width <= place[3]
    is_moved = is_moved and channels == 3 and kind != 0
    left = 3 * (left + width - 1 if code & 1 else left)
    # Dot products read beyond the line's end and weigh that 0; NaN left there would come through.
    line[count : count + (max(taps, FEW) + 1) * channels] = 0.0
    for y in range(height):
        seen = min(most, place[2] - rows[y])
        if kind == 0:
            seen = 1
        top, r, g, b = place[0] + rows[y], out[0, y], out[min(1, channels - 1), y], out[-1, y]
        if is_moved and _is_one_row(weights[0, y, :seen]):
            line_rgb(src[top], begin + left, step, scale, bias, r, g, b)
            continue
        _column(src, top, begin, begin + count, seen, weights[0, y], line[:count])
        if is_moved:
            line_rgb(line, left, step, scale, bias, r, g, b)
            continue
        if channels == 3 and kind != 0:  # nearest reads one pixel: even 0 × NaN would show
            _along_rgb(line, columns, weights[1], taps, scale, bias, r, g, b)
            continue
        for c in range(channels):
            _along(
                line[:count], columns, weights[1], taps, channels, c, scale[c], bias[c], out[c, y]
            )


@compiled
def turn(planes: Array, out: Array) -> None:
    """Transpose planes (C, W, H) to out (C, H, W)."""
    for c in range(out.shape[0]):
        for y0 in range(0, out.shape[1], 16):
            for x in range(out.shape[2]):
                for y in range(y0, min(y0 + 16, out.shape[1])):
                    out[c, y, x] = planes[c, x, y]


@compiled
def clip(planes: Array, low: float, high: float, scale: Array, bias: Array) -> None:
    """Clip planes (C, H, W) in place, then × scale + bias: a cubic filter overshoots."""
    for c in range(planes.shape[0]):
        a, b = scale[c], bias[c]
        for y in range(planes.shape[1]):
            row = planes[c, y]
            for x in range(len(row)):
                row[x] = min(max(row[x], low), high) * a + b


@compiled
def to_pixels(planes: Array, low: float, high: float, out: Array) -> None:
    """Write planes (C, H, W) to out (H, W, C), rounded and clipped to what its dtype holds."""
    for y in range(out.shape[0]):
        for c in range(out.shape[2]):
            row = planes[c, y]
            for x in range(out.shape[1]):
                out[y, x, c] = min(max(np.rint(row[x]), low), high)


@compiled
def to_levels(planes: Array, out: Array) -> None:
    """Write planes (C, H, W) to out of the same shape as whole numbers from 0 to 255."""
    for c in range(out.shape[0]):
        for y in range(out.shape[1]):
            row, to = planes[c, y], out[c, y]
            for x in range(len(to)):
                to[x] = min(max(np.rint(row[x]), 0.0), 255.0)


@compiled
def to_last(planes: Array, out: Array) -> None:
    """Write planes (C, H, W) to out (H, W, C)."""
    for y in range(out.shape[0]):
        for c in range(out.shape[2]):
            row = planes[c, y]
            for x in range(out.shape[1]):
                out[y, x, c] = row[x]


@compiled
def to_bfloat(values: Array, out: Array) -> None:
    """Write float32 (n,) as bfloat16 bits (uint16), rounded to the nearest even, as torch does."""
    bits = values.view(np.uint32)
    half, one, shift = np.uint32(0x7FFF), np.uint32(1), np.uint32(16)
    for i in range(len(out)):
        word = bits[i]
        is_nan = (word & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000)  # rounding could carry
        out[i] = np.uint32(0x7FC0) if is_nan else (word + half + ((word >> shift) & one)) >> shift
