"""What the runs of a study found, read from their folders.

A place is "<set>/<split>". Per-sample figures lie in a run folder with the header
`id,key,<metric>…`: `values-<set>-<split>.csv` of its training's last validation,
`evaluation-<set>-<split>.csv` of each later one.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from dataprep import manifest
from dataprep.manifest import DataError
from jobs import intervals
from jobs.intervals import Spread
from jobs.study import Evaluation, Member, Metric, Study, opened
from tasks.run import report as run_report


@dataclass(frozen=True)
class Result:
    """One finished run: its figures by place and metric, the data's fingerprint by place."""

    member: Member
    own: str  # the place of its training's validation
    figures: dict[str, dict[str, float]]
    fingerprints: dict[str, str]
    evaluations: tuple[Evaluation, ...] = ()  # that commands of their own made, of these weights
    work: Mapping[str, float] = field(default_factory=dict)  # counts of samples and seconds

    @cached_property
    def log(self) -> list[dict[str, Any]]:
        """Its log, read once."""
        return self.member.run.read_log()

    def values(self, place: str) -> Path:
        """Return the file of the figures of each sample: by the training, or by an evaluation."""
        kind = "values" if place == self.own else "evaluation"
        return self.member.run.folder / f"{kind}-{place.replace('/', '-')}.csv"


class Results:
    """All finished runs of a study; `command` makes them again."""

    def __init__(self, study: Study, runs: Sequence[Result], command: str = "") -> None:
        self.study, self.runs, self.command = study, list(runs), command
        self.variants = [v for v in study.variants if any(r.member.variant == v for r in self.runs)]

    @property
    def seeds(self) -> list[int]:
        """The seeds of which a run is finished."""
        return sorted({run.member.seed for run in self.runs})

    @property
    def own(self) -> list[str]:
        """The places of the trainings' validation: one, unless variants train on several sets."""
        return list(dict.fromkeys(run.own for run in self.runs))

    @property
    def further(self) -> list[str]:
        """The places of further evaluations."""
        places = dict.fromkeys(place for run in self.runs for place in run.figures)
        return [place for place in places if place not in self.own]

    def places(self, metric: Metric) -> list[str]:
        """Return the places at which a headline metric was measured."""
        own = [] if metric.where == "further" else self.own
        places = own if metric.where == "own" else [*own, *self.further]
        return [p for p in places if any(metric.name in r.figures.get(p, {}) for r in self.runs)]

    def of(self, variant: str) -> list[Result]:
        """Return the runs of a variant by seed."""
        found = [run for run in self.runs if run.member.variant.name == variant]
        return sorted(found, key=lambda run: run.member.seed)

    def by_seed(self, variant: str, place: str, metric: str) -> dict[int, float]:
        """Return seed -> value, of the runs that have it."""
        found = ((run.member.seed, run.figures.get(place, {})) for run in self.of(variant))
        return {seed: figures[metric] for seed, figures in found if metric in figures}

    def spread(self, variant: str, place: str, metric: str) -> Spread:
        """Return mean and interval over seeds."""
        return intervals.spread(list(self.by_seed(variant, place, metric).values()))

    def samples(self, variant: str, seed: int, place: str, metric: str) -> dict[str, float]:
        """Return key -> value of each sample; empty where no such figures were written."""
        for run in self.of(variant):
            if run.member.seed == seed and place in run.figures:
                return per_sample(run.values(place)).get(metric, {})
        return {}


@cache
def per_sample(path: Path) -> dict[str, dict[str, float]]:
    """Return metric -> key -> value of one run on one place; DataError where damaged."""
    if not path.is_file():
        return {}
    with open(path, newline="") as file:
        rows = csv.reader(file)
        header = next(rows, [])
        if header[:2] != ["id", "key"]:
            raise DataError(path, "", "wants the header id,key,<metric>…")
        values: dict[str, dict[str, float]] = {name: {} for name in header[2:]}
        for row in rows:
            try:
                for name, text in zip(header[2:], row[2:], strict=True):
                    values[name][row[1]] = float(text) if text else float("nan")
            except (ValueError, IndexError):
                raise DataError(path, f"line {rows.line_num}", "is damaged") from None
    return values


def read(study: Study, members: Sequence[Member], command: str = "") -> Results:
    """Read every finished run among these."""
    per_sample.cache_clear()  # a run may have been judged again
    runs = [_result(study, one) for one in members if one.is_finished]
    return Results(study, runs, command)


def _result(study: Study, member: Member) -> Result:
    report = read_json(member.run.folder / "report.json")
    data, split = member.facts["recipe"]["data"], report["origin"]["split"]
    name = set_name(data, member.execution.data_root)
    own = f"{name}/{split}"
    figures, fingerprints = {own: report["figures"]}, {own: report["origin"]["data"]}
    by_training = [Evaluation(data=data, splits=study.judge)] if study.judge else []
    judged = [one for one in (*by_training, *study.evaluations) if is_evaluated(member, one)]
    for evaluation in judged:
        name = set_name(evaluation.data, member.execution.data_root)
        found = read_json(member.run.folder / f"evaluation-{name}.json")
        for split in evaluation.splits:
            place = f"{name}/{split}"
            figures.setdefault(place, found["figures"][split])
            fingerprints.setdefault(place, found["origin"]["data"])
    for place, more in study.judged(member).items():
        figures[place] = {**figures.get(place, {}), **more.figures}
        fingerprints.setdefault(place, more.fingerprint)
    commands = tuple(one for one in judged if one not in by_training)
    return Result(member, own, figures, fingerprints, commands, report.get("work", {}))


def evaluated(member: Member, evaluation: Evaluation) -> tuple[str, ...]:
    """Return the splits of a set on which a run was judged, whichever its weights were then."""
    name = set_name(evaluation.data, member.execution.data_root)
    path = member.run.folder / f"evaluation-{name}.json"
    return tuple(read_json(path)["figures"]) if path.is_file() else ()


def is_evaluated(member: Member, evaluation: Evaluation) -> bool:
    """True where a run's weights were judged on this set as it is now, or as it was."""
    root = member.execution.data_root
    name = set_name(evaluation.data, root)
    path = member.run.folder / f"evaluation-{name}.json"
    if not path.is_file():
        return False
    found = read_json(path)
    origin = found["origin"]
    same_data = not is_built(evaluation, root) or (
        origin["data"] == opened(evaluation.data, root).fingerprint
    )
    return (
        same_data
        and set(evaluation.splits) <= set(found["figures"])
        and is_of_weights(member, origin.get("checkpoint"))
    )


def is_of_weights(member: Member, identity: object) -> bool:
    """True where a result is of the weights that a run's report judges."""
    checkpoint = member.checkpoint
    if checkpoint is None or not checkpoint.is_file():
        return False
    return identity == _identity(checkpoint, checkpoint.stat().st_mtime_ns)


@cache
def _identity(checkpoint: Path, mtime_ns: int) -> dict[str, str]:
    """Return what tells a checkpoint from others; mtime_ns: reads it again once it was written."""
    return run_report.identity(checkpoint)


def is_built(evaluation: Evaluation, root: str | None) -> bool:
    """True where the set is there, complete or not."""
    return manifest.locate(evaluation.data, root).is_dir()


def set_name(data: str, root: str | None) -> str:
    """Return what a set calls itself, where it is not there what its folder is called."""
    folder = manifest.locate(data, root)
    return manifest.load(folder).name if folder.is_dir() else folder.name


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object; DataError where it is damaged."""
    try:
        found: dict[str, Any] = json.loads(path.read_text())
        return found
    except ValueError as error:
        raise DataError(path, "", f"damaged ({error})") from None
