"""Two benchmarks in two layouts; one official LR file is there, marked by its pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def write(folder: Path) -> dict[str, Any]:
    """Write the raw files and return options of the source."""
    for name in ("baby", "bird"):
        save(folder / "Set5" / "HR" / f"{name}.png", 33, 46, 120)
    save(folder / "Set5" / "LR_bicubic" / "X2" / "babyx2.png", 16, 23, 7)
    srf = folder / "Urban100" / "image_SRF_4"
    save(srf / "img_001_SRF_4_HR.png", 40, 44, 90)
    save(srf / "img_001_SRF_4_LR.png", 10, 11, 9)
    save(srf / "img_001_SRF_4_SRCNN.png", 40, 44, 0)
    return {}


def save(path: Path, height: int, width: int, level: int) -> None:
    """Write an image of one level."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((height, width, 3), level, np.uint8)).save(path)
