"""MosaicML's StreamingDataset: shards written once from the very bytes of the files.

Kinder than a recipe in one point: the photographs are drawn many times as one long epoch.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import torch
from streaming import MDSWriter, StreamingDataset
from torch import Tensor
from torch.utils.data import DataLoader
from workload import Setting

from photos import augment
from photos.corpus import labelled
from photos.scratch import scratch
from photos.work import Work

Labelled = Generator[tuple[Tensor, Tensor], None, None]
# So many times are the photographs drawn in one epoch: no window sees its end.
TIMES = 64


def write(form: str, files: Path, folder: Path) -> None:
    """Write the shards of the photographs."""
    columns = {"jpeg": "bytes", "label": "int"}
    with MDSWriter(out=str(folder / "mds"), columns=columns) as out:
        for path, label in labelled(files):
            out.write({"jpeg": Path(path).read_bytes(), "label": label})


class Photographs(StreamingDataset):  # type: ignore[misc]
    """Gives image and label of a sample."""

    def __init__(self, change: Any, **options: Any) -> None:
        super().__init__(**options)
        self._change = change

    def __getitem__(self, at: int) -> tuple[Tensor, int]:
        sample = super().__getitem__(at)
        return self._change(sample["jpeg"]), sample["label"]


def batches(work: Work, setting: Setting) -> Labelled:
    """Yield batches without end."""
    with scratch(work.root):  # its locks would stay among the machine's temporary files
        yield from _drawn(work, setting)


def _drawn(work: Work, setting: Setting) -> Labelled:
    torch.manual_seed(work.seed)
    torch.set_num_threads(1)
    dataset = Photographs(
        augment.FromBytes(work.size, bool(setting["v2"])),
        local=f"{work.mosaic}/mds",
        shuffle=True,
        shuffle_seed=work.seed,
        batch_size=work.batch,
        epoch_size=TIMES * len(labelled(work.own)),
    )
    loader: Any = DataLoader(
        dataset,
        work.batch,
        num_workers=setting["workers"],
        drop_last=True,
        pin_memory=work.device == "cuda",
    )
    while True:
        for images, labels in loader:
            yield images.to(work.device, non_blocking=True), labels
