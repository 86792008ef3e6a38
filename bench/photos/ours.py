"""The loader itself on the photographs' sets."""

from __future__ import annotations

from collections.abc import Generator
from typing import Literal

from torch import Tensor
from workload import Setting

from loaders import Dataset, Loader
from loaders.stages import Normalise, Stage
from loaders.stages.colour_jitter import ColourJitter
from loaders.stages.flip import Flip
from loaders.stages.random_resized_crop import RandomResizedCrop
from loaders.stages.resize import Resize
from loaders.stages.rotate import Rotate
from photos.work import AREA, FEW, JITTER, MEAN, RATIO, STD, TURN, Work

Labelled = Generator[tuple[Tensor, Tensor], None, None]


def loader(
    work: Work,
    engine: Literal["host", "dali"],
    threads: int,
    shuffle: bool | Literal["block"] = True,
    few: bool = False,
) -> Loader:
    """Return the loader with the stages of training, or with those that only decode."""
    return Loader(
        Dataset(work.data),
        stages=fewest(work) if few else stages(work),
        global_batch_size=work.batch,
        shuffle=shuffle,
        last="drop",  # a filler counts as no image
        seed=work.seed,
        engine=engine,
        threads=threads,
        device=work.device,
    )


def stages(work: Work) -> tuple[Stage, ...]:
    """Return the stages of the work's variant."""
    normalise = Normalise(field="image", mean=MEAN, std=STD)
    if work.variant != "whole":
        cut = RandomResizedCrop(height=work.size, width=work.size, scale=AREA, ratio=RATIO)
        return cut, Flip(), normalise
    resize = Resize(height=work.size, width=work.size)
    jitter = ColourJitter(fields=("image",), brightness=JITTER, contrast=JITTER)
    return resize, Flip(vertical=0.5), Rotate(degrees=TURN), jitter, normalise


def fewest(work: Work) -> tuple[Stage, ...]:
    """Return stages that want the same pixels decoded, and make next to nothing of them."""
    normalise = Normalise(field="image", mean=MEAN, std=STD)
    if work.variant == "whole":
        return Resize(height=FEW, width=FEW, interpolation="nearest"), normalise
    cut = RandomResizedCrop(height=FEW, width=FEW, scale=AREA, ratio=RATIO, interpolation="nearest")
    return cut, normalise


def batches(
    work: Work, setting: Setting, engine: Literal["host", "dali"], few: bool = False
) -> Labelled:
    """Yield images and labels without end; few: only decoded, FEW × FEW of the pixels kept."""
    ours = loader(work, engine, setting["threads"], few=few)
    try:
        for batch in ours:
            yield batch["image"], batch["label"]
    finally:
        ours.close()
