"""Both splits in small: train plain, the labels of test as gzip."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np


def write(folder: Path) -> dict[str, Any]:
    """Write the raw files and return options of the source."""
    for part, count in (("train", 21), ("t10k", 6)):
        images, labels = digits(count, seed=count)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx(images))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
    return {}


def digits(count: int, seed: int = 0) -> tuple[Any, Any]:
    """Return images (N, 28, 28) and labels (N,)."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, 28, 28), np.uint8), rng.integers(0, 10, count, np.uint8)


def idx(array: Any) -> bytes:
    """Return a uint8 array as an IDX file."""
    header = struct.pack(f">{1 + array.ndim}I", 0x0800 + array.ndim, *array.shape)
    return header + bytes(array.tobytes())
