"""Crops straight from the raw pixels of a built set: only the rows and columns asked for are read.

Each image is contiguous inside one shard file, so a crop is a strided read of its rows. Sizes are
checked when a shard is opened; a file that shrinks later is a DataError naming sample and file.

Legend: B batch, C channels, H W pixels of the output.
"""

from __future__ import annotations

import os
import resource
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dataprep import index
from dataprep.manifest import DataError, Field, Manifest

Array = npt.NDArray[Any]


class Crops(NamedTuple):
    """Where the pixels of a batch of crops lie: one row a sample, ready for the kernels."""

    ids: Array
    fds: Array
    starts: Array
    strides: Array
    boxes: Array
    codes: Array

    def part(self, rows: slice) -> Crops:
        """Return some of the rows."""
        return Crops(*(column[rows] for column in self))


class Pixels:
    """One image or map field of a built set, addressed by id.

    Not for use from two threads at once: `locate` may close the files of earlier batches.
    """

    def __init__(self, folder: Path, name: str, manifest: Manifest) -> None:
        self.name, self.field = name, manifest.fields[name]
        rows = manifest.samples
        self._shard, self._offset, self._height, self._width = (
            index.read(folder / "index" / f"{name}.{what}.npy", rows)
            for what in ("shard", "offset", "height", "width")
        )
        self._files = _Files(folder, name, self.field, manifest)
        self.dtype = np.dtype(self.field.dtype)
        self.channels = int(self.field.shape[2] or 0) if len(self.field.shape) == 3 else 1

    def sizes(self, ids: Array) -> Array:
        """Return (B, 2) heights and widths in pixels."""
        return np.stack([self._height[ids], self._width[ids]], axis=1).astype(np.int64)

    def locate(self, ids: Array, boxes: Array, codes: Array) -> Crops:
        """Turn boxes (B, 4: y, x, height, width) into file positions, opening what is needed."""
        pixel = self.channels * self.dtype.itemsize
        strides = self._width[ids].astype(np.int64) * pixel
        starts = self._offset[ids].astype(np.int64) + boxes[:, 0] * strides + boxes[:, 1] * pixel
        fds = self._files.open(self._shard[ids])
        sizes = np.ascontiguousarray(boxes[:, 2:], dtype=np.int64)
        return Crops(ids, fds, starts, strides, sizes, np.ascontiguousarray(codes, dtype=np.int64))

    def explain(self, crops: Crops, row: int) -> DataError:
        """Say why one crop could not be read."""
        sample = int(crops.ids[row])
        path = self._files.path(int(self._shard[sample]))
        try:
            os.pread(int(crops.fds[row]), 1, int(crops.starts[row]))
        except OSError as error:
            return DataError(path, f"sample {sample}", f"cannot be read ({error.strerror})")
        return DataError(path, f"sample {sample}", "the shard file is cut short")

    def close(self) -> None:
        """Close every file."""
        self._files.close()


class _Files:
    """Open shard files of one field, the least recently used closed first."""

    def __init__(self, folder: Path, name: str, field: Field, manifest: Manifest) -> None:
        self._folder, self._zarr = folder, f"{name}.zarr"
        dimensions = 1 + len(field.shape) if field.is_uniform else 1
        self._suffix = ".0" * (dimensions - 1)
        self._expected = manifest.files
        self._open: OrderedDict[int, int] = OrderedDict()
        # Half of what the process may open: the rest is for other fields, sockets and logs.
        self._limit = max(16, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 8)

    def path(self, shard: int) -> Path:
        return self._folder / self._zarr / f"c.{shard}{self._suffix}"

    def open(self, shards: Array) -> Array:
        """Return a file descriptor for each shard number."""
        fds = np.array([self._one(shard) for shard in shards.tolist()], np.int32)
        while len(self._open) > max(self._limit, len(shards)):
            os.close(self._open.popitem(last=False)[1])
        return fds

    def _one(self, shard: int) -> int:
        if shard in self._open:
            self._open.move_to_end(shard)
            return self._open[shard]
        path = self.path(shard)
        facts = self._expected.get(str(path.relative_to(self._folder)))
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
        while self._open:
            os.close(self._open.popitem()[1])
