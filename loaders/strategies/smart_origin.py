"""The "Smart" batches of the study that this one redoes, by its own rule: to reproduce its figures.

After Human-Augment-Analytics/Training-Batch-Selection (MIT): int(B/2) of a batch are drawn from
all N samples, the others from the int(N/5) of highest history, each part without replacement, and
mixed. h ← 0.9·h + 0.1·ℓ for each visit, from h = 0.

What is wrong with it, and mended in `smart`:
- ℓ is the mean loss of the whole batch, credited to each of its samples: the history of a sample
  tells with whom it came, hardly how hard it is.
- Histories begin at 0 without a correction, so a sample that was not seen for a while, or never,
  counts as easy. After t = draws / N of each half a share 1 − 0.8·exp(−(t − ln(2.5)/6)) of the
  samples was seen: 43.5 % in the first epoch, 92 % in five.
- Both halves may bring the same sample, which then counts twice in its batch.
- It sorts all N for each batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from loaders import strategies
from loaders.order import I64, Order
from loaders.subset import key, refuse_groups, subset

_EXPLORE, _TOP, _DECAY = 0.5, 0.2, 0.9
_LOOK, _HARD, _MIX = range(3)  # uses of a step's randomness


class Strategy(strategies.Strategy):
    """Whole batches only, N // B an epoch. No options: the constants are the study's."""

    needs = ("loss",)

    def __init__(self, order: Order) -> None:
        super().__init__(order)
        refuse_groups(order)
        if order.rows < self.batch:
            raise ValueError(
                f"smart_origin makes whole batches: {order.rows} samples are none of {self.batch}"
            )
        self.history = np.zeros(order.rows)

    def begin(self, epoch: int, progress: float) -> int:
        """Return the number of whole batches."""
        return self.order.rows // self.batch

    def choose(self, epoch: int, step: int) -> I64:
        """Return what is drawn from all and what from the top; a sample may come in both."""
        order = self.order
        # The origin's sort leaves equal histories in an order that depends on the processor. The
        # first row first gives its coverage, and the same on every machine.
        hard = np.argsort(-self.history, kind="stable")[: int(_TOP * order.rows)]
        look = subset(order.rows, int(_EXPLORE * self.batch), key(order, epoch, step, _LOOK))
        count = min(len(hard), self.batch - len(look))
        hard = hard[subset(len(hard), count, key(order, epoch, step, _HARD))] if count else hard
        rows = np.concatenate([look, hard])
        return rows[subset(len(rows), len(rows), key(order, epoch, step, _MIX))]

    def observe(self, rows: I64, scores: strategies.Scores) -> None:
        """Credit every sample, once for each time it is there, with the batch's mean loss."""
        losses = scores["loss"][np.isfinite(scores["loss"])]  # a NaN would stay for ever
        if len(losses):
            found, times = np.unique(rows, return_counts=True)
            kept = _DECAY**times
            self.history[found] = kept * self.history[found] + (1 - kept) * losses.mean()

    def state(self) -> dict[str, Any]:
        """Return the histories."""
        return {"history": self.history}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take back the histories."""
        self.history = np.array(state["history"])
