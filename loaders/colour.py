"""Chroma to full resolution and YCbCr to RGB, bit for bit as libjpeg-turbo does it.

Rows are taken LANES (or, twice as many, out of half) pixels at a time: the last vector reads and
writes beyond the end of a row. "Fancy" interpolation (jdsample.c): a sample counts 3/4, the nearer
neighbour 1/4, in each dimension; beyond an edge the edge is repeated, which is what the special
cases there amount to. The colours (jdcolor.c, JFIF 1.02): 16 bits of fixed-point factors.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from loaders.vectors import (
    I8,
    I16,
    I32,
    cast,
    clamp,
    emitted,
    load,
    shuffle,
    splat,
    store,
    vector,
)  # fmt: skip

LANES = 32
PIXEL_BYTES = 3
_HALF = LANES // 2
# round(factor × 2¹⁶): 1.402 - 1, 1.772 - 2, -0.34414, 1 - 0.71414: so each fits in 16 bits.
_RED, _BLUE, _GREEN_BLUE, _GREEN_RED = 26345, -14942, -22554, 18734


def _bytes(builder: Any, address: Any, count: int, ahead: int = 0) -> Any:
    return cast(builder, "zext", load(builder, address, vector(I8, count), ahead), I16)


def _rounded(builder: Any, value: Any, factor: int) -> Any:
    """Emit (value × factor + 2¹⁵) >> 16, written so that a 16-bit multiplication does it."""
    wide = cast(builder, "sext", builder.add(value, value), I32)
    wide = builder.mul(wide, splat(wide, factor))
    high = cast(builder, "trunc", builder.ashr(wide, splat(wide, 16)), I16)
    return builder.ashr(builder.add(high, splat(high, 1)), splat(high, 1))


def _green(builder: Any, y: Any, cb: Any, cr: Any) -> Any:
    parts = []
    for value, factor in ((cb, _GREEN_BLUE), (cr, _GREEN_RED)):
        wide = cast(builder, "sext", value, I32)
        parts.append(builder.mul(wide, splat(wide, factor)))
    total = builder.add(builder.add(*parts), splat(parts[0], 1 << 15))
    total = cast(builder, "trunc", builder.ashr(total, splat(total, 16)), I16)
    return builder.add(builder.sub(y, cr), total)


def _woven(builder: Any, out: Any, planes: list[Any]) -> None:
    """Emit the store of three vectors of bytes as pixels."""
    together = shuffle(builder, planes[0], planes[1], range(2 * LANES))
    last = shuffle(builder, planes[2], planes[2], range(2 * LANES))
    places = [channel * LANES + i for i in range(LANES) for channel in range(PIXEL_BYTES)]
    store(builder, shuffle(builder, together, last, places), out)


def _rgb(builder: Any, y: Any, cb: Any, cr: Any, out: Any) -> None:
    y, cb, cr = (_bytes(builder, address, LANES) for address in (y, cb, cr))
    cb, cr = (builder.sub(value, splat(value, 128)) for value in (cb, cr))
    red = builder.add(builder.add(y, cr), _rounded(builder, cr, _RED))
    blue = builder.add(builder.add(y, builder.add(cb, cb)), _rounded(builder, cb, _BLUE))
    planes = [clamp(builder, v, 0, 255) for v in (red, _green(builder, y, cb, cr), blue)]
    _woven(builder, out, [cast(builder, "trunc", plane, I8) for plane in planes])


def _grey(builder: Any, y: Any, out: Any) -> None:
    _woven(builder, out, [load(builder, y, vector(I8, LANES))] * 3)


def _mixed(builder: Any, near: Any, far: Any, term: Any, down: int) -> Any:
    """Emit (3 × near + far + term) >> down."""
    total = builder.add(builder.add(builder.mul(near, splat(near, 3)), far), term)
    return builder.lshr(total, splat(total, down))


def _doubled(builder: Any, samples: list[Any], out: Any, terms: tuple[int, int], down: int) -> None:
    """Emit twice as many pixels from samples and their left and right neighbours."""
    left, middle, right = samples
    even = _mixed(builder, middle, left, splat(left, terms[0]), down)
    odd = _mixed(builder, middle, right, splat(left, terms[1]), down)
    even, odd = (cast(builder, "trunc", value, I8) for value in (even, odd))
    store(
        builder, shuffle(builder, even, odd, [i // 2 + _HALF * (i % 2) for i in range(LANES)]), out
    )


def _across(builder: Any, row: Any, out: Any) -> None:
    samples = [_bytes(builder, row, _HALF, ahead) for ahead in (-1, 0, 1)]
    _doubled(builder, samples, out, (1, 2), 2)


def _both(builder: Any, near: Any, far: Any, out: Any) -> None:
    samples = []
    for ahead in (-1, 0, 1):
        one, two = (_bytes(builder, row, _HALF, ahead) for row in (near, far))
        samples.append(builder.add(builder.mul(one, splat(one, 3)), two))
    _doubled(builder, samples, out, (8, 7), 4)


def _down(builder: Any, near: Any, far: Any, term: Any, out: Any) -> None:
    one, two = (_bytes(builder, row, LANES) for row in (near, far))
    terms = ir.Constant(one.type, ir.Undefined)
    terms = builder.insert_element(terms, builder.trunc(term, I16), ir.Constant(I32, 0))
    terms = shuffle(builder, terms, terms, [0] * LANES)
    store(builder, cast(builder, "trunc", _mixed(builder, one, two, terms, 2), I8), out)


def _of(count: int, write: Any) -> Any:
    return emitted(types.none, [types.uint64] * count, write)


# Addresses of LANES samples y, cb, cr -> of LANES pixels; of samples y -> of grey pixels.
rgb, grey = _of(4, _rgb), _of(2, _grey)
# Half as many samples -> LANES across (h2v1); near and far row -> LANES across and down (h2v2);
# near and far row and the term, 1 for an even row and 2 for an odd one -> LANES down (h1v2).
across, both, down = _of(2, _across), _of(3, _both), _of(4, _down)
