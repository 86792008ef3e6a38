"""The loader itself on the photographs' sets."""

from __future__ import annotations

from collections.abc import Generator
from typing import Literal

from torch import Tensor
from workload import Setting

from loaders import Dataset, Loader
from loaders.stages import Normalise
from loaders.stages.flip import Flip
from loaders.stages.random_resized_crop import RandomResizedCrop
from photos.work import AREA, MEAN, RATIO, STD, Work

Labelled = Generator[tuple[Tensor, Tensor], None, None]


def loader(
    work: Work,
    engine: Literal["host", "dali"],
    threads: int,
    shuffle: bool | Literal["block"] = True,
) -> Loader:
    """Return the loader with the stages of training."""
    return Loader(
        Dataset(work.data),
        stages=(
            RandomResizedCrop(height=work.size, width=work.size, scale=AREA, ratio=RATIO),
            Flip(),
            Normalise(field="image", mean=MEAN, std=STD),
        ),
        global_batch_size=work.batch,
        shuffle=shuffle,
        last="drop",  # a filler counts as no image
        seed=work.seed,
        engine=engine,
        threads=threads,
        device=work.device,
    )


def batches(work: Work, setting: Setting, engine: Literal["host", "dali"]) -> Labelled:
    """Yield images and labels without end."""
    ours = loader(work, engine, setting["threads"])
    try:
        for batch in ours:
            yield batch["image"], batch["label"]
    finally:
        ours.close()
