"""Leave out half of what is easy, count the other half twice (Qin et al., ICLR 2024).

InfoBatch (arXiv:2303.04947, eq. 3 and section 3.3): at the start of an epoch a sample whose last
loss is below the mean of all last losses is dropped with probability r. Of these, the ones that
stay count 1 / (1 − r), so the expected gradient is that of all samples. The last epochs take all
samples. What is dropped is neither read nor decoded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from loaders import strategies
from loaders.draw import Keys
from loaders.order import I64, Order
from loaders.strategies import Array, Chosen
from loaders.subset import key, refuse_groups, subset

_SLOT = 1 << 41  # of the keys that drop


class Strategy(strategies.Strategy):
    """Shorter epochs of reweighted samples.

    ratio: r. until: the share of the run after which nothing is dropped any more. initial: the
    loss of a sample that was not heard of yet.
    """

    needs = ("loss",)

    def __init__(
        self, order: Order, *, ratio: float = 0.5, until: float = 0.875, initial: float = 3.0
    ) -> None:
        super().__init__(order)
        refuse_groups(order)
        if not (0 <= ratio < 1 and 0 <= until <= 1 and np.isfinite(initial)):
            raise ValueError(
                "infobatch wants ratio 0 to below 1, until 0 to 1 and a finite initial, not"
                f" {ratio}, {until}, {initial}"
            )
        self.ratio, self.until = ratio, until
        self.last = np.full(order.rows, initial, np.float32)
        self._fill(0, np.zeros(order.rows, bool))

    def begin(self, epoch: int, progress: float) -> int:
        """Drop samples, and return how many steps the others make."""
        # No rounding may lift the mean above all losses: equal ones are not below it.
        mean = min(self.last.mean(dtype=np.float64), float(self.last.max()))
        easy = self.last < mean
        self._fill(epoch, easy if progress < self.until else np.zeros_like(easy))
        whole, rest = divmod(len(self.kept), self.batch)
        # An epoch of less than one batch is a short one, whatever the order drops.
        return max(1, whole + (rest > 0 and self.order.last == "fill"))

    def _fill(self, epoch: int, easy: Array) -> None:
        """Draw which of the easy rows stay in an epoch."""
        rows = np.arange(self.order.rows)
        keys = Keys(self.order.seed, epoch, np.zeros_like(rows), rows, _SLOT)
        self.epoch, self.easy = epoch, easy
        self.kept = np.flatnonzero(~easy | (keys.uniform() >= self.ratio))

    def choose(self, epoch: int, step: int) -> Chosen:
        """Return the next rows of the shuffled rest, with their weights."""
        first = step * self.batch
        count = min(self.batch, len(self.kept) - first)
        rows = self.kept[subset(len(self.kept), count, key(self.order, epoch, 0), first)]
        return Chosen(rows, np.where(self.easy[rows], 1 / (1 - self.ratio), 1).astype(np.float32))

    def observe(self, rows: I64, scores: strategies.Scores) -> None:
        """Remember the losses; one that is not finite would be in every mean."""
        sound = np.isfinite(scores["loss"])
        self.last[rows[sound]] = scores["loss"][sound]

    def state(self) -> dict[str, Any]:
        """Return 4 bytes and a bit for each sample: what stays follows from what is easy."""
        return {"last": self.last, "easy": np.packbits(self.easy), "epoch": self.epoch}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take back the losses, and draw the epoch again."""
        self.last = np.array(state["last"], np.float32)
        easy = np.unpackbits(state["easy"], count=self.order.rows).astype(bool)
        self._fill(int(state["epoch"]), easy)
