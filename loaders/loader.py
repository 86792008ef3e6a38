"""The loader: order → strategy → slice by rank → read → stages → batch, always a few batches ahead.

Two threads run ahead of the training loop (loaders/ahead.py); the engine's own threads do the work.
There are no worker processes. Legend: B samples of a rank, G of a global batch.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dataprep.manifest import DataError
from loaders import geometry, strategies
from loaders.ahead import Ahead
from loaders.batch import Batch, Points
from loaders.chooser import Choice, Chooser
from loaders.dataset import Dataset
from loaders.draw import Keys
from loaders.engine import Engine
from loaders.host import Host
from loaders.lane import Lane
from loaders.order import Order
from loaders.program import Drawn, Moves, Program
from loaders.stages import Stage
from loaders.world import World

Array = npt.NDArray[Any]


class Plan(NamedTuple):
    """All that is known of a batch before it is read; `real` (B,) is False for fillers."""

    choice: Choice
    keys: Keys
    real: Array
    moves: Mapping[str, Moves]
    drawn: Sequence[Drawn]


class Loader:
    """Iterate over the batches of this rank, endlessly or for some epochs.

    fields: those wanted (default all). reference: the field whose pixels crops count.
    groups="size": batches of samples of one size. threads 0: this rank's share of the cores.
    prefetch: batches read ahead. The same global batches come on any number of ranks. Breaking out
    of the loop and iterating again goes on with the next batch.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        split: str = "train",
        stages: Sequence[Stage] = (),
        fields: Sequence[str] | None = None,
        reference: str | None = None,
        global_batch_size: int = 64,
        seed: int = 0,
        shuffle: bool = True,
        last: Literal["fill", "drop"] = "fill",
        groups: Literal["size"] | None = None,
        epochs: int | None = None,
        strategy: type[strategies.Strategy] | str = "random",
        strategy_options: Mapping[str, Any] | None = None,
        feedback_lag: int = 2,
        world: World | None = None,
        engine: Literal["auto", "host", "dali"] = "auto",
        threads: int = 0,
        prefetch: int = 2,
        device: torch.device | str = "cpu",
    ) -> None:
        self.dataset, self.seed, self.split = dataset, seed, split
        self.world, self.device = world or World(), torch.device(device)
        self.ids = dataset.split(split)
        self.program = Program(dataset.chosen(fields), stages, reference)
        kind = strategies.load(strategy) if isinstance(strategy, str) else strategy
        self.global_batch_size, self.candidates = global_batch_size, kind.candidates
        codes = dataset.size_groups(self.ids) if groups == "size" else None
        order = Order(
            len(self.ids), global_batch_size * kind.candidates, seed, shuffle, last, codes
        )
        self.strategy = kind(order, **(strategy_options or {}))
        self._chooser = Chooser(self.strategy, feedback_lag, epochs)
        self._local = -(-order.batch // self.world.size)  # B; the last ranks may hold fillers
        self._slots = prefetch + 2  # one with the consumer, one being written
        self._columns: dict[str, Any] = {
            name: dataset.points(name) if field.kind == "points" else dataset.values(name)
            for name, field in self.program.fields.items()
            if not field.is_pixels
        }
        self._lane = Lane(self.device)
        self._kept: dict[int, Batch] = {}
        self.engine = self._engine(engine, threads or self.world.threads())
        self.wait_s = 0.0  # time the training loop was blocked here, since the start

    def _engine(self, name: str, threads: int) -> Engine:
        pixels = {route.field: self.dataset.pixels(route.field) for route in self.program.routes}
        if self.program.reference:
            pixels.setdefault(self.program.reference, self.dataset.pixels(self.program.reference))
        if name == "host" or (name == "auto" and self.device.type != "cuda"):
            return Host(pixels, threads, self.device)
        from loaders.dali import Dali  # half a second to import: only where it is used

        return Dali(pixels, threads, self.device, self.program, self._local)

    @property
    def steps(self) -> int:
        """Global steps of an epoch in plain order (a strategy may shorten it)."""
        return self.strategy.order.steps

    def __iter__(self) -> Generator[Batch, None, None]:
        self._chooser.rewind()
        ahead = Ahead(self._plan, self._batch, self._slots)
        try:
            while True:
                began = time.perf_counter()
                item = ahead.take()
                self.wait_s += time.perf_counter() - began
                if item is None:
                    return
                slot, batch = item
                self._lane.wait(slot)
                self._chooser.consume()
                # The allocator must not hand out a batch's memory before its last use on the GPU:
                # it is kept until the slot was filled again, which waits for that.
                self._kept[slot] = batch
                try:
                    yield batch
                finally:
                    self._lane.release(slot)
                ahead.give_back(slot)
        finally:
            self._chooser.close()
            ahead.stop()

    def _plan(self) -> Plan | None:
        """Choose this rank's part of the next global batch and draw for it; nothing is read."""
        choice = self._chooser.next()
        if choice is None:
            return None
        places = self.world.rank * self._local + np.arange(self._local)
        real = places < len(choice.rows)
        ids = np.asarray(self.ids[choice.rows[np.where(real, places, 0)]], np.int64)
        positions = choice.step * self.strategy.order.batch + places
        keys = Keys(self.seed, choice.epoch, positions, ids)
        if not self.program.reference:
            return Plan(choice, keys, real, {}, [])
        pixels = self.engine.pixels
        try:
            moves = self.program.move(keys, pixels[self.program.reference].sizes(ids))
            drawn = [
                self.program.draw(keys, moves, route, pixels[route.field].sizes(ids))
                for route in self.program.routes
            ]
        except ValueError as error:
            raise DataError(self.dataset.folder, "", str(error)) from None
        return Plan(choice, keys, real, moves, drawn)

    def _batch(self, plan: Plan, slot: int) -> Batch:
        """Read what was planned."""
        choice, ids = plan.choice, plan.keys.ids
        with self._lane.filling(slot):
            fields: dict[str, Tensor | Points] = {}
            if plan.drawn:
                fields |= self.engine.read(ids, plan.drawn, slot)
            for name, column in self._columns.items():
                if self.program.fields[name].kind == "points":
                    fields[name] = self._points(column, name, ids, plan.moves.get(""))
                else:
                    fields[name] = self._sent(np.ascontiguousarray(column[ids]))
            weight = self._sent(plan.real.astype(np.float32))
        return Batch(
            fields,
            torch.from_numpy(ids),
            torch.from_numpy(plan.keys.positions),
            weight,
            float(len(choice.rows)),
            choice.epoch,
            choice.step,
        )

    def _points(self, column: Any, name: str, ids: Array, moves: Moves | None) -> Points:
        """Return the samples' points, moved with the image; those cut off are left out."""
        rows = [np.array(column[int(i)], np.float64) for i in ids]
        if moves is not None:
            matrices, sizes = self.program.carried(moves, name, moves.before)
            for i, points in enumerate(rows):
                points[:, :2], inside = geometry.move_points(points[:, :2], matrices[i], sizes[i])
                rows[i] = points[inside]
        starts = np.cumsum([0] + [len(points) for points in rows])
        values = np.concatenate(rows).astype(np.float32)
        return Points(self._sent(values), torch.from_numpy(starts))

    def _sent(self, values: Array) -> Tensor:
        """Return a small array on the device, copied in the lane's order."""
        return torch.from_numpy(values).to(self.device, non_blocking=True)

    def observe(self, ids: Array, scores: strategies.Scores) -> None:
        """Give the strategy the scores of a whole global step, in position order, on every rank."""
        self._chooser.observe(self.rows(ids), scores)

    @property
    def listens(self) -> bool:
        """True where the strategy wants scores."""
        return self._chooser.listens

    def rows(self, ids: Array) -> Array:
        """Return the rows of the split that hold these ids."""
        return np.searchsorted(self.ids, ids)

    def state(self) -> dict[str, Any]:
        """Return where training stands: the same on every rank, for any number of ranks."""
        return {
            "seed": self.seed,
            "split": self.split,
            "global_batch_size": self.global_batch_size,
            "fingerprint": self.dataset.manifest.fingerprint,
            "strategy": type(self.strategy).__module__,
            "chooser": self._chooser.state(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; ValueError where it belongs to other data or another order."""
        own = self.state()
        for key in ("fingerprint", "split", "seed", "global_batch_size", "strategy"):
            if state[key] != own[key]:
                raise ValueError(
                    f"the checkpoint's loader has another {key}: {state[key]}, not {own[key]}"
                )
        self._chooser.load(state["chooser"])

    def close(self) -> None:
        """Stop the threads and close the files."""
        self.engine.close()
