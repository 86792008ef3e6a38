"""timm's own loader, as its train.py makes it: ImageFolder reader, PIL, its transforms.

Left out of timm's recipe: colour jitter, automatic augmentation, erasing, random interpolation. Its
loader of many epochs never starts workers anew. The prefetcher sends bytes through the queue and
normalises whole batches where they arrive; on a GPU it is always on, as timm has it.

timm's transforms for training cannot squash a whole image and turn it: in w1-whole its dataset is
given torchvision's, and all else stays timm's.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import torch
from timm.data import ImageDataset, create_loader
from timm.data.transforms import ToNumpy
from torch import Tensor
from workload import Setting

from photos import whole
from photos.corpus import SPLIT
from photos.work import AREA, MEAN, RATIO, STD, Work

Labelled = Generator[tuple[Tensor, Tensor], None, None]


class Changed(ImageDataset):  # type: ignore[misc]
    """timm's dataset with transforms that stay: `create_loader` would write timm's over them."""

    def __init__(self, folder: str, classes: dict[str, int], change: Any) -> None:
        self._change = change
        super().__init__(folder, class_map=classes)

    @property
    def transform(self) -> Any:
        """Return the transforms of one image."""
        return self._change

    @transform.setter
    def transform(self, value: Any) -> None:
        """Keep what was given at first."""


def batches(work: Work, setting: Setting, folder: str) -> Labelled:
    """Yield batches without end; `folder`: attribute of the work."""
    torch.manual_seed(work.seed)
    torch.set_num_threads(1)
    prefetcher = work.device == "cuda" or bool(setting["prefetcher"])
    loader: Any = create_loader(
        dataset(work, Path(getattr(work, folder), SPLIT), prefetcher),
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
        use_prefetcher=prefetcher,
        pin_memory=work.device == "cuda",
        device=torch.device(work.device),
    )
    while True:
        yield from loader


def dataset(work: Work, folder: Path, prefetcher: bool) -> Any:
    """Return timm's dataset of a folder."""
    # Left alone timm numbers classes in the order of the numbers inside their names.
    names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    classes = {name: k for k, name in enumerate(names)}
    if work.variant != "whole":
        return ImageDataset(str(folder), class_map=classes)
    last = (ToNumpy(),) if prefetcher else ()
    return Changed(str(folder), classes, whole.of_pil(work.size, *last))
