"""Compiled loops of the builder and of its columns.

Imported where they are needed: numba takes a second to start.
"""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
from numba import types

from dataprep.compiled import compiled

Array = npt.NDArray[Any]

# Found by LLVM among the process's own symbols, so the compiled kernels can be cached on disk.
_SIGNATURE = types.intp(types.int32, types.uintp, types.uintp, types.int64)
_pread: Any = types.ExternalFunction("pread", _SIGNATURE)


@compiled
def gather(fd: int, starts: Array, sizes: Array, out: Array) -> int:
    """Read pieces of a file back to back into out (bytes), adjacent ones in one call.

    Returns -1, or the piece that could not be read.
    """
    at, i = 0, 0
    while i < len(starts):
        size, j = sizes[i], i + 1
        while j < len(starts) and starts[j] == starts[i] + size:
            size += sizes[j]
            j += 1
        done = 0
        while done < size:
            got = _pread(fd, out.ctypes.data + at + done, size - done, starts[i] + done)
            if got <= 0:
                return i
            done += got
        at += size
        i = j
    return -1


@compiled
def channel_sums(pixels: Array, total: Array) -> None:
    """Add sums and sums of squares of (pixels, channels) to `total` (2, channels), in its type."""
    for c in range(pixels.shape[1]):
        one = total[0, c]
        two = total[1, c]
        for i in range(pixels.shape[0]):
            value = pixels[i, c] + (one - one)
            one += value
            two += value * value
        total[0, c] = one
        total[1, c] = two
