"""Dot products over neighbouring pixels, four values at a time, written for LLVM by hand.

numba leaves a loop over the three channels of a pixel scalar; here one vector holds a pixel (and
the first value of the next, which the caller ignores). A weighted line of 224 pixels takes a third
of the scalar loop's time.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

LANES = 4
# Weights of so few taps are added without a loop; the table holds zeros up to there.
FEW = 4
PIXEL_BYTES = 12  # three floats

_SCALAR, _INDEX, _LANE = ir.FloatType(), ir.IntType(64), ir.IntType(32)
_VECTOR = ir.VectorType(_SCALAR, LANES)
_NOTHING = ir.Constant(_VECTOR, ir.Undefined)
_ZERO = ir.Constant(_VECTOR, [0.0] * LANES)


def _added(builder: Any, line: Any, weights: Any, k: Any, total: Any) -> Any:
    """Emit total + pixel k of the line × weight k."""
    place = builder.add(line, builder.mul(k, ir.Constant(_INDEX, PIXEL_BYTES)))
    pixel = builder.load(builder.inttoptr(place, _VECTOR.as_pointer()), align=4)
    place = builder.add(weights, builder.mul(k, ir.Constant(_INDEX, 4)))
    weight = builder.load(builder.inttoptr(place, _SCALAR.as_pointer()), align=4)
    spread = builder.insert_element(_NOTHING, weight, ir.Constant(_LANE, 0))
    everywhere = ir.Constant(ir.VectorType(_LANE, LANES), [0] * LANES)
    spread = builder.shuffle_vector(spread, _NOTHING, everywhere)
    return builder.call(_multiply_add(builder), [pixel, spread, total])


def _scaled(builder: Any, total: Any, affine: Any) -> Any:
    """Emit total × (three factors) + (three terms)."""
    factors, terms = (_vector(builder, affine[i : i + 3]) for i in (0, 3))
    return builder.call(_multiply_add(builder), [total, factors, terms])


def _vector(builder: Any, values: Any) -> Any:
    vector = _ZERO
    for i, value in enumerate(values):
        vector = builder.insert_element(vector, value, ir.Constant(_LANE, i))
    return vector


def _multiply_add(builder: Any) -> Any:
    name = f"llvm.fmuladd.v{LANES}f32"
    kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
    return builder.module.globals.get(name) or ir.Function(builder.module, kind, name)


def _values(target: Any, builder: Any, signature: Any, total: Any) -> Any:
    parts = [builder.extract_element(total, ir.Constant(_LANE, i)) for i in range(3)]
    return target.make_tuple(builder, signature.return_type, parts)


def _signature(*more: Any) -> Any:
    """Return (line, weights, …, three factors, three terms) -> three floats; addresses first."""
    sums = types.UniTuple(types.float32, 3)  # type: ignore[no-untyped-call]
    return sums(types.uintp, types.uintp, *more, *[types.float32] * 6)


def _dot_few(
    context: Any, line: Any, weights: Any, a: Any, b: Any, c: Any, x: Any, y: Any, z: Any
) -> Any:
    """Return (sum over FEW pixels from the address `line` of pixel × weight) × abc + xyz."""

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        line, weights, *affine = arguments
        totals = [_ZERO, _ZERO]  # two chains: an addition need not wait for the one before
        for k in range(FEW):
            term = ir.Constant(_INDEX, k)
            totals[k % 2] = _added(builder, line, weights, term, totals[k % 2])
        total = _scaled(builder, builder.fadd(*totals), affine)
        return _values(target, builder, signature, total)

    return _signature(), generate


def _dot(
    context: Any, line: Any, weights: Any, taps: Any,
    a: Any, b: Any, c: Any, x: Any, y: Any, z: Any,
) -> Any:  # fmt: skip
    """Return (sum over `taps` pixels from the address `line` of pixel × weight) × abc + xyz."""

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        line, weights, taps, *affine = arguments
        before = builder.block
        loop, end = (builder.append_basic_block(name) for name in ("taps", "taps_done"))
        builder.branch(loop)
        builder.position_at_end(loop)
        k, total = builder.phi(_INDEX), builder.phi(_VECTOR)
        added = _added(builder, line, weights, k, total)
        following = builder.add(k, ir.Constant(_INDEX, 1))
        for value, first, later in (
            (k, ir.Constant(_INDEX, 0), following),
            (total, _ZERO, added),
        ):
            value.add_incoming(first, before)
            value.add_incoming(later, loop)
        builder.cbranch(builder.icmp_signed("<", following, taps), loop, end)
        builder.position_at_end(end)
        return _values(target, builder, signature, _scaled(builder, added, affine))

    return _signature(types.intp), generate


# What they are called with is not what they are written with: types here, values there.
dot_few: Any = intrinsic(_dot_few)
dot: Any = intrinsic(_dot)
