"""Encoded images straight from the tar shards of a built set, addressed by id.

    tar = Dataset("photos").tar("image")
    data = tar.read(17)              # the file's bytes, whole

A crop needs less: `locate` finds, for a batch, what lies where. `decode` then brings the pixels of
a box (loaders/box.py), `fetch` its bytes as a small valid JPEG for any decoder (loaders/cut.py);
both read the MCU rows that the box touches. An image without row index is fetched whole. Bytes come
by `pread`, never by a memory map: a truncated shard is an error that names it, not a dead process.

Legend: B batch; boxes are (y, x, h, w) in pixels as they are stored.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dataprep import index
from dataprep.compiled import compiled
from dataprep.manifest import Manifest
from loaders import cut
from loaders.box import REFUSED, decode_box, work_bytes
from loaders.buffers import Scratch
from loaders.files import BadSample, Files
from loaders.kernels import fill

Array = npt.NDArray[Any]

# An error code of `_fetch`; those of `cut.assemble` are smaller numbers.
_UNREADABLE, _BAD_ROWS = -1000, -1001
# A gap between header and rows up to this size is read along: one system call less.
_GAP_BYTES = 8192
_SPARE_BYTES = 2  # what a cut may be longer than its file
_MOST_SIDE = 65535  # no JPEG is larger


class Members(NamedTuple):
    """Where the images of a batch lie, and what is wanted of them; one row a sample."""

    ids: Array
    fds: Array
    offsets: Array
    bytes: Array
    heights: Array  # as stored
    widths: Array
    rows: Array  # the row indices of all samples, one after another
    starts: Array  # (B + 1,) where each sample's begin
    boxes: Array  # (B, 4)


class Fetched(NamedTuple):
    """An image file of (height, width) pixels, in which the wanted box starts at (top, left)."""

    data: Array
    top: int
    left: int
    height: int
    width: int
    is_cut: bool


class Tar:
    """One encoded field of a built set. `locate` is not for use from two threads at once.

    channels: 3, or 1 where the field holds grey files alone (masks): decoders give these as RGB.
    """

    dtype = np.dtype(np.uint8)
    is_held = False

    def __init__(self, folder: Path, name: str, manifest: Manifest) -> None:
        self.name, self.field, rows = name, manifest.fields[name], manifest.samples
        self.channels = 1 if self.field.shape[2:] == (1,) else 3
        columns = folder / "index"
        self._shard, self._offset, self._bytes, self._height, self._width, self._turn = (
            index.numbers(columns / f"{name}.{what}.npy", rows)
            for what in ("shard", "offset", "size", "height", "width", "turn")
        )
        self._rows = index.Ragged(columns, f"{name}.rows", rows)
        self.folder, self._expected = folder, manifest.files
        self._files = self.own_files()

    def own_files(self) -> Files:
        """Return the shard files, opened apart: for another thread."""
        return Files(self.folder, lambda shard: f"shards/{shard:06d}.tar", self._expected)

    def sizes(self, ids: Array) -> Array:
        """Return (B, 2) heights and widths in upright pixels."""
        sizes = np.stack([self._height[ids], self._width[ids]], axis=1).astype(np.int64)
        if len(sizes) and not (sizes.min() > 0 and sizes.max() <= _MOST_SIDE):
            at = np.flatnonzero((sizes < 1).any(1) | (sizes > _MOST_SIDE).any(1))[0]
            why = f"a damaged index: {sizes[at, 0]}×{sizes[at, 1]} pixels"
            raise BadSample(self.folder / "index", int(ids[at]), why)
        return sizes

    def turns(self, ids: Array) -> Array:
        """Return (B,) the dihedral codes that make the stored pixels upright."""
        return np.asarray(self._turn[ids]).astype(np.int64) & 7

    def locate(self, ids: Array, boxes: Array) -> Members:
        """Find the samples of a batch and open their shards; BadSample where one lies outside."""
        shards, offsets, sizes = self._shard[ids], self._offset[ids], self._bytes[ids]
        ends = offsets.astype(np.float64) + sizes  # as floats: damaged numbers may overflow
        outside = np.flatnonzero(ends > self._files.bytes(shards))
        if len(outside):
            path = self._files.path(int(shards[outside[0]]))
            raise BadSample(path, int(ids[outside[0]]), "the index points beyond the shard")
        stored = self.sizes(ids)
        turned = (self.turns(ids) & 4) != 0
        stored[turned] = stored[turned, ::-1]
        values, starts = self._rows.take(ids)
        return Members(
            ids,
            self._files.open(shards),
            offsets.astype(np.int64),
            sizes.astype(np.int64),
            stored[:, 0],
            stored[:, 1],
            np.asarray(values, np.int64),
            np.asarray(starts, np.int64),
            np.ascontiguousarray(boxes, np.int64),
        )

    def fetch(
        self, members: Members, row: int, scratch: Scratch, out: Array | None = None
    ) -> Fetched:
        """Return one sample's file, cut to its box where that is possible; BadSample if it fails.

        It lies in `out` or in the scratch, where the next call overwrites it.
        """
        size = int(members.bytes[row])
        data = scratch.flat("file", size) if out is None else out
        rows = members.rows[members.starts[row] : members.starts[row + 1]]
        height, width = int(members.heights[row]), int(members.widths[row])
        if len(rows) == 0:
            length = _read(members.fds[row], members.offsets[row], size, data)
            if length < 0:
                raise self.explain(members, row, length)
            top, left = members.boxes[row, :2].tolist()
            return Fetched(data[:size], top, left, height, width, False)
        spare = scratch.flat("cut", size + _SPARE_BYTES)
        source, to = (data, spare) if out is None else (spare, data)
        length, top, left, height, width = _fetch(
            members.fds[row], members.offsets[row], size, rows, members.boxes[row],
            height, width, source, to,
        )  # fmt: skip
        if length < 0:
            raise self.explain(members, row, length)
        return Fetched(to[:length], top, left, height, width, True)

    def decode(self, members: Members, row: int, scratch: Scratch) -> Array | None:
        """Return one sample's box as rows of RGB (h, w × 3), from the scratch; BadSample if unread.

        None where it is not one that `loaders.box` decodes, or irregular: `fetch` it then.
        """
        rows = members.rows[members.starts[row] : members.starts[row + 1]]
        if len(rows) == 0:
            return None
        size, width = int(members.bytes[row]), int(members.widths[row])
        h, w = members.boxes[row, 2:].tolist()
        room = work_bytes(size, h, w, width)
        out = scratch.flat("pixels", 3 * h * w)
        code = _decode(
            members.fds[row], members.offsets[row], size, rows, members.boxes[row],
            int(members.heights[row]), width, scratch.flat("file", size),
            scratch.flat("work", room)[:room], out,
        )  # fmt: skip
        if code == REFUSED:
            return None
        if code < 0:
            raise self.explain(members, row, code)
        return out[: 3 * h * w].reshape(h, 3 * w)

    def read(self, sample: int) -> bytes:
        """Return one sample's whole file; BadSample where it cannot be read."""
        return self.read_all(np.array([sample]))[0]

    def read_all(self, ids: Array) -> list[bytes]:
        """Return the whole files of some samples."""
        members = self.locate(ids, np.zeros((len(ids), 4), np.int64))
        files = []
        for row, size in enumerate(members.bytes.tolist()):
            data = np.empty(size, np.uint8)
            length = _read(members.fds[row], members.offsets[row], size, data)
            if length < 0:
                raise self.explain(members, row, length)
            files.append(data.tobytes())
        return files

    def spans(self, ids: Array) -> tuple[Array, Array, Array]:
        """Return (B,) shard numbers, first bytes and bytes of the samples' members."""
        return self._shard[ids], self._offset[ids], self._bytes[ids]

    def explain(self, members: Members, row: int, code: int) -> BadSample:
        """Say why a sample could not be fetched."""
        sample = int(members.ids[row])
        if code == _BAD_ROWS:
            return self.bad(sample, "its row index is damaged")
        if code != _UNREADABLE:
            return self.bad(sample, cut.explain(code))
        try:
            os.pread(int(members.fds[row]), 1, int(members.offsets[row]))
        except OSError as error:
            return self.bad(sample, f"cannot be read ({error.strerror})")
        return self.bad(sample, "the shard file is cut short")

    def bad(self, sample: int, why: str) -> BadSample:
        """Return the error of one sample, which names its shard."""
        return BadSample(self._files.path(int(self._shard[sample])), sample, why)

    def close(self) -> None:
        """Close every file."""
        self._files.close()


