"""The variants of the study, a contender in a column each, and the works that come before them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dataprep.manifest import DataError
from jobs import work as works
from jobs.selection import (
    EL2N,
    MODEL,
    NAME,
    RANDOM,
    VALIDATIONS,
    Column,
    Frame,
    calibration,
    strategy_of,
    tables_of,
)
from jobs.selection.calibration import Calibration
from jobs.selection.prepared import SEED, Prepared
from jobs.study import Member, Settings, Variant
from jobs.work import Work

PLAIN = Column(name="", title="")


@dataclass
class Contest:
    """Contenders and columns, the baseline among them.

    calibrate: steps of a calibration run; 0: those of random's runs.
    """

    frame: Frame
    contenders: Sequence[str]
    columns: Sequence[Column]
    calibrate: int
    _prepared: dict[tuple[str, float], Prepared] = field(default_factory=dict)

    def variants(self) -> list[Variant]:
        """Return all variants, column by column."""
        return [
            self._variant(contender, column)
            for column in self.columns
            for contender in self.contenders
        ]

    def _variant(self, contender: str, column: Column) -> Variant:
        return Variant(
            name=f"{contender}-{column.name}",
            model=MODEL,
            settings={"strategy": strategy_of(contender)},
            label=f"{contender}, {column.title}",
            baseline=f"{RANDOM}-{column.name}",
            after=self._after(contender, column),
            late=lambda: self._settings(contender, column),
        )

    def _settings(self, contender: str, column: Column) -> Settings | None:
        """Return what a variant is beside its strategy, None before it is known."""
        steps = self.steps(contender, column)
        prepared = self._wanted(contender, column)
        if prepared is None or steps is None:
            return None
        return {**self.frame.settings(steps, column.noise, VALIDATIONS), **prepared}

    def steps(self, contender: str, column: Column) -> int | None:
        """Return the steps of a contender's runs in a column, None before it is calibrated."""
        if not _is_measured(contender, column):
            return self.frame.steps
        found = calibration.read(self.frame.folder).get(contender)
        return found.steps(column.budget, self.frame.steps) if found else None

    def prepared(self, contender: str, column: Column = PLAIN) -> list[Prepared]:
        """Return the derived results that a contender wants in a column."""
        names = [*tables_of(contender), *([EL2N] if contender == EL2N else [])]
        found = []
        for what in names:
            key = (what, column.noise)
            if key not in self._prepared:
                self._prepared[key] = Prepared(self.frame, *key, column.noise_name)
            found.append(self._prepared[key])
        return found

    def _wanted(self, contender: str, column: Column = PLAIN) -> dict[str, str] | None:
        """Return the settings that name these results, None before all are there.

        What cannot be read is not there: the work that makes it says why.
        """
        found: dict[str, str] = {}
        for one in self.prepared(contender, column):
            try:
                settings = one.settings()
            except DataError:
                return None
            if settings is None:
                return None
            found |= settings
        return found

    def _after(self, contender: str, column: Column = PLAIN) -> tuple[str, ...]:
        measured = [calibrated(contender)] if _is_measured(contender, column) else []
        return (*(one.label for one in self.prepared(contender, column)), *measured)

    @property
    def length(self) -> int:
        """Return the steps of a calibration run."""
        return self.calibrate or self.frame.steps

    def preparations(self) -> list[Work]:
        """Return the works before all runs: what is wanted by calibrations, these, the others."""
        first = [one for name in self.contenders for one in self.prepared(name)]
        others = [
            one
            for column in self.columns
            for name in self.contenders
            for one in self.prepared(name, column)
        ]
        later = [one for one in dict.fromkeys(others) if one not in first]
        return [
            *(work for one in dict.fromkeys(first) for work in one.works()),
            *self._calibrating(),
            *(work for one in later for work in one.works()),
        ]

    def _calibrating(self) -> list[Work]:
        """Return the measured runs of each strategy, round after round, and what takes notes."""
        known = calibration.read(self.frame.folder)
        asked = [name for name in self.contenders if name not in (RANDOM, EL2N)]
        lacking = [name for name in asked if name not in known]
        series = self._series(known)
        rounds: dict[str, list[Member]] = {}
        found = []
        for number in range(calibration.ROUNDS):
            for name in [RANDOM, *lacking] if lacking else ():
                member = self._measured_run(series, name, number)
                rounds.setdefault(name, []).append(member)
                found.append(
                    works.training(
                        member,
                        "calibrate",
                        label=f"calibrate-{series}/{member.name}",
                        after=self._after(name),
                        alone=True,
                    )
                )
        return [*found, *(self._noting(series, name, rounds) for name in asked)]

    def _series(self, known: Mapping[str, Calibration]) -> int:
        """Return the number of the next rounds; one begun with another length is left as it is."""
        series = max((one.series for one in known.values()), default=0) + 1
        while any(steps != self.length for steps in _lengths(self.frame, series)):
            series += 1
        return series

    def _measured_run(self, series: int, name: str, number: int) -> Member:
        def settings() -> Settings | None:
            wanted = self._wanted(name)
            return None if wanted is None else {**self.frame.settings(self.length), **wanted}

        variant = Variant(name=name, model=MODEL, settings={"strategy": name}, late=settings)
        folder = f"{NAME}/calibration/{series}"
        return Member(folder, variant, SEED + number, self.frame.execution)

    def _noting(self, series: int, name: str, rounds: Mapping[str, list[Member]]) -> Work:
        """Return the work that writes down what the rounds say of one strategy."""
        own, random = rounds.get(name, []), rounds.get(RANDOM, [])

        def note() -> None:
            both = [
                calibration.measured([calibration.work(one.run.folder) for one in members])
                for members in (own, random)
            ]
            found = Calibration(series, both[0], both[1], self.length)
            calibration.add(self.frame.folder, name, found)

        return Work(
            label=calibrated(name),
            kind="note",
            folder=lambda: self.frame.folder / "calibration",
            is_done=lambda: name in calibration.read(self.frame.folder),
            act=note,
            after=tuple(f"calibrate-{series}/{one.name}" for one in (*random, *own)),
            alone=True,
        )


def _lengths(frame: Frame, series: int) -> list[int]:
    """Return the steps of the runs of one calibration that were begun."""
    folders = (frame.folder / "calibration" / str(series)).glob("*/recipe.json")
    return [json.loads(path.read_text())["recipe"]["steps"] for path in folders]


def calibrated(contender: str) -> str:
    """Return the label of the work with which a contender's calibration is there."""
    return f"calibration of {contender}"


def _is_measured(contender: str, column: Column) -> bool:
    """True where a column's steps follow from a calibration: el2n's batches are random's."""
    return column.budget != "steps" and contender not in (RANDOM, EL2N)
