"""The global heap of an HDF5 file, where strings and vectors lie, walked without the library.

libhdf5 2.0 loops for ever, or crashes, on a heap with a wrong length in it; this walk always ends.
HDF5 File Format Specification 3.0, sections III.E (global heap) and VIII.A (references to it).
"""

from __future__ import annotations

import os
import struct
from functools import cache
from typing import NamedTuple

import h5py
import numpy as np

REFERENCE = np.dtype([("items", "<u4"), ("heap", "<u8"), ("index", "<u4")])
HEADER = struct.Struct("<4sB3xQ")  # signature, version, bytes of the whole collection
OBJECT = struct.Struct("<HH4xQ")  # index (0: the free space at the end), references, bytes
LARGEST = 2**28  # bytes of all items: thousands may point to the same ones


def is_plain(dataset: h5py.Dataset) -> bool:
    """Tell whether references lie in one piece, with addresses as all writers make them."""
    made = dataset.file.id.get_create_plist()
    one_piece = dataset.id.get_create_plist().get_layout() == h5py.h5d.CONTIGUOUS
    plain = made.get_sizes() == (8, 8) and made.get_userblock() == 0
    return one_piece and plain and dataset.file.driver in ("sec2", "core")


def items(dataset: h5py.Dataset, itemsize: int) -> list[bytes]:
    """Return the bytes of every element of a plain dataset; ValueError where damaged.

    itemsize: of the elements' base type.
    """
    count = int(np.prod(dataset.shape))
    if not count:
        return []
    file = dataset.file
    stored = _Bytes(file.filename, file.id.get_file_image() if file.driver == "core" else None)
    references = np.frombuffer(stored.read(dataset.id.get_offset(), count * 16), REFERENCE)
    collection = cache(lambda at: _collection(stored, at))
    found: list[bytes] = []
    size = 0
    for length, at, index in references.tolist():
        data = collection(at).get(index) if length else b""
        if data is None or len(data) < length * itemsize:
            raise ValueError(f"element {len(found)} is not in the heap")
        found.append(data[: length * itemsize])
        size += len(found[-1])
        if size > LARGEST:
            raise ValueError("elements are too long")
    return found


class _Bytes(NamedTuple):
    """The bytes of a file, on disk or `image`."""

    name: str
    image: bytes | None

    def read(self, start: int, count: int) -> bytes:
        """Return exactly so many bytes."""
        if self.image is not None:
            data = self.image[start : start + count]
        else:
            with open(self.name, "rb") as file:
                if start + count > os.fstat(file.fileno()).st_size:
                    raise ValueError("points behind the end of the file")
                file.seek(start)
                data = file.read(count)
        if len(data) != count:
            raise ValueError("points behind the end of the file")
        return data


def _collection(stored: _Bytes, at: int) -> dict[int, bytes]:
    """Return the objects of one collection by their index."""
    signature, version, size = HEADER.unpack(stored.read(at, HEADER.size))
    if signature != b"GCOL" or version != 1 or size > LARGEST:
        raise ValueError("a heap is damaged")
    data = stored.read(at, size)
    objects: dict[int, bytes] = {}
    start = HEADER.size
    while start + OBJECT.size <= size:
        index, _, length = OBJECT.unpack_from(data, start)
        if index == 0:
            break
        start += OBJECT.size
        if index in objects or start + length > size:
            raise ValueError("a heap is damaged")
        objects[index] = data[start : start + length]
        start += -(-length // 8) * 8
    return objects
