"""Does a set fit a classifier? Its labels, and its images at the network's size.

Legend: N samples, C channels, H W pixels. `wanted` is the network's Input.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from dataprep.manifest import DataError, Field
from loaders import Dataset
from loaders.stages import Geometric
from loaders.stages.centre_crop import CentreCrop
from loaders.stages.resize import Resize

Array = npt.NDArray[Any]
# How a photograph becomes the network's square: its middle is cut out, or all of it squashed.
Fit = Literal["crop", "squash"]


def labels(dataset: Dataset, name: str, classes: int) -> Array:
    """Return all labels of a set (N,); DataError where they are none of the network's classes."""
    field = dataset.chosen(("image", name))[name]
    if field.kind != "value" or field.shape or np.dtype(field.dtype).kind not in "iu":
        why = f"holds {field.kind} of {field.dtype}, not a class number a sample"
        raise DataError(dataset.folder, name, why)
    labels = np.asarray(dataset.values(name)).astype(np.int64)
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        key, most = dataset.keys()[int(wrong[0])], int(labels.max())
        why = f"its {name} is {labels[wrong[0]]}, the network tells classes 0 to {classes - 1}"
        remedy = f": --net classes={most + 1}" if labels.min() >= 0 else ""
        raise DataError(dataset.folder, key, why + remedy)
    return labels


def check(dataset: Dataset, wanted: Any) -> None:
    """Refuse images that the network cannot take, naming the settings of one that can."""
    field = dataset.fields["image"]
    channels = _channels(field)
    settings = [f"--net channels={channels}"] if channels != wanted.channels else []
    if field.is_uniform and wanted.size and field.shape[:2] != wanted.size:
        height, width = field.shape[:2]
        fits = f"--net side={height}" if height == width else "no side fits, they are not square"
        settings.insert(0, fits)
    if settings:
        size = "any size" if not field.is_uniform else _times(field.shape[:2])
        takes = _times(wanted.size) if wanted.size else "any size"
        raise DataError(
            dataset.folder,
            "image",
            f"images are {size} with {_counted(channels)}, the network takes {takes} with"
            f" {wanted.channels}: {', '.join(settings)}",
        )


def _counted(channels: int) -> str:
    return f"{channels} channel" + "s" * (channels != 1)


def _channels(field: Field) -> int:
    return int(field.shape[2] or 0) if len(field.shape) == 3 else 1


def _times(sides: Sequence[int | None]) -> str:
    return "×".join(map(str, sides))


def sizing(field: Field, wanted: Any, fit: Fit = "crop") -> tuple[Geometric, ...]:
    """Return the stages that bring images to the network's size: shrunk, then their middle."""
    if field.is_uniform or wanted.size is None:
        return ()
    height, width = wanted.size
    if height != width or fit == "squash":
        return (Resize(height=height, width=width, interpolation=wanted.interpolation),)
    short = Resize(short=_short(wanted), interpolation=wanted.interpolation)
    return short, CentreCrop(height=height, width=width)


def _short(wanted: Any) -> int:
    """Return the short side of which the network's square is the middle: as timm rounds it."""
    side: int = wanted.size[0]
    return max(side, int(side / wanted.crop))


def seen(image: Image.Image, wanted: Any, fit: Fit = "crop") -> tuple[int, int, int, int]:
    """Return the box (y, x, h, w) of a picture that `fitted` shows to the network."""
    whole = np.array([image.height, image.width])
    if wanted.size is None:
        return 0, 0, image.height, image.width
    onto, offset = _placed(whole, wanted, fit)
    box = np.concatenate([offset, wanted.size]) * np.tile(whole / onto, 2)
    top, left, height, width = np.rint(box).astype(int).tolist()
    return top, left, min(height, image.height - top), min(width, image.width - left)


def _placed(whole: Array, wanted: Any, fit: Fit) -> tuple[Array, Array]:
    """Return the size (2,) that a picture is brought to, and where in it the network's lies."""
    size = np.array(wanted.size)
    is_cut = size[0] == size[1] and fit == "crop"
    onto = _short(wanted) * whole // whole.min() if is_cut else size
    return onto, np.rint((onto - size) / 2).astype(int)


def fitted(image: Image.Image, wanted: Any, fit: Fit = "crop") -> Array:
    """Return a picture as (H, W, C) float32 grey levels of the network's size.

    As the stages make it, levels between whole ones included: rounding them, as Pillow does, moves
    a probability by some 0.001, and with it what is decided at a threshold.
    """
    image = image.convert("L") if wanted.channels == 1 else image
    planes = [band.convert("F") for band in image.split()]
    kinds = {"linear": Image.Resampling.BILINEAR, "cubic": Image.Resampling.BICUBIC}
    if wanted.size is not None:
        onto, offset = _placed(np.array([image.height, image.width]), wanted, fit)
        (top, left), (height, width) = offset.tolist(), wanted.size
        box, size = (left, top, left + width, top + height), (int(onto[1]), int(onto[0]))
        planes = [one.resize(size, kinds[wanted.interpolation]).crop(box) for one in planes]
    return np.stack([np.asarray(one) for one in planes], axis=2).clip(0, 255)
