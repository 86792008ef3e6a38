"""Results that contenders want beside the set: tables of scores, and the split that pruning leaves.

Each is computed from short runs of its own, kept in the set's derived/, and seen to be done by what
lies there: nothing is done twice.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from dataprep import derived
from jobs import work as works
from jobs.selection import EL2N, IRREDUCIBLE, MODEL, NAME, Frame
from jobs.study import Member, Variant
from jobs.work import Work
from loaders import Dataset
from tasks.run import pruning, scoring

SEED = 2024
HOLDOUT_EPOCHS = 5  # of the model whose losses are irreducible, over the split `val`
OTHER_RUNS = 3  # of an epoch each, for scores early in training
KEPT = 0.5


class Prepared:
    """A table by what `python -m tasks score` calls it; of EL2N also the split.

    noise: share of wrong labels, as in the column that wants it.
    """

    def __init__(self, frame: Frame, what: str, noise: float, noise_name: str) -> None:
        if what not in scoring.SCORES:
            there = ", ".join(scoring.SCORES)
            raise ValueError(f"a strategy wants the table {what}; this study makes: {there}")
        self.frame, self.what, self.noise = frame, what, noise
        self.name = f"{what}-{noise_name}"
        self._found: dict[str, str] = {}  # asked for often, and it does not go away

    @property
    def label(self) -> str:
        """Label of the work with which it is there."""
        return f"{'prune' if self.what == EL2N else 'score'} {self.name}"

    @property
    def models(self) -> list[Member]:
        """The runs whose networks score."""
        held_out = self.what == IRREDUCIBLE
        split, judged = ("val", "train") if held_out else ("train", "val")
        epochs, runs = (HOLDOUT_EPOCHS, 1) if held_out else (1, OTHER_RUNS)

        def late() -> dict[str, str]:
            return self.frame.settings(epochs * self.frame.epoch_steps(split), self.noise)

        splits = {"train_split": split, "val_split": judged}
        variant = Variant(name=self.name, model=MODEL, settings=splits, late=late)
        folder, execution = f"{NAME}/preparations", self.frame.execution
        return [Member(folder, variant, SEED + run, execution) for run in range(runs)]

    def settings(self) -> dict[str, str] | None:
        """Return what it is to a run that wants it, None before it is there."""
        name = self.split() if self.what == EL2N else self.table()
        key = "train_split" if self.what == EL2N else f"strategy_option.{self.what}"
        return None if name is None else {key: name}

    def table(self) -> str | None:
        """Return the table's full name, None before it is there."""
        if "table" not in self._found and all(one.is_finished for one in self.models):
            dataset, runs = self._dataset(), [one.run.folder for one in self.models]
            models, splits = scoring.models_of(runs, None, {}), scoring.splits_of(dataset, "train")
            facts = scoring.made_from(models, dataset, self.what, splits)
            self._keep("table", derived.place(dataset.folder, self.what, facts))
        return self._found.get("table")

    def split(self) -> str | None:
        """Return the full name of the split that pruning by this table leaves, None before."""
        table = self.table()
        if "split" not in self._found and table:
            dataset, rule = self._dataset(), pruning.Rule(KEPT)
            facts = pruning.prune(dataset, table, "train", rule)[1]
            self._keep("split", derived.place(dataset.folder, rule.name(self.what), facts))
        return self._found.get("split")

    def _dataset(self) -> Dataset:
        return Dataset(self.frame.data, self.frame.execution.data_root)

    def _keep(self, what: str, path: Path) -> None:
        if derived.is_there(path):
            self._found[what] = path.name

    def works(self) -> list[Work]:
        """Return the trainings, then what scores with them and, for EL2N, what prunes."""
        # Labels of their own: there is a run el2n-noise10-s2024 of the study, too.
        found = [works.training(one, "prepare", label=f"prepare {one.name}") for one in self.models]
        trained = tuple(one.label for one in found)
        found.append(self._work("score", self._score, self.table, trained))
        if self.what == EL2N:
            found.append(self._work("prune", self._prune, self.split, (found[-1].label,)))
        return found

    def _score(self) -> list[str]:
        device = self.frame.execution.launch.get("device")
        return [
            *(sys.executable, "-m", "tasks", "score", *self._runs(), "--data", self.frame.data),
            *("--what", self.what, "--split", "train", *self.frame.execution.rooted()),
            *(("--device", device) if device in ("cpu", "cuda") else ()),
        ]

    def _prune(self) -> list[str]:
        return [
            *(sys.executable, "-m", "tasks", "prune", self.frame.data, "--by", self.table() or ""),
            *("--keep", str(KEPT), *self.frame.execution.rooted()),
        ]

    def _runs(self) -> Sequence[str]:
        return [str(one.run.folder) for one in self.models]

    def _work(
        self,
        kind: str,
        command: Callable[[], list[str]],
        result: Callable[[], str | None],
        after: tuple[str, ...],
    ) -> Work:
        return Work(
            label=f"{kind} {self.name}",
            kind=kind,
            folder=lambda: self.frame.folder / "preparations" / f"{kind}-{self.name}",
            is_done=lambda: result() is not None,
            command=command,
            after=after,
        )
