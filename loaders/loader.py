"""The loader: order → strategy → slice by rank → read → stages → batch, always a few batches ahead.

Two threads run ahead of the training loop (loaders/ahead.py); the engine's own threads do the work.
There are no worker processes. Legend: B samples of a rank, G of a global batch.
"""

from __future__ import annotations

import atexit
import time
from collections.abc import Generator, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from loaders import strategies
from loaders.ahead import Ahead
from loaders.batch import Batch
from loaders.chooser import Chooser
from loaders.dataset import Dataset
from loaders.engine import Engine, Settings, Stores
from loaders.files import BadSample
from loaders.host import Host
from loaders.lane import Lane
from loaders.mixing import mixing
from loaders.order import Block, Order
from loaders.planner import Plan, Planner
from loaders.program import Program
from loaders.quarantine import OnBad, Quarantine
from loaders.readahead import ReadAhead
from loaders.reader import Reader
from loaders.stages import Stage
from loaders.world import World

Array = npt.NDArray[Any]

# Batches of small samples that are read as one: until they take so many bytes, and no more than so
# many. On two cores a fifth of the bytes cost a third more time, in hand-overs between threads.
TOGETHER_BYTES, TOGETHER = 1 << 24, 64


class Loader:
    """Iterate over the batches of this rank, endlessly or for some epochs.

    fields: those wanted (default all). reference: the field whose pixels crops count.
    shuffle "block": blocks of neighbours, mixed in windows, for slow storage. groups="size":
    batches of samples that have one size when they leave the stages. run_steps: the run's length
    where it is not epochs, for strategies that change with it. A strategy that chooses by scores
    wants `observe` after each step. on_bad, bad_limit: see `Quarantine`. threads 0: this rank's
    share of the cores. prefetch: batches read ahead; read_ahead: storage is told what comes next.
    hold_mb: each raw field of small images (up to 64 KB) that takes no more is held in this
    process's memory; small batches (16 MB in all) are then read, and read ahead, as one.
    dali: settings of that engine. The same global batches come on any number of ranks. Breaking
    out of the loop and iterating again goes on with the next batch.
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
        shuffle: bool | Literal["block"] | Block = True,
        last: Literal["fill", "drop"] = "fill",
        groups: Literal["size"] | None = None,
        epochs: int | None = None,
        run_steps: int | None = None,
        strategy: type[strategies.Strategy] | str = "random",
        strategy_options: Mapping[str, Any] | None = None,
        feedback_lag: int = 2,
        on_bad: OnBad = "stop",
        bad_limit: int = 100,
        world: World | None = None,
        engine: Literal["auto", "host", "dali"] = "auto",
        threads: int = 0,
        prefetch: int = 2,
        read_ahead: bool = True,
        hold_mb: int = 512,
        device: torch.device | str = "cpu",
        dali: Settings | None = None,
    ) -> None:
        self.dataset, self.seed, self.split = dataset, seed, split
        self.world, self.device = world or World(), torch.device(device)
        self.ids = dataset.split(split)
        self.program = Program(dataset.chosen(fields), stages, reference)
        kind = strategies.load(strategy) if isinstance(strategy, str) else strategy
        options = dict(strategy_options or {})
        self.global_batch_size, self.candidates = global_batch_size, kind.width(options)
        stores = self._open(hold_mb << 20)
        codes = self._size_codes(stores) if groups == "size" else None
        mixed = self._block() if shuffle == "block" else shuffle
        rows, batch = len(self.ids), global_batch_size * self.candidates
        self.order = Order(rows, batch, seed, mixed, last, codes)
        self.strategy = self._strategy(kind, options)
        self.quarantine = Quarantine(on_bad, bad_limit)
        self._chooser = Chooser(self.strategy, feedback_lag, epochs, run_steps)
        self._slots = prefetch + 2  # one with the consumer, one being written
        self._lane = Lane(self.device)
        self._kept: dict[int, list[Batch]] = {}
        self._reading: Ahead[Plan, list[Batch]] | None = None
        self.planner = Planner(
            self.program, stores, self.ids, self.quarantine, self.world, seed, batch, codes
        )
        self.engine = self._engine(engine, threads or self.world.threads(), dali or Settings())
        self._reader = Reader(dataset, self.program, self.engine, self._lane)
        self._together = 0  # batches that are read as one; known when the first is planned
        self._ahead = self._read_ahead() if read_ahead else None
        self.wait_s = 0.0  # time the training loop was blocked here, since the start

    def _strategy(
        self, kind: type[strategies.Strategy], options: Mapping[str, Any]
    ) -> strategies.Strategy:
        """Return the strategy with the derived results and columns that it wants."""
        strategy = kind(self.order, **options)
        for name in kind.columns:
            strategy.table[name] = self.dataset.column(options.get(name) or name, self.ids)
        # Which of several results is meant, an option of the same name says.
        self.tables = {name: str(options.get(name) or name) for name in kind.tables}
        for name, table in self.tables.items():
            strategy.table[name] = self.dataset.scored(table, self.ids)
        self._derived = self.dataset.fingerprints(self.split, self.tables.values())
        return strategy

    def _several(self, first: Plan) -> int:
        """Return how many batches are read as one: several where samples are small and in memory.

        There most of a batch's cost would lie beside its samples, in hand-overs between threads.
        """
        stores = self.planner.fields.values()
        if not isinstance(self.engine, Host) or not all(store.is_held for store in stores):
            return 1
        if not all(store.field.is_uniform for store in stores):
            return 1  # batches may differ in size
        rows = len(first.keys.ids)
        floats = sum(
            one.height * one.width * self.planner.fields[one.route.field].channels
            for one in first.drawn
        )
        batch_bytes = rows * (4 * floats + self._reader.value_bytes)
        return max(1, min(TOGETHER, TOGETHER_BYTES // max(1, batch_bytes)))

    def _read_ahead(self) -> ReadAhead | None:
        stored = {name: store for name, store in self.planner.fields.items() if not store.is_held}
        return ReadAhead(stored, self.order, self.ids, self.world) if stored else None

    def _block(self) -> Block:
        """Return blocks of a few megabytes of the pixels that are loaded."""
        facts = self.dataset.manifest
        folders = tuple(f"{name}.zarr/" for name in self.program.fields)
        if any(field.codec == "encoded" for field in self.program.fields.values()):
            folders += ("shards/",)
        stored = sum(f["bytes"] for name, f in facts.files.items() if name.startswith(folders))
        return Block.sized(stored / max(1, facts.samples))

    def _size_codes(self, stores: Stores) -> Array:
        ids = np.asarray(self.ids)
        return self.program.size_codes({name: store.sizes(ids) for name, store in stores.items()})

    def _open(self, hold_bytes: int) -> Stores:
        names = [route.field for route in self.program.routes] + [self.program.reference]
        return {
            name: self.dataset.open(name, hold_bytes) for name in dict.fromkeys(filter(None, names))
        }

    def _engine(self, name: str, threads: int, settings: Settings) -> Engine:
        fields = self.planner.fields
        if name == "host" or (name == "auto" and self.device.type != "cuda"):
            return Host(fields, threads, self.device)
        from loaders.dali import Dali  # half a second to import: only where it is used

        return Dali(fields, threads, self.device, self.program, self.planner.local, settings)

    @property
    def steps(self) -> int:
        """Global steps of an epoch in plain order (a strategy may shorten it)."""
        return self.strategy.order.steps

    def __iter__(self) -> Generator[Batch, None, None]:
        self._end(self._reading)  # an earlier iteration that is still open ends
        self._chooser.rewind()
        ahead = self._reading = Ahead(self._plan, self._batches, self._slots)
        # A program may end, or fail, with this open: threads that the interpreter finds still at
        # work then abort the process.
        end = atexit.register(partial(self._end, ahead))
        try:
            while True:
                self._chooser.check()
                began = time.perf_counter()
                item = ahead.take()
                self.wait_s += time.perf_counter() - began
                if item is None:
                    return
                slot, batches = item
                self._lane.wait(slot)
                # The allocator must not hand out a batch's memory before its last use on the GPU:
                # it is kept until the slot was filled again, which waits for that.
                self._kept[slot] = batches
                try:
                    for batch in batches:
                        self._chooser.consume()
                        yield batch
                finally:
                    self._lane.release(slot)
                ahead.give_back(slot)
        finally:
            end()
            atexit.unregister(end)

    def _end(self, ahead: Ahead[Plan, list[Batch]] | None) -> None:
        """Stop one iteration's reading ahead; a later one goes on."""
        if ahead is not None:
            if ahead is self._reading:
                self._chooser.close()
            ahead.stop()

    def _plan(self) -> Plan | None:
        """Choose this rank's part of the next global batches, draw for them; nothing is read."""
        choices = self._chooser.take(self._together or 1)
        if not choices:
            return None
        if self._ahead is not None:
            for choice in choices:
                self._ahead.step(choice.epoch, choice.step)
        plan = self.planner.plan(choices)
        self._together = self._together or self._several(plan)
        if self._ahead is not None:
            self._ahead.ask(plan.keys.ids)
        return plan

    def _batches(self, plan: Plan, slot: int) -> list[Batch]:
        """Read what was planned; again where a bad sample gave its place away."""
        while True:
            try:
                return self._reader.read(plan, slot)
            except BadSample as error:
                self.quarantine.add(error)
                plan = self.planner.plan(plan.choices)

    def observe(self, ids: Array, scores: strategies.Scores) -> None:
        """Give the strategy the scores of a whole global step, in position order, on every rank."""
        self._chooser.observe(self.rows(ids), scores)

    @property
    def listens(self) -> bool:
        """True where the strategy wants scores."""
        return self.strategy.listens()

    def rows(self, ids: Array) -> Array:
        """Return the rows of the split that hold these ids."""
        return self.ids.rows(ids)

    def state(self) -> dict[str, Any]:
        """Return where training stands: the same on every rank, for any number of ranks."""
        return {
            "seed": self.seed,
            "split": self.split,
            "global_batch_size": self.global_batch_size,
            "fingerprint": self.dataset.manifest.fingerprint,
            "strategy": type(self.strategy).__module__,
            "derived": self._derived,
            "chooser": self._chooser.state(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; ValueError where it belongs to other data or another order."""
        own = self.state()
        for key in ("fingerprint", "split", "seed", "global_batch_size", "strategy", "derived"):
            if state[key] != own[key]:
                raise ValueError(
                    f"the checkpoint's loader has another {key}: {state[key]}, not {own[key]}"
                )
        self._chooser.load(state["chooser"])

    def facts(self) -> dict[str, Any]:
        """Return what a log should know; `buffer_mb` grows with the first batches, then stays."""
        return {
            "engine": type(self.engine).__name__.lower(),
            "threads": self.engine.threads,
            "slots": self._slots,
            "batches_together": self._together or 1,
            "buffer_mb": round(self.engine.buffer_bytes / 1e6, 1),
            "mixing": round(mixing(self.order), 3) if self.order.shuffle else 0.0,
            "bad_samples": len(self.quarantine.bad),
        }

    def close(self) -> None:
        """Stop the threads and close the files; an iteration that is not finished ends."""
        self._end(self._reading)
        # The two know each other: buffers would wait for the garbage collector.
        self._reading = None
        self._lane.finish()
        self._kept.clear()
        self.engine.close()
        if self._ahead is not None:
            self._ahead.close()
