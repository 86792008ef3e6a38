"""A contact sheet of stored samples: what a built set really holds, read from its shard files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from dataprep import image, index, manifest
from dataprep.arrays import shard_path
from dataprep.manifest import DataError, Field, Manifest
from dataprep.tar import tar_path

Array = npt.NDArray[Any]

MARGIN_PX = 8
LABEL_PX = 14
# So wide that the line above small pictures is not cut.
LEAST_PX = 360
PAPER, INK, DOT = (255, 255, 255), (40, 40, 40), (255, 230, 0)
DOT_PX = 2


def preview(folder: Path, out: Path, samples: int = 6, window: int = 240) -> int:
    """Write a PNG: a row a sample, its pixel fields side by side; return the rows.

    Each picture shows the same area around the image's centre, `window` pixels of the finest field
    wide. Pixels are shown as stored; those of coarser fields as whole squares, never smoothed.
    Points are drawn over the whole first image, made smaller.
    """
    facts = manifest.load(folder)
    fields = {name: field for name, field in facts.fields.items() if field.is_pixels}
    if not fields:
        raise DataError(folder, "", "this set holds no pixels to show")
    ids = np.unique(np.linspace(0, facts.samples - 1, samples).round().astype(np.int64))
    keys = index.Names(folder / "index", "key", facts.samples)
    splits = _splits(folder, facts)
    points = {
        name: index.Ragged(folder / "index", name, facts.samples)
        for name, field in facts.fields.items()
        if field.kind == "points"
    }
    rows = []
    for sample in ids.tolist():
        pictures = {name: read(folder, facts, name, sample) for name in fields}
        titles = [f"{name} {x.shape[1]}x{x.shape[0]}" for name, x in pictures.items()]
        tiles = _same_area(pictures, fields, window)
        for name, column in points.items():
            titles.append(f"{len(column[sample])} {name}")
            tiles.append(_dotted(next(iter(pictures.values())), column[sample], window))
        rows.append((f"{sample} · {keys[sample]} · {splits[sample]}", titles, tiles))
    _sheet(rows).save(out)
    return len(rows)


def read(folder: Path, facts: Manifest, name: str, sample: int) -> Array:
    """Return the stored pixels of one sample, upright, (H, W) or (H, W, C)."""

    def place(what: str) -> int:
        return int(index.read(folder / "index" / f"{name}.{what}.npy", facts.samples)[sample])

    field = facts.fields[name]
    if field.is_encoded:
        path = tar_path(folder, place("shard"))
        data = _bytes(path, sample, place("offset"), place("size"))
        try:
            return np.asarray(image.turned(image.decode(data, upright=False)[0], place("turn")))
        except ValueError as error:
            raise DataError(path, f"sample {sample}", str(error)) from None
    shape = (place("height"), place("width"), *[side or 1 for side in field.shape[2:]])
    dtype = np.dtype(field.dtype)
    path = shard_path(folder, name, field, place("shard"))
    size = int(np.prod(shape)) * dtype.itemsize
    data = _bytes(path, sample, place("offset"), size)
    return np.frombuffer(data, dtype.newbyteorder("<")).astype(dtype).reshape(shape)


def _bytes(path: Path, sample: int, offset: int, size: int) -> bytes:
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            data = file.read(size)
    except OSError as error:
        raise DataError(path, f"sample {sample}", f"cannot be read ({error})") from None
    if len(data) < size:
        raise DataError(path, f"sample {sample}", "cannot be read: the file is cut short")
    return data


def _splits(folder: Path, facts: Manifest) -> list[str]:
    """Return the split of each sample; of several (folds) the one of the shortest name."""
    of = [""] * facts.samples
    for split, size in sorted(facts.splits.items(), key=lambda one: -len(one[0])):
        for sample in index.read(folder / "splits" / f"{split}.npy", size)[:].tolist():
            of[sample] = split
    return of


def _same_area(
    pictures: dict[str, Array], fields: dict[str, Field], window: int
) -> list[Image.Image]:
    """Cut the same area out of every field and enlarge coarser pixels to squares."""
    finest = max(pictures.values(), key=lambda x: x.shape[0])
    pitches = {name: field.pitch for name, field in fields.items() if field.pitch}
    tiles = []
    for name, picture in pictures.items():
        if name in pitches:
            by = max(1, round(pitches[name] / min(pitches.values())))
        else:
            by = max(1, round(finest.shape[0] / picture.shape[0]))
        height, width = finest.shape[:2]
        # The corner lies on a multiple of 12, so on whole pixels of ×2, ×3 and ×4 alike.
        top, left = (max(0, (side - window) // 2) // 12 * 12 // by for side in (height, width))
        cut = picture[top : top + window // by, left : left + window // by]
        shown = _eight_bits(cut).repeat(by, axis=0).repeat(by, axis=1)
        tiles.append(Image.fromarray(shown))
    return tiles


def _dotted(picture: Array, points: Array, window: int) -> Image.Image:
    """Return a whole picture `window` pixels high, a dot at each point (x, y, …)."""
    height, width = picture.shape[:2]
    by = window / height
    size = max(1, round(width * by)), window
    small = Image.fromarray(_eight_bits(picture)).resize(size, Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(small)
    for x, y in (points[:, :2] * by).tolist():
        draw.ellipse((x - DOT_PX, y - DOT_PX, x + DOT_PX, y + DOT_PX), DOT, INK)
    return small


def _eight_bits(picture: Array) -> Array:
    """Return (H, W, 3) uint8; other types are stretched from their least to their greatest."""
    picture = picture[..., None] if picture.ndim == 2 else picture
    if picture.dtype != np.uint8:
        low, high = float(picture.min()), float(picture.max())
        picture = ((picture - low) / max(high - low, 1e-12) * 255).round().astype(np.uint8)
    return picture[..., :3] if picture.shape[2] >= 3 else picture[..., :1].repeat(3, axis=2)


def _sheet(rows: list[tuple[str, list[str], list[Image.Image]]]) -> Image.Image:
    side = MARGIN_PX + 2 * LABEL_PX
    width = max(sum(tile.width + MARGIN_PX for tile in tiles) for _, _, tiles in rows) + MARGIN_PX
    width = max(width, LEAST_PX)
    heights = [max(tile.height for tile in tiles) + side for _, _, tiles in rows]
    sheet = Image.new("RGB", (width, sum(heights) + MARGIN_PX), PAPER)
    draw = ImageDraw.Draw(sheet)
    top = MARGIN_PX // 2
    for height, (label, titles, tiles) in zip(heights, rows, strict=True):
        draw.text((MARGIN_PX, top), label, INK)
        left = MARGIN_PX
        for title, tile in zip(titles, tiles, strict=True):
            draw.text((left, top + LABEL_PX), title, INK)
            sheet.paste(tile, (left, top + 2 * LABEL_PX))
            left += tile.width + MARGIN_PX
        top += height
    return sheet
