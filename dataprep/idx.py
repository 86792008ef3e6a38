"""IDX files, plain or gzip, as MNIST and its kin come: a big-endian header, then numbers.

0 0 TYPE DIMENSIONS   one byte each; read as one number, 2051 is images, 2049 labels, 3074 a table
sizes                 four bytes each
numbers               the last dimension fastest
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from dataprep.manifest import DataError
from dataprep.raw import Raw

Array = npt.NDArray[Any]

TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
IMAGES, LABELS, TABLE = 0x0803, 0x0801, 0x0C02


def read(raw: Raw, name: str, magic: int) -> Array:
    """Return a file's numbers, read-only; DataError where it is not exactly what its header says.

    magic: the first four bytes that it must have. Whether it is gzip is seen, not told by its name.
    """
    try:
        return _parsed(raw.read(name), magic)
    except ValueError as error:
        raise DataError(raw.path, name, str(error)) from None


def _parsed(data: bytes, magic: int) -> Array:
    data = _decompressed(data) if data.startswith(b"\x1f\x8b") else data
    head = 4 + 4 * (magic & 0xFF)
    shape = _shape(data[:head], magic)
    dtype = np.dtype(TYPES[magic >> 8])
    wanted, there = math.prod(shape) * dtype.itemsize, len(data) - head
    if there != wanted:
        sides, what = "×".join(map(str, shape)), "it is cut short" if there < wanted else "too many"
        raise ValueError(f"the header says {sides}: {wanted:,} bytes, but {there:,} follow: {what}")
    return np.frombuffer(data, dtype, offset=head).reshape(shape)


def _decompressed(data: bytes) -> bytes:
    try:
        return gzip.decompress(data)
    except EOFError:
        raise ValueError("is cut short: the gzip stream has no end") from None
    except (OSError, zlib.error) as error:
        raise ValueError(f"is a damaged gzip ({error})") from None


def _shape(header: bytes, magic: int) -> tuple[int, ...]:
    if len(header) < 4 + 4 * (magic & 0xFF):
        raise ValueError(f"is no IDX file, or cut short: it has only {len(header)} bytes")
    found, *shape = struct.unpack(f">{len(header) // 4}I", header)
    if found != magic:
        raise ValueError(f"is another kind of file: its magic number is {found}, not {magic}")
    return tuple(shape)
