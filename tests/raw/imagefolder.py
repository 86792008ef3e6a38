"""Two splits of two classes: every kind of image file, one of them turned by EXIF."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def write(folder: Path) -> dict[str, Any]:
    """Write the raw files and return options of the source."""
    for split, numbers in (("train", range(4)), ("val", range(4, 6))):
        for name in ("cat", "dog"):
            (folder / split / name).mkdir(parents=True)
            for i in numbers:
                path = folder / split / name / f"{i}.v2.jpg"
                path.write_bytes(jpeg(picture(i, 60 + 7 * i, 90 - 5 * i)))
    train = folder / "train"
    (train / "cat" / "grey.jpg").write_bytes(jpeg(picture(10, 40, 50)[..., 0]))
    (train / "cat" / "progressive.JPEG").write_bytes(jpeg(picture(11, 70, 50), progressive=True))
    (train / "dog" / "turned.jpg").write_bytes(jpeg(picture(12, 33, 64), exif=turned(6)))
    alpha = np.dstack([picture(13, 30, 44), np.full((30, 44), 99, np.uint8)])
    Image.fromarray(alpha).save(train / "dog" / "alpha.png")
    Image.fromarray(picture(14, 35, 45)).save(folder / "val" / "dog" / "x.webp", quality=80)
    (folder / "notes.txt").write_text("no image")
    return {}


def picture(seed: int, height: int, width: int) -> Any:
    """Return a picture (H, W, 3) as smooth as a photograph."""
    rough = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC))


def turned(orientation: int) -> Image.Exif:
    """Return EXIF data that says how a camera was held."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def jpeg(pixels: Any, **options: Any) -> bytes:
    """Return a JPEG; 4:2:0 where not told otherwise."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", **{"quality": 90} | options)
    return out.getvalue()
