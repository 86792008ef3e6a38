"""The form of a study: which recipes are compared, over which seeds, by which figures.

A study is one file of jobs/studies/; its runs lie in `<into>/<study>/<variant>-s<seed>/`. A place
is where something was measured: "<set>/<split>".
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
    from jobs.work import Work

ROOT = Path(__file__).resolve().parents[1]
Settings = Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One recipe under comparison: `--model` and settings (see jobs/settings.py).

    late: returns settings that are known only once the study's preparations are there, before
    that None. after: labels of the preparations that its runs wait for.
    """

    name: str  # of its runs' folders: letters, digits, _ and -
    model: str
    settings: Settings = field(default_factory=dict)
    label: str = ""  # in tables and figures; "": the name
    baseline: str = ""  # the variant that it is compared to; "": the study's first
    after: tuple[str, ...] = ()
    late: Callable[[], Settings | None] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A figure by which variants are judged; `name` is its key in a run's report."""

    name: str
    label: str
    unit: str = ""
    better: Literal["higher", "lower", "neither"] = "higher"
    # own: measured once a run, whatever the set; everywhere: on the own and on further places.
    where: Literal["own", "everywhere", "further"] = "everywhere"

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


class Judged(NamedTuple):
    """Figures of a run at a place, and the fingerprint of the data there."""

    figures: Mapping[str, float]
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class Study:
    """What is compared. The first variant is the baseline of those that name no other.

    preparations: commands before the runs, in their order. judge: further splits of a run's own
    set, judged once by its training. launch: launch flags of its runs where no other are typed.
    own: settings that `--set` may not change, and what to do instead.
    over: what differences are paired over; correct: Holm's correction counts all comparisons, or
    those of each baseline, metric and place.
    curves: logged values of training that are drawn; those that variants share.
    each: works behind the training of each run, such as its calibration; those that must be alone
    come behind all others. judged: place -> what they found of a run, beside its evaluations.
    tables, figures: what this study adds to the report that all studies share; alone: instead of
    the shared figures. files: writes further files into the report's folder. remarks: what a reader
    must know before all else.
    """

    summary: str
    variants: tuple[Variant, ...]
    headline: tuple[Metric, ...]
    seeds: tuple[int, ...] = (42,)
    evaluations: tuple[Evaluation, ...] = ()
    preparations: tuple[Work, ...] = ()
    judge: tuple[str, ...] = ()
    launch: Mapping[str, Any] = field(default_factory=dict)
    own: Mapping[str, str] = field(default_factory=dict)
    over: tuple[Literal["seeds", "samples"], ...] = ("seeds", "samples")
    correct: Literal["all", "each"] = "all"
    curves: tuple[str, ...] = ("loss",)
    each: Callable[[Member], Sequence[Work]] = lambda member: ()
    judged: Callable[[Member], Mapping[str, Judged]] = lambda member: {}
    tables: Callable[[Results], Sequence[Table]] = lambda results: ()
    figures: Callable[[Results, Path], Sequence[Picture]] = lambda results, folder: ()
    files: Callable[[Results, Path], Sequence[Path]] = lambda results, folder: ()
    remarks: Callable[[Results], Sequence[str]] = lambda results: ()
    alone: bool = False

    def baseline(self, variant: Variant) -> str:
        """Return the name of the variant to which one is compared."""
        return variant.baseline or self.variants[0].name

    def seeds_of(self, runs: int) -> tuple[int, ...]:
        """Return the first seeds; behind the listed ones, counting goes on."""
        more = range(max(self.seeds) + 1, max(self.seeds) + 1 + runs - len(self.seeds))
        return (*self.seeds[:runs], *more)


@dataclass(frozen=True, kw_only=True)
class Execution:
    """Where and how a study is run; free to change when it goes on, but for the overrides."""

    runs: Path
    overrides: Settings = field(default_factory=dict)
    data_root: str | None = None
    ranks: int = 1
    launch: Mapping[str, Any] = field(default_factory=dict)

    def rooted(self) -> list[str]:
        """Return the arguments that say where sets lie."""
        return ["--data-root", self.data_root] if self.data_root else []


