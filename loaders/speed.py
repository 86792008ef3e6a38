"""One stretch of time in which a loader is drawn from by the clock, as a training would.

Others at work on the machine slow the loader down. What would have come without them is told too:
the processor time that they took is given back, as far as the loader's threads could have used it.
On an idle machine nothing is.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from loaders.dataset import Dataset
from loaders.loader import Loader
from loaders.stages import Normalise, Stage
from loaders.stages.flip import Flip
from loaders.stages.random_resized_crop import RandomResizedCrop

# Before a window: buffers find their size, batches that were made ahead of the clock are used up.
WARM_S, WARM_BATCHES = 0.5, 6
LEAST_BATCHES = 8


@dataclass(frozen=True, kw_only=True)
class Work:
    """What is loaded of each set, and for how long. hold_mb: as the `Loader`'s."""

    crop: int
    batch: int
    threads: int
    seconds: float = 2.0
    split: str | None = None
    hold_mb: int = 512


@dataclass(frozen=True)
class Window:
    """One stretch of time. cpu_s: of this process; busy_s: of all who used the same cores."""

    samples: int
    wall_s: float
    cpu_s: float
    busy_s: float
    first_s: float

    def alone(self, threads: int) -> float:
        """Return the samples a second that would have come with the cores to ourselves."""
        most = max(self.cpu_s, threads * self.wall_s)
        return self.samples / self.wall_s * max(1.0, min(self.busy_s, most) / self.cpu_s)


def stages(dataset: Dataset, crop: int) -> list[Stage]:
    """Return what training on photographs does to every pixel field, nothing without one."""
    names = [name for name, field in dataset.fields.items() if field.is_pixels]
    geometric: list[Stage] = [RandomResizedCrop(height=crop, width=crop), Flip()]
    return [*geometric, *(Normalise(field=name) for name in names)] if names else []


def window(dataset: Dataset, work: Work) -> Window:
    """Open a loader, let it warm up, and draw batches by the clock."""
    splits = dataset.manifest.splits
    split = work.split or ("train" if "train" in splits else next(iter(splits)))
    batch = min(work.batch, len(dataset.split(split)))
    began = time.perf_counter()
    loader = Loader(
        dataset,
        split=split,
        stages=stages(dataset, work.crop),
        global_batch_size=batch,
        last="drop",  # a filler counts as no sample
        engine="host",
        threads=work.threads,
        hold_mb=work.hold_mb,
    )
    batches = iter(loader)
    try:
        next(batches)
        first_s, count = time.perf_counter() - began, 0
        until = time.perf_counter() + WARM_S
        while count < WARM_BATCHES or time.perf_counter() < until:
            next(batches)
            count += 1
        count, cpu, busy, start = 0, time.process_time(), busy_s(), time.perf_counter()
        while count < LEAST_BATCHES or time.perf_counter() < start + work.seconds:
            next(batches)
            count += 1
        wall = time.perf_counter() - start
        cpu, busy = time.process_time() - cpu, busy_s() - busy
        return Window(count * batch, wall, cpu, busy, first_s)
    finally:
        batches.close()
        loader.close()


def busy_s() -> float:
    """Return processor seconds that the cores of this process have spent on anything, 0 unknown."""
    try:
        lines = Path("/proc/stat").read_text().splitlines()
        ours = {f"cpu{core}" for core in os.sched_getaffinity(0)}
    except (OSError, AttributeError):
        return 0.0
    fields = [line.split() for line in lines if line.split()[0] in ours]
    # user, nice, system; then idle and waiting, which are no work; then interrupts
    ticks = sum(int(field[i]) for field in fields for i in (1, 2, 3, 6, 7))
    return ticks / os.sysconf("SC_CLK_TCK")