@compiled
def _read(fd: int, offset: int, size: int, data: Array) -> int:
    """Read a whole member; returns its bytes or an error code."""
    return size if fill(fd, data, 0, size, offset) else _UNREADABLE


@compiled
def _load(
    fd: int, offset: int, size: int, rows: Array, box: Array, height: int, data: Array
) -> tuple[int, int, int, int]:
    """Read header and rows of one member; returns (first row, last, begin, end of them in data).

    A first row below 0 is an error code.
    """
    count = len(rows) - 1
    for i in range(count):
        if rows[i] >= rows[i + 1]:
            return _BAD_ROWS, 0, 0, 0
    if count < 1 or rows[0] < 4 or rows[count] > size:
        return _BAD_ROWS, 0, 0, 0
    first, last = cut.rows_needed(height, count, box[0], box[0] + box[2])
    if first < 0:
        return _BAD_ROWS, 0, 0, 0
    # With the marker before them: it shows whether the rows begin where the index says.
    head, start, end = rows[0], rows[first] - (2 if first else 0), rows[last + 1]
    if start - head <= _GAP_BYTES:
        body = start
        whole = fill(fd, data, 0, end, offset)
    else:
        body = head
        whole = fill(fd, data, 0, head, offset)
        whole = whole and fill(fd, data, head, end - start, offset + start)
    if not whole:
        return _UNREADABLE, 0, 0, 0
    return first, last, body, body + end - start


@compiled
def _fetch(
    fd: int, offset: int, size: int, rows: Array, box: Array, height: int, width: int,
    data: Array, out: Array,
) -> tuple[int, int, int, int, int]:  # fmt: skip
    """Read header and rows of one member to `data`, and cut the box out of them to `out`.

    Returns (bytes, top, left, height, width) of the small file; bytes below 0 is an error code.
    """
    first, last, begin, end = _load(fd, offset, size, rows, box, height, data)
    if first < 0:
        return first, 0, 0, 0, 0
    return cut.assemble(
        data[: rows[0]], data[begin:end], rows[first : last + 2], first,
        box[0], box[1], box[2], box[3], height, width, out,
    )  # fmt: skip


@compiled
def _decode(
    fd: int, offset: int, size: int, rows: Array, box: Array, height: int, width: int,
    data: Array, work: Array, out: Array,
) -> int:  # fmt: skip
    """Read header and rows of one member to `data`, and decode the box to `out`.

    Returns 0, `REFUSED`, or an error code of reading.
    """
    first, last, begin, end = _load(fd, offset, size, rows, box, height, data)
    if first < 0:
        return first
    return decode_box(
        data[: rows[0]], data[begin:end], rows[first : last + 2], first,
        box[0], box[1], box[2], box[3], height, width, work, out,
    )  # fmt: skip
