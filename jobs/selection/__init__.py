"""What the study of batch selection compares, and the frame in which all of it is trained.

A contender is a strategy (a file of loaders/strategies/), or `el2n`: random batches of the split
that pruning by EL2N leaves. A column is a budget and a share of wrong labels. A contender in a
column is a variant of the study.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from dataprep.manifest import DataError, Manifest
from jobs import settings
from jobs.study import Execution, opened
from loaders import strategies

NAME = "batch_selection"
MODEL = "mlp"
RANDOM = "random"
EL2N = "el2n"
IRREDUCIBLE = "irreducible_loss"
VALIDATIONS = 10  # a run


@dataclass(frozen=True, kw_only=True)
class Column:
    """A budget, equal for all contenders, and the share of training labels made wrong."""

    name: str
    title: str
    budget: Literal["steps", "cost", "time"] = "steps"
    noise: float = 0.0

    @property
    def noise_name(self) -> str:
        """Name of the noise in those of folders."""
        return f"noise{100 * self.noise:.0f}"


COLUMNS = {
    column.name: column
    for column in (
        Column(name="steps", title="equal steps"),
        Column(name="cost", title="equal cost", budget="cost"),
        Column(name="time", title="equal time", budget="time"),
        Column(name="noise10", title="10 % wrong labels", noise=0.1),
        Column(name="noise30", title="30 % wrong labels", noise=0.3),
    )
}


def contenders() -> list[str]:
    """Return all contenders, the baseline first; what goes by the true labels is none."""
    blind = [name for name in strategies.names() if not strategies.load(name).columns]
    return [RANDOM, *(name for name in blind if name != RANDOM), EL2N]


def strategy_of(contender: str) -> str:
    """Return the strategy by which a contender makes its batches."""
    return RANDOM if contender == EL2N else contender


def tables_of(contender: str) -> tuple[str, ...]:
    """Return the tables of derived results that a contender wants."""
    return strategies.load(strategy_of(contender)).tables


def informed(chosen: Sequence[str]) -> str:
    """Return a remark on those whose table comes from a network that saw the split val, or ""."""
    names = [one for one in chosen if IRREDUCIBLE in tables_of(one)]
    if not names:
        return ""
    return (
        f" {', '.join(names)}: the network of its irreducible losses was trained on val, so that"
        " figures on val are not independent of it, and it uses those labels besides train's;"
        " test was seen by none."
    )


def labels_of(column: Column) -> str:
    """Return a remark on labels that were made wrong, or ""."""
    return f" {column.title} in train; those of val and test are true." if column.noise else ""


@dataclass(frozen=True)
class Frame:
    """What all runs of the study have in common. data: a built set; epochs: of random."""

    data: str
    epochs: int
    execution: Execution

    @property
    def folder(self) -> Path:
        """The study's folder."""
        return self.execution.runs / NAME

    @cached_property
    def manifest(self) -> Manifest:
        """The set's manifest; DataError where it is not there, or is not of small images."""
        found = opened(self.data, self.execution.data_root)
        for split in ("train", "val", "test"):
            if split not in found.splits:
                there = ", ".join(found.splits)
                raise DataError(self.data, split, f"no such split; there are: {there}")
        return found

    @cached_property
    def net(self) -> dict[str, str]:
        """The network's settings: those that the images decide."""
        field = self.manifest.fields.get("image")
        shape = field.shape if field else ()
        if len(shape) not in (2, 3) or None in shape or shape[0] != shape[1]:
            raise DataError(self.data, "image", "wants square images of one size")
        channels = shape[2] if len(shape) == 3 else 1
        classes = len(self.manifest.classes)
        return {
            "net.side": str(shape[0]),
            "net.channels": str(channels),
            **({"net.classes": str(classes)} if classes else {}),
        }

    @cached_property
    def batch(self) -> int:
        """Samples trained on in a step."""
        key, overrides = "global_batch_size", self.execution.overrides
        given = {key: overrides[key]} if key in overrides else {}
        return settings.recipe(MODEL, given, 0).global_batch_size

    def epoch_steps(self, split: str = "train") -> int:
        """Return the steps in which random goes over a split once."""
        return -(-self.manifest.splits[split] // self.batch)

    @property
    def steps(self) -> int:
        """Steps of random's runs, and of all with a budget of equal steps."""
        return self.epochs * self.epoch_steps()

    @property
    def cost(self) -> int:
        """Return forward passes of one sample that random's runs take."""
        return 3 * self.epochs * self.manifest.splits["train"]

    def settings(self, steps: int, noise: float = 0.0, validations: int = 1) -> dict[str, str]:
        """Return the settings of a run whose learning rate falls to 0 in so many steps."""
        every = max(1, steps // validations) if validations > 1 else 0
        return self.net | {
            "data": self.data,
            "schedule": "cosine",
            "epochs": "0",
            "steps": str(steps),
            "validate_every": str(every),
            **({"task.label_noise": str(noise)} if noise else {}),
        }
