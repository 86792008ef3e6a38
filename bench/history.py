"""Earlier runs of the benchmarks, as ratios: which of them may be compared, and what has fallen.

A ratio is the baseline's figure over the contestant's, both of one round: 4 is four times better
than the baseline. Absolute figures of two runs are never compared.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import exp, log
from pathlib import Path
from statistics import median
from typing import Any

import results

from dataprep.manifest import DataError

# Whoever of these ran first in this list is what the others are measured against.
BASELINES = ("torchvision", "png", "folder", "dataloader-batches", "dataloader")
OURS = "nostall"
# Of a round: the figure that is less where the contestant is better.
FIGURES = {"cpu": "cpu_s", "wall": "wall_s"}
# Runs that differ in one of these are other work.
SETTINGS = ("step_ms", "cold", "work", "set")
# A median of absolute deviations, times this, is the standard deviation of normal noise.
SIGMAS = 1.4826
# Scatters that a ratio may lie below the earlier ones without having fallen.
ALLOWED = 2.0
Ratios = dict[str, dict[str, list[float]]]


@dataclass(frozen=True)
class Run:
    """One workload, measured once. ratios: figure, contestant, one a round; cpu_ms: nostall's.

    lost: contestants of ours that should have been measured and were not, and why.
    """

    workload: str
    quick: bool
    machine: Mapping[str, Any]
    settings: Mapping[str, Any]
    when: str
    commit: str
    baseline: str
    ratios: Ratios
    cpu_ms: tuple[float, ...] = ()
    lost: Mapping[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """Return what only runs of the same work on the same class of machine share."""
        return f"{self.same_work} {self.baseline}"

    @property
    def same_work(self) -> str:
        """Return the kind without the baseline, which may have failed."""
        return json.dumps([self.title, self.machine, self.settings], sort_keys=True)

    @property
    def title(self) -> str:
        """Return the workload in words."""
        return self.workload + (" quick" if self.quick else "")

    @property
    def way(self) -> str:
        """Return how it was measured, in words; empty: batch after batch, files in memory."""
        step = self.settings.get("step_ms") or 0
        words = [f"step {step:g} ms" if step else "", "cold" if self.settings.get("cold") else ""]
        return ", ".join(filter(None, words))

    @property
    def place(self) -> str:
        """Return the class of machine in words."""
        words = [self.machine["cpu"], f"{self.machine['cores']} cores", self.machine.get("gpu", "")]
        return ", ".join(filter(None, words))

    def facts(self) -> dict[str, Any]:
        """Return the run as a line that keeps ratios only."""
        bench, _, workload = self.workload.rpartition("/")
        return {
            "bench": bench or "loader",
            "workload": workload,
            "quick": self.quick,
            "when": self.when,
            "commit": self.commit,
            "machine": dict(self.machine),
            **self.settings,
            "baseline": self.baseline,
            "ratios": self.ratios,
            "lost": sorted(self.lost),
        }


@dataclass(frozen=True)
class Verdict:
    """One contestant's ratio beside earlier ones. limit: what it must not be below."""

    run: Run
    name: str
    figure: str
    rounds: int
    earlier: int
    since: str
    before: float
    now: float
    limit: float

    @property
    def low(self) -> bool:
        """Tell whether it lies below the limit."""
        return self.now < self.limit

    @property
    def fell(self) -> bool:
        """Tell whether it is low and no accident: a single round, as of a quick run, may be one."""
        return self.low and self.rounds > 1

    @property
    def change(self) -> float:
        """Return by which share the ratio is above the earlier ones."""
        return self.now / self.before - 1

    def __str__(self) -> str:
        """Return it as one line."""
        what = f"{self.run.title}{', ' * bool(self.run.way)}{self.run.way}: {self.name} against"
        ratio = f"{self.before:.3g} → {self.now:.3g} ({100 * self.change:+.0f} %)"
        commits = f"{self.since or '?'} → {self.run.commit or '?'}"
        return f"{what} {self.run.baseline}, {self.figure}: {ratio}, {commits}, {self.run.place}"


def read(paths: Sequence[Path]) -> list[Run]:
    """Return the runs of result files, oldest first; what is no run is left out.

    Neither lines without rounds are runs, nor interrupted ones. DataError for a damaged line. A run
    that stands in two files counts once.
    """
    runs: dict[tuple[str, str], Run] = {}
    for path in paths:
        for number, line in enumerate(results.read(path), start=1):
            try:
                run = _run(line)
            except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
                why = f"not a result of this benchmark: {type(error).__name__}: {error}"
                raise DataError(path, f"line {number}", why) from None
            if run:
                runs.setdefault((run.kind, run.when), run)
    return sorted(runs.values(), key=lambda run: run.when)


