"""Train on candidates drawn the likelier the larger their loss is among the losses of late.

Selective Backprop (Jiang et al. 2019, arXiv:1910.00762), algorithm 1: a sample is trained on with
probability CDF_R(ℓ)^β, where CDF_R is the distribution of the last R losses. The paper lets the
share vary and queues what was accepted; here a fixed share of each global batch is drawn, with
these probabilities as relative weights, so that every step is equally large and all ranks agree.
As in the paper what is drawn has weight 1: a bias towards hard samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from loaders import strategies
from loaders.draw import Keys
from loaders.order import Order
from loaders.strategies import Array, Scores


class Strategy(strategies.Strategy):
    """Draw ⌈1/candidates⌉ of the candidates without replacement (Efraimidis & Spirakis 2006).

    Before any loss is known a batch is ranked within itself. A candidate below all losses of late
    has weight 0: it comes only where too few others are there. A loss that is not finite is always
    taken, so that the run's own guard names the sample, and never enters the history.

    candidates: samples scored for one that is trained on.
    beta: 0 draws uniformly; the larger, the more the hard samples are preferred.
    history: R, losses (of candidates, finite ones) that a new loss is compared with.
    """

    needs = ("loss",)
    candidates = 2

    def __init__(
        self, order: Order, *, candidates: int = 2, beta: float = 1.0, history: int = 1024
    ) -> None:
        super().__init__(order, candidates)
        if not 0 <= beta < np.inf:
            raise ValueError(f"beta={beta}: want 0 or more")
        if history < 1:
            raise ValueError(f"history={history}: want 1 or more")
        self.beta, self.history = beta, history
        self.losses = np.zeros(0)  # of late, the newest last

    def pick(self, rows: Array, scores: Scores, keys: Keys) -> tuple[Array, Array]:
        """Return the drawn places, ascending, and weights 1."""
        loss = scores["loss"]
        past = np.sort(self.losses if len(self.losses) else loss[np.isfinite(loss)])
        below = np.searchsorted(past, loss, side="right") / max(1, len(past))
        weights = below**self.beta
        # log u^(1/w) negated: the smallest are those drawn. 1 - u, as u may be 0.
        waits = -np.log1p(-keys.uniform())
        keyed = np.divide(waits, weights, out=np.full(len(loss), np.inf), where=weights > 0)
        keyed[~np.isfinite(loss)] = -1
        drawn = np.lexsort((waits, keyed))[: -(-len(rows) * self.batch // self.order.batch)]
        return np.sort(drawn), np.ones(len(drawn), np.float32)

    def observe(self, rows: Array, scores: Scores) -> None:
        """Remember the last R losses."""
        loss = scores["loss"]
        self.losses = np.concatenate([self.losses, loss[np.isfinite(loss)]])[-self.history :]

    def state(self) -> dict[str, Any]:
        return {"losses": self.losses.copy()}

    def load(self, state: Mapping[str, Any]) -> None:
        self.losses = np.array(state["losses"])
