"""The steps between two log lines: means of their loss terms, speed, and time spent waiting."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from loaders import Loader, World


class Measured(NamedTuple):
    """Means of the terms over the steps that had them; wait_share: of the time, for data."""

    terms: dict[str, Tensor]
    seconds: float
    samples_per_s: float
    wait_share: float

    def everywhere(self, world: World, device: torch.device) -> dict[str, float]:
        """Return what a log line says, for all ranks together."""
        values = torch.stack([term.double() for term in self.terms.values()])
        waits = torch.tensor([self.wait_share], dtype=torch.double, device=device)
        if world.size > 1:
            dist.all_reduce(values)
            dist.all_reduce(waits, dist.ReduceOp.MAX)  # the slowest rank holds up all others
        return dict(zip(self.terms, values.tolist(), strict=True)) | {
            "seconds": self.seconds,
            "samples_per_s": self.samples_per_s,
            "wait_share": float(waits),
        }


class Window:
    """Opened, and opened again by `start` and by each `close`."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader
        self.start()

    def start(self) -> None:
        """Forget everything, and begin now."""
        self._began, self._waited = time.perf_counter(), self._loader.wait_s
        self._samples = 0.0
        self._terms: dict[str, list[Tensor]] = {}

    @property
    def seconds(self) -> float:
        """The time since the start, pauses left out."""
        return max(1e-9, time.perf_counter() - self._began)

    def add(self, samples: float, terms: Mapping[str, Tensor]) -> None:
        """Count one step; fillers are no samples."""
        self._samples += samples
        for name, term in terms.items():
            # Those of a skipped step would spoil the mean.
            self._terms.setdefault(name, []).append(term.nan_to_num())

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out what is no training: speed and wait share are those of the steps."""
        began = time.perf_counter()
        yield
        self._began += time.perf_counter() - began

    def close(self) -> Measured:
        """Return what was measured, and start again."""
        seconds, waited = self.seconds, self._loader.wait_s - self._waited
        means = {name: torch.stack(terms).mean() for name, terms in self._terms.items()}
        measured = Measured(means, seconds, self._samples / seconds, waited / seconds)
        self.start()
        return measured
