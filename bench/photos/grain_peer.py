"""grain: a MapDataset of files, shuffled, repeated and cut into batches, by threads or processes.

Draws come from the generator that grain hands to a random map. decode_jpeg, crop on uint8, float.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from absl import logging
from torch import Tensor
from workload import Setting

from photos import augment
from photos.corpus import labelled
from photos.work import Work

Labelled = Generator[tuple[Tensor, Tensor], None, None]
Array = npt.NDArray[Any]


class Cut:
    """Turns a file and its label into a crop and the label."""

    def __init__(self, size: int) -> None:
        self._size = size

    def __call__(self, place: tuple[str, int], rng: np.random.Generator) -> tuple[Tensor, int]:
        torch.set_num_threads(1)  # it may be a fresh process
        path, label = place
        return augment.cut(augment.decoded(Path(path).read_bytes()), self._size, rng), label


def _batch(samples: Sequence[tuple[Tensor, int]]) -> tuple[Array, Array]:
    """Return arrays: those go between processes through shared memory."""
    crops, labels = zip(*samples, strict=True)
    return augment.normalised(torch.stack(crops)).numpy(), np.array(labels)


def batches(work: Work, setting: Setting) -> Labelled:
    """Yield batches without end."""
    logging.set_verbosity(logging.ERROR)  # grain looks for JAX and says that there is none
    import grain

    torch.set_num_threads(1)
    data: Any = grain.MapDataset.source(labelled(work.own)).seed(work.seed).shuffle().repeat()
    data = data.random_map(Cut(work.size)).batch(work.batch, batch_fn=_batch)
    threads = setting["threads"]
    data = data.to_iter_dataset(
        grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    )
    if workers := setting["workers"]:
        data = data.mp_prefetch(
            grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=2)
        )
    for images, labels in data:
        ready = torch.from_numpy(np.asarray(images))
        yield ready.to(work.device, non_blocking=True), torch.from_numpy(np.asarray(labels))
