"""Train on the candidates whose loss is most above what cannot be learnt.

RHO-LOSS (Mindermann et al., ICML 2022, arXiv:2206.07137), algorithm 1: of a large batch those of
largest ℓ(model in training) − ℓ(model trained on held-out data) are taken, with weight 1. The
second term, the irreducible loss, is computed once (`python -m tasks score`) and kept with the
set. Noisy samples have a large one and are left alone, as are those already learnt.
"""

from __future__ import annotations

import numpy as np

from loaders import strategies
from loaders.draw import Keys
from loaders.order import Order
from loaders.strategies import Array, Scores


class Strategy(strategies.Strategy):
    """Pick the top ⌈1/candidates⌉ of the candidates; ties go to the earlier place.

    A loss that is not finite comes first, so that the run's own guard names the sample. ValueError
    where the table lacks a sample of the split.

    candidates: samples scored for one that is trained on (the paper's 320 for 32).
    irreducible_loss: the set's table of irreducible losses, with its fingerprint where there are
    several.
    """

    needs = ("loss",)
    tables = ("irreducible_loss",)
    candidates = 10

    def __init__(
        self, order: Order, *, candidates: int = 10, irreducible_loss: str = "irreducible_loss"
    ) -> None:
        super().__init__(order, candidates)
        self.name = irreducible_loss
        self._is_checked = False

    def pick(self, rows: Array, scores: Scores, keys: Keys) -> tuple[Array, Array]:
        """Return the places of largest reducible loss, ascending, and weights 1."""
        table = self.table["irreducible_loss"]
        if not self._is_checked:  # the whole split at the first step, not one sample hours later
            self._check(table)
        reducible = scores["loss"] - table[rows]
        reducible = np.where(np.isfinite(reducible), reducible, np.inf)
        count = -(-len(rows) * self.batch // self.order.batch)
        places = np.sort(np.argsort(-reducible, kind="stable")[:count])
        return places, np.ones(len(places), np.float32)

    def _check(self, table: Array) -> None:
        missing = np.flatnonzero(~np.isfinite(table))
        if len(missing):
            raise ValueError(
                f"{self.name}: {len(missing)} of {len(table)} training samples are not scored,"
                f" first row {missing[0]} of the split: score the split that is trained on"
            )
        self._is_checked = True
