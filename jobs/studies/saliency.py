"""Does rewarding the entropy of the bias cost accuracy, and does it help on another set?

Two networks, alike but for the entropy term. What is asked: bias entropy up by 5 % or more,
information gain on the own set down by 2 % or less, information gain on a set never seen up.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from jobs import figures, intervals
from jobs.report import ranged
from jobs.results import Results
from jobs.study import Evaluation, Metric, Picture, Study, Table, Variant

LEAST_GAIN = 0.05  # of bias entropy, as a share of the baseline's
LARGEST_LOSS = 0.02  # of information gain, as a share of the baseline's
METRICS = ("ll", "ig", "nss", "auc", "auc_judd", "sauc", "cc", "kldiv", "sim")
BOUND = "bias_entropy_bound_nats"

Pairs = list[tuple[float, float]]


def tables(results: Results) -> list[Table]:
    """Return what was asked, and the metrics beside centre bias and uniform at each place."""
    places = [*results.own, *results.further]
    return [_asked(results), *(_metrics(results, place) for place in places)]


def _metrics(results: Results, place: str) -> Table:
    here = [run.figures[place] for run in results.runs if place in run.figures]
    shown = [name for name in METRICS if any(name in figures_ for figures_ in here)]
    rows = [
        [v.label, *(ranged(results.spread(v.name, place, name)) for name in shown)]
        for v in results.variants
    ]
    for label, prefix in (("centre bias", "centre_"), ("uniform", "uniform_")):
        known = [next((f[prefix + n] for f in here if prefix + n in f), None) for n in shown]
        rows.append([label, *("n/a" if one is None else f"{one:.4g}" for one in known)])
    note = (
        "Means over images, ± half of the 95 % t interval over seeds. ll and ig: bit per fixation"
        " over uniform, over the leave-one-image-out centre bias; kldiv: nats, lower is better."
        " Centre bias and uniform are the same for every run."
    )
    return Table(f"Metrics on {place}", ["", *shown], rows, note)


def _asked(results: Results) -> Table:
    own = results.own[0]
    rows = [
        _entropy(results, own, "with centre bias", "bias_entropy_nats"),
        _entropy(results, own, "readout alone", "readout_entropy_nats"),
        _loss(_pairs(results, own, "ig"), own),
        *(_trend(_pairs(results, place, "ig"), place) for place in results.further),
    ]
    if not results.further:
        rows.append(["information gain on another set: up", "n/a", "no other set was judged"])
    note = (
        "The entropy-regularised network against the baseline of the same seed: mean ± half of the"
        " 95 % t interval. No density has more entropy than the uniform one, ln(HW): a baseline"
        " within 5 % of that bound cannot be surpassed by 5 %, whatever the training."
    )
    return Table("What was asked", ("criterion", "measured", "answer"), rows, note)


def _pairs(results: Results, place: str, metric: str) -> Pairs:
    """Return (regularised, baseline) of every seed that has both."""
    new, old = (results.by_seed(name, place, metric) for name in ("entropy", "baseline"))
    return [(new[seed], old[seed]) for seed in new if seed in old]


def _entropy(results: Results, place: str, which: str, metric: str) -> list[str]:
    name = f"bias entropy, {which}: {100 * LEAST_GAIN:+.0f} % or more"
    pairs, bounds = _pairs(results, place, metric), _pairs(results, place, BOUND)
    if not pairs:
        return [name, "n/a", "wants both variants of one seed"]
    gains = [new / old - 1 for new, old in pairs]
    possible = [bound / old - 1 for (_, old), (_, bound) in zip(pairs, bounds, strict=True)]
    room = f"at most {100 * sum(possible) / len(possible):+.2f} % was possible"
    if max(possible) < LEAST_GAIN:
        return [name, _percent(gains), f"could not be met: {room}"]
    return [name, _percent(gains), f"{_met(gains, LEAST_GAIN)}; {room}"]


def _loss(pairs: Pairs, place: str) -> list[str]:
    name = f"information gain on {place}: down by {100 * LARGEST_LOSS:.0f} % at the most"
    if not pairs:
        return [name, "n/a", "wants both variants of one seed"]
    if min(old for _, old in pairs) <= 0:
        changes = ranged(intervals.spread([new - old for new, old in pairs]))
        return [name, f"{changes} bit", "no share of it: the baseline is not above centre bias"]
    changes_ = [new / old - 1 for new, old in pairs]
    return [name, _percent(changes_), _met(changes_, -LARGEST_LOSS)]


def _trend(pairs: Pairs, place: str) -> list[str]:
    name = f"information gain on {place}: up"
    if not pairs:
        return [name, "n/a", "wants both variants of one seed"]
    gains = [new - old for new, old in pairs]
    ups = sum(gain > 0 for gain in gains)
    seeds = f"{ups} of {len(gains)} seeds up"
    return [name, f"{ranged(intervals.spread(gains))} bit", f"{_met(gains, 0.0, True)}; {seeds}"]


def _met(values: Sequence[float], least: float, strictly: bool = False) -> str:
    """Return whether the mean reaches a bound, and whether its interval lies on one side of it."""
    spread = intervals.spread(values)
    assert spread.mean is not None
    met = spread.mean > least if strictly else spread.mean >= least
    if spread.low is None or spread.high is None:
        return ("met" if met else "not met") + ", by one seed"
    sure = spread.low >= least or spread.high < least
    return ("met" if met else "not met") + ("" if sure else ", within the seeds' spread")


def _percent(values: Sequence[float]) -> str:
    return f"{ranged(intervals.spread([100 * value for value in values]))} %"


def pictures(results: Results, folder: Path) -> list[Picture]:
    """Draw the trade-off: in three panels, and information gain over bias entropy."""
    own, further = results.own[0], results.further
    shown = [(own, "bias_entropy_share"), (own, "ig"), *((place, "ig") for place in further)]
    figure = Figure(figsize=(4 * len(shown), 3.6), layout="constrained")
    panels = figure.subplots(1, len(shown), squeeze=False)[0]
    for axes, (place, metric) in zip(panels, shown, strict=True):
        figures.points(axes, results, place, metric)
        axes.set(title=place, ylabel="information gain, bit per fixation")
    panels[0].set(title="uniform images", ylabel="bias entropy / ln(HW)")
    _bounds(panels[0].axhline, results, own)
    panels[0].legend(fontsize="small")
    path = figures.save(figure, folder / "tradeoff.png", results)
    caption = (
        "Entropy trade-off: bias entropy as a share of its upper bound, information gain on the"
        " own set and on sets never seen. A small dot a seed; means with 95 % t intervals."
    )
    return [Picture(path, caption), _scatter(results, folder / "entropy_ig.png")]


def _bounds(line: Any, results: Results, place: str) -> None:
    """Draw the upper bound of the entropy share, and the share that was asked for."""
    line(1.0, color="black", linewidth=1, label="upper bound")
    baseline = results.spread("baseline", place, "bias_entropy_share").mean
    if baseline is not None:
        wanted = (1 + LEAST_GAIN) * baseline
        line(wanted, color="black", linestyle="--", linewidth=1, label="asked for: +5 %")


def _scatter(results: Results, path: Path) -> Picture:
    own = results.own[0]
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots()
    for number, variant in enumerate(results.variants):
        share = results.spread(variant.name, own, "bias_entropy_share")
        for place, marker in zip([own, *results.further], "osD^v", strict=False):
            gain = results.spread(variant.name, place, "ig")
            if share.mean is None or gain.mean is None:
                continue
            axes.errorbar(
                [share.mean],
                [gain.mean],
                None if gain.half is None else [gain.half],
                None if share.half is None else [share.half],
                fmt=marker,
                markerfacecolor=figures.colour(number) if place == own else "white",
                linewidth=1,
                color=figures.colour(number),
                capsize=3,
                label=f"{variant.label}, {place}",
            )
    _bounds(axes.axvline, results, own)
    axes.set(xlabel="bias entropy / ln(HW)", ylabel="information gain, bit per fixation")
    axes.grid(alpha=0.3)
    figure.legend(fontsize="small", loc="outside right upper")
    caption = "Information gain over bias entropy; bars: 95 % t intervals over seeds."
    return Picture(figures.save(figure, path, results), caption)


STUDY = Study(
    summary="Entropy-regularised saliency against the baseline, in and out of domain.",
    variants=(
        Variant(name="baseline", model="saliency", label="baseline"),
        Variant(name="entropy", model="saliency_entropy", label="entropy-regularised"),
    ),
    headline=(
        Metric(name="ig", label="information gain", unit="bit per fixation"),
        Metric(name="nss", label="NSS"),
        Metric(name="auc", label="AUC"),
        Metric(name="bias_entropy_share", label="bias entropy / ln(HW)", where="own"),
    ),
    seeds=(42,),
    evaluations=(Evaluation(data="cat2000"),),
    curves=("nll",),
    tables=tables,
    figures=pictures,
)
