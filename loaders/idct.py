"""The inverse DCT of one 8×8 block, bit for bit that of libjpeg-turbo (jidctint, "islow").

Multiplication by the quantisation table, columns, rows, all as its vector code for x86-64 does it:
16-bit sums that wrap, 32-bit products, saturation in between. For the coefficients of real images
that is the same as its C code; for absurd ones only the vector code's result is met.
After Loeffler, Ligtenberg, Moschytz, "Practical fast 1-D DCT algorithms with 11 multiplications",
ICASSP 1989, with the products written out so that every factor fits in 16 bits.
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

# Factors are fixed-point numbers of so many bits; after the columns so many are kept.
_BITS, _KEPT = 13, 2
# round(factor × 2¹³) of jidctint: FIX_0_298631336 and so on.
_F0_298, _F0_390, _F0_541, _F0_765, _F0_899, _F1_175 = 2446, 3196, 4433, 6270, 7373, 9633
_F1_501, _F1_847, _F1_961, _F2_053, _F2_562, _F3_072 = 12299, 15137, 16069, 16819, 20995, 25172
_Row = Any


def _two(builder: Any, a: _Row, by_a: int, b: _Row, by_b: int) -> _Row:
    """Emit a × by_a + b × by_b."""
    return builder.add(builder.mul(a, splat(a, by_a)), builder.mul(b, splat(b, by_b)))


def _even(builder: Any, rows: list[_Row], down: int) -> list[_Row]:
    """Emit the even part, with half of what is shifted out later."""
    two, six = (cast(builder, "sext", rows[i], I32) for i in (2, 6))
    low = _two(builder, two, _F0_541, six, _F0_541 - _F1_847)
    high = _two(builder, two, _F0_541 + _F0_765, six, _F0_541)
    sums = []
    for both in (builder.add(rows[0], rows[4]), builder.sub(rows[0], rows[4])):
        wide = cast(builder, "sext", both, I32)
        wide = builder.shl(wide, splat(wide, _BITS))
        sums.append(builder.add(wide, splat(wide, 1 << (down - 1))))
    return [
        builder.add(sums[0], high),
        builder.add(sums[1], low),
        builder.sub(sums[1], low),
        builder.sub(sums[0], high),
    ]


def _odd(builder: Any, rows: list[_Row]) -> list[_Row]:
    """Emit the odd part, in the order in which it is added to the even one."""
    seven, five, three, one = (cast(builder, "sext", rows[i], I32) for i in (7, 5, 3, 1))
    z3 = cast(builder, "sext", builder.add(rows[7], rows[3]), I32)
    z4 = cast(builder, "sext", builder.add(rows[5], rows[1]), I32)
    z3, z4 = (
        _two(builder, z3, _F1_175 - _F1_961, z4, _F1_175),
        _two(builder, z3, _F1_175, z4, _F1_175 - _F0_390),
    )
    return [
        builder.add(_two(builder, seven, -_F0_899, one, _F1_501 - _F0_899), z4),
        builder.add(_two(builder, five, -_F2_562, three, _F3_072 - _F2_562), z3),
        builder.add(_two(builder, five, _F2_053 - _F2_562, three, -_F2_562), z4),
        builder.add(_two(builder, seven, _F0_298 - _F0_899, one, -_F0_899), z3),
    ]


def _pass(builder: Any, rows: list[_Row], down: int, most: int) -> list[_Row]:
    """Emit one dimension for 8 vectors of 8, shifted down and limited to -most - 1..most."""
    even, odd = _even(builder, rows, down), _odd(builder, rows)
    done = [builder.add(e, o) for e, o in zip(even, odd, strict=True)]
    done += [builder.sub(e, o) for e, o in zip(even[::-1], odd[::-1], strict=True)]
    done = [clamp(builder, builder.ashr(row, splat(row, down)), -most - 1, most) for row in done]
    return [cast(builder, "trunc", row, I16) for row in done]


def _transposed(builder: Any, rows: list[_Row]) -> list[_Row]:
    """Emit the transposition of 8 vectors of 8: blocks of 4, of 2, of 1 change places."""
    for block in (4, 2, 1):
        upper = [8 + (i ^ block) if i & block else i for i in range(8)]
        lower = [8 + i if i & block else i | block for i in range(8)]
        done = list(rows)
        for i in range(8):
            if not i & block:
                done[i] = shuffle(builder, rows[i], rows[i | block], upper)
                done[i | block] = shuffle(builder, rows[i], rows[i | block], lower)
        rows = done
    return rows


def _columns(builder: Any, coefficients: Any, factors: Any) -> list[_Row]:
    """Emit the first dimension, transposed; short where only the first row is not zero."""
    kind, whole = vector(I16, 8), ir.IntType(128)
    rows = [load(builder, coefficients, kind, 16 * i) for i in range(8)]
    steps = [load(builder, factors, kind, 16 * i) for i in range(8)]
    below = rows[1]
    for row in rows[2:]:
        below = builder.or_(below, row)
    empty = builder.icmp_unsigned("==", builder.bitcast(below, whole), ir.Constant(whole, 0))
    with builder.if_else(empty) as (short, long):
        with short:
            first = builder.mul(rows[0], steps[0])
            first = builder.shl(first, splat(first, _KEPT))
            few = [shuffle(builder, first, first, [i] * 8) for i in range(8)]
            before = builder.block
        with long:
            all_rows = [builder.mul(row, step) for row, step in zip(rows, steps, strict=True)]
            many = _transposed(builder, _pass(builder, all_rows, _BITS - _KEPT, 32767))
            other = builder.block
    done = []
    for one, two in zip(few, many, strict=True):
        done.append(builder.phi(kind))
        done[-1].add_incoming(one, before)
        done[-1].add_incoming(two, other)
    return done


def _write(builder: Any, coefficients: Any, factors: Any, out: Any, stride: Any) -> None:
    rows = _columns(builder, coefficients, factors)
    # 3 bits more: the two passes together give eight times the samples.
    for row in _transposed(builder, _pass(builder, rows, _BITS + _KEPT + 3, 127)):
        samples = cast(builder, "trunc", row, I8)
        store(builder, builder.xor(samples, splat(samples, -128)), out)
        out = builder.add(out, stride)


# (64 coefficients int16, their factors int16, first of 8 × 8 samples uint8, bytes between rows).
idct: Any = emitted(types.none, [types.uint64] * 4, _write)
