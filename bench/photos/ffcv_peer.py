"""FFCV on files of its own. Runs only where ffcv could be built and installed.

Its images come as channels-last memory. Its crops are resized by area or bicubic, as OpenCV does.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from workload import Setting

from photos.corpus import SPLIT
from photos.work import AREA, MEAN, RATIO, STD, Work

Labelled = Generator[tuple[Tensor, Tensor], None, None]
# How each form is written; half of the images as JPEG is the usual recipe.
FORMS: dict[str, dict[str, Any]] = {
    "ffcv-jpg": {"write_mode": "jpg", "jpeg_quality": 90},
    "ffcv-256": {
        "write_mode": "proportion",
        "compress_probability": 0.5,
        "max_resolution": 256,
        "jpeg_quality": 90,
    },
    "ffcv-256raw": {"write_mode": "raw", "max_resolution": 256},
}
FILE = "photos.beton"


def write(form: str, files: Path, folder: Path) -> None:
    """Write the photographs in one form."""
    from torchvision.datasets import ImageFolder

    fields, writer = import_module("ffcv.fields"), import_module("ffcv.writer")
    image, label = fields.RGBImageField(**FORMS[form]), fields.IntField()
    cores = len(os.sched_getaffinity(0))
    to = writer.DatasetWriter(
        str(folder / FILE), {"image": image, "label": label}, num_workers=cores
    )
    to.from_indexed_dataset(ImageFolder(f"{files}/{SPLIT}"))


def batches(work: Work, setting: Setting, form: str) -> Labelled:
    """Yield images and labels without end; a batch is valid until the next."""
    decoders, loaders = import_module("ffcv.fields.decoders"), import_module("ffcv.loader")
    change = import_module("ffcv.transforms")
    mean, std = (255 * np.array(values, np.float32) for values in (MEAN, STD))
    gpu = work.device == "cuda"
    there = [change.ToDevice(torch.device(work.device), non_blocking=True)] if gpu else []
    loader: Any = loaders.Loader(
        f"{work.form(form, work.files)}/{FILE}",
        batch_size=work.batch,
        num_workers=setting["threads"],
        order=loaders.OrderOption.RANDOM,
        os_cache=True,
        drop_last=True,
        seed=work.seed,
        pipelines={
            "image": [
                decoders.RandomResizedCropRGBImageDecoder((work.size, work.size), AREA, RATIO),
                change.RandomHorizontalFlip(),
                change.NormalizeImage(mean, std, np.float32),
                change.ToTensor(),
                *there,
                change.ToTorchImage(),
            ],
            "label": [decoders.IntDecoder(), change.ToTensor(), change.Squeeze(), *there],
        },
    )
    while True:
        yield from loader
