"""Does it pay to choose what is trained on? Every strategy against random batches.

A small network on small images, over the same seeds: at equal steps, at equal cost (forward and
backward passes), at equal time, and with wrong labels. Each run's learning rate falls to 0 within
its own budget. Choices are made on the split `val`; `test` is judged once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from jobs import settings
from jobs.results import Results
from jobs.selection import COLUMNS, RANDOM, Frame, contenders, pictures, strategy_of, tables
from jobs.selection.contest import Contest
from jobs.study import Execution, Metric, Picture, Study, Table

SUMMARY = "Strategies that choose what is trained on, against random batches at equal budgets."
# Strategies that go by what an epoch told choose from the second one on.
EPOCHS, QUICK_EPOCHS = 5, 2
OWN = {
    "data": "give --data",
    "steps": "give --epochs",
    "epochs": "give --epochs",
    "validate_every": "runs validate ten times",
    "schedule": "every run's learning rate falls to 0: that is what makes budgets comparable",
    "strategy": "give --strategies",
    "train_split": "the study trains on train",
    "val_split": "the study validates on val",
    "task.label_noise": "give --columns",
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the study compares, and on what."""

    data: str = field(
        default="fashion_mnist",
        metadata={"help": "built set of small images with train, val and test"},
    )
    strategies: tuple[str, ...] = field(
        default_factory=lambda: tuple(contenders()),
        metadata={"help": "comma separated; random is there in any case; more may be added"},
    )
    columns: tuple[str, ...] = field(
        default_factory=lambda: tuple(COLUMNS),
        metadata={"help": "comma separated: budgets, and shares of wrong labels"},
    )
    epochs: int = field(
        default=0,
        metadata={"help": f"of random, the budget of all; 0: {EPOCHS}, quick {QUICK_EPOCHS}"},
    )
    quick: bool = field(
        default=False,
        metadata={
            "help": f"budgets of {QUICK_EPOCHS} epochs: the first in which every strategy chooses"
        },
    )
    calibrate: int = field(
        default=0,
        metadata={
            "help": "steps of a calibration run, where times of a few will do; 0: a whole run's",
            "free": True,
        },
    )

    def __post_init__(self) -> None:
        for name, known in self.choices().items():
            for one in getattr(self, name):
                if one not in known:
                    raise ValueError(f"--{name}: no {one!r}; there are: {', '.join(known)}")
        if not self.columns:
            raise ValueError(f"--columns: want one or more of {', '.join(COLUMNS)}")
        if self.epochs < 0 or self.calibrate < 0:
            raise ValueError("--epochs and --calibrate must be at least 0")

    @staticmethod
    def choices() -> dict[str, list[str]]:
        """Return what the lists may hold."""
        return {"strategies": contenders(), "columns": list(COLUMNS)}


def study(options: Options, execution: Execution) -> Study:
    """Return the study; random is in it in any case."""
    epochs = options.epochs or (QUICK_EPOCHS if options.quick else EPOCHS)
    chosen = [name for name in contenders() if name in (RANDOM, *options.strategies)]
    columns = [one for one in COLUMNS.values() if one.name in options.columns]
    frame = Frame(options.data, epochs, execution)
    settings.check_strategies(execution.overrides, [strategy_of(one) for one in chosen])
    contest = Contest(frame, chosen, columns, options.calibrate)

    def told(results: Results) -> list[Table]:
        return tables.tables(contest, results)

    def drawn(results: Results, folder: Path) -> list[Picture]:
        return pictures.pictures(contest, results, folder)

    return Study(
        summary=SUMMARY,
        variants=tuple(contest.variants()),
        headline=(
            Metric(name="accuracy", label="accuracy", where="further"),
            Metric(name="loss", label="loss", unit="nats", better="lower", where="further"),
        ),
        seeds=(2024, 2025, 2026, 2027, 2028),
        preparations=tuple(contest.preparations()),
        judge=("test",),
        launch={"count_visits": True},
        own=OWN,
        over=("seeds",),
        correct="each",
        tables=told,
        figures=drawn,
        alone=True,
    )
