"""Half of a batch looks around, half returns to what was hard: "Smart", done right.

Every sample has a history of its own losses, the bias-corrected exponential mean of Kingma & Ba
2015 (arXiv:1412.6980, section 3): m ← β·m + (1−β)·ℓ, history = m / (1 − β^t) after t visits. Until
each sample was seen once, and then for a share of each batch, rows come from a lap: a keyed
permutation of all N. The others are drawn without replacement from the pool, the share of the
samples with the highest history. A batch holds no sample twice. What this mends: `smart_origin`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from loaders import strategies
from loaders.order import I64, Order
from loaders.subset import key, refuse_groups, step_size, subset

_LAP, _TIES, _POOL, _MIX = range(4)  # uses of a step's randomness


class Strategy(strategies.Strategy):
    """Explore in laps, exploit the hardest.

    explore: share of a batch, rounded up, that comes from the lap; a lap over all samples takes
    1/explore epochs, the first one, of whole batches, a single one. top: share of the samples that
    are the pool. decay: β; 0 keeps the last loss alone. refresh: steps between two looks for the
    pool, which takes O(N).
    """

    needs = ("loss",)

    def __init__(
        self,
        order: Order,
        *,
        explore: float = 0.5,
        top: float = 0.2,
        decay: float = 0.9,
        refresh: int = 64,
    ) -> None:
        super().__init__(order)
        refuse_groups(order)
        if not (0 <= explore <= 1 and 0 < top <= 1 and 0 <= decay < 1 and refresh >= 1):
            raise ValueError(
                "smart wants explore 0 to 1, top above 0 and at most 1, decay 0 to below 1 and"
                f" refresh 1 or more, not {explore}, {top}, {decay}, {refresh}"
            )
        self.explore, self.decay, self.refresh = explore, decay, refresh
        self.pool_size = min(order.rows, max(self.batch, round(top * order.rows)))
        self.history = np.full(order.rows, -np.inf, np.float32)  # never heard of: the last choice
        self.share = np.zeros(order.rows, np.float32)  # 1 − β^t
        self.lap, self.done = 0, 0  # laps finished, rows of the running one that are gone
        self.pool, self.age = np.zeros(0, np.int64), 0
        self._taken = np.zeros(order.rows, bool)  # scratch: all False between two calls

    def choose(self, epoch: int, step: int) -> I64:
        """Return rows of the lap and of the pool, mixed, so that ranks get some of each."""
        order, size = self.order, step_size(self.order, step)
        fresh = self._next_of_lap(size if self.lap == 0 else int(np.ceil(self.explore * size)))
        if len(fresh) == size:
            return fresh
        if not len(self.pool) or self.age == self.refresh:
            self._find_pool(key(order, epoch, step, _TIES))
        self.age += 1
        # At most all of the fresh ones lie in the pool as well: this many always leave enough.
        most = min(len(self.pool), size)
        drawn = self.pool[subset(len(self.pool), most, key(order, epoch, step, _POOL))]
        self._taken[fresh] = True
        hard = drawn[~self._taken[drawn]][: size - len(fresh)]
        self._taken[fresh] = False
        rows = np.concatenate([fresh, hard])
        return rows[subset(size, size, key(order, epoch, step, _MIX))]

    def _next_of_lap(self, count: int) -> I64:
        """Return the next rows of the running lap, fewer at its end: no lap begins in a batch."""
        count = min(count, self.order.rows - self.done)
        rows = subset(self.order.rows, count, key(self.order, self.lap, 0, _LAP), self.done)
        self.done += count
        if self.done == self.order.rows:
            self.lap, self.done = self.lap + 1, 0
        return rows

    def _find_pool(self, ties_key: int) -> None:
        """Find the rows of highest history; equal ones at its edge are drawn."""
        # By value, not by argpartition: which of equal ones that takes differs between processors.
        edge = np.partition(self.history, -self.pool_size)[-self.pool_size]
        inside = self.history > edge
        equal = np.flatnonzero(self.history == edge)
        inside[equal[subset(len(equal), self.pool_size - int(inside.sum()), ties_key)]] = True
        self.pool, self.age = np.flatnonzero(inside), 0

    def observe(self, rows: I64, scores: strategies.Scores) -> None:
        """Let the losses into the histories; one that is not finite tells nothing."""
        sound = np.isfinite(scores["loss"])
        rows, losses = rows[sound], scores["loss"][sound]
        share = self.decay * self.share[rows] + (1 - self.decay)
        # Keeping m / (1 − β^t) itself: its step is the newest loss's part of all weights so far.
        old = np.where(self.share[rows] > 0, self.history[rows], 0)
        self.history[rows] = old + (losses - old) * ((1 - self.decay) / share)
        self.share[rows] = share

    def state(self) -> dict[str, Any]:
        """Return 8 bytes and a bit for each sample."""
        names = ("history", "share", "lap", "done", "age")
        inside = np.zeros(self.order.rows, bool)
        inside[self.pool] = True
        return {name: getattr(self, name) for name in names} | {"pool": np.packbits(inside)}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` returned."""
        for name in ("history", "share"):
            setattr(self, name, np.array(state[name], np.float32))
        self.lap, self.done, self.age = (int(state[name]) for name in ("lap", "done", "age"))
        self.pool = np.flatnonzero(np.unpackbits(state["pool"], count=self.order.rows))
