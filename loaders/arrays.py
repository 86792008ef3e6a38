"""Crops straight from the raw pixels of a built set: only the rows and columns asked for are read.

Each image is contiguous inside one shard file, so a crop is a strided read of its rows. Sizes are
checked when a shard is opened; a file that shrinks later is a DataError naming sample and file.

Legend: B batch, C channels, H W pixels of the output.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dataprep import index
from dataprep.manifest import Manifest
from loaders.files import BadSample, Files
from loaders.held import SMALL_BYTES, Held
from loaders.kernels import MEMORY

Array = npt.NDArray[Any]


class Crops(NamedTuple):
    """Where the pixels of a batch of crops lie: one row a sample, ready for the kernels.

    starts are bytes of the files, or addresses where fds are `MEMORY`.
    """

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

    Small images are held in memory where all together take no more than `hold_bytes`; by what is
    in `shared` already, if it is. Not for use from two threads at once: `locate` may close the
    files of earlier batches.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        manifest: Manifest,
        hold_bytes: int = 0,
        shared: MutableMapping[str, Held] | None = None,
    ) -> None:
        self.name, self.field = name, manifest.fields[name]
        rows = manifest.samples
        self._shard, self._offset, self._height, self._width = (
            index.numbers(folder / "index" / f"{name}.{what}.npy", rows)
            for what in ("shard", "offset", "height", "width")
        )
        self.dtype = np.dtype(self.field.dtype)
        self.channels = int(self.field.shape[2] or 0) if len(self.field.shape) == 3 else 1
        self._pixel = self.channels * self.dtype.itemsize
        self._folder, self._expected = folder, manifest.files
        self._files = self.own_files()
        self._is_sound = False
        self._held = self._hold(hold_bytes, {} if shared is None else shared)
        self._is_sound = self._held is not None and self.field.is_uniform and self._all_fit()

    def _hold(self, most: int, shared: MutableMapping[str, Held]) -> Held | None:
        """Return all pixels, None where they are many or the images large."""
        prefix = f"{self.name}.zarr/"
        total = sum(f["bytes"] for name, f in self._expected.items() if name.startswith(prefix))
        if total > min(most, SMALL_BYTES * len(self._shard)) or not total:
            return None
        there = np.unique(self._shard)
        there = there[self._files.bytes(there) > 0]  # a damaged number may be any
        held = shared.get(self.name)
        if held is None and len(there):
            held = shared[self.name] = Held(self._files, int(there.max()) + 1)
        return held

    def _all_fit(self) -> bool:
        """Tell whether the whole index is true: then it need not be asked batch by batch."""
        with suppress(BadSample):
            self._sizes(np.arange(len(self._shard)))
            return True
        return False

    @property
    def is_held(self) -> bool:
        """True where the pixels lie in memory."""
        return self._held is not None

    def own_files(self) -> Files:
        """Return the shard files, opened apart: for another thread."""
        suffix = ".0" * len(self.field.shape) if self.field.is_uniform else ""
        return Files(
            self._folder, lambda shard: f"{self.name}.zarr/c.{shard}{suffix}", self._expected
        )

    def sizes(self, ids: Array) -> Array:
        """Return (B, 2) heights and widths in pixels; BadSample where one cannot be true."""
        if self._is_sound:
            return np.full((len(ids), 2), self.field.shape[:2], np.int64)
        return self._sizes(ids)

    def _sizes(self, ids: Array) -> Array:
        sizes = np.stack([self._height[ids], self._width[ids]], axis=1).astype(np.int64)
        # As floats: damaged numbers may overflow.
        ends = self._offset[ids] + sizes.prod(1, dtype=np.float64) * self._pixel
        shards = self._shard[ids]
        wrong = (ends > (self._held or self._files).bytes(shards)) | (sizes.min(1) < 1)
        if self.field.is_uniform:
            wrong |= (sizes != self.field.shape[:2]).any(1)
        if wrong.any():
            at = int(np.flatnonzero(wrong)[0])
            path = self._files.path(int(shards[at]))
            raise BadSample(path, int(ids[at]), "the index points beyond the shard: damaged")
        return sizes

    def turns(self, ids: Array) -> Array | None:
        """Return None: raw pixels are stored upright."""
        return None

    def spans(self, ids: Array) -> tuple[Array, Array, Array]:
        """Return (B,) shard numbers, first bytes and bytes of the samples' images."""
        pixels = self._height[ids].astype(np.int64) * self._width[ids]
        return self._shard[ids], self._offset[ids], pixels * self._pixel

    def locate(self, ids: Array, boxes: Array, codes: Array) -> Crops:
        """Turn boxes (B, 4: y, x, height, width) into file positions, opening what is needed."""
        strides = self._width[ids].astype(np.int64) * self._pixel
        corners = boxes[:, 0] * strides + boxes[:, 1] * self._pixel
        starts = self._offset[ids].astype(np.int64) + corners
        sizes = np.ascontiguousarray(boxes[:, 2:], dtype=np.int64)
        if self._held is None:
            fds = self._files.open(self._shard[ids])
        else:
            fds = np.full(len(ids), MEMORY, np.int32)
            ends = starts + (sizes[:, 0] - 1) * strides + sizes[:, 1] * self._pixel
            starts = self._addresses(self._held, ids, starts, ends)
        return Crops(ids, fds, starts, strides, sizes, np.ascontiguousarray(codes, dtype=np.int64))

    def _addresses(self, held: Held, ids: Array, starts: Array, ends: Array) -> Array:
        """Return where bytes start…end of the samples' shards lie in memory; BadSample if not."""
        shards = self._shard[ids]
        found = held.addresses(shards, starts, ends)
        if (found < 0).any():
            at = int(np.flatnonzero(found < 0)[0])
            path = self._files.path(int(shards[at]))
            raise BadSample(path, int(ids[at]), "its pixels lie beyond the shard: damaged")
        return found

    def check(self, crops: Crops, row: int) -> None:
        """Raise BadSample where a kernel returned a row that it could not read, not -1."""
        if row >= 0:
            raise self.explain(crops, row)

    def explain(self, crops: Crops, row: int) -> BadSample:
        """Say why one crop could not be read."""
        sample = int(crops.ids[row])
        path = self._files.path(int(self._shard[sample]))
        try:
            os.pread(int(crops.fds[row]), 1, int(crops.starts[row]))
        except OSError as error:
            return BadSample(path, sample, f"cannot be read ({error.strerror})")
        return BadSample(path, sample, "the shard file is cut short")

    def close(self) -> None:
        """Close every file."""
        self._files.close()
