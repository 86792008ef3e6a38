"""Every pair of networks on the same test images: McNemar's test and DeLong's.

Both tests take samples as independent, which several images of one lesion are not: they are made on
the first image of each lesion. Differences are of all images, their intervals by resampling
lesions. Each seed's runs are compared for themselves: what is tested is these trained networks, not
what another training would give. Holm's correction counts all rows of a table.

Legend: N samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from itertools import combinations
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from jobs import intervals
from jobs.intervals import LEVEL
from jobs.networks import Frame, kept
from jobs.results import Results
from jobs.study import Table, Variant
from tasks.metrics import bootstrap, operating, paired

Array = npt.NDArray[Any]
Name = Literal["mcnemar", "delong"]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One network beside another of the same seed.

    difference: a − b over n images, with its interval; tested: images of the test, of which
    `only_a` and `only_b` are those that one alone has right.
    """

    test: Name
    place: str
    seed: int
    a: str
    b: str
    n: int
    difference: float
    low: float
    high: float
    tested: int
    p: float | None
    only_a: int | None = None
    only_b: int | None = None
    why: str = ""  # where there is no p
    p_holm: float | None = None


@lru_cache(maxsize=8)
def compare(frame: Frame, results: Results, place: str, test: Name) -> list[Pair]:
    """Return all pairs of networks of which a seed's runs were judged, with corrected p values."""
    found = [
        pair
        for seed in results.seeds
        for a, b in combinations(results.variants, 2)
        for pair in _pair(frame, results, (a, b), seed, place, test)
    ]
    corrected = intervals.holm([one.p for one in found])
    return [replace(one, p_holm=p) for one, p in zip(found, corrected, strict=True)]


def _pair(
    frame: Frame,
    results: Results,
    variants: tuple[Variant, Variant],
    seed: int,
    place: str,
    test: Name,
) -> Iterator[Pair]:
    """Yield the comparison of two networks, where both were judged on the same images."""
    split = place.rpartition("/")[2]
    both = []
    for variant in variants:
        run = next((r for r in results.of(variant.name) if r.member.seed == seed), None)
        outputs = kept.outputs(run.member, split) if run else None
        said = kept.calibration(run.member) if run else None
        if outputs is None or said is None:
            return
        both.append((outputs, said))
    (one, said_a), (other, said_b) = both
    if not np.array_equal(one.ids, other.ids):
        return
    once = np.sort(np.unique(one.groups, return_index=True)[1])  # the first image of each lesion
    facts: dict[str, Any] = {"test": test, "place": place, "seed": seed, "n": len(one.ids)}
    facts |= {"a": variants[0].name, "b": variants[1].name, "tested": len(once)}
    if test == "mcnemar":
        hits = [outputs.predicted == outputs.labels for outputs in (one, other)]
        yield _mcnemar(facts, hits[0], hits[1], one.groups, once)
    else:
        index = said_a["classes"].index(frame.positive)
        scores = [
            outputs.probabilities(said["temperature"])[:, index]
            for outputs, said in ((one, said_a), (other, said_b))
        ]
        yield _delong(facts, scores[0], scores[1], one.labels == index, one.groups, once)


def _mcnemar(facts: dict[str, Any], a: Array, b: Array, group: Array, once: Array) -> Pair:
    """a, b: (N,) whether each has a sample right."""
    difference = a.astype(np.float64) - b
    ends = bootstrap.intervals(lambda rows: {"": float(difference[rows].mean())}, group)[""]
    test = paired.mcnemar(a[once], b[once])
    facts |= {"only_a": test.only_a, "only_b": test.only_b, "p": test.p}
    return Pair(**facts, difference=float(difference.mean()), low=ends[0], high=ends[1])


def _delong(
    facts: dict[str, Any], a: Array, b: Array, positives: Array, group: Array, once: Array
) -> Pair:
    """a, b: (N,) scores of each."""

    def areas(rows: Array) -> dict[str, float]:
        labels = positives[rows].astype(np.int64)
        found = [
            operating.areas(np.stack([-one[rows], one[rows]], axis=1), labels)[1] for one in (a, b)
        ]
        return {"": float(found[0] - found[1])}

    ends, p, why = bootstrap.intervals(areas, group)[""], None, ""
    try:
        p = paired.delong(a[once], b[once], positives[once]).p
    except ValueError as error:  # too few of a kind
        why = str(error)
    difference = areas(np.arange(len(positives)))[""]
    return Pair(**facts, difference=difference, low=ends[0], high=ends[1], p=p, why=why)


def tables(frame: Frame, results: Results, place: str) -> list[Table]:
    """Return both tests of all pairs, where there is a pair."""
    found = [_table(frame, results, place, test) for test in ("mcnemar", "delong")]
    return [one for one in found if one.rows]


def _table(frame: Frame, results: Results, place: str, test: Name) -> Table:
    labels = {one.name: one.label or one.name for one in results.study.variants}
    rows = []
    for one in compare(frame, results, place, test):
        only = [str(one.only_a), str(one.only_b)] if test == "mcnemar" else []
        scale, form = (100, "{:+.1f}") if test == "mcnemar" else (1, "{:+.3f}")
        ends = " … ".join(form.format(scale * end) for end in (one.low, one.high))
        rows.append(
            [
                *(f"{labels[one.a]} − {labels[one.b]}", str(one.seed)),
                *(form.format(scale * one.difference), ends, *only),
                *(
                    _p(one.p),
                    _p(one.p_holm),
                    verdict(one, labels) if one.p is not None else one.why,
                ),
            ]
        )
    what = "accuracy, %" if test == "mcnemar" else f"AUC {frame.positive}"
    header = ["compared", "seed", f"difference of {what}", "95 % interval"]
    header += ["only the first right", "only the second right"] if test == "mcnemar" else []
    header += ["p", "p, Holm", "verdict"]
    name = "McNemar's exact test" if test == "mcnemar" else "DeLong's test"
    tested = {one.tested for one in compare(frame, results, place, test)} if rows else set()
    note = (
        f"{name} on the first image of each lesion ({', '.join(map(str, tested))} images: those of"
        " one lesion are not independent); differences of all images, percentile bootstrap over"
        f" lesions. Holm: over the rows of this table, {len(rows)}. What is compared is these"
        " trained networks; another training may differ, which seeds tell."
    )
    return Table(f"{name} between networks on {place}", header, rows, note)


def verdict(one: Pair, labels: dict[str, str]) -> str:
    """Return which of two networks is better, where they can be told apart."""
    if one.p_holm is None or one.p_holm >= 1 - LEVEL:
        return "not told apart"
    return f"{labels[one.a if one.difference > 0 else one.b]} better"


def facts(frame: Frame, results: Results, place: str) -> list[dict[str, Any]]:
    """Return all pairs and tests as plain facts."""
    tests: tuple[Name, Name] = ("mcnemar", "delong")
    return [asdict(one) for test in tests for one in compare(frame, results, place, test)]


def _p(p: float | None) -> str:
    return "n/a" if p is None else f"{p:.3f}" if p >= 0.001 else f"{p:.1e}"
