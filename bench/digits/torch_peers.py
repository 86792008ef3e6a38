"""torch's DataLoader on digits in memory: item by item, as most do it, and a batch at a time.

Kinder than a recipe in one point: the sampler never ends, so that workers are never started anew.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import torch
from endless import Endless
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset
from workload import Setting

from digits import corpus
from digits.work import BIAS, MEAN, SCALE, STD, Work

Labelled = Generator[tuple[Tensor, Tensor], None, None]


class Whole(Dataset[Any]):
    """Takes a whole batch out of the tensors with one index."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, rows: list[int]) -> tuple[Tensor, Tensor]:
        chosen = torch.tensor(rows)
        return self.images[chosen], self.labels[chosen]


def torchvision(work: Work, setting: Setting) -> Labelled:
    """Yield from datasets.MNIST: PIL, ToTensor and Normalize for each image."""
    from torchvision import datasets, transforms

    change = transforms.Compose([transforms.ToTensor(), transforms.Normalize((MEAN,), (STD,))])
    return batches(datasets.MNIST(work.files, transform=change), work, setting)


def tensordataset(work: Work, setting: Setting) -> Labelled:
    """Yield from a TensorDataset of tensors that were normalised before."""
    return batches(TensorDataset(*normalised(work)), work, setting)


def getitems(work: Work, setting: Setting) -> Labelled:
    """Yield from a data set that is asked for a batch at a time, of the same tensors."""
    return batches(Whole(*normalised(work)), work, setting, lambda batch: batch)


def normalised(work: Work) -> tuple[Tensor, Tensor]:
    """Return all images as float32 (N, 1, 28, 28), and the labels."""
    images, labels = corpus.pixels(Path(work.files))
    whole = torch.tensor(images).unsqueeze(1).float().mul_(SCALE).add_(BIAS)
    return whole, torch.from_numpy(labels)


def batches(
    dataset: Any, work: Work, setting: Setting, collate: Callable[[Any], Any] | None = None
) -> Labelled:
    """Yield batches without end from worker processes, 0: from this one."""
    torch.manual_seed(work.seed)
    torch.set_num_threads(1)
    loader: Any = DataLoader(
        dataset,
        work.batch,
        sampler=Endless(len(dataset)),
        num_workers=setting["workers"],
        collate_fn=collate,
        pin_memory=work.device == "cuda",
    )
    for images, labels in loader:
        yield images.to(work.device, non_blocking=True), labels
