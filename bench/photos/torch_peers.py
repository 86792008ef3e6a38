"""torchvision in a DataLoader of worker processes: PIL, as its own recipe, and decode_jpeg with v2.

Kinder than a recipe in one point: the sampler never ends, so that workers are never started anew.
"""

from __future__ import annotations

from collections.abc import Generator
from types import ModuleType
from typing import Any

import torch
from endless import Endless
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import datasets, io
from workload import Setting

from photos import augment, whole
from photos.corpus import SPLIT
from photos.work import Work

Labelled = Generator[tuple[Tensor, Tensor], None, None]


def pil(work: Work, setting: Setting, folder: str) -> Labelled:
    """Yield from ImageFolder with PIL; `folder`: attribute of the work."""
    where = f"{getattr(work, folder)}/{SPLIT}"
    change = recipe(work).of_pil(work.size)
    return batches(datasets.ImageFolder(where, change), work, setting)


def tensors(work: Work, setting: Setting, folder: str) -> Labelled:
    """Yield from decode_jpeg and transforms v2: geometry on uint8, then float."""
    where = f"{getattr(work, folder)}/{SPLIT}"
    change = recipe(work).of_tensor(work.size)
    photographs = datasets.ImageFolder(where, change, loader=decoded)
    return batches(photographs, work, setting)


def recipe(work: Work) -> ModuleType:
    """Return where the transforms of the work's variant are."""
    return whole if work.variant == "whole" else augment


def decoded(path: str) -> Tensor:
    """Return one image, uint8 (3, H, W)."""
    image: Tensor = io.decode_jpeg(io.read_file(path), mode=io.ImageReadMode.RGB)
    return image


def batches(dataset: Any, work: Work, setting: Setting) -> Labelled:
    """Yield batches without end from worker processes, 0: from this one."""
    torch.manual_seed(work.seed)
    torch.set_num_threads(1)
    loader: Any = DataLoader(
        dataset,
        work.batch,
        sampler=Endless(len(dataset)),
        num_workers=setting["workers"],
        pin_memory=work.device == "cuda",
    )
    for images, labels in loader:
        yield images.to(work.device, non_blocking=True), labels
