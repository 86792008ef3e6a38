"""timm's own loader, as its train.py makes it: ImageFolder reader, PIL, its transforms.

Left out of timm's recipe: colour jitter, automatic augmentation, erasing, random interpolation. Its
loader of many epochs never starts workers anew. The prefetcher sends bytes through the queue and
normalises whole batches where they arrive; on a GPU it is always on, as timm has it.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import torch
from timm.data import create_dataset, create_loader
from torch import Tensor
from workload import Setting

from photos.corpus import SPLIT
from photos.work import AREA, MEAN, RATIO, STD, Work

Labelled = Generator[tuple[Tensor, Tensor], None, None]


def batches(work: Work, setting: Setting) -> Labelled:
    """Yield batches without end."""
    torch.manual_seed(work.seed)
    torch.set_num_threads(1)
    folder = Path(work.own, SPLIT)
    # Left alone timm numbers classes in the order of the numbers inside their names.
    classes = sorted(path.name for path in folder.iterdir() if path.is_dir())
    loader: Any = create_loader(
        create_dataset("", str(folder), class_map={name: k for k, name in enumerate(classes)}),
        input_size=(3, work.size, work.size),
        batch_size=work.batch,
        is_training=True,
        no_aug=False,
        scale=AREA,
        ratio=RATIO,
        hflip=0.5,
        color_jitter=None,
        auto_augment=None,
        re_prob=0,
        interpolation="bilinear",
        mean=MEAN,
        std=STD,
        num_workers=setting["workers"],
        persistent_workers=setting["workers"] > 0,
        use_multi_epochs_loader=True,
        use_prefetcher=work.device == "cuda" or bool(setting["prefetcher"]),
        pin_memory=work.device == "cuda",
        device=torch.device(work.device),
    )
    while True:
        yield from loader
