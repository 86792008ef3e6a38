"""Samples of a split with the heat of what a classifier said of them: numbers and pictures.

Shapes: B batch, C classes, H W pixels as the network sees them, n samples chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from loaders import Batch, Loader, World, strategies
from loaders.order import Order
from tasks.classes import pictures
from tasks.classes.heat import Heat, share_inside
from tasks.classify import Task
from tasks.stimuli.overlay import overlay

Array = npt.NDArray[Any]

BATCH = 16  # samples explained at a time
TILE_PX, TITLE_PX, GAP_PX = 240, 16, 4
COLUMNS = 4  # of samples in the sheet of all
OUTLINE = (255, 230, 0)


class Seen(NamedTuple):
    """One sample. image (H, W, 3) uint8, heat (H, W) 0 to 1; mask (H, W) of bools where there is
    one, not empty, with the shares of the heat (NaN where there is none) and of the area inside."""

    id: int
    image: Array
    heat: Array
    label: int
    predicted: int
    probability: float
    mask: Array | None = None
    inside: float = float("nan")
    area: float = float("nan")


class Rows(strategies.Strategy):
    """These rows of a split and no others, in this order."""

    def __init__(self, order: Order, rows: tuple[int, ...]) -> None:
        super().__init__(order)
        self.rows = np.array(rows, np.int64)

    def begin(self, epoch: int, progress: float) -> int:
        """Return the steps that they take."""
        return -(-len(self.rows) // self.batch)

    def choose(self, epoch: int, step: int) -> Array:
        """Return the next of them."""
        return self.rows[step * self.batch : (step + 1) * self.batch]


def chosen(labels: Array, count: int) -> Array:
    """Return rows (n,), ascending, of as many of each class as there are, evenly spread in it.

    labels: (N,) of a split. count: n, all for 0.
    """
    if count == 0 or count >= len(labels):
        return np.arange(len(labels))
    classes, there = np.unique(labels, return_counts=True)
    wanted = np.zeros(len(classes), np.int64)
    while wanted.sum() < count:
        open_ = np.flatnonzero(wanted < there)
        wanted[open_[: count - wanted.sum()]] += 1
    spread = [
        np.flatnonzero(labels == label)[(np.arange(n) * size) // n]
        for label, size, n in zip(classes, there.tolist(), wanted.tolist(), strict=True)
        if n
    ]
    return np.sort(np.concatenate(spread))


def explain(
    task: Task,
    net: torch.nn.Module,
    split: str,
    rows: Array,
    of: str,
    probabilities: Callable[[Array], Array],
    device: str,
) -> Iterator[Seen]:
    """Yield the samples of these rows, with the heat of one class.

    of: "predicted", "label" or the name of a class. probabilities: from logits (B, C).
    """
    feed = task.feed(training=False)
    fields = feed.fields + (("mask",) if has_masks(task) else ())
    loader = Loader(
        task.dataset,
        split=split,
        fields=fields,
        stages=feed.stages,
        reference="image",
        global_batch_size=min(BATCH, len(rows)),
        shuffle=False,
        epochs=1,
        strategy=Rows,
        strategy_options={"rows": tuple(rows.tolist())},
        world=World(),
        device=device,
        read_ahead=False,  # which foresees the order of the split
    )
    with Heat(net) as heat:
        for batch in loader:
            yield from _seen(task, heat, batch, of, probabilities)
    loader.close()


def has_masks(task: Task) -> bool:
    """Return whether the set says where in its images the thing is."""
    field = task.dataset.fields.get("mask")
    return field is not None and field.is_pixels


def _seen(
    task: Task, heat: Heat, batch: Batch, of: str, probabilities: Callable[[Array], Array]
) -> list[Seen]:
    labels = batch[task.label].long().tolist()
    named = {"predicted": None, "label": labels}
    classes = named[of] if of in named else [task.names.index(of)] * len(labels)
    logits, maps = heat.explain(batch["image"], classes)
    said = probabilities(logits.double().cpu().numpy())
    masks = np.zeros(maps.shape, bool)
    if "mask" in batch.fields:
        masks = _masks(batch["mask"], *maps.shape[1:])
    # A set stores an empty mask where nobody drew one: of no lesion no share is inside.
    drawn: Array = np.any(masks, axis=(1, 2))
    inside = np.where(drawn, share_inside(maps, masks), np.nan).tolist()
    area = np.where(drawn, masks.mean(axis=(1, 2)), np.nan).tolist()
    real = np.flatnonzero(batch.weight.cpu().numpy() > 0).tolist()
    return [
        Seen(
            int(batch.id[i]),
            pictures.levels(batch["image"][i], task.input),
            maps[i],
            labels[i],
            int(said[i].argmax()),
            float(said[i].max()),
            masks[i] if drawn[i] else None,
            inside[i],
            area[i],
        )
        for i in real
    ]


def _masks(levels: Tensor, height: int, width: int) -> Array:
    """Return masks (B, H, W) of bools from grey levels (B, h, w, 1), which may lie in between."""
    shown = levels.cpu().numpy()[..., 0]
    sized = [cv2.resize(one, (width, height), interpolation=cv2.INTER_LINEAR) for one in shown]
    return np.asarray(sized) > np.iinfo(shown.dtype).max // 2


def panel(seen: Seen, names: Sequence[str]) -> Array:
    """Return the picture, its mask outlined, beside the heat over it, below what was said."""
    width = max(1, round(TILE_PX * seen.image.shape[1] / seen.image.shape[0]))
    image = cv2.resize(seen.image, (width, TILE_PX), interpolation=cv2.INTER_LINEAR)
    heat = cv2.resize(seen.heat, (width, TILE_PX), interpolation=cv2.INTER_LINEAR)
    tiles = [outlined(image, seen.mask), outlined(overlay(image, heat.clip(0)), seen.mask)]
    sheet = Image.new("RGB", (2 * width + GAP_PX, TILE_PX + TITLE_PX), "white")
    for place, tile in enumerate(tiles):
        sheet.paste(Image.fromarray(tile), (place * (width + GAP_PX), TITLE_PX))
    right = seen.predicted == seen.label
    said = f"is {names[seen.label]}, taken for {names[seen.predicted]} {seen.probability:.2f}"
    if not np.isnan(seen.inside):
        said += f", {seen.inside:.0%} of the heat in {seen.area:.0%} of the area"
    ImageDraw.Draw(sheet).text((0, 2), said, "green" if right else "red")
    return np.asarray(sheet)


def outlined(image: Array, mask: Array | None) -> Array:
    """Return an image (H, W, 3) with the border of a mask, of any size, drawn on it."""
    drawn = np.ascontiguousarray(image).copy()
    if mask is not None:
        size = (image.shape[1], image.shape[0])
        large = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        borders, _ = cv2.findContours(large, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(drawn, borders, -1, OUTLINE, 1, cv2.LINE_AA)
    return drawn


def sheet(panels: Sequence[Array]) -> Array:
    """Return panels of one size in rows of a few."""
    height, width = panels[0].shape[:2]
    columns = min(COLUMNS, len(panels))
    whole = np.full(
        (-(-len(panels) // columns) * (height + GAP_PX), columns * (width + 2 * GAP_PX), 3),
        255,
        np.uint8,
    )
    for place, one in enumerate(panels):
        top, left = place // columns * (height + GAP_PX), place % columns * (width + 2 * GAP_PX)
        whole[top : top + height, left : left + width] = one
    return whole
