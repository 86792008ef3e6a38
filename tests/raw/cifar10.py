"""The official archive in small, its members in another order than that of their names."""

from __future__ import annotations

import io
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np

NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
ORDER = ["data_batch_4", "test_batch", "data_batch_3", "data_batch_2", "data_batch_5"]


def write(folder: Path) -> dict[str, Any]:
    """Write the raw files and return options of the source."""
    write_archive(folder / "cifar-10-python.tar.gz", files(14))
    return {}


def files(count: int) -> dict[str, bytes]:
    """Return the content of all official files by name, with so many images a batch."""
    names = [*ORDER, "data_batch_1"]
    batches = {name: pickled(batch(count, seed)) for seed, name in enumerate(names)}
    meta = {b"num_cases_per_batch": count, b"label_names": [name.encode() for name in NAMES]}
    return batches | {"batches.meta": pickled(meta)}


def batch(count: int, seed: int = 0) -> dict[bytes, Any]:
    """Return a batch as Python 2 wrote it: labels in turn."""
    rng = np.random.default_rng(seed)
    return {
        b"batch_label": b"training batch",
        b"labels": [i % 10 for i in range(count)],
        b"data": rng.integers(0, 256, (count, 3072), np.uint8),
        b"filenames": [b"x_s_%06d.png" % i for i in range(count)],
    }


def pickled(content: dict[bytes, Any]) -> bytes:
    """Return a pickle of the official protocol."""
    return pickle.dumps(content, protocol=2)


def write_archive(
    path: Path, content: dict[str, bytes], folder: str = "cifar-10-batches-py"
) -> None:
    """Write a compressed tar with one folder."""
    with tarfile.open(path, "w:gz") as archive:
        for name, data in content.items():
            info = tarfile.TarInfo(f"{folder}/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
