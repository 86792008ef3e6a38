"""grain's MapDataset over the arrays: shuffle, batch, map, with its threads reading ahead.

Whole batches are normalised: a quarter less CPU time than image by image.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import grain
import numpy as np
import torch
from torch import Tensor
from workload import Setting

from digits import corpus
from digits.work import BIAS, SCALE, Work

Labelled = Generator[tuple[Tensor, Tensor], None, None]


class Source:
    """Random access to image and label."""

    def __init__(self, work: Work) -> None:
        images, labels = corpus.pixels(Path(work.files))
        self.images, self.labels = np.array(images)[:, None], labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: Any) -> tuple[Any, Any]:
        return self.images[row], self.labels[row]


def batches(work: Work, setting: Setting) -> Labelled:
    """Yield batches without end."""
    torch.set_num_threads(1)
    scale, bias = np.float32(SCALE), np.float32(BIAS)
    whole = grain.MapDataset.source(Source(work)).shuffle(seed=work.seed).repeat()
    data: Any = whole.batch(work.batch, drop_remainder=True)
    data = data.map(lambda batch: (batch[0] * scale + bias, batch[1]))
    ahead = grain.ReadOptions(
        num_threads=setting["threads"], prefetch_buffer_size=2 * setting["threads"]
    )
    for images, labels in data.to_iter_dataset(ahead):
        yield torch.from_numpy(images).to(work.device), torch.from_numpy(labels)
