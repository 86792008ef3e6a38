"""Two splits as CSV: train plain, test as gzip."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
from raw.mnist import digits


def write(folder: Path) -> dict[str, Any]:
    """Write the raw files and return options of the source."""
    (folder / "digits_train.csv").write_bytes(csv(*labelled(70)))
    (folder / "digits_test.csv.gz").write_bytes(gzip.compress(csv(*labelled(12))))
    return {}


def labelled(count: int) -> tuple[Any, Any]:
    """Return images (N, 28, 28) and labels (N,): ten classes in turn."""
    return digits(count, seed=count)[0], np.arange(count) % 10


def csv(images: Any, labels: Any) -> bytes:
    """Return images of any shape and their labels as CSV."""
    flat = images.reshape(len(images), -1)
    head = ",".join(["label", *(f"pixel{i}" for i in range(flat.shape[1]))])
    rows = np.concatenate([np.asarray(labels)[:, None], flat], axis=1).tolist()
    return "\n".join([head, *(",".join(map(str, row)) for row in rows), ""]).encode()
