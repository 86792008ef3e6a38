"""The best validation so far: whose weights are kept, and when waiting for a better one ends."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tasks import Task


class Best:
    """Compares validations by one metric. `since`: how many of them were not better, in a row.

    owed: one is due, and still to be made: by the resumed run, where training was told to stop.

    metric: "" is the task's own. patience: so many and training is over; 0: never. ValueError for
    a metric by which the task ranks nothing.
    """

    def __init__(self, task: Task, metric: str, patience: int) -> None:
        self.metric = metric or task.best
        better = {task.best: "higher"} | dict(task.better)
        if self.metric not in better:
            raise ValueError(f"--best {metric}: the task ranks by {', '.join(better)}")
        if patience < 0:
            raise ValueError("--patience must be at least 0")
        self._sign = 1 if better[self.metric] == "higher" else -1
        self.patience, self.since, self._reached, self.owed = patience, 0, -math.inf, False

    def take(self, figures: Mapping[str, float]) -> bool:
        """Take in a validation; True where it is the best so far. NaN never is."""
        reached = self._sign * figures[self.metric]
        improved = reached > self._reached
        self._reached = reached if improved else self._reached
        self.since, self.owed = 0 if improved else self.since + 1, False
        return improved

    @property
    def is_over(self) -> bool:
        """True once training should end."""
        return 0 < self.patience <= self.since

    @property
    def why(self) -> str:
        """Why training ends, in words."""
        return f"{self.since} validations brought no better {self.metric}"

    def state(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        return {"reached": self._reached, "since": self.since, "owed": self.owed}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` returned."""
        self._reached, self.since = state["reached"], state["since"]
        self.owed = bool(state.get("owed"))
