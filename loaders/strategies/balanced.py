"""Draw all classes equally often: the rare ones are seen again, the frequent ones in part.

Place q of a permuted epoch of N samples is for class q mod C; the samples of a class follow each
other in laps, each a keyed permutation of all that it has, which go on from epoch to epoch. So in
every epoch a class has ⌊N/C⌋ or ⌈N/C⌉ places, and no sample of it comes back before all others
came. It needs no state: a step is a function of (seed, epoch, step).
"""

from __future__ import annotations

import numpy as np

from loaders import strategies
from loaders.draw import I64, draw
from loaders.order import Order, permute
from loaders.strategies import Array
from loaders.subset import refuse_groups, step_size

_PLACES, _LAPS = 0, 1  # uses of randomness
_SLOT = 1 << 41  # stages draw below 2^32, subsets at 2^40


class Strategy(strategies.Strategy):
    """Give every class of the split the same share. label: the set's field of class numbers."""

    columns = ("label",)

    def __init__(self, order: Order, *, label: str = "label") -> None:
        super().__init__(order)
        refuse_groups(order)
        self._classes: list[Array] = []

    def choose(self, epoch: int, step: int) -> I64:
        """Return the rows of one step; a rare sample may be there twice."""
        order, classes = self.order, self._by_class()
        first, size = step * order.batch, step_size(self.order, step)
        places = np.arange(first, first + size)
        places = permute(order.rows, self._key(_PLACES, epoch), 0, places)
        chosen, numbers = np.empty(size, np.int64), places % len(classes)
        for number in np.unique(numbers).tolist():  # of a thousand classes a batch has a few
            rows, mine = classes[number], numbers == number
            an_epoch = len(range(number, order.rows, len(classes)))
            chosen[mine] = self._lap(number, rows, epoch * an_epoch + places[mine] // len(classes))
        return chosen

    def _by_class(self) -> list[Array]:
        """Return the rows of each class that the split has."""
        if not self._classes:
            labels = self.table["label"]
            ordered = np.argsort(labels, kind="stable")
            starts = np.flatnonzero(np.diff(labels[ordered])) + 1
            self._classes = np.split(ordered, starts)
        return self._classes

    def _lap(self, number: int, rows: Array, turns: I64) -> I64:
        """Return the rows that come at these turns of a class's endless sequence of laps."""
        found = np.empty(len(turns), np.int64)
        laps, places = np.divmod(turns, len(rows))
        for lap in np.unique(laps).tolist():
            now = laps == lap
            key = self._key(_LAPS + number, lap)
            found[now] = rows[permute(len(rows), key, 0, places[now])]
        return found

    def _key(self, use: int, turn: int) -> int:
        return int(draw(self.order.seed, turn, np.array([0]), np.array([use]), _SLOT)[0])
