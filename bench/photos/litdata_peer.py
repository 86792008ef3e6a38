"""litdata: chunks written once from the very bytes of the files, its own decoding, transforms v2.

litdata's `Image` keeps the JPEG and decodes with torchvision to a tensor, as its documents advise;
the list of files is shuffled before chunks are cut. Nothing is downloaded: local chunks are mapped
where they lie. Kinder than a recipe in one point: a data set is drawn many times as one long epoch.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Generator
from pathlib import Path
from typing import Any

import litdata
import torch
from torch import Tensor
from workload import Setting

from dataprep.manifest import DataError
from photos import augment
from photos.corpus import labelled
from photos.scratch import scratch
from photos.work import Work

Labelled = Generator[tuple[Tensor, Tensor], None, None]
# So many times are the photographs drawn in one epoch: no window sees its end.
TIMES = 64.0


def write(form: str, files: Path, folder: Path) -> None:
    """Write the chunks of the photographs."""
    places = labelled(files)
    random.Random(0).shuffle(places)
    with scratch(folder.parent) as temporary:
        os.environ["DATA_OPTIMIZER_CACHE_FOLDER"] = f"{temporary}/chunks"
        litdata.optimize(
            fn=_sample,
            inputs=places,
            output_dir=str(folder),
            chunk_bytes="64MB",
            num_workers=1,
            reorder_files=False,
            mode="overwrite",
            verbose=False,
        )
    chunks = json.loads((folder / "index.json").read_text()).get("chunks", [])
    if sum(chunk["chunk_size"] for chunk in chunks) != len(places):  # its workers fail in silence
        raise DataError(folder, "", "litdata did not write every photograph")


def _sample(place: tuple[str, int]) -> dict[str, Any]:
    path, label = place
    return {"image": litdata.Image(path=path), "label": label}


class Change:
    """Turns a decoded sample into image and label."""

    def __init__(self, size: int) -> None:
        self._change = augment.of_tensor(size)

    def __call__(self, sample: dict[str, Any]) -> tuple[Tensor, int]:
        return self._change(sample["image"]), sample["label"]


def batches(work: Work, setting: Setting) -> Labelled:
    """Yield batches without end."""
    with scratch(work.root) as temporary:
        yield from _drawn(work, setting, temporary)


def _drawn(work: Work, setting: Setting, temporary: str) -> Labelled:
    torch.manual_seed(work.seed)
    torch.set_num_threads(1)
    dataset = litdata.StreamingDataset(
        work.litdata,
        cache_dir=f"{temporary}/chunks",  # else it would be one in the home folder
        shuffle=True,
        drop_last=True,
        seed=work.seed,
        subsample=TIMES,
        transform=Change(work.size),
    )
    loader: Any = litdata.StreamingDataLoader(
        dataset,
        batch_size=work.batch,
        num_workers=setting["workers"],
        pin_memory=work.device == "cuda",
    )
    while True:
        for images, labels in loader:
            yield images.to(work.device, non_blocking=True), labels
