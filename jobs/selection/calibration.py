"""What a step of each strategy costs beside one of random, measured once, before all runs.

Cost counts forward passes of one sample: 1 for a sample that is scored, 3 for one that is trained
on (a backward pass is two of them). Time is this machine's: in every round the strategies take
turns, a strategy is set against random of the same round, and the median of these ratios counts.
A run of a calibration has the study's own budget: what a strategy costs changes over its epochs.
Both fix the steps of the columns of equal cost and equal time for good: calibration.json is added
to, never changed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

from dataprep.manifest import DataError, atomic

FILE_NAME = "calibration.json"
FORWARD, TRAINING = 1, 3
ROUNDS = 2
# One short batch among some hundred: a cost so near to random's is random's.
SAME = 0.005
# Rounds that differ by more, as a share of their median, were disturbed by other work.
SPREAD = 0.1


@dataclass(frozen=True)
class Measured:
    """What a strategy's steps took: cost in forward passes a step, seconds a step in each round."""

    cost: float
    seconds: Sequence[float]


@dataclass(frozen=True)
class Calibration:
    """A strategy beside random, measured in the same rounds.

    series: its number, counting from 1. length: steps of each of its runs; 0: not recorded.
    """

    series: int
    own: Measured
    random: Measured
    length: int = 0

    def ratio(self, budget: Literal["steps", "cost", "time"]) -> float:
        """Return what a step counts, as a share of one of random."""
        if budget == "cost":
            return self.own.cost / self.random.cost
        if budget == "time":
            return median(self.rounds())
        return 1.0

    def steps(self, budget: Literal["steps", "cost", "time"], of_random: int) -> int:
        """Return the steps that fit, never more, where random has so many."""
        ratio = self.ratio(budget)
        if budget == "cost" and abs(ratio - 1) < SAME:
            return of_random
        return max(1, math.floor(of_random / ratio + 1e-6))  # 60 / 1.0 may be 59.999…

    def rounds(self) -> list[float]:
        """Return the ratio of times of each round."""
        return [a / b for a, b in zip(self.own.seconds, self.random.seconds, strict=True)]

    @property
    def is_disturbed(self) -> bool:
        """True where the rounds' ratios of times say too different things."""
        rounds = self.rounds()
        return max(rounds) - min(rounds) > SPREAD * median(rounds)


def measured(works: Sequence[Mapping[str, Any]]) -> Measured:
    """Return a strategy's costs from the `work` of its runs' reports, a round each."""
    steps = sum(work["steps"] for work in works)
    units = sum(FORWARD * work["scored"] + TRAINING * work["trained"] for work in works)
    return Measured(units / steps, [work["seconds"] / work["steps"] for work in works])


def cost(work: Mapping[str, Any]) -> float:
    """Return the forward passes that a run took."""
    return float(FORWARD * work["scored"] + TRAINING * work["trained"])


def work(run: Path) -> dict[str, Any]:
    """Return the `work` of a finished run's report; DataError where there is none."""
    path = run / "report.json"
    try:
        found: dict[str, Any] = json.loads(path.read_text())["work"]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(path, "work", f"is not there ({error!r})") from None
    return found


def read(folder: Path) -> dict[str, Calibration]:
    """Return the calibrations of a study by strategy; DataError where the file is damaged."""
    path = folder / FILE_NAME
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text())
        return {
            name: Calibration(
                *(one["series"], Measured(**one["own"]), Measured(**one["random"])),
                one.get("length", 0),
            )
            for name, one in found.items()
        }
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(path, "", f"damaged ({error!r})") from None


def add(folder: Path, name: str, found: Calibration) -> None:
    """Write one more calibration; what is there stays as it is."""
    known = read(folder)
    if name in known:
        return
    facts = {key: asdict(one) for key, one in {**known, name: found}.items()}
    with atomic(folder / FILE_NAME) as path:
        path.write_text(json.dumps(facts, indent=1) + "\n")
