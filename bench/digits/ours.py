"""The loader itself on the digits' set."""

from __future__ import annotations

from collections.abc import Generator
from typing import Literal

from torch import Tensor
from workload import Setting

from digits.work import MEAN, STD, Work
from loaders import Dataset, Loader
from loaders.stages import Normalise

Labelled = Generator[tuple[Tensor, Tensor], None, None]


def batches(work: Work, setting: Setting, engine: Literal["host", "dali"]) -> Labelled:
    """Yield images and labels without end; a batch is valid until the next."""
    ours = Loader(
        Dataset(work.data),
        stages=(Normalise(field="image", mean=(MEAN,), std=(STD,)),),
        global_batch_size=work.batch,
        last="drop",  # a filler counts as no image
        seed=work.seed,
        engine=engine,
        threads=setting["threads"],
        device=work.device,
    )
    try:
        for batch in ours:
            yield batch["image"], batch["label"]
    finally:
        ours.close()
