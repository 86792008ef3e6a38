"""MIT1003's raw layout in small: nested folders, a zip, odd names, one stimulus turned by EXIF."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from raw.imagefolder import jpeg, picture, turned

STEMS = ("i9", "i10", "istatic_street_p1", "syntheticData1", "syntheticData4")
# The size of every image, height and width.
SIZES = {stem: (40 + 8 * i, 64 - 8 * i) for i, stem in enumerate(STEMS)}
TURNED = "istatic_street_p1"


def write(folder: Path) -> dict[str, Any]:
    """Write the raw files and return options of the source."""
    images = folder / "ALLSTIMULI" / "ALLSTIMULI"
    images.mkdir(parents=True)
    for stem in STEMS:
        (images / f"{stem}.jpeg").write_bytes(stimulus(stem))
    with zipfile.ZipFile(folder / "ALLFIXATIONMAPS.zip", "w") as archive:
        for stem in STEMS:
            for what, data in fixations(stem).items():
                archive.writestr(f"ALLFIXATIONMAPS/{stem}_{what}.jpg", data)
        archive.writestr(f"ALLFIXATIONMAPS/{STEMS[0]}fixPts.jpg", b"stray")
    return {"folds": 3, "density": 4}


def write_unpacked(folder: Path) -> Path:
    """Write the raw files, those of the archive as files; return the folder."""
    write(folder)
    with zipfile.ZipFile(folder / "ALLFIXATIONMAPS.zip") as archive:
        archive.extractall(folder)
    (folder / "ALLFIXATIONMAPS.zip").unlink()
    return folder


def stimulus(stem: str) -> bytes:
    """Return a stimulus; of one, the stored pixels are those that its fixations are of."""
    pixels = picture(STEMS.index(stem), *SIZES[stem])
    return jpeg(pixels, exif=turned(6)) if stem == TURNED else jpeg(pixels)


def marks(stem: str) -> Any:
    """Return the fixated pixels (H, W), a few, the corners too."""
    height, width = SIZES[stem]
    rng = np.random.default_rng(STEMS.index(stem))
    found = rng.random((height, width)) < 0.01
    found[0, 0] = found[-1, -1] = True
    return found


def fixations(stem: str) -> dict[str, bytes]:
    """Return both files of the fixations of a stimulus."""
    dots = np.where(marks(stem), 255, 0).astype(np.uint8)
    return {"fixPts": jpeg(dots, quality=95), "fixMap": jpeg(dots // 2 + 9)}
