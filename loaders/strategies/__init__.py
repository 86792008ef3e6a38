"""Strategies: one file each; which samples form a batch and how much each counts.

A strategy is global and replicated: every rank runs the same one on the same numbers, so ranks
agree without talking. It sees rows (0…N-1 of the split) and scores as arrays, never the loader.
The choice for step t is made after the scores of exactly the steps up to t − feedback_lag were
observed, whatever the prefetch. All hooks have defaults: `Strategy` itself is plain order.

Legend: N rows of the split, G global batch, K = candidates × G.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from importlib import import_module
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from loaders.draw import Keys
from loaders.order import Order

Array = npt.NDArray[Any]
Scores = Mapping[str, Array]


class Strategy:
    """Plain order. Override what differs; options are the annotated arguments of `__init__`."""

    # Scores wanted from the task: "loss", "gradient_norm", "correct".
    needs: ClassVar[tuple[str, ...]] = ()
    # Samples decoded and scored for one that is trained on.
    candidates: ClassVar[int] = 1

    def __init__(self, order: Order) -> None:
        self.order = order

    def begin(self, epoch: int) -> int:
        """Start an epoch and return its steps; what is drawn here must come back by `state`."""
        return self.order.steps

    def choose(self, epoch: int, step: int) -> Array:
        """Return the rows (at most K) to decode for one step."""
        return self.order.take(epoch, step)

    def pick(self, rows: Array, scores: Scores, keys: Keys) -> tuple[Array, Array]:
        """Return (positions in `rows`, weights) to train on, after a scoring pass over `rows`."""
        return np.arange(len(rows)), np.ones(len(rows), np.float32)

    def weigh(self, rows: Array, scores: Scores) -> Array:
        """Return the weights (G,) of a batch from its own scores."""
        return np.ones(len(rows), np.float32)

    def observe(self, rows: Array, scores: Scores) -> None:
        """Take the scores of one finished global step, in position order."""

    def state(self) -> dict[str, Any]:
        """Return what a resumed strategy needs: arrays and plain types."""
        return {}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` returned."""

    @classmethod
    def picks(cls) -> bool:
        """True where a scoring pass is wanted before the training pass."""
        return cls.pick is not Strategy.pick

    @classmethod
    def weighs(cls) -> bool:
        """True where weights come from the batch's own scores."""
        return cls.weigh is not Strategy.weigh


def names() -> list[str]:
    """Return the names of all strategies."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name: str) -> type[Strategy]:
    """Return the strategy class of one file; ValueError lists the choices."""
    if name not in names():
        raise ValueError(f"no strategy {name!r}; there are: {', '.join(names())}")
    strategy: type[Strategy] = import_module(f"{__name__}.{name}").Strategy
    return strategy
