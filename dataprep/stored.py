"""Read a built set sample after sample, as it is stored: columns, splits, pixels, image files.

For commands that go once over a set in the order of ids; a training reads through the loaders.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dataprep import derived, image, index
from dataprep.arrays import shard_path
from dataprep.manifest import DataError, Manifest
from dataprep.tar import tar_path

Array = npt.NDArray[Any]


class Pixels:
    """One image or map field: `array(id)` its pixels, `file(id)` its image file where encoded.

    One shard is open at a time. DataError names the shard and the sample that cannot be read.
    """

    def __init__(self, folder: Path, name: str, facts: Manifest) -> None:
        def column(what: str) -> index.Column:
            return index.numbers(folder / "index" / f"{name}.{what}.npy", facts.samples)

        self.name, self.field, self._folder = name, facts.fields[name], folder
        self._shard, self._offset = column("shard"), column("offset")
        sizes = ["size"] if self.field.is_encoded else ["height", "width"]
        self._sizes = [column(what) for what in sizes]
        self._open: tuple[Path, int] | None = None

    def array(self, sample: int) -> Array:
        """Return the raw pixels of one sample, (H, W) or (H, W, C)."""
        height, width = (int(column[sample]) for column in self._sizes)
        shape = (height, width, *[side or 1 for side in self.field.shape[2:]])
        dtype = np.dtype(self.field.dtype).newbyteorder("<")
        data = self._bytes(sample, int(np.prod(shape, dtype=object)) * dtype.itemsize)
        return np.frombuffer(data, dtype).astype(dtype.newbyteorder("=")).reshape(shape)

    def file(self, sample: int) -> tuple[bytes, str]:
        """Return the image file of one sample, and the suffix that names its kind."""
        data = self._bytes(sample, int(self._sizes[0][sample]))
        return data, image.kind(data)

    def _bytes(self, sample: int, size: int) -> bytes:
        shard = int(self._shard[sample])
        if self.field.is_encoded:
            path = tar_path(self._folder, shard)
        else:
            path = shard_path(self._folder, self.name, self.field, shard)
        try:
            offset, descriptor = int(self._offset[sample]), self._descriptor(path)
            # Checked first: a damaged size must not ask for all memory.
            whole = offset + size <= os.fstat(descriptor).st_size
            data = os.pread(descriptor, size, offset) if whole else b""
        except OSError as error:
            raise DataError(path, f"sample {sample}", f"unreadable ({error.strerror})") from None
        if len(data) < size:
            raise DataError(path, f"sample {sample}", "lies beyond the end of its shard: damaged")
        return data

    def _descriptor(self, path: Path) -> int:
        if self._open is None or self._open[0] != path:
            self.close()
            self._open = path, os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return self._open[1]

    def close(self) -> None:
        """Close the open shard."""
        if self._open is not None:
            os.close(self._open[1])
            self._open = None


def split(folder: Path, facts: Manifest, name: str) -> Array:
    """Return the ids of a split, derived ones too; DataError lists the choices."""
    if name not in facts.splits:
        path = derived.find(folder, name, "ids", facts.fingerprint, facts.splits)
        return np.asarray(derived.ids(path, facts.samples))
    path = folder / "splits" / f"{name}.npy"
    ids = np.asarray(index.numbers(path, facts.splits[name]))
    if len(ids) and not (ids.min() >= 0 and ids.max() < facts.samples):
        raise DataError(path, "", f"names ids outside 0…{facts.samples - 1}: damaged")
    return ids


def apart(folder: Path, facts: Manifest) -> list[str]:
    """Return splits that share no sample, the well-known names first: each sample at most once."""
    seen, chosen = np.zeros(facts.samples, bool), []
    first = ("train", "val", "test")
    order = [name for name in first if name in facts.splits]
    order += sorted(set(facts.splits) - set(first), key=lambda one: (facts.splits[one], one))
    for name in order:
        ids = split(folder, facts, name)
        if len(ids) and not seen[ids].any():
            chosen.append(name)
            seen[ids] = True
    return chosen