def _run(line: Mapping[str, Any]) -> Run | None:
    """Return a line as a run; None where it holds no rounds, or was interrupted."""
    rounds = line.get("rounds")
    if ("ratios" not in line and not isinstance(rounds, dict)) or line.get("complete") is False:
        return None
    found: dict[str, Any] = {}
    if isinstance(rounds, dict):
        baseline = next((name for name in BASELINES if rounds.get(name)), "")
        found["cpu_ms"] = tuple(1e3 * r["cpu_s"] / r["items"] for r in rounds.get(OURS, ()))
        found["ratios"] = {key: _ratios(rounds, baseline, name) for key, name in FIGURES.items()}
        found["lost"] = _lost(line, rounds)
    else:
        baseline, found["ratios"] = line["baseline"], _checked(line["ratios"])
        found["lost"] = dict.fromkeys(line.get("lost", ()), "failed")
    machine = line["machine"]
    bench, workload = line["bench"], str(line.get("workload", ""))
    return Run(
        workload=workload if bench == "loader" else f"{bench}/{workload}",
        quick=bool(line.get("quick")),
        machine={key: machine[key] for key in ("cpu", "cores")}
        | {key: machine[key] for key in ("gpu",) if machine.get(key)},
        settings={key: line.get(key) for key in SETTINGS},
        when=str(line["when"]),
        commit=str(line.get("commit", "")),
        baseline=baseline,
        **found,
    )


def _lost(line: Mapping[str, Any], rounds: Mapping[str, Any]) -> dict[str, str]:
    """Return who of ours failed; nostall too where others ran and nobody chose to leave it out."""
    failed = line.get("failed") or {}
    lost = {name: f"failed: {why}" for name, why in failed.items() if name.startswith(OURS)}
    asked = line["bench"] == "loader" and OURS in (line.get("peers") or [OURS])
    if asked and OURS not in lost and not rounds.get(OURS) and any(rounds.values()):
        lost[OURS] = "was not measured"
    return lost


def _ratios(rounds: Mapping[str, Any], baseline: str, figure: str) -> dict[str, list[float]]:
    """Return everyone's ratios; a round of which one of the two is missing or 0 gives none."""
    costs = {name: [r[figure] / r["items"] for r in ones] for name, ones in rounds.items()}
    base = costs.get(baseline, [])
    ratios = {
        name: [b / a for a, b in zip(ones, base, strict=False) if a > 0 and b > 0]
        for name, ones in costs.items()
        if name != baseline
    }
    return {name: ones for name, ones in ratios.items() if ones}


def _checked(ratios: Mapping[str, Any]) -> Ratios:
    """Return ratios as they were kept; ValueError where one is no positive number."""
    kept = {key: {name: list(map(float, r)) for name, r in ratios[key].items()} for key in FIGURES}
    if not all(0 < r < float("inf") for one in kept.values() for rs in one.values() for r in rs):
        raise ValueError("a ratio is not above 0")
    return kept


def groups(runs: Sequence[Run]) -> list[list[Run]]:
    """Return the runs that may be compared with each other, each group oldest first."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(run.kind, []).append(run)
    return list(found.values())


def losses(runs: Sequence[Run]) -> list[Run]:
    """Return the newest run of each work where it lost a contestant of ours. runs: oldest first."""
    newest = {run.same_work: run for run in runs}
    return [run for run in newest.values() if run.lost]


def verdicts(
    group: Sequence[Run], figures: Sequence[str], fall: float, window: int
) -> list[Verdict]:
    """Judge our contestants in the newest run of a group by at most `window` runs before it."""
    *earlier, run = group
    found = []
    for figure in figures:
        for name, now in run.ratios[figure].items():
            there = [one for one in earlier if one.ratios[figure].get(name)][-window:]
            if name.startswith(OURS) and there:
                rounds = [one.ratios[figure][name] for one in there]
                before, limit = judged(rounds, now, fall)
                since = there[-1].commit
                facts = (len(now), len(there), since, before, median(now), limit)
                found.append(Verdict(run, name, figure, *facts))
    return found


def judged(earlier: Sequence[Sequence[float]], now: Sequence[float], fall: float) -> list[float]:
    """Return the ratio of the earlier runs, and below which of `now`'s median it is a fall.

    Each run is its rounds. Scatter is that of single rounds, robust: one disturbed run or round in
    a few does not widen it.
    """
    before = median(median(rounds) for rounds in earlier)
    apart = [abs(log(ratio / before)) for rounds in earlier for ratio in rounds]
    apart += [abs(log(ratio / median(now))) for ratio in now]
    noise = ALLOWED * SIGMAS * median(apart)
    return [before, before * min(1 - fall, exp(-noise))]
