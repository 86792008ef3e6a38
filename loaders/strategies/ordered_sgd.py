"""Train on the q largest losses of the ordinary batch; q shrinks as training accuracy grows.

Ordered SGD (Kawaguchi & Lu, AISTATS 2020, arXiv:1907.04371), algorithm 1: the loss of a step is
1/q Σ ℓ over the q largest of its n losses. It is biased towards hard samples on purpose. The
training pass itself supplies the losses (but for a batch cut into micro-batches, which is scored
first): nothing is computed twice, and nothing saved.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from loaders import strategies
from loaders.order import Order
from loaders.strategies import Array, Scores

# The paper's settings at a batch of 64: q is 64, then 32, 16, 8 and 4.
SHARES = (1, 1 / 2, 1 / 4, 1 / 8, 1 / 16)
REACHED = (0.8, 0.9, 0.95, 0.995)


class Strategy(strategies.Strategy):
    """Weigh the ⌈share · n⌉ largest losses n/q and the others 0.

    The training accuracy that decides is that of the last N samples observed, unknown before so
    many were; q never grows again. A loss that is not finite is the largest: the run's own guard
    names it. Ties go to the earlier place.

    share: of the batch, fixed for the whole run; none: 1, 1/2, 1/4, 1/8, 1/16, the next one once
    the training accuracy reaches 80, 90, 95 and 99.5 %.
    """

    needs = ("loss", "correct")

    def __init__(self, order: Order, *, share: float | None = None) -> None:
        super().__init__(order)
        if share is not None and not 0 < share <= 1:
            raise ValueError(f"share={share}: want more than 0 and at most 1")
        self.shares = SHARES if share is None else (share,) * len(SHARES)
        self.level = 0
        self.correct = np.zeros(order.rows, bool)  # a ring of the last N samples
        self.seen, self.hits = 0, 0

    def weigh(self, rows: Array, scores: Scores) -> Array:
        """Return n/q for the q largest losses, else 0."""
        loss = scores["loss"]
        # Rounded first: 0.07 of 100 is 7.000000000000001.
        q = max(1, math.ceil(round(self.shares[self.level] * len(rows), 6)))
        largest = np.argsort(-np.where(np.isfinite(loss), loss, np.inf), kind="stable")[:q]
        weights = np.zeros(len(rows), np.float32)
        weights[largest] = len(rows) / q
        return weights

    def observe(self, rows: Array, scores: Scores) -> None:
        """Bring the training accuracy up to date, and q with it."""
        new, size = scores["correct"][-len(self.correct) :] > 0, len(self.correct)
        places = (self.seen + np.arange(len(new))) % size
        self.hits += int(new.sum()) - int(self.correct[places].sum())
        self.correct[places] = new
        self.seen += len(new)
        if self.seen >= size:
            # "right": an accuracy that is reached exactly counts.
            reached = int(np.searchsorted(REACHED, self.hits / size, side="right"))
            self.level = max(self.level, reached)

    def state(self) -> dict[str, Any]:
        return {
            "level": self.level,
            "correct": self.correct.copy(),
            "seen": self.seen,
            "hits": self.hits,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        self.level, self.correct = state["level"], np.array(state["correct"])
        self.seen, self.hits = state["seen"], state["hits"]
