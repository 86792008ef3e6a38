"""Which rows come next: the one place where order, strategy and feedback meet.

A strategy that chooses is asked for step t after it has observed exactly the steps up to t − lag,
so its choices do not depend on how far the loader reads ahead, on threads or on ranks. What was
chosen but not yet consumed is part of the state: a resumed run serves it first. One that does not
choose observes each step at once: what it picks depends on all steps before.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from copy import deepcopy
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from loaders.strategies import Chosen, Scores, Strategy

Array = npt.NDArray[Any]


class Choice(NamedTuple):
    """The rows of one step, of so many in its epoch; weights None: all 1, or picked later."""

    epoch: int
    step: int
    rows: Array
    weights: Array | None = None
    steps: int = 0


class Chooser:
    """Asks the strategy, step after step; only `take` is for the reading thread.

    epochs: after so many it ends. steps: the run's length, where it is known in steps.
    """

    def __init__(
        self, strategy: Strategy, lag: int, epochs: int | None, steps: int | None = None
    ) -> None:
        if lag < 1:
            raise ValueError(f"a choice cannot see its own scores: feedback_lag {lag} is below 1")
        self.strategy, self._lag, self._epochs, self._length = strategy, lag, epochs, steps
        self._lags = strategy.listens() and strategy.chooses()
        self._epoch, self._step, self._steps = 0, 0, 0  # the next choice; steps 0: not begun
        self._made, self._seen = 0, 0  # choices made and steps observed since the run began
        self._chosen: deque[Choice] = deque()  # made, not consumed
        self._replayed = 0  # of those, served again after a resume
        self._waiting: deque[tuple[Array, Scores]] = deque()  # observed too early to be used
        self._change = threading.Condition()
        self._closed = False
        self._bunch = 1  # choices that `take` waits for

    def take(self, most: int = 1) -> list[Choice]:
        """Return the next choices of one epoch; none at the end.

        It waits for the feedback that they are due, `most` of them or as many as half the lag
        allows: taken one by one, as each becomes due, small batches would cost a hand-over each.
        There may be fewer. How many come together changes no choice.
        """
        with self._change:
            self._bunch = max(1, min(most, self._lag // 2))
            self._change.wait_for(lambda: self._closed or self._is_ready(self._bunch))
            taken: list[Choice] = []
            while len(taken) < most and not self._closed and self._is_ready(1):
                if taken and self._next_epoch != taken[0].epoch:
                    break
                choice = self._next()
                if choice is None:
                    break
                taken.append(choice)
            return taken

    def check(self) -> None:
        """Raise ValueError where the next choice waits for scores that nobody can give any more."""
        with self._change:
            if not (self._chosen or self._closed or self._is_ready(1)):
                name = type(self.strategy).__module__.rpartition(".")[2]
                raise ValueError(
                    f"strategy {name} waits for scores: call loader.observe(ids, scores) after each"
                    " step"
                )

    def _is_ready(self, count: int) -> bool:
        """True where so many choices are there, or everything that they may depend on is."""
        replays = len(self._chosen) - self._replayed
        fresh = max(0, self._seen + len(self._waiting) - self._due + 1)
        return not self._lags or replays + fresh >= count

    @property
    def _due(self) -> int:
        """Steps that are observed before the next choice is made."""
        return self._made - self._lag + 1

    @property
    def _next_epoch(self) -> int:
        if self._replayed < len(self._chosen):
            return self._chosen[self._replayed].epoch
        return self._epoch + bool(self._steps and self._step == self._steps)

    def _next(self) -> Choice | None:
        """Return the oldest choice that was handed back, or make one."""
        if self._replayed < len(self._chosen):
            self._replayed += 1
            return self._chosen[self._replayed - 1]
        while self._lags and self._seen < self._due:
            self.strategy.observe(*self._waiting.popleft())
            self._seen += 1
        return self._choose()

    def _choose(self) -> Choice | None:
        if self._steps and self._step == self._steps:
            self._epoch, self._step, self._steps = self._epoch + 1, 0, 0
        if self._epochs is not None and self._epoch >= self._epochs:
            return None
        if not self._steps:
            self._begin()
        chosen = self.strategy.choose(self._epoch, self._step)
        rows, weights = chosen if isinstance(chosen, Chosen) else (chosen, None)
        choice = Choice(self._epoch, self._step, rows, weights, self._steps)
        self._step += 1
        self._made += 1
        self._chosen.append(choice)
        self._replayed = len(self._chosen)
        return choice

    def _begin(self) -> None:
        """Begin the epoch of the next choice."""
        begun = self._made - self._step
        progress = begun / self._length if self._length else 0.0
        progress = self._epoch / self._epochs if self._epochs else progress
        self._steps = self.strategy.begin(self._epoch, progress)
        if self._steps < 1:
            raise ValueError(
                f"the strategy makes no step of epoch {self._epoch}: no sample is left"
            )

    def consume(self) -> None:
        """Note that the oldest choice reached the training loop."""
        with self._change:
            self._chosen.popleft()
            self._replayed -= 1

    def observe(self, rows: Array, scores: Scores) -> None:
        """Take the scores of the next global step, in position order."""
        with self._change:
            if self._lags:
                self._waiting.append((rows.copy(), {k: np.array(v) for k, v in scores.items()}))
                if self._is_ready(self._bunch):
                    self._change.notify_all()
            elif self.strategy.listens():
                self.strategy.observe(rows, scores)

    def state(self) -> dict[str, Any]:
        """Return where the consumer stands; small, unless the strategy keeps much itself.

        A copy: the strategy goes on choosing in the reading thread while this is written.
        """
        with self._change:
            state: dict[str, Any] = {"epoch": self._epoch, "step": self._step, "made": self._made}
            if not self._lags:  # what lies ahead can be computed again
                if self._chosen:
                    state["epoch"], state["step"] = self._chosen[0].epoch, self._chosen[0].step
                state["made"] -= len(self._chosen)
                return state | {"strategy": deepcopy(self.strategy.state())}
            return state | {
                "steps": self._steps,
                "seen": self._seen,
                "chosen": [tuple(choice) for choice in self._chosen],
                "waiting": list(self._waiting),
                "strategy": deepcopy(self.strategy.state()),
            }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        with self._change:
            self._epoch, self._step, self._made = state["epoch"], state["step"], state["made"]
            self.strategy.load(state["strategy"])
            self._seen = state.get("seen", 0)
            self._chosen = deque(Choice(*choice) for choice in state.get("chosen", ()))
            self._waiting = deque(tuple(pair) for pair in state.get("waiting", ()))
            self._replayed = 0
            self._steps = state.get("steps", 0)
            if not self._lags and self._step:
                self._begin()
            self._closed = False

    def rewind(self) -> None:
        """Forget what was handed out but not consumed: it is handed out again."""
        with self._change:
            self._replayed, self._closed = 0, False

    def close(self) -> None:
        """Wake a waiting `take`, which then returns nothing."""
        with self._change:
            self._closed = True
            self._change.notify_all()
