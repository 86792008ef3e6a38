"""The higher the last loss ranks, the sooner a sample comes again (Loshchilov & Hutter 2015).

Online batch selection (arXiv:1511.06343, eq. 1 and 2): samples are ranked by their last known loss,
and each place of a batch is drawn on its own with p(rank i) ∝ exp(−log(s_e)·i/N), where
s_e = p(first)/p(last) falls exponentially over the run. The first epoch visits each sample once.
Weights stay 1, as in the paper: the gradient is meant to be biased towards hard samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from loaders import strategies
from loaders.draw import Keys
from loaders.order import I64, Order
from loaders.strategies import Array
from loaders.subset import refuse_groups, step_size

_SLOT = 1 << 42  # of the keys that draw ranks


def ranks(uniform: Array, rows: int, pressure: float) -> I64:
    """Return the rank of each uniform number: the distribution's inverse, in closed form.

    P(rank < i) = (1 − s^(−i/N)) / (1 − 1/s), and i/N for s = 1.
    """
    if pressure == 1:
        place = uniform
    else:
        place = -np.log1p(uniform * (1 / pressure - 1)) / np.log(pressure)
    return np.minimum((place * rows).astype(np.int64), rows - 1)


class Strategy(strategies.Strategy):
    """Independent draws by rank.

    pressure, final: s_e at the start and at the end of the run; it changes with each epoch.
    refresh: steps between two rankings, which take O(N log N); 0: one an epoch.
    """

    needs = ("loss",)

    def __init__(
        self, order: Order, *, pressure: float = 100.0, final: float = 1.0, refresh: int = 0
    ) -> None:
        super().__init__(order)
        refuse_groups(order)
        if not (1 <= final < np.inf and 1 <= pressure < np.inf and refresh >= 0):
            raise ValueError(
                "online_rank wants a pressure and a final one of 1 or more and refresh 0 or more,"
                f" not {pressure}, {final}, {refresh}"
            )
        self.pressure, self.final, self.refresh = pressure, final, refresh
        self.now = pressure
        self.last = np.full(order.rows, np.inf, np.float32)  # never heard of: first in rank
        self.ranked = np.arange(order.rows, dtype=np.int32)

    def begin(self, epoch: int, progress: float) -> int:
        """Set the epoch's pressure and rank all samples."""
        self.now = self.pressure ** (1 - progress) * self.final**progress
        self._rank()
        return self.order.steps

    def _rank(self) -> None:
        self.ranked = np.argsort(-self.last, kind="stable").astype(np.int32)

    def choose(self, epoch: int, step: int) -> I64:
        """Return independent draws, in the first epoch the plain order."""
        if epoch == 0:
            return self.order.take(epoch, step)
        if self.refresh and step and step % self.refresh == 0:
            self._rank()
        places = step * self.batch + np.arange(step_size(self.order, step))
        keys = Keys(self.order.seed, epoch, places, np.zeros_like(places), _SLOT)
        drawn = ranks(keys.uniform(), self.order.rows, self.now)
        return self.ranked[drawn].astype(np.int64)

    def observe(self, rows: I64, scores: strategies.Scores) -> None:
        """Remember the losses; one that is not finite would stay first for ever."""
        sound = np.isfinite(scores["loss"])
        self.last[rows[sound]] = scores["loss"][sound]

    def state(self) -> dict[str, Any]:
        """Return 8 bytes for each sample."""
        return {"now": self.now, "last": self.last, "ranked": self.ranked}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` returned."""
        self.now = float(state["now"])
        self.last = np.array(state["last"], np.float32)
        self.ranked = np.array(state["ranked"], np.int32)
