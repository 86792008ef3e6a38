"""Each variant against its baseline, paired: over seeds, and over samples where these were kept.

Holm's correction counts all comparisons of one kind in the report (every variant, headline metric
and place), or those of one baseline, metric and place, as the study says. Over seeds the paired
t-test is corrected; over samples, each averaged over the seeds first, Wilcoxon's signed ranks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from jobs import intervals
from jobs.intervals import LEVEL, RESAMPLES, Paired
from jobs.results import Results
from jobs.study import Metric, Table, Variant

Over = Literal["seeds", "samples"]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A variant minus the baseline over n pairs; mean_baseline is over the same pairs."""

    variant: str
    baseline: str
    place: str
    metric: str
    over: Over
    n: int
    mean_baseline: float
    difference: float
    low: float | None
    high: float | None
    p_t: float | None
    p_wilcoxon: float | None
    p_holm: float | None = None
    verdict: str = ""

    @property
    def p(self) -> float | None:
        """The p value that Holm's correction takes."""
        return self.p_t if self.over == "seeds" else self.p_wilcoxon


def compare(results: Results) -> list[Comparison]:
    """Return all comparisons to a baseline, with corrected p values and verdicts."""
    found: list[Comparison] = []
    for metric in results.study.headline:
        for variant in results.variants:
            if variant.name != results.study.baseline(variant):
                for place in results.places(metric):
                    found += _both(results, variant, place, metric)
    families: dict[Hashable, list[int]] = {}
    for number, one in enumerate(found):
        family = (one.over, one.baseline, one.metric, one.place)
        key = one.over if results.study.correct == "all" else family
        families.setdefault(key, []).append(number)
    for numbers in families.values():
        corrected = intervals.holm([found[number].p for number in numbers])
        for number, p in zip(numbers, corrected, strict=True):
            found[number] = replace(found[number], p_holm=p)
    metrics = {metric.name: metric for metric in results.study.headline}
    return [replace(one, verdict=_verdict(one, metrics[one.metric])) for one in found]


def _both(results: Results, variant: Variant, place: str, metric: Metric) -> Iterator[Comparison]:
    """Yield the comparison over seeds and, where samples were kept, the one over these."""
    names = (variant.name, results.study.baseline(variant))
    for over in results.study.over:
        test: Callable[[Sequence[float]], Paired | None]
        if over == "seeds":
            ours, theirs = _seeds(results, names, place, metric.name)
            test = intervals.over_seeds
        else:
            ours, theirs = _averaged(results, names, place, metric.name)
            test = intervals.over_samples
        pairs = [(ours[key], theirs[key]) for key in ours if key in theirs]
        pairs = [pair for pair in pairs if all(map(math.isfinite, pair))]
        paired = test([one - other for one, other in pairs])
        if paired:
            yield Comparison(
                variant=names[0],
                baseline=names[1],
                place=place,
                metric=metric.name,
                over=over,
                n=paired.n,
                mean_baseline=math.fsum(other for _, other in pairs) / len(pairs),
                difference=paired.mean,
                low=paired.low,
                high=paired.high,
                p_t=paired.p_t,
                p_wilcoxon=paired.p_wilcoxon,
            )


def _seeds(
    results: Results, names: tuple[str, str], place: str, metric: str
) -> list[dict[str, float]]:
    """Return seed -> value, of each variant."""
    found = [results.by_seed(name, place, metric) for name in names]
    return [{str(seed): value for seed, value in one.items()} for one in found]


def _averaged(
    results: Results, names: tuple[str, str], place: str, metric: str
) -> list[dict[str, float]]:
    """Return key -> mean over seeds, of each variant; of the seeds whose samples both kept."""
    kept = [
        {seed: results.samples(name, seed, place, metric) for seed in results.seeds}
        for name in names
    ]
    common = [seed for seed in results.seeds if all(runs[seed] for runs in kept)]
    return [_means([runs[seed] for seed in common]) for runs in kept]


def _means(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return key -> mean, of the keys that every run has."""
    keys = [key for key in runs[0] if all(key in run for run in runs)] if runs else []
    return {key: math.fsum(run[key] for run in runs) / len(runs) for key in keys}


def _verdict(one: Comparison, metric: Metric) -> str:
    if one.p_holm is None:
        return "no test" if one.n < 2 else "no test: the pairs all differ alike"
    if one.p_holm >= 1 - LEVEL:
        return "not told apart"
    if metric.better == "neither":
        return "differs"
    return "better" if (one.difference > 0) == (metric.better == "higher") else "worse"


def table(found: Sequence[Comparison], results: Results) -> Table:
    """Return the comparisons as a table."""
    labels = {variant.name: variant.label or variant.name for variant in results.study.variants}
    metrics = {metric.name: metric.label for metric in results.study.headline}
    rows = [
        [
            f"{labels[one.variant]} − {labels[one.baseline]}",
            f"{metrics[one.metric]} · {one.place}",
            f"{one.n} {one.over if one.n > 1 else one.over[:-1]}",
            f"{one.difference:+.4g}",
            "n/a" if one.low is None or one.high is None else f"{one.low:+.3g} … {one.high:+.3g}",
            *(_p(p) for p in (one.p_t, one.p_wilcoxon, one.p_holm)),
            one.verdict,
        ]
        for one in found
    ]
    header = ["compared", "metric", "pairs", "difference", "95 % interval"]
    header += ["p, t-test", "p, Wilcoxon", "p, Holm", "verdict"]
    samples = (
        f", percentile bootstrap ({RESAMPLES:,} resamples) over samples, each counted once and"
        " averaged over the seeds. Samples say how far this set's samples agree, not how far"
        " another training would"
    )
    counted = {
        "all": "all rows of a kind, of the t-test over seeds and of Wilcoxon's test over samples",
        "each": "the t-tests of the rows of one baseline, metric and place",
    }[results.study.correct]
    note = (
        f"Intervals: t over seeds{samples if 'samples' in results.study.over else ''}."
        f" Holm: over {counted}."
    )
    return Table("Paired differences to the baseline", header, rows, note)


def _p(p: float | None) -> str:
    return "n/a" if p is None else f"{p:.3f}" if p >= 0.001 else f"{p:.1e}"
