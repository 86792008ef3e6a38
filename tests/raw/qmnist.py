"""Both parts in small: train plain, test as gzip."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
from raw.mnist import digits, idx


def write(folder: Path) -> dict[str, Any]:
    """Write the raw files and return options of the source."""
    for part, count in (("train", 70), ("test", 12)):
        images, _ = digits(count, seed=count)
        files = {"images-idx3-ubyte": idx(images), "labels-idx2-int": table(rows(count))}
        for what, data in files.items():
            name = f"qmnist-{part}-{what}"
            packed = gzip.compress(data) if part == "test" else data
            (folder / (f"{name}.gz" if part == "test" else name)).write_bytes(packed)
    return {}


def rows(count: int) -> Any:
    """Return labels (N, 8): digits in turn, other numbers all different."""
    other = 1000 + np.arange(count * 7).reshape(count, 7)
    return np.concatenate([(np.arange(count) % 10)[:, None], other], axis=1)


def table(numbers: Any) -> bytes:
    """Return (N, M) whole numbers as an IDX file of 32 bits each."""
    return struct.pack(">3I", 0x0C02, *numbers.shape) + bytes(numbers.astype(">i4").tobytes())
