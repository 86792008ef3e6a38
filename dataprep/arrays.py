"""Write raw pixel fields as zarr v3 arrays, uncompressed, one file a shard.

Equal sizes: one [N, …] array. Unequal sizes: one 1-D array in which each image is contiguous
(height, width, channels) inside one chunk. A chunk is a shard file, and the chunk length is the
longest shard's: the others are extended by a hole, which takes no disk.

    <field>.zarr/zarr.json
    <field>.zarr/c.0          or c.0.0.0.0 for a [N, H, W, C] array
"""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from dataprep.manifest import DataError, Field, atomic

Array = npt.NDArray[Any]

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def shard_path(folder: Path, name: str, field: Field, shard: int) -> Path:
    """Return the file of one shard of a pixel field."""
    dimensions = 1 + len(field.shape) if field.is_uniform else 1
    return folder / f"{name}.zarr" / f"c.{shard}{'.0' * (dimensions - 1)}"


def item_bytes(field: Field) -> int:
    """Return the bytes of one row along the array's first axis."""
    rest = [side or 1 for side in field.shape] if field.is_uniform else []
    return int(np.prod(rest, dtype=np.int64)) * np.dtype(field.dtype).itemsize


class ShardFile:
    """One shard of one field while it is written; `seal` moves it into its place.

    DataError where the disk is full: names the file and the bytes that it wanted.
    """

    def __init__(self, temporary: Path, final: Path) -> None:
        self._temporary, self.final = temporary, final
        self._file = open(temporary, "wb", buffering=0)
        self.bytes = 0

    def append(self, array: Array) -> int:
        """Write one image and return its offset in bytes."""
        # Bytes, not elements, and in the byte order that zarr.json promises.
        ordered = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        return self.write(ordered.reshape(-1).view(np.uint8).data)

    def write(self, data: bytes | memoryview) -> int:
        """Write some bytes and return their offset."""
        data = memoryview(data)
        offset, done = self.bytes, 0
        try:
            while done < len(data):
                done += self._file.write(data[done:]) or 0
        except OSError as error:
            raise full(error, self.final, len(data) - done) from None
        self.bytes += len(data)
        return offset

    def seal(self) -> None:
        """Bring the file to disk, then rename it."""
        try:
            os.fsync(self._file.fileno())
            self._file.close()
        except OSError as error:
            raise full(error, self.final) from None
        self.final.parent.mkdir(exist_ok=True)
        os.replace(self._temporary, self.final)

    def __enter__(self) -> ShardFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, why: BaseException | None, at: TracebackType | None
    ) -> None:
        self._file.close()
        self._temporary.unlink(missing_ok=True)


def full(error: OSError, path: Path, missing: int = 0) -> DataError | OSError:
    """Turn an error of a full disk into one that says what to do; others stay what they are.

    missing: bytes that were still to be written, 0 where that is not known.
    """
    if error.errno not in NO_SPACE:
        return error
    what = os.strerror(error.errno or 0).lower()
    what += f", {missing:,} bytes more were to be written" if missing else ""
    return DataError(
        path, "", f"{what}; finished shards stay: free some space and run the same command again"
    )


def finish(folder: Path, name: str, field: Field, lengths: list[int]) -> None:
    """Extend every shard to the longest one's length (bytes) and write the array's zarr.json."""
    longest = max(lengths)
    for shard in range(len(lengths)):
        path = shard_path(folder, name, field, shard)
        try:
            os.truncate(path, longest)
        except OSError as error:
            raise full(error, path, longest - lengths[shard]) from None
    item = item_bytes(field)
    chunk = longest // item
    total = chunk * (len(lengths) - 1) + lengths[-1] // item
    rest = [side or 0 for side in field.shape] if field.is_uniform else []
    with atomic(folder / f"{name}.zarr" / "zarr.json") as path:
        path.write_text(json.dumps(_metadata(field, [total, *rest], [chunk, *rest]), indent=1))


def _metadata(field: Field, shape: list[int], chunk: list[int]) -> dict[str, Any]:
    """Return the zarr v3 metadata of an uncompressed array."""
    dtype = np.dtype(field.dtype)
    codec: dict[str, Any] = {"name": "bytes"}
    if dtype.itemsize > 1:
        codec["configuration"] = {"endian": "little"}
    packed = "images (height, width, channels) one after another; places in ../index"
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": shape,
        "data_type": dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunk}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "fill_value": {"b": False, "f": 0.0}.get(dtype.kind, 0),
        "codecs": [codec],
        "attributes": {} if field.is_uniform else {"layout": packed},
    }
