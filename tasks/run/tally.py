"""What a run has done so far, in samples and seconds, and how often each sample was trained on.

Counts are of the global step, the same on every rank, but for visits: each rank counts its own
until they are added up. Kept in checkpoints, so that a resumed run goes on counting.

Legend: N samples of the set.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist

from loaders import Batch, Loader, World
from tasks.run import Run

Array = npt.NDArray[Any]


class Visits:
    """Counts how often each sample was trained on, since a step and in this epoch, (N,) each."""

    def __init__(self, samples: int, world: World) -> None:
        self._world = world
        self._new = np.zeros(samples, np.int64)  # on this rank, not added up yet
        self.total, self.epoch = np.zeros_like(self._new), np.zeros_like(self._new)

    def add(self, ids: Array) -> None:
        """Count samples of this rank; a sample may come twice."""
        np.add.at(self._new, ids, 1)

    def sync(self) -> None:
        """Add up what all ranks have counted; every rank calls it."""
        if self._world.size > 1:
            everywhere = torch.from_numpy(self._new)
            dist.all_reduce(everywhere)
        self.total += self._new
        self.epoch += self._new
        self._new[:] = 0

    def close_epoch(self, ids: Array) -> dict[str, float]:
        """Return the shares of a split seen so far and in this epoch, and begin another epoch."""
        self.sync()
        shares = {"seen": self.total, "seen_epoch": self.epoch}
        facts = {name: float((visits[ids] > 0).mean()) for name, visits in shares.items()}
        self.epoch[:] = 0
        return facts

    def state(self) -> dict[str, Any]:
        """Return what a resumed run needs; every rank calls it."""
        self.sync()
        return {"total": self.total.copy(), "epoch": self.epoch.copy()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self.total, self.epoch = np.array(state["total"]), np.array(state["epoch"])


class Tally:
    """decoded: by the loader; scored: forward alone; trained: forward and backward; seconds: of
    steps, without validation and start-up.

    visited: samples of the set whose visits are counted, 0: they are not.
    """

    def __init__(self, visited: int, world: World) -> None:
        self.visits = Visits(visited, world) if visited else None
        self.decoded = self.scored = self.trained = 0
        self.seconds = 0.0

    def count(self, decoded: Batch, trained: Batch, scored: bool) -> None:
        """Count one global step."""
        self.decoded += int(decoded.total)
        self.scored += int(decoded.total) if scored else 0
        self.trained += int(trained.total)

    def visit(self, batch: Batch) -> None:
        """Count the samples of this rank that have a weight."""
        if self.visits is not None:
            self.visits.add(batch.id.numpy()[batch.weight.cpu().numpy() > 0])

    def end_epoch(self, batch: Batch, loader: Loader) -> dict[str, float] | None:
        """Return shares of the split seen, where visits are counted and an epoch has ended."""
        if self.visits is None or batch.step + 1 < batch.steps:
            return None
        return self.visits.close_epoch(np.asarray(loader.ids))

    def write(self, run: Run, loader: Loader) -> None:
        """Write visits.npz, `id` and `visits` of the split, where they were counted."""
        if self.visits is not None:
            ids = np.asarray(loader.ids)
            run.keep({"visits": {"id": ids, "visits": self.visits.total[ids]}})

    def facts(self) -> dict[str, Any]:
        """Return the counts."""
        names = ("decoded", "scored", "trained", "seconds")
        return {name: getattr(self, name) for name in names}

    def state(self) -> dict[str, Any]:
        """Return what a resumed run needs; every rank calls it."""
        return self.facts() | ({"visits": self.visits.state()} if self.visits else {})

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; visits begin anew where none were counted before."""
        for name in self.facts():
            setattr(self, name, state[name])
        if self.visits and "visits" in state:
            self.visits.load(state["visits"])
