"""A run in small: the chooser drives a strategy, scores are made up from rows and steps."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch

from loaders import strategies
from loaders.chooser import Choice, Chooser
from loaders.draw import Keys
from loaders.order import Order
from loaders.strategies import Chosen
from tasks.run import _decode, _encode

ROWS, BATCH, EPOCHS = 90, 4, 6
LAG = 5
TEN = np.array([0.5, 0.1, 0.9, 0.3, 0.7, 0.2, 1.0, 0.4, 0.8, 0.6])  # losses of ten samples
Losses = Callable[[np.ndarray, int], np.ndarray]


class Step(NamedTuple):
    """What was decoded and, of that, trained on."""

    epoch: int
    step: int
    decoded: list[int]
    trained: list[int]
    weights: list[float]


def make(name: str, rows: int = ROWS, batch: int = BATCH, seed: int = 7, **order: Any) -> Any:
    """Return a strategy over a split, with its tables."""
    kind = strategies.load(name)
    strategy = kind(Order(rows, batch * kind.candidates, seed, **order))
    strategy.table = {table: np.cos(np.arange(rows)) ** 2 for table in kind.tables}
    strategy.table |= {column: np.arange(rows) ** 2 % 7 % 3 for column in kind.columns}
    return strategy


def lively(rows: np.ndarray, step: int) -> np.ndarray:
    """Return losses that differ between samples and fall in time."""
    return (np.sin(rows * 12.9898) ** 2 + 0.01) * np.exp(-step / 100)


def scored(strategy: Any, rows: np.ndarray, step: int, losses: Losses) -> dict[str, np.ndarray]:
    """Return what the strategy needs."""
    values = losses(rows, step)
    every = {"loss": values, "gradient_norm": np.sqrt(values), "correct": (values < 0.4) * 1.0}
    return {need: every[need] for need in strategy.needs}


def select(strategy: Any, choice: Choice, scores: dict[str, np.ndarray]) -> Step:
    """Return what a training step makes of a choice."""
    rows = np.asarray(choice.rows)
    places, weights = np.arange(len(rows)), np.ones(len(rows))
    if choice.weights is not None:
        weights = choice.weights
    elif strategy.picks():
        positions = choice.step * strategy.order.batch + places
        keys = Keys(strategy.order.seed, choice.epoch, positions, rows)
        places, weights = strategy.pick(rows, scores, keys)
    elif strategy.weighs():
        weights = strategy.weigh(rows, scores)
    assert len(places) == len(weights)
    return Step(*choice[:2], rows.tolist(), rows[places].tolist(), np.asarray(weights).tolist())


class Training:
    """A strategy in a run. ahead: steps that are chosen before they are due, below the lag."""

    def __init__(self, strategy: Any, ahead: int = 1, lag: int = LAG, losses: Losses = lively):
        self.strategy, self.ahead, self.losses = strategy, ahead, losses
        self.chooser = Chooser(strategy, lag, EPOCHS)
        self.waiting: list[Choice] = []
        self.number = 0

    def choose(self) -> bool:
        """Choose as far ahead as this run does; False at its end."""
        while len(self.waiting) < self.ahead:
            more = self.chooser.take(self.ahead - len(self.waiting))
            if not more:
                break
            self.waiting += more
        return bool(self.waiting)

    def train(self) -> Step:
        choice = self.waiting.pop(0)
        self.chooser.consume()
        scores = scored(self.strategy, np.asarray(choice.rows), self.number, self.losses)
        step = select(self.strategy, choice, scores)
        self.chooser.observe(np.asarray(choice.rows), scores)
        self.number += 1
        return step

    def run(self, steps: int | None = None) -> list[Step]:
        """Train so many steps, all for None."""
        done: list[Step] = []
        while (steps is None or len(done) < steps) and self.choose():
            done.append(self.train())
        return done


def through_a_file(state: Any) -> Any:
    """Write and read a state as checkpoints do."""
    file = io.BytesIO()
    torch.save(_encode({"state": state}), file)
    file.seek(0)
    return _decode(torch.load(file, weights_only=True))["state"]


def check(one: Step, kind: type[strategies.Strategy], rows: int = ROWS, batch: int = BATCH) -> None:
    """At most K·G rows of the split, at most G trained on, weights that a mean can be made of."""
    assert 1 <= len(one.decoded) <= batch * kind.candidates
    assert 0 <= min(one.decoded)
    assert max(one.decoded) < rows
    assert 1 <= len(one.trained) <= batch
    weights = np.array(one.weights)
    assert np.isfinite(weights).all()
    assert weights.sum() > 0
    assert (weights >= 0).all() if kind.weighs() else (weights > 0).all()
    if kind.picks():  # a share of what is there, also in a short last batch
        assert len(one.trained) == -(-len(one.decoded) // kind.candidates)


def open_strategy(name: str, rows: int = 10, batch: int = 4, **options: Any) -> Any:
    return strategies.load(name)(Order(rows, batch, seed=5), **options)


def observe(strategy: Any, rows: Any, loss: Any) -> None:
    strategy.observe(np.asarray(rows), {"loss": np.asarray(loss, float)})


def epoch(strategy: Any, number: int, progress: float = 0.0, loss: Any = None) -> list[Any]:
    """Return the choices of an epoch; loss (N,): what is observed after each."""
    chosen = []
    for step in range(strategy.begin(number, progress)):
        found = strategy.choose(number, step)
        rows = found.rows if isinstance(found, Chosen) else found
        chosen.append(found)
        if loss is not None:
            observe(strategy, rows, loss[rows])
    return chosen
