"""The loader itself on the set of stimuli."""

from __future__ import annotations

from typing import Literal

from workload import Batches, Setting

from loaders import Dataset, Loader
from loaders.stages import Normalise
from loaders.stages.resize import Resize
from stimuli.work import MEAN, STD, Work


def batches(work: Work, setting: Setting, engine: Literal["host", "dali"]) -> Batches:
    """Yield images, points and where each image's begin, without end."""
    ours = Loader(
        Dataset(work.data),
        fields=("image", "fixations"),
        stages=(
            Resize(height=work.height, width=work.width, oriented=True),
            Normalise(field="image", mean=MEAN, std=STD),
        ),
        groups="size",
        global_batch_size=work.batch,
        last="drop",  # a filler counts as no image
        seed=work.seed,
        engine=engine,
        threads=setting["threads"],
        device=work.device,
    )
    try:
        for batch in ours:
            yield batch["image"], *batch.fields["fixations"]
    finally:
        ours.close()
