"""A folder of photographs as users have them: nested, mixed types, one of them turned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def write(folder: Path) -> dict[str, Any]:
    """Write the raw files and return options of the source."""
    rng = np.random.default_rng(0)
    (folder / "day one").mkdir()
    for i in range(6):
        pixels = rng.integers(0, 256, (30 + i, 41 - i, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "day one" / f"{i}.v2.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(folder / "turned.jpg", exif=exif)
    Image.fromarray(pixels[..., 0]).save(folder / "grey.bmp")
    (folder / "notes.txt").write_text("no image")
    return {"val_fraction": 0.25, "scales": (2, 4)}
