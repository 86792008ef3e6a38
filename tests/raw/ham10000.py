"""Fourteen lesions of seven classes with their masks, and two images of the ISIC 2018 test."""

from __future__ import annotations

import io
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dataprep.ham_table import CLASSES, FIRST

HEADER = "lesion_id,image_id,dx,dx_type,age,sex,localization"
HEIGHT, WIDTH = 45, 60
TEST = 34524
IMAGES = "HAM10000_images_part_1"


def write(folder: Path) -> dict[str, Any]:
    """Write the raw files and return options of the source."""
    images, masks, truth = folder / IMAGES, folder / "masks", [HEADER]
    images.mkdir(parents=True)
    masks.mkdir()
    for row in table()[1:]:
        image = row.split(",")[1]
        number = int(image[5:])
        (images / f"{image}.jpg").write_bytes(picture(number))
        (masks / f"{image}_segmentation.png").write_bytes(mask(number))
    (folder / "HAM10000_metadata.csv").write_text("\n".join(table()) + "\n")
    tests = folder / "ISIC2018_Task3_Test_Images"
    tests.mkdir()
    for i, dx in enumerate(("nv", "mel")):
        (tests / f"ISIC_{TEST + i:07d}.jpg").write_bytes(picture(TEST + i))
        truth.append(f"HAMTEST_{i:07d},ISIC_{TEST + i:07d},{dx},histo,40.0,female,back")
    (folder / "ISIC2018_Task3_Test_GroundTruth.csv").write_text("\n".join(truth) + "\n")
    return {"allow_partial": True, "masks": str(masks)}


def table() -> list[str]:
    """Return the lines of the table: two lesions a class, the first one of two images."""
    lines, number = [HEADER], FIRST
    for lesion in range(2 * len(CLASSES)):
        for _ in range(2 - lesion % 2):
            dx = CLASSES[lesion // 2]
            lines.append(f"HAM_{lesion:07d},ISIC_{number:07d},{dx},histo,80.0,male,scalp")
            number += 1
    return lines


def picture(number: int, height: int = HEIGHT, width: int = WIDTH) -> bytes:
    """Return a JPEG: a smooth picture of its own for each number."""
    small = np.random.default_rng(number).integers(0, 256, (5, 6, 3), np.uint8)
    out = io.BytesIO()
    large = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
    large.save(out, "JPEG", quality=92)
    return out.getvalue()


def mask(number: int, height: int = HEIGHT, width: int = WIDTH) -> bytes:
    """Return a grey PNG: a square that lies elsewhere for each number."""
    pixels = np.zeros((height, width), np.uint8)
    pixels[number % 20 : number % 20 + 15, number % 30 : number % 30 + 20] = 255
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def zipped(raw: Path, folder: Path) -> Path:
    """Pack the raw files as the official archives."""
    folder.mkdir()
    for name in (IMAGES, "ISIC2018_Task3_Test_Images", "masks"):
        with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
            archive.mkdir("__MACOSX")
            archive.writestr("__MACOSX/._ISIC_0024306.jpg", b"junk")
            for path in (raw / name).iterdir():
                archive.write(path, f"{name}/{path.name}" if name == "masks" else path.name)
    for path in raw.glob("*.csv"):
        shutil.copy(path, folder)
    return folder
