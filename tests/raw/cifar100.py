"""The official folder in small; keys as text, as a newer Python writes them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np


def write(folder: Path) -> dict[str, Any]:
    """Write the raw files and return options of the source."""
    official = folder / "cifar-100-python"
    official.mkdir()
    for seed, (part, count) in enumerate((("train", 700), ("test", 100))):
        (official / part).write_bytes(pickle.dumps(content(count, seed), protocol=2))
    return {}


def content(count: int, seed: int = 0) -> dict[str, Any]:
    """Return a file's content: classes in turn, five after each other in one group."""
    rng = np.random.default_rng(seed)
    return {
        "fine_labels": [i % 100 for i in range(count)],
        "coarse_labels": [i % 100 // 5 for i in range(count)],
        "data": rng.integers(0, 256, (count, 3072), np.uint8),
    }
