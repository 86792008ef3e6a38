"""Strategies: one file each; which samples form a batch and how much each counts.

A strategy is global and replicated: every rank runs the same one on the same numbers, so ranks
agree without talking. It sees rows (0…N-1 of the split) and scores as arrays, never the loader.
All hooks have defaults: `Strategy` itself is plain order.

A strategy that chooses before decode (`begin`, `choose`) hears scores with a lag: the choice for
step t is made after exactly the steps up to t − feedback_lag were observed, whatever the prefetch.
One that only picks or weighs what was decoded hears every step before the next one.

Legend: N rows of the split, G samples trained on in a global step, K candidates decoded for each.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from importlib import import_module
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from loaders.draw import Keys
from loaders.order import Order

Array = npt.NDArray[Any]
Scores = Mapping[str, Array]


class Chosen(NamedTuple):
    """Rows (at most K·G) to decode and, where they are trained on as they are, their weights.

    A step's loss is Σ w·ℓ over the number of its samples, so weights whose expectation is 1 leave
    it unbiased.
    """

    rows: Array
    weights: Array | None = None


class Strategy:
    """Plain order. Override what differs; options are the annotated arguments of `__init__`.

    batch: G. table: (N,) values of each of `tables` and `columns`, by row.
    """

    # Scores wanted from the task: "loss", "gradient_norm", "correct".
    needs: ClassVar[tuple[str, ...]] = ()
    # Values of every sample wanted from the set's derived results: "irreducible_loss".
    tables: ClassVar[tuple[str, ...]] = ()
    # Numbers of every sample wanted from the set's own fields: "label".
    columns: ClassVar[tuple[str, ...]] = ()
    # Samples decoded and scored for one that is trained on; an option of this name says another.
    candidates: ClassVar[int] = 1

    def __init__(self, order: Order, candidates: int | None = None) -> None:
        self.order = order
        self.batch = order.batch // (candidates or self.candidates)
        self.table: dict[str, Array] = {}

    def begin(self, epoch: int, progress: float) -> int:
        """Start an epoch and return its steps; what is drawn here must come back by `state`.

        progress: the share of the run that is done, 0 where its length is not known.
        """
        return self.order.steps

    def choose(self, epoch: int, step: int) -> Array | Chosen:
        """Return the rows (at most K·G) to decode for one step."""
        return self.order.take(epoch, step)

    def pick(self, rows: Array, scores: Scores, keys: Keys) -> tuple[Array, Array]:
        """Return (places in `rows`, weights) to train on, after a scoring pass over `rows`."""
        return np.arange(len(rows)), np.ones(len(rows), np.float32)

    def weigh(self, rows: Array, scores: Scores) -> Array:
        """Return the weights of a batch from the scores of its own training pass."""
        return np.ones(len(rows), np.float32)

    def observe(self, rows: Array, scores: Scores) -> None:
        """Take the scores of one finished global step, in position order.

        Those of all candidates where there was a scoring pass, else of what was trained on.
        """

    def state(self) -> dict[str, Any]:
        """Return what a resumed strategy needs: arrays and plain types."""
        return {}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` returned."""

    @classmethod
    def width(cls, options: Mapping[str, Any]) -> int:
        """Return K under these options; ValueError below 1, and above where nothing is picked."""
        asked = cls.candidates if options.get("candidates") is None else options["candidates"]
        if asked < 1 or (asked > 1 and not cls.picks()):
            wanted = "1 or more" if cls.picks() else "none: this strategy trains on all it decodes"
            raise ValueError(f"candidates={asked}: want {wanted}")
        return int(asked)

    @classmethod
    def chooses(cls) -> bool:
        """True where what is decoded may depend on what was observed."""
        return cls.choose is not Strategy.choose or cls.begin is not Strategy.begin

    @classmethod
    def picks(cls) -> bool:
        """True where a scoring pass is wanted before the training pass."""
        return cls.pick is not Strategy.pick

    @classmethod
    def weighs(cls) -> bool:
        """True where weights come from the batch's own scores."""
        return cls.weigh is not Strategy.weigh

    @classmethod
    def listens(cls) -> bool:
        """True where scores of finished steps are wanted."""
        return cls.observe is not Strategy.observe


def names() -> list[str]:
    """Return the names of all strategies."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name: str) -> type[Strategy]:
    """Return the strategy class of one file; ValueError lists the choices."""
    if name not in names():
        raise ValueError(f"no strategy {name!r}; there are: {', '.join(names())}")
    strategy: type[Strategy] = import_module(f"{__name__}.{name}").Strategy
    return strategy
