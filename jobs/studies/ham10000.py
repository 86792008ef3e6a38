"""Which network tells skin lesions best, once it is calibrated and its operating point is chosen?

Trained alike on `train`, the best weights chosen on `val`, temperatures and thresholds on
`calibration`; all figures are of `test`, which nothing was chosen on, and of the outside test
images where the set has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jobs.networks import FOUR, NAME, Frame, comparison, kept, pictures, recipes, tables
from jobs.networks.leaks import is_leaky, remarks
from jobs.results import Results
from jobs.study import Execution, Judged, Member, Picture, Study, Table
from jobs.work import Work

SUMMARY = "Networks that tell skin lesions: accuracy, calibration, operating points, cost, tests."
OWN = {
    "data": "give --data",
    "net.arch": "give --nets",
    "task.positive": "give --positive",
    "train_split": "the study trains on train",
    "val_split": "the study chooses weights on val: no figure may be of what was chosen on",
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the study compares, and on what."""

    data: str = field(
        default=NAME,
        metadata={"help": "built set with the splits train, val, calibration and test"},
    )
    nets: tuple[str, ...] = field(
        default=FOUR,
        metadata={
            "help": "comma separated: recipes, or networks of timm by name; more may be added"
        },
    )
    positive: str = field(
        default="mel", metadata={"help": "class that operating points and DeLong's test are of"}
    )
    specificity: float = field(
        default=0.95, metadata={"help": "least one of the first operating point"}
    )
    sensitivity: float = field(
        default=0.95, metadata={"help": "least one of the second operating point"}
    )

    def __post_init__(self) -> None:
        if not self.nets:
            raise ValueError(f"--nets: want one or more, such as {', '.join(FOUR)}")
        for net in self.nets:
            if net not in recipes():
                _check(net)
        for name in ("specificity", "sensitivity"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"--{name} {getattr(self, name)}: want above 0 and up to 1")


def _check(net: str) -> None:
    """Refuse a network that neither the family nor timm has."""
    import timm  # here: it takes seconds

    if not timm.is_model(net):
        there = ", ".join(recipes())
        raise ValueError(f"--nets: no {net!r}; there are: {there}, and all networks of timm")


def study(options: Options, execution: Execution) -> Study:
    """Return the study."""
    frame = Frame(
        data=options.data,
        positive=options.positive,
        specificity=options.specificity,
        sensitivity=options.sensitivity,
        execution=execution,
    )

    def each(member: Member) -> Sequence[Work]:
        return _calibration(frame, member), _timing(member)

    def told(results: Results) -> list[Table]:
        return tables.tables(frame, results)

    def drawn(results: Results, folder: Path) -> list[Picture]:
        return pictures.pictures(frame, results, folder)

    def written(results: Results, folder: Path) -> list[Path]:
        return comparison.write(frame, results, folder)

    def judged(member: Member) -> dict[str, Judged]:
        return kept.judged(member)

    return Study(
        summary=SUMMARY,
        variants=tuple(frame.variant(net) for net in dict.fromkeys(options.nets)),
        headline=frame.headline,
        seeds=(42,),
        own=OWN,
        over=("seeds",),
        correct="each",
        each=each,
        judged=judged,
        tables=told,
        figures=drawn,
        files=written,
        remarks=lambda results: remarks(frame, results),
        alone=True,
    )


def _calibration(frame: Frame, member: Member) -> Work:
    """Return what finds a run's temperature and thresholds, and judges it with them."""

    def command() -> list[str]:
        points = ("--specificity", str(frame.specificity), "--sensitivity", str(frame.sensitivity))
        judged = ("--judge", ",".join(frame.splits), "--positive", frame.positive)
        allowed = ("--allow-leak",) if is_leaky(frame.manifest.checks) else ()
        return member.use("calibrate", *judged, *points, *allowed)

    return Work(
        label=f"{member.name} calibration",
        kind="calibrate",
        alike=member.variant.name,
        folder=lambda: member.run.folder,
        is_done=lambda: kept.is_calibrated(frame, member),
        command=command,
        after=(member.name,),
        part_of=member.name,
        lacking="not calibrated",
    )


def _timing(member: Member) -> Work:
    """Return what measures a run's inference, while nothing else is at work."""
    return Work(
        label=f"{member.name} timing",
        kind="time",
        alike=member.variant.name,
        folder=lambda: member.run.folder,
        is_done=lambda: kept.timing(member) is not None,
        command=lambda: member.use("time"),
        after=(member.name,),
        part_of=member.name,
        alone=True,
        lacking="not timed",
    )
