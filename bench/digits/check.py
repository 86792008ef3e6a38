"""Are these batches of the promised work? So that no contestant wins by skipping some of it.

Every image must be one of the corpus, bit for bit once it is brought back to bytes, and carry its
label; in the first epoch none comes twice, and neighbours of the corpus do not come together.

Legend: B batch, N images of the corpus.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from digits import corpus
from digits.work import MEAN, SIDE, STD

Array = npt.NDArray[Any]
# So far from a whole number may a pixel be that is brought back to bytes.
NEAR = 0.01
# Samples that follow each other lie N / 3 apart in the corpus on average, where all is shuffled.
APART = 1 / 6
# Images hashed at a time: few, since memory of this process is measured.
PIECE = 1024


class Check:
    """Looks at the first epoch of a contestant; ValueError says what is wrong with it."""

    def __init__(self, files: str, batch: int) -> None:
        self.images, self.labels = corpus.pixels(Path(files))
        self.shape = (batch, 1, SIDE, SIDE)
        self._weights = np.random.default_rng(0).integers(1, 2**63, SIDE * SIDE, np.uint64)
        starts = range(0, len(self.images), PIECE)
        codes = np.concatenate([self._codes(self.images[i : i + PIECE]) for i in starts])
        self._order = codes.argsort()
        self._sorted = codes[self._order]
        self._rows: list[Array] = []
        self._figures: list[tuple[float, float]] = []

    def __call__(self, batch: tuple[Tensor, Tensor]) -> None:
        """Take in one batch: images (B, 1, 28, 28), labels (B,)."""
        images, labels = batch
        if images.shape != self.shape or images.dtype != torch.float32:
            raise ValueError(f"images are {tuple(images.shape)} {images.dtype}, not {self.shape}")
        if labels.shape != self.shape[:1] or labels.dtype != torch.int64:
            raise ValueError(f"labels are {tuple(labels.shape)} {labels.dtype}")
        if not images.is_contiguous():
            raise ValueError("images are a view: their pixels are not in order")
        if (len(self._rows) + 1) * len(labels) > len(self.labels):
            return  # an epoch was seen whole
        images = images.cpu()
        rows = self._found(images)
        if (self.labels[rows] != labels.cpu().numpy()).any():
            raise ValueError("labels do not go with the images")
        self._rows.append(rows)
        self._figures.append((float(images.mean()), float(images.square().mean())))

    def result(self) -> dict[str, Any]:
        """Return what was seen; ValueError where it is another work."""
        rows = np.concatenate(self._rows)
        if len(np.unique(rows)) < len(rows):
            raise ValueError(f"only {len(np.unique(rows))} of {len(rows)} images differ")
        apart = float(np.abs(np.diff(rows)).mean()) / len(self.labels)
        if apart < APART:
            raise ValueError("images come in the order of the files: they are not shuffled")
        mean, square = np.mean(self._figures, axis=0).tolist()
        seen = {"mean": mean, "std": (square - mean**2) ** 0.5, "apart": apart}
        return {"samples": len(rows)} | {key: round(x, 4) for key, x in seen.items()}

    def _found(self, images: Tensor) -> Array:
        """Return which images of the corpus these are."""
        values = (images.double().numpy()[:, 0] * STD + MEAN) * 255
        stored = np.rint(values).clip(0, 255)
        if not np.abs(values - stored).max() < NEAR:  # NaN is not below
            raise ValueError("pixels are not bytes / 255, normalised: other mean, std or scale")
        bytes_ = stored.astype(np.uint8)
        places = np.searchsorted(self._sorted, self._codes(bytes_)).clip(0, len(self._order) - 1)
        rows: Array = self._order[places]
        if (self.images[rows] != bytes_).any():
            raise ValueError("an image is none of the corpus")
        return rows

    def _codes(self, images: Array) -> Array:
        """Return a number for each image, as good as its own."""
        flat = images.reshape(len(images), -1).astype(np.uint64)
        codes: Array = flat @ self._weights  # the overflow is meant
        return codes
