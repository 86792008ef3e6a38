"""Two classes in the three official folders; every second image is CIFAR-10's."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def write(folder: Path) -> dict[str, Any]:
    """Write the raw files and return options of the source."""
    for name, data in files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return {}


def files() -> dict[str, bytes]:
    """Return PNG files by name; one of them is grey."""
    found = {}
    for split, cifar in (("train", "train"), ("valid", "train"), ("test", "test")):
        for label in ("cat", "ship"):
            for i in range(4):
                own = f"cifar10-{cifar}-{i}" if i % 2 else f"n0212_{i}"
                seed = len(found)
                found[f"{split}/{label}/{own}.png"] = png(seed, is_grey=i == 2)
    return found


def png(seed: int, side: int = 32, is_grey: bool = False) -> bytes:
    """Return a PNG of noise."""
    shape = (side, side) if is_grey else (side, side, 3)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()
