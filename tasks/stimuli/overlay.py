"""Saliency drawn over its picture. Shapes: H W pixels, n fixations."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from dataprep.image import decode
from dataprep.manifest import DataError

Array = npt.NDArray[Any]

HEIGHT_PX = 240  # of each picture in a panel
TITLE_PX = 14
STRENGTH = 0.6  # of the colours over the picture
DOT_PX, DOT = 3, (255, 230, 0)


def picture(image: Tensor, normalised: Any) -> Array:
    """Return a normalised image (3, H, W) as (H, W, 3) uint8."""
    mean, std = (np.array(v)[:, None, None] for v in (normalised.mean, normalised.std))
    levels = image.float().cpu().numpy() * std + mean
    return np.asarray((255 * levels.clip(0, 1)).round(), np.uint8).transpose(1, 2, 0)


def overlay(image: Array, density: Array) -> Array:
    """Return an image (H, W, 3) uint8 with a density (H, W) over it, its peak in full colour."""
    share = (density / max(float(density.max()), 1e-30))[..., None]
    levels = (255 * share).round().astype(np.uint8)
    colours = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB)
    opaque = STRENGTH * np.sqrt(share)  # what is looked at least keeps its own colours
    return np.asarray((image * (1 - opaque) + colours * opaque).round(), np.uint8)


def panel(image: Array, points: Array, densities: Mapping[str, Array]) -> Array:
    """Return stimulus | its fixations (n, 2) | each density over it, side by side with titles."""
    width = round(HEIGHT_PX * image.shape[1] / image.shape[0])
    small = _resized(image, width)
    tiles = {"stimulus": small}
    tiles[f"{len(points)} fixations"] = dotted(small, points * (HEIGHT_PX / image.shape[0]))
    tiles |= {name: overlay(small, _resized(density, width)) for name, density in densities.items()}
    sheet = Image.new("RGB", (len(tiles) * (width + 4) - 4, HEIGHT_PX + TITLE_PX), "white")
    draw = ImageDraw.Draw(sheet)
    for place, (title, tile) in enumerate(tiles.items()):
        left = place * (width + 4)
        sheet.paste(Image.fromarray(tile), (left, TITLE_PX))
        draw.text((left, 1), title, "black")
    return np.asarray(sheet)


def _resized(picture: Array, width: int) -> Array:
    """Return a picture (H, W) or (H, W, 3) at the size of a tile."""
    way = cv2.INTER_AREA if picture.shape[0] > HEIGHT_PX else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, (width, HEIGHT_PX), interpolation=way))


def dotted(image: Array, points: Array) -> Array:
    """Return an image with a dot at each fixation (n, 2)."""
    drawn = image.copy()
    for x, y in points.round().astype(int).tolist():
        cv2.circle(drawn, (x, y), DOT_PX, (0, 0, 0), -1, cv2.LINE_AA)
        cv2.circle(drawn, (x, y), DOT_PX - 1, DOT, -1, cv2.LINE_AA)
    return drawn


def opened(path: Path) -> Image.Image:
    """Return a picture upright and RGB, as a build decodes it; DataError where it is none."""
    try:
        return Image.fromarray(decode(path.read_bytes()).pixels)
    except (OSError, ValueError) as error:
        raise DataError(path, "", f"cannot be read as an image ({error})") from None


def save(path: Path, out: Path, image: Array, log_density: Array) -> Path:
    """Write `<stem>_saliency.png` and `.npy` into a folder; DataError where one is there."""
    target = out / f"{path.stem}_saliency.png"
    for taken in (target, target.with_suffix(".npy")):
        if taken.exists():
            raise DataError(taken, "", f"is there already, {path} is not written over it")
    np.save(target.with_suffix(".npy"), log_density.astype(np.float32))
    Image.fromarray(overlay(image, np.exp(log_density))).save(target)
    return target


def resized(log_density: Tensor, height: int, width: int) -> Array:
    """Return a log density (h, w) at another size (H, W), again of sum 1."""
    whole = torch.nn.functional.interpolate(
        log_density[None, None], (height, width), mode="bilinear", antialias=True
    )[0, 0]
    return np.asarray((whole - whole.flatten().logsumexp(0)).cpu().numpy())
