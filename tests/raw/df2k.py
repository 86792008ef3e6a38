"""Three parts in small: a folder, a zip, a nested folder, with LR files that must be left alone."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def write(folder: Path) -> dict[str, Any]:
    """Write the raw files and return options of the source."""
    (folder / "DIV2K_train_HR").mkdir()
    (folder / "DIV2K_train_LR_bicubic" / "X2").mkdir(parents=True)
    for number in (1, 2, 800):
        (folder / "DIV2K_train_HR" / f"{number:04d}.png").write_bytes(png(number))
        (folder / "DIV2K_train_LR_bicubic" / "X2" / f"{number:04d}x2.png").write_bytes(png(number))
    with zipfile.ZipFile(folder / "DIV2K_valid_HR.zip", "w") as archive:
        archive.writestr("DIV2K_valid_HR/0801.png", png(801))
    deep = folder / "Flickr2K" / "Flickr2K_HR"
    deep.mkdir(parents=True)
    (deep / "000001.png").write_bytes(png(1001))
    return {"allow_partial": True}


def png(seed: int) -> bytes:
    """Return a small picture."""
    pixels = np.random.default_rng(seed).integers(0, 256, (25, 34, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()
