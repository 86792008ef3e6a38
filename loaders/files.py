"""Open shard files of one field, by number, with their sizes checked against the manifest."""

from __future__ import annotations

import os
import resource
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dataprep.manifest import DataError

Array = npt.NDArray[Any]


class BadSample(DataError):
    """One sample that cannot be read or decoded; the loader may go on without it."""

    def __init__(self, path: str | Path, sample: int, why: str) -> None:
        super().__init__(path, f"sample {sample}", why)
        self.sample = sample


class Files:
    """Shard files under `folder`, the least recently used closed first.

    name_of: shard number → path inside the folder. Not for use from two threads at once: opening
    may close the files of earlier batches.
    """

    def __init__(
        self, folder: Path, name_of: Callable[[int], str], expected: Mapping[str, Any]
    ) -> None:
        self._folder, self._name_of, self._expected = folder, name_of, expected
        self._open: OrderedDict[int, int] = OrderedDict()
        self._sizes = _Sizes(lambda shard: expected.get(name_of(shard), {"bytes": 0})["bytes"])
        # A small part of what the process may open: there are other fields, read-ahead has files of
        # its own, and validation a second loader.
        self._limit = max(16, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 16)

    def path(self, shard: int) -> Path:
        """Return the path of one shard."""
        return self._folder / self._name_of(shard)

    def open(self, shards: Array) -> Array:
        """Return a file descriptor for each shard number."""
        fds = np.array([self._one(shard) for shard in shards.tolist()], np.int32)
        while len(self._open) > max(self._limit, len(shards)):
            os.close(self._open.popitem(last=False)[1])
        return fds

    def bytes(self, shards: Array) -> Array:
        """Return the bytes of each shard, as the manifest says; 0 for one that it has not."""
        return np.array([self._sizes[shard] for shard in shards.tolist()], np.int64)

    def _one(self, shard: int) -> int:
        if shard in self._open:
            self._open.move_to_end(shard)
            return self._open[shard]
        path, facts = self.path(shard), self._expected.get(self._name_of(shard))
        if facts is None:
            raise DataError(path, "", "is in the index but not in the manifest")
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise DataError(path, "", f"cannot be opened ({error.strerror})") from None
        size = os.fstat(fd).st_size
        if size != facts["bytes"]:
            os.close(fd)
            raise DataError(path, "", f"has {size:,} bytes, the manifest says {facts['bytes']:,}")
        self._open[shard] = fd
        return fd

    def close(self) -> None:
        """Close every file."""
        while self._open:
            os.close(self._open.popitem()[1])


class _Sizes(dict[int, int]):
    """Bytes of shards, looked up once each."""

    def __init__(self, find: Callable[[int], int]) -> None:
        super().__init__()
        self._find = find

    def __missing__(self, shard: int) -> int:
        self[shard] = self._find(shard)
        return self[shard]
