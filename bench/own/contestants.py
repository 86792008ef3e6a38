"""Who runs in the work on a set of the user's. All yield (fields by name, ids (B,)).

Legend: B samples of a batch.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from workload import Contestant, Setting, late, workers

from loaders import Batch, Loader, Points, World
from own.feed import training
from own.work import Work

Fields = dict[str, Any]
Made = Generator[tuple[Fields, Tensor], None, None]
# Copies of the ceiling's batch; so many are in use in a loader too.
SLOTS = 4


def loader(work: Work, engine: Literal["host", "dali"], **more: Any) -> Loader:
    """Return the loader with the recipe's stages."""
    wanted = training(work)
    # A filler counts as no sample, but groups may all be smaller than a batch.
    last = "fill" if wanted.feed.groups else "drop"
    options: dict[str, Any] = {
        "global_batch_size": work.batch,
        "device": work.device,
        "last": last,
    } | more
    return Loader(
        wanted.dataset,
        split=wanted.split,
        **vars(wanted.feed),
        seed=work.seed,
        engine=engine,
        **options,
    )


def batches(work: Work, setting: Setting, engine: Literal["host", "dali"]) -> Made:
    """Yield batches of the loader without end."""
    ours = loader(work, engine, threads=setting["threads"])
    try:
        for batch in ours:
            yield batch.fields, batch.id
    finally:
        ours.close()


def ceiling(work: Work, setting: Setting) -> Made:
    """Yield one batch again and again, copied to reused memory each time."""
    ours = loader(work, "host", threads=setting["threads"])
    fresh = iter(ours)
    kept = next(fresh).clone()
    fresh.close()
    ours.close()
    slots = [kept.clone().fields for _ in range(SLOTS)]
    while True:
        for slot in slots:
            for name, value in kept.fields.items():
                if isinstance(value, Tensor):
                    slot[name].copy_(value)  # type: ignore[union-attr]
            yield slot, kept.id


def dataloader(work: Work, setting: Setting, whole: bool) -> Made:
    """Yield from a torch DataLoader: each worker runs our stages, one sample or batch at a time."""
    torch.set_num_threads(1)
    found: Any = DataLoader(
        _Part(work, whole),
        batch_size=None if whole else work.batch,
        num_workers=setting["workers"],
        collate_fn=None if whole else _collated,
        pin_memory=work.device == "cuda",
    )
    for fields, ids in found:
        yield {name: _sent(value, work.device) for name, value in fields.items()}, ids


def _sent(value: Any, device: str) -> Any:
    return value.to(device, non_blocking=True) if isinstance(value, Tensor) else value


class _Part(IterableDataset[Any]):
    """One worker's share of the samples, without end, from a loader with one thread."""

    def __init__(self, work: Work, whole: bool) -> None:
        self.work, self.whole = work, whole

    def __iter__(self) -> Iterator[tuple[Fields, Any]]:
        info = get_worker_info()
        rank, size = (info.id, info.num_workers) if info else (0, 1)
        ours = loader(
            self.work,
            "host",
            threads=1,
            device="cpu",
            world=World(rank, size),
            global_batch_size=size * (self.work.batch if self.whole else 1),
            last="fill",  # with many workers the split may be smaller: fillers are read too
            read_ahead=False,  # the workers are what reads ahead here
            prefetch=0,
        )
        for batch in ours:
            kept = batch.clone()
            yield (kept.fields, kept.id) if self.whole else (_only(kept), int(kept.id[0]))


def _only(batch: Batch) -> Fields:
    """Return the fields of the only sample."""
    return {
        name: value.values if isinstance(value, Points) else value[0]
        for name, value in batch.fields.items()
    }


def _collated(samples: list[tuple[Fields, int]]) -> tuple[Fields, Tensor]:
    """Stack what has one shape; the rest stays a list."""
    fields: Fields = {}
    for name in samples[0][0]:
        values = [sample[name] for sample, _ in samples]
        same = len({value.shape for value in values}) == 1
        fields[name] = torch.stack(values) if same else values
    return fields, torch.tensor([sample for _, sample in samples])


CONTESTANTS = {
    "nostall": Contestant(
        "the Loader, host engine", late("own.contestants", "batches", "host"), reads="data"
    ),
    "nostall-dali": Contestant(
        "the Loader, DALI engine", late("own.contestants", "batches", "dali"), reads="data"
    ),
    "dataloader": Contestant(
        "torch DataLoader: workers run our stages, a sample at a time",
        late("own.contestants", "dataloader", False),
        workers,
        reads="data",
    ),
    "dataloader-batches": Contestant(
        "torch DataLoader: workers run our stages, a whole batch at a time",
        late("own.contestants", "dataloader", True),
        workers,
        reads="data",
    ),
    "ceiling": Contestant(
        "limit: one batch that is kept, copied to reused memory",
        late("own.contestants", "ceiling"),
        reads="data",
    ),
}
