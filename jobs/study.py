"""The form of a study: which recipes are compared, over which seeds, by which figures.

A study is one file of jobs/studies/, with `STUDY = Study(…)`; its runs lie in
`runs/<study>/<variant>-s<seed>/`. A place is where something was measured: "<set>/<split>".
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import models
from dataprep import manifest
from jobs import settings
from tasks.run import Run

if TYPE_CHECKING:
    from jobs.results import Results

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One recipe under comparison: `--model` and settings (see jobs/settings.py)."""

    name: str  # of its runs' folders: letters, digits, _ and -
    model: str
    settings: Mapping[str, str] = field(default_factory=dict)
    label: str = ""  # in tables and figures; "": the name


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A figure by which variants are judged; `name` is its key in a run's report."""

    name: str
    label: str
    unit: str = ""
    better: Literal["higher", "lower", "neither"] = "higher"
    # own: measured once a run, whatever the set; everywhere: on the own and on further sets.
    where: Literal["own", "everywhere"] = "everywhere"

    @property
    def axis(self) -> str:
        """Its name beside an axis."""
        return self.label + (f", {self.unit}" if self.unit else "")


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A further set on which every run is judged once trained; left out where it is not built."""

    data: str
    splits: tuple[str, ...] = ("val",)


class Table(NamedTuple):
    """A table of a report; cells are text as shown."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


class Picture(NamedTuple):
    """A figure of a report."""

    path: Path
    caption: str


@dataclass(frozen=True, kw_only=True)
class Study:
    """What is compared. The first variant is the baseline of paired tests.

    curves: logged values of training that are drawn; those that variants share.
    tables, figures: what this study adds to the report that all studies share.
    """

    summary: str
    variants: tuple[Variant, ...]
    headline: tuple[Metric, ...]
    seeds: tuple[int, ...] = (42,)
    evaluations: tuple[Evaluation, ...] = ()
    curves: tuple[str, ...] = ("loss",)
    tables: Callable[[Results], Sequence[Table]] = lambda results: ()
    figures: Callable[[Results, Path], Sequence[Picture]] = lambda results, folder: ()

    @property
    def baseline(self) -> Variant:
        """The variant to which the others are compared."""
        return self.variants[0]


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a study is run; free to change when it goes on, but for the overrides."""

    runs: Path
    overrides: Mapping[str, str] = field(default_factory=dict)
    data_root: str | None = None
    ranks: int = 1
    launch: Mapping[str, Any] = field(default_factory=dict)

    def rooted(self) -> list[str]:
        """Return the arguments that say where sets lie."""
        return ["--data-root", self.data_root] if self.data_root else []


@dataclass(frozen=True)
class Member:
    """One run of a study: a variant with a seed."""

    study: str
    variant: Variant
    seed: int
    options: Options

    @property
    def name(self) -> str:
        """Name of the run below the study's folder."""
        return f"{self.variant.name}-s{self.seed}"

    @property
    def run(self) -> Run:
        """Its run folder."""
        return Run(self.options.runs / self.study / self.name)

    @cached_property
    def settings(self) -> dict[str, str]:
        """The variant's settings under the study's overrides."""
        return settings.merged(self.variant.settings, self.options.overrides)

    @cached_property
    def facts(self) -> dict[str, Any]:
        """recipe.json as it is wanted; ValueError for a setting that does not fit."""
        recipe = settings.recipe(self.variant.model, self.settings, self.seed)
        family = models.recipes()[self.variant.model][0]
        return {"model": self.variant.model, "family": family, "recipe": recipe.facts()}

    def check(self, needs_data: bool = True) -> None:
        """Refuse a run folder that holds another recipe or other data, and a missing set.

        needs_data: False takes the run's word where its set is no longer there.
        """
        data, root = self.facts["recipe"]["data"], self.options.data_root
        if needs_data or manifest.locate(data, root).is_dir():
            fingerprint = opened(data, root).fingerprint
        else:
            fingerprint = self.run.facts()["fingerprint"]
        if self.run.exists:
            self.run.refuse_changes(self.facts | {"fingerprint": fingerprint})

    @property
    def is_finished(self) -> bool:
        """True once the run has its report."""
        return self.run.exists and (self.run.folder / "report.json").is_file()

    def command(self) -> list[str]:
        """Return the command that trains it, and goes on with it."""
        ranks = self.options.ranks
        torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
        name = ["--runs", str(self.options.runs), "--name", f"{self.study}/{self.name}"]
        return [
            *(sys.executable, *(torchrun if ranks > 1 else ()), shown(ROOT / "train.py")),
            *("--model", self.variant.model, *name, *self.options.rooted()),
            *("--seed", str(self.seed), *settings.arguments(self.settings)),
            *settings.launch_arguments(self.options.launch),
        ]

    def evaluation(self, evaluation: Evaluation) -> list[str]:
        """Return the command that judges the weights of its report on a further set."""
        latest = self.run.latest() or self.run.checkpoints / "step-LAST.pt"
        device = self.options.launch.get("device")
        return [
            *(sys.executable, "-m", "tasks", "evaluate", str(self.run.folder)),
            *("--data", evaluation.data, "--checkpoint", str(latest), *self.options.rooted()),
            *(part for split in evaluation.splits for part in ("--split", split)),
            *(("--device", device) if device in ("cpu", "cuda") else ()),
        ]


def opened(data: str, root: str | None) -> manifest.Manifest:
    """Return the manifest of a built set; DataError where it is not there."""
    return manifest.load(manifest.locate(data, root))


def shown(path: Path) -> str:
    """Return a path as one would type it here."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
