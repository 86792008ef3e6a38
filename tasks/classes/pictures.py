"""Drawings of what a classifier says. Shapes: H W pixels, C classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from torch import Tensor

Array = npt.NDArray[Any]

CARD_PX, TEXT_PX, LINE_PX = 112, 150, 18  # an image's height, the text's width, a line of it
COUNTED, NAMED = 20, 40  # classes up to which cells hold their counts, and axes names
SHORT = 3  # letters of a name that need no tilting
DPI = 120


def confusion(matrix: Array, names: Sequence[str], title: str) -> Array:
    """Return a matrix (C, C) of counts as a picture, its colours the shares of the true class."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow to import: for reports
    from matplotlib.figure import Figure

    count = len(matrix)
    side = float(np.clip(0.55 * count, 4, 14))
    figure = Figure(figsize=(side + 2, side + 1), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, label="share of the true class", shrink=0.8)
    axes.set(title=title, xlabel="predicted", ylabel="true")
    if count <= NAMED:
        tilted = max(map(len, names)) > SHORT
        facts: dict[str, Any] = {"rotation": 60, "ha": "right", "rotation_mode": "anchor"}
        axes.set_xticks(range(count), names, **(facts if tilted else {}))
        axes.set_yticks(range(count), names)
    for (row, column), number in np.ndenumerate(matrix if count <= COUNTED else matrix[:0]):
        colour = "white" if shares[row, column] > 0.5 else "black"
        if number:
            axes.text(column, row, f"{number}", ha="center", va="center", color=colour, size=7)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def levels(image: Tensor, normalised: Any) -> Array:
    """Return a normalised image (1 or 3, H, W) as (H, W, 3) uint8."""
    mean, std = (np.array(v)[:, None, None] for v in (normalised.mean, normalised.std))
    shares = (image.float().cpu().numpy() * std + mean).clip(0, 1)
    pixels = np.asarray((255 * shares).round(), np.uint8).transpose(1, 2, 0)
    return np.broadcast_to(pixels[..., :3], (*pixels.shape[:2], 3))


def card(image: Array, truth: str, said: Mapping[str, float]) -> Array:
    """Return an image (H, W, 3) beside its class and what it was taken for, with probabilities."""
    width = max(1, round(CARD_PX * image.shape[1] / image.shape[0]))
    sheet = Image.new("RGB", (width + TEXT_PX, CARD_PX), "white")
    # Small pictures are shown pixel by pixel.
    way = Image.Resampling.NEAREST if image.shape[0] < CARD_PX else Image.Resampling.BOX
    sheet.paste(Image.fromarray(np.ascontiguousarray(image)).resize((width, CARD_PX), way))
    draw = ImageDraw.Draw(sheet)
    draw.text((width + 8, 4), f"is    {truth}", "black")
    for line, (name, probability) in enumerate(said.items(), start=1):
        colour = "green" if name == truth else "red" if line == 1 else "gray"
        draw.text((width + 8, 4 + LINE_PX * line), f"{probability:.2f}  {name}", colour)
    return np.asarray(sheet)