class Waiting(ValueError):
    """Settings are asked for before they are known."""


@dataclass(frozen=True)
class Member:
    """One run of a study: a variant with a seed.

    peers: members of the same seed, itself too or not: those with the same settings share one run,
    one that is there, else the first one's.
    """

    study: str
    variant: Variant
    seed: int
    execution: Execution
    peers: Sequence[Member] = field(default=(), compare=False, repr=False)

    @property
    def name(self) -> str:
        """What it is called; without such a peer also the name of the run's folder."""
        return f"{self.variant.name}-s{self.seed}"

    @property
    def home(self) -> str:
        """Name of the run's folder below the study's."""
        return self._home if self.is_ready else self.name

    @cached_property
    def _home(self) -> str:
        every = self.peers if self in self.peers else [*self.peers, self]
        same = [one.name for one in every if one.is_ready and one.facts == self.facts]
        folder = self.execution.runs / self.study
        files = ("recipe.json", "report.json")  # begun, finished
        return max(same, key=lambda name: sum((folder / name / file).is_file() for file in files))

    @property
    def run(self) -> Run:
        """Its run folder."""
        return Run(self.execution.runs / self.study / self.home)

    @property
    def is_ready(self) -> bool:
        """True once all of its settings are known."""
        try:
            return self.settings is not None
        except Waiting:
            return False

    @cached_property
    def settings(self) -> dict[str, str]:
        """The variant's settings under the study's overrides; Waiting before they are known."""
        late = self.variant.late() if self.variant.late else {}
        if late is None:
            raise Waiting(f"{self.name}: waits for {', '.join(self.variant.after)}")
        return settings.merged({**self.variant.settings, **late}, self.execution.overrides)

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
        data, root = self.facts["recipe"]["data"], self.execution.data_root
        if needs_data or manifest.locate(data, root).is_dir():
            fingerprint = opened(data, root).fingerprint
        else:
            fingerprint = self.run.facts()["fingerprint"]
        if self.run.exists:
            self.run.refuse_changes(self.facts | {"fingerprint": fingerprint})

    @property
    def is_finished(self) -> bool:
        """True once the run has its report."""
        return self.is_ready and self.run.exists and (self.run.folder / "report.json").is_file()

    def command(self) -> list[str]:
        """Return the command that trains it, and goes on with it."""
        ranks = self.execution.ranks
        torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
        name = ["--runs", str(self.execution.runs), "--name", f"{self.study}/{self.home}"]
        return [
            *(sys.executable, *(torchrun if ranks > 1 else ()), shown(ROOT / "train.py")),
            *("--model", self.variant.model, *name, *self.execution.rooted()),
            *("--seed", str(self.seed), *settings.arguments(self.settings)),
            *settings.launch_arguments(self.execution.launch),
        ]

    def judged(self, splits: tuple[str, ...]) -> Evaluation:
        """Return further splits of its own set, as an evaluation."""
        return Evaluation(data=self.facts["recipe"]["data"], splits=splits)

    def evaluation(self, evaluation: Evaluation) -> list[str]:
        """Return the command that judges the weights of its report on a further set."""
        splits = [part for split in evaluation.splits for part in ("--split", split)]
        return [*self.use("evaluate", "--data", evaluation.data), *splits]

    def use(self, command: str, *other: str) -> list[str]:
        """Return a command of `python -m tasks` on the weights of its report."""
        device = self.execution.launch.get("device")
        checkpoint = self.checkpoint or self.run.checkpoints / "LAST.pt"
        return [
            *(sys.executable, "-m", "tasks", command, str(self.run.folder)),
            *(*other, "--checkpoint", str(checkpoint), *self.execution.rooted()),
            *(("--device", device) if device in ("cpu", "cuda") else ()),
        ]

    @property
    def checkpoint(self) -> Path | None:
        """The weights that its report judges, None before there are any."""
        return self.run.judged() if self.run.exists else None


def opened(data: str, root: str | None) -> manifest.Manifest:
    """Return the manifest of a built set; DataError where it is not there."""
    return manifest.load(manifest.locate(data, root))


def shown(path: Path) -> str:
    """Return a path as one would type it here."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
