"""What Pillow makes of every training image: figures that batches of contestants must be near.

Legend: N images, M points of all, B batch, G side of a thumbnail.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from files import written
from PIL import Image
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from loaders import Dataset
from stimuli import corpus, listing
from stimuli.listing import One
from stimuli.work import MEAN, STD, Work

Array = npt.NDArray[Any]
FIGURES = "figures.npz"
# Sides of a thumbnail: one of 768×1024 has 64×85 pixels in each of its own.
GRID = 12


def figures(images: Tensor) -> Tensor:
    """Return (B, 3): mean, mean square, mean step to the next pixel, down and along, of each."""
    down, along = (images.diff(dim=axis).abs().mean(dim=(1, 2, 3)) for axis in (2, 3))
    means = images.mean(dim=(1, 2, 3)), images.square().mean(dim=(1, 2, 3))
    return torch.stack([*means, down + along], dim=1)


def thumbnails(images: Tensor) -> Tensor:
    """Return (B, C, G, G) the means of blocks."""
    return adaptive_avg_pool2d(images, GRID)


def reference(root: Path, work: Work) -> Path:
    """Write listing and figures of the training split, once; return their folder."""
    files = Path(work.files)
    facts = corpus.origin(files) | {"size": [work.height, work.width]}
    return written(root / f"reference-{files.name}", lambda to: _write(work, files, to), facts)


def load(work: Work) -> dict[str, Array]:
    """Return what was written: figures (N, 3), images (N, 3, G, G), maps (N, 1, G, G),

    is_wide (N,), points (M, 2), starts (N + 1,).
    """
    with np.load(Path(work.reference) / FIGURES) as held:
        return dict(held)


def _write(work: Work, files: Path, to: Path) -> None:
    dataset = Dataset(work.data)
    keys, rows = dataset.keys(), corpus.names(files)
    stems = sorted(keys[int(i)] for i in np.asarray(dataset.split("train")))
    every = [_one(files, stem, rows.index(stem)) for stem in stems]
    listing.write(every, to)
    held = [_held(one, work) for one in every]
    means, images, maps = (torch.cat(parts).numpy() for parts in zip(*held, strict=True))
    with np.load(files / corpus.POINTS) as drawn:
        points = [_scaled(drawn[one.stem], one, work) for one in every]
    np.savez(
        to / FIGURES,
        figures=means,
        images=images,
        maps=maps,
        is_wide=[one.is_wide for one in every],
        points=np.concatenate(points),
        starts=np.cumsum([0, *map(len, points)]),
    )


def _one(files: Path, stem: str, row: int) -> One:
    path = files / corpus.STIMULI / f"{stem}.jpeg"
    with Image.open(path) as image:
        width, height = image.size
    blurred = files / corpus.MAPS / f"{stem}_fixMap.jpg"
    return One(stem=stem, row=row, height=height, width=width, path=str(path), map=str(blurred))


def _held(one: One, work: Work) -> tuple[Tensor, Tensor, Tensor]:
    """Return figures (1, 3) and thumbnails of a stimulus and of its map."""
    height, width = work.size(one.height, one.width)
    planes = []
    for path in (one.path, one.map):
        with Image.open(path) as image:
            pixels = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
        planes.append(torch.tensor(pixels).view(1, height, width, -1).permute(0, 3, 1, 2) / 255)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    normalised = (planes[0] - mean) / std
    return figures(normalised), thumbnails(normalised), thumbnails(planes[1])


def _scaled(points: Array, one: One, work: Work) -> Array:
    height, width = work.size(one.height, one.width)
    return points * [width / one.width, height / one.height]
