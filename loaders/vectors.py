"""What numba cannot say: memory by its address, and vectors of a fixed length, as LLVM has them.

Arrays cost an atomic count each time they enter a function that is not inlined, and some loops stay
scalar; the inner loops of the JPEG decoder therefore work on addresses. Whoever calls them checks
the bounds. The first half is for use inside compiled functions, the second writes LLVM's language
for `loaders.idct` and `loaders.colour`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

BIT, I8, I16, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))
BLOCK_BYTES = 128
_CHUNK = 32


def declared(builder: Any, name: str, result: Any, arguments: Sequence[Any]) -> Any:
    """Return one of LLVM's own functions."""
    known = builder.module.globals.get(name)
    return known or ir.Function(builder.module, ir.FunctionType(result, arguments), name)


def load(builder: Any, address: Any, kind: Any, ahead: int = 0) -> Any:
    """Emit a load, however aligned, from `ahead` bytes behind an address."""
    place = builder.add(address, ir.Constant(I64, ahead))
    return builder.load(builder.inttoptr(place, kind.as_pointer()), align=1)


def store(builder: Any, value: Any, address: Any, ahead: int = 0) -> None:
    """Emit a store, however aligned, to `ahead` bytes behind an address."""
    place = builder.add(address, ir.Constant(I64, ahead))
    builder.store(value, builder.inttoptr(place, value.type.as_pointer()), align=1)


def vector(kind: Any, length: int) -> Any:
    """Return a vector type."""
    return ir.VectorType(kind, length)


def splat(like: Any, value: int) -> Any:
    """Return a constant vector of the type of another one."""
    return ir.Constant(like.type, [value] * like.type.count)


def cast(builder: Any, how: str, value: Any, kind: Any) -> Any:
    """Emit "zext", "sext" or "trunc" to elements of another kind."""
    return getattr(builder, how)(value, vector(kind, value.type.count))


def shuffle(builder: Any, one: Any, two: Any, places: Sequence[int]) -> Any:
    """Emit the vector of these elements of one and, counted on, two."""
    return builder.shuffle_vector(one, two, ir.Constant(vector(I32, len(places)), list(places)))


def clamp(builder: Any, value: Any, least: int, most: int) -> Any:
    """Emit a limitation, which becomes one saturating instruction with the `trunc` behind it."""
    low, high = splat(value, least), splat(value, most)
    value = builder.select(builder.icmp_signed("<", value, low), low, value)
    return builder.select(builder.icmp_signed(">", value, high), high, value)


def emitted(result: Any, arguments: Sequence[Any], write: Callable[..., Any]) -> Any:
    """Return a function for compiled code whose body `write(builder, *values)` emits."""

    def generate(target: Any, builder: Any, signature: Any, values: Any) -> Any:
        done = write(builder, *values)
        return target.get_dummy_value() if result is types.none else done

    kind = result(*arguments)
    # numba looks at the number of parameters, so each needs a function of its own.
    faces: list[Any] = [
        lambda context, a: (kind, generate),
        lambda context, a, b: (kind, generate),
        lambda context, a, b, c: (kind, generate),
        lambda context, a, b, c, d: (kind, generate),
    ]
    return intrinsic(faces[len(arguments) - 1])


def _big_endian(builder: Any, address: Any) -> Any:
    swap = declared(builder, "llvm.bswap.i64", I64, [I64])
    return builder.call(swap, [load(builder, address, I64)])


def _rare(builder: Any, condition: Any) -> Any:
    expect = declared(builder, "llvm.expect.i1", BIT, [BIT, BIT])
    return builder.call(expect, [condition, ir.Constant(BIT, 0)])


def _wipe(builder: Any, address: Any) -> None:
    zeros = ir.Constant(vector(I64, 8), [0] * 8)
    for ahead in range(0, BLOCK_BYTES, 64):
        store(builder, zeros, address, ahead)


def _copy_plain(builder: Any, source: Any, to: Any) -> Any:
    chunk = load(builder, source, vector(I8, _CHUNK))
    store(builder, chunk, to)
    marks = builder.bitcast(builder.icmp_unsigned("==", chunk, splat(chunk, 255)), I32)
    trailing = declared(builder, "llvm.cttz.i32", I32, [I32, BIT])
    return builder.zext(builder.call(trailing, [marks, ir.Constant(BIT, 0)]), I64)


def _reader(kind: Any, how: str, result: Any) -> Any:
    def write(builder: Any, address: Any) -> Any:
        value = load(builder, address, kind)
        return getattr(builder, how)(value, I64) if how else value

    return emitted(result, [types.uint64], write)


def _writer(kind: Any) -> Any:
    def write(builder: Any, address: Any, value: Any) -> None:
        store(builder, value if kind is I64 else builder.trunc(value, kind), address)

    return emitted(types.none, [types.uint64, types.int64], write)


# Addresses and unsigned results are uint64, signed results and what is stored int64.
byte_at = _reader(I8, "zext", types.uint64)
int_at = _reader(I32, "sext", types.int64)
long_at = _reader(I64, "", types.int64)
put_short, put_long = _writer(I16), _writer(I64)
# The next 64 bits, the first on top.
bits_at: Any = emitted(types.uint64, [types.uint64], _big_endian)
# Marks a condition that seldom holds: what follows may be slow and uses no registers.
rare: Any = emitted(types.boolean, [types.boolean], _rare)
# Set the 64 coefficients of a block to zero.
wipe: Any = emitted(types.none, [types.uint64], _wipe)
# Copy CHUNK bytes; returns how many come before the first 0xFF.
copy_plain: Any = emitted(types.uint64, [types.uint64, types.uint64], _copy_plain)
CHUNK = _CHUNK
