"""webdataset on the shards of the set: torchvision's transforms, DataLoader workers."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import torch
import webdataset
from torch import Tensor
from workload import Setting

from photos import augment
from photos.corpus import shards
from photos.work import Work

Labelled = Generator[tuple[Tensor, Tensor], None, None]


def batches(work: Work, setting: Setting) -> Labelled:
    """Yield batches without end; shards are drawn with replacement, so any number will do."""
    torch.manual_seed(work.seed)
    torch.set_num_threads(1)
    change = augment.FromBytes(work.size, bool(setting["v2"]))
    data: Any = webdataset.WebDataset(shards(work.data), resampled=True, shardshuffle=False)
    data = data.shuffle(1000).to_tuple("jpg", "cls").map_tuple(change, int)
    loader: Any = webdataset.WebLoader(
        data.batched(work.batch, partial=False),
        batch_size=None,
        num_workers=setting["workers"],
        pin_memory=work.device == "cuda",
    )
    for images, labels in loader:
        yield images.to(work.device, non_blocking=True), torch.as_tensor(labels)
