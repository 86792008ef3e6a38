"""Raw pixels of the very set that the loader reads: numpy maps, transforms v2, a DataLoader.

What a careful user of torch writes for uncompressed images: only the rows of a crop are touched.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from workload import Setting

from photos import augment, torch_peers
from photos.work import Work

Labelled = Generator[tuple[Tensor, Tensor], None, None]


class Pixels(Dataset[tuple[Tensor, int]]):
    """The images of a set, each contiguous inside one shard."""

    def __init__(self, folder: Path, change: Any) -> None:
        names = ("image.shard", "image.offset", "image.height", "image.width", "label")
        columns = [np.load(folder / "index" / f"{name}.npy") for name in names]
        self._rows = np.stack([column.astype(np.int64) for column in columns], axis=1)
        shards = range(int(self._rows[:, 0].max()) + 1)
        # "c": a tensor wants memory that may be written; nobody does.
        self._maps = [np.memmap(folder / f"image.zarr/c.{shard}", mode="c") for shard in shards]
        self._change = change

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, at: int) -> tuple[Tensor, int]:
        shard, offset, height, width, label = self._rows[at].tolist()
        pixels = self._maps[shard][offset : offset + height * width * 3]
        image = torch.from_numpy(pixels.reshape(height, width, 3)).permute(2, 0, 1)
        return self._change(image), label


def batches(work: Work, setting: Setting) -> Labelled:
    """Yield batches without end."""
    pixels = Pixels(Path(work.data), augment.of_tensor(work.size))
    return torch_peers.batches(pixels, work, setting)
