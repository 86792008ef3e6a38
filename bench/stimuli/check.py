"""Are these batches of the promised work? So that no contestant wins by skipping some of it.

Every image is recognised by its thumbnail; size, grey levels, sharpness and fixations must then be
those of this very image. Legend: B batch, G side of a thumbnail.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from photos.check import CheckDecoded
from torch import Tensor

from stimuli.reference import figures, load, thumbnails
from stimuli.work import Work

Array = npt.NDArray[Any]
# So far a block's mean may lie from Pillow's, in units of the norm: a grey level is 0.017.
NEAR_BLOCK = 0.1
# The same of a blurred map, whose levels go from 0 to 1.
NEAR_MAP = 0.02
# So far an image's mean may lie from Pillow's, and its standard deviation and sharpness in parts.
NEAR_MEAN, NEAR_STD, NEAR_SHARP = 0.02, 0.03, 0.1
# Pixels that a scaled fixation may be off: some scale the middle of its pixel, some its corner.
NEAR_PX = 0.75


class Check:
    """Looks at the first batches of a contestant; ValueError says what is wrong with them."""

    def __init__(self, work: Work, look_at: int = 6) -> None:
        self.work, self.held = work, load(work)
        wide = int(self.held["is_wide"].sum())
        # No more than an epoch, in which no image may come twice.
        epoch = wide // work.batch + (len(self.held["is_wide"]) - wide) // work.batch
        self.look_at = min(look_at, epoch)
        self._known = torch.from_numpy(self.held["images"])
        self._rows: list[Array] = []
        self._figures: list[Array] = []  # (B, 2, 3): seen and expected
        self._counts: list[int] = []
        self._off = 0.0

    def __call__(self, batch: tuple[Tensor, ...]) -> None:
        """Take in images (B, 3, H, W), and points with their starts or maps (B, 1, H, W)."""
        if len(self._rows) == self.look_at:
            return
        images = batch[0]
        rows = self._found(images)
        expected = self.held["figures"][rows]
        seen = figures(images.cpu()).numpy()
        self._rows.append(rows)
        self._figures.append(np.stack([seen, expected], axis=1))
        if len(batch) == 2:
            self._look_at_maps(batch[1], images, rows)
        else:
            self._look_at_points(batch[1], batch[2], rows)

    def _found(self, images: Tensor) -> Array:
        """Return which training images these are; ValueError where one is none of them."""
        batch, height, width = self.work.batch, self.work.height, self.work.width
        shapes = [(batch, 3, height, width), (batch, 3, width, height)]
        if tuple(images.shape) not in shapes or images.dtype != torch.float32:
            text = f"not {shapes[0]} or {shapes[1]} of float32"
            raise ValueError(f"images are {tuple(images.shape)} {images.dtype}, {text}")
        if not images.is_contiguous():
            raise ValueError("images are a view: their pixels are not in order")
        small = thumbnails(images.cpu())
        rows = torch.cdist(small.flatten(1), self._known.flatten(1)).argmin(1)
        apart = float((small - self._known[rows]).abs().max())
        if not apart < NEAR_BLOCK:  # NaN is not below
            raise ValueError(f"an image is {apart:.2f} from all of the training split")
        if (self.held["is_wide"][rows] != (images.shape[3] > images.shape[2])).any():
            raise ValueError("an image lies on its side, or was resized to the other size")
        return rows.numpy()

    def _look_at_points(self, values: Tensor, starts: Tensor, rows: Array) -> None:
        if len(starts) != len(rows) + 1 or starts[0] != 0 or starts[-1] != len(values):
            raise ValueError(f"{len(values)} points, but they begin at {starts.tolist()}")
        for i, row in enumerate(rows.tolist()):
            seen = values[starts[i] : starts[i + 1], :2].double().cpu().numpy()
            first, last = self.held["starts"][row : row + 2]
            expected = self.held["points"][first:last]
            if len(seen) != len(expected):
                raise ValueError(f"an image has {len(seen)} points, not {len(expected)}")
            off = float(np.abs(seen - expected).max())
            if not off < NEAR_PX:
                raise ValueError(f"a point is {off:.1f} pixels from where it should be")
            self._off = max(self._off, off)
            self._counts.append(len(seen))

    def _look_at_maps(self, maps: Tensor, images: Tensor, rows: Array) -> None:
        shape = (len(images), 1, *images.shape[2:])
        if maps.shape != shape or maps.dtype != torch.float32:
            raise ValueError(f"maps are {tuple(maps.shape)} {maps.dtype}, not {shape}")
        apart = thumbnails(maps.cpu()).numpy() - self.held["maps"][rows]
        if not np.abs(apart).max() < NEAR_MAP:
            raise ValueError(f"a map is {np.abs(apart).max():.2f} from that of its image")

    def result(self) -> dict[str, Any]:
        """Return what was seen; ValueError where it is another work."""
        rows = np.concatenate(self._rows)
        if len(np.unique(rows)) < len(rows):
            raise ValueError(f"only {len(np.unique(rows))} of {len(rows)} images differ")
        if len(rows) > self.work.batch and (np.diff(rows) > 0).all():
            raise ValueError("images come in the order of the files: they are not shuffled")
        seen, expected = np.concatenate(self._figures).transpose(1, 0, 2)
        std, wanted = (np.sqrt(one[:, 1] - one[:, 0] ** 2) for one in (seen, expected))
        mean_off = float(np.abs(seen[:, 0] - expected[:, 0]).max())
        std_off = float(np.abs(std / wanted - 1).max())
        if not (mean_off < NEAR_MEAN and std_off < NEAR_STD):
            raise ValueError(f"pixels are off by {mean_off:.3f} ± {std_off:.1%}")
        sharp = seen[:, 2] / expected[:, 2]
        if not np.abs(sharp - 1).max() < NEAR_SHARP:
            raise ValueError(f"sharpness is {sharp.min():.2f} to {sharp.max():.2f} of the expected")
        told = {"mean_off": mean_off, "std_off": std_off, "sharpness": sharp.mean()}
        if self._counts:
            told |= {"points": np.mean(self._counts), "points_off_px": self._off}
        return {"samples": len(rows)} | {key: round(float(x), 4) for key, x in told.items()}


def decoded(work: Work) -> CheckDecoded:
    """Return the check of whole decoded stimuli: other pixels than those that batches hold."""
    held = load(work)["figures"][:, 0]
    return CheckDecoded(float(held.mean()), 3 * float(held.std()))
