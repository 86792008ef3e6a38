"""Raw pixels in memory, for images so small that a system call costs more than their bytes.

Legend: B batch, S shards of a field.
"""

from __future__ import annotations

import os
from contextlib import closing
from typing import Any

import numpy as np
import numpy.typing as npt

from dataprep.manifest import DataError
from loaders.files import Files

Array = npt.NDArray[Any]

# From this size on (a 147 px square of RGB) reading an image takes far longer than the call.
SMALL_BYTES = 1 << 16


class Held:
    """The shard files of one field, read at once; `sizes` (S,) are their bytes."""

    def __init__(self, files: Files, shards: int) -> None:
        numbers = np.arange(shards)
        self.sizes = files.bytes(numbers)
        ends = np.cumsum(self.sizes)
        self._memory = np.empty(int(ends[-1]), np.uint8)
        self._starts = ends - self.sizes + self._memory.ctypes.data
        with closing(files):
            for shard in np.flatnonzero(self.sizes).tolist():
                first, end = int(ends[shard] - self.sizes[shard]), int(ends[shard])
                _read(files, shard, self._memory[first:end])

    def bytes(self, shards: Array) -> Array:
        """Return the bytes of each shard (B,); 0 for one that the field has not."""
        there = (shards >= 0) & (shards < len(self.sizes))
        return np.where(there, self.sizes.take(shards, mode="clip"), 0)

    def addresses(self, shards: Array, starts: Array, ends: Array) -> Array:
        """Return where bytes start…end of shards lie, all (B,); -1 where they do not."""
        inside = (starts >= 0) & (ends > starts) & (ends <= self.bytes(shards))
        found = starts + self._starts.take(shards, mode="clip")
        return np.where(inside, found, -1).astype(np.int64)


def _read(files: Files, shard: int, out: Array) -> None:
    fd, done = int(files.open(np.array([shard]))[0]), 0
    while done < len(out):
        try:
            got = os.preadv(fd, [out[done:].data], done)
        except OSError as error:
            raise DataError(files.path(shard), "", f"cannot be read ({error.strerror})") from None
        if got == 0:
            raise DataError(files.path(shard), "", "the shard file is cut short")
        done += got
