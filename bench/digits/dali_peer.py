"""DALI alone: batches gathered from the array by an external source, normalised by its operator."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch.utils.dlpack
from nvidia.dali import fn, pipeline_def, types
from torch import Tensor
from workload import Setting

from digits import corpus
from digits.limits import orders
from digits.work import MEAN, STD, Work

Labelled = Generator[tuple[Tensor, Tensor], None, None]


def batches(work: Work, setting: Setting) -> Labelled:
    """Yield batches without end; a batch is valid until the next."""
    images, labels = corpus.pixels(Path(work.files))
    held = np.array(images)[..., None]

    def chosen() -> Iterator[tuple[Any, Any]]:
        for rows in orders(len(labels), work.batch, work.seed):
            yield held[rows], labels[rows]

    pipeline = _graph(
        chosen(), batch_size=work.batch, num_threads=setting["threads"], device_id=None
    )
    pipeline.build()
    while True:
        out = pipeline.run()
        pixels, numbers = (torch.utils.dlpack.from_dlpack(one.as_tensor()) for one in out)
        yield pixels, numbers


@pipeline_def  # type: ignore[untyped-decorator]
def _graph(chosen: Any) -> Any:
    images, labels = fn.external_source(
        chosen, num_outputs=2, layout=["HWC", ""], dtype=[types.UINT8, types.INT64]
    )
    images = fn.crop_mirror_normalize(
        images, dtype=types.FLOAT, output_layout="CHW", mean=[255 * MEAN], std=[255 * STD]
    )
    return images, labels
