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
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from dataprep.manifest import DataError
from dataprep.raw import Raw

Array = npt.NDArray[Any]

TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
PIECE_BYTES = 1 << 20
IMAGES, LABELS, TABLE = 0x0803, 0x0801, 0x0C02


def read(raw: Raw, name: str, magic: int) -> Array:
    """Return a file's numbers, read-only; DataError where it is not exactly what its header says.

    magic: the first four bytes that it must have. Whether it is gzip is seen, not told by its name.
    No more is unpacked than the header asks for.
    """
    with raw.open(name) as file:
        try:
            is_gzip = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            return _parsed(gzip.GzipFile(fileobj=file) if is_gzip else file, magic)
        except EOFError:
            why = "is cut short: the gzip stream has no end"
        except (gzip.BadGzipFile, zlib.error) as error:
            why = f"is a damaged gzip ({error})"
        except OSError as error:
            why = f"cannot be read ({error.strerror or error})"
        except ValueError as error:
            why = str(error)
    raise DataError(raw.path, name, why)


def _parsed(stream: BinaryIO | gzip.GzipFile, magic: int) -> Array:
    shape = _shape(stream.read(4 + 4 * (magic & 0xFF)), magic)
    dtype = np.dtype(TYPES[magic >> 8])
    wanted = math.prod(shape) * dtype.itemsize
    data = _up_to(stream, wanted + 1)
    if len(data) != wanted:
        sides = "×".join(map(str, shape))
        short = f"{len(data):,} follow: it is cut short"
        found = short if len(data) < wanted else "more follow: too many"
        raise ValueError(f"the header says {sides}: {wanted:,} bytes, but {found}")
    numbers = np.frombuffer(data, dtype).reshape(shape)
    numbers.flags.writeable = False
    return numbers


def _up_to(stream: BinaryIO | gzip.GzipFile, most: int) -> bytearray:
    """Read so many bytes or to the end, in pieces: a header may claim what no memory holds."""
    data = bytearray()
    while len(data) < most and (piece := stream.read(min(PIECE_BYTES, most - len(data)))):
        data += piece
    return data


def _shape(header: bytes, magic: int) -> tuple[int, ...]:
    if len(header) < 4 + 4 * (magic & 0xFF):
        raise ValueError(f"is no IDX file, or cut short: it has only {len(header)} bytes")
    found, *shape = struct.unpack(f">{len(header) // 4}I", header)
    if found != magic:
        raise ValueError(f"is another kind of file: its magic number is {found}, not {magic}")
    return tuple(shape)
