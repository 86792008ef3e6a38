"""torchvision with nvJPEG: workers read files, the GPU decodes a batch and does all the rest.

As torchvision's documents advise: one call for a list of files. Images differ in size, so that
crop and resize are a call an image.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import torch
from endless import Endless
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import datasets, io
from torchvision.transforms import v2
from workload import Setting

from photos import augment
from photos.corpus import SPLIT
from photos.work import AREA, RATIO, Work

Labelled = Generator[tuple[Tensor, Tensor], None, None]


def together(samples: Sequence[tuple[Tensor, int]]) -> tuple[Tensor, list[int], Tensor]:
    """Return a batch's files in one piece, their sizes, the labels.

    A tensor each would cost a shared memory and its file descriptor each.
    """
    files, labels = zip(*samples, strict=True)
    return torch.cat(files), [len(file) for file in files], torch.tensor(labels)


def batches(work: Work, setting: Setting, folder: str) -> Labelled:
    """Yield batches without end; `folder`: attribute of the work."""
    torch.manual_seed(work.seed)
    torch.set_num_threads(1)
    folders = datasets.ImageFolder(f"{getattr(work, folder)}/{SPLIT}", loader=io.read_file)
    loader: Any = DataLoader(
        folders,
        work.batch,
        sampler=Endless(len(folders)),
        num_workers=setting["workers"],
        collate_fn=together,
    )
    cut = v2.Compose(
        [v2.RandomResizedCrop(work.size, AREA, RATIO, antialias=True), v2.RandomHorizontalFlip()]
    )
    for files, sizes, labels in loader:
        encoded = list(files.split(sizes))
        images = io.decode_jpeg(encoded, mode=io.ImageReadMode.RGB, device=work.device)
        yield augment.normalised(torch.stack([cut(image) for image in images])), labels
