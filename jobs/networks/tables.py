"""Tables of the study of networks. A row is a network; one that is not there has n/a."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import Any

from dataprep.progress import clock
from jobs import intervals
from jobs.networks import AFTER, BEFORE, CALIBRATIONS, OUTSIDE, Frame, Shown, kept, pairs
from jobs.results import Result, Results
from jobs.study import Member, Table, Variant

NONE = "n/a"
RATES = ("sensitivity", "specificity", "ppv", "npv")
RATE_TITLES = ("sensitivity, %", "specificity, %", "PPV, %", "NPV, %")


def tables(frame: Frame, results: Results) -> list[Table]:
    """Return figures, calibration and operating points at each place, costs, ranks and tests."""
    found: list[Table] = []
    for place in places(frame, results):
        found += [figures(frame, results, place), calibrations(frame, results, place)]
        found += [points(frame, results, place)]
    found += [costs(results)]
    for place in places(frame, results):
        found += [ranking(frame, results, place), *pairs.tables(frame, results, place)]
    return found


def places(frame: Frame, results: Results) -> list[str]:
    """Return the places that were judged, the untouched test split first."""
    found = dict.fromkeys(place for run in results.runs for place in kept.judged(run.member))
    return sorted(found, key=lambda place: place.endswith(OUTSIDE))


def runs(results: Results, variant: Variant) -> str:
    """Return how many runs of a network are there."""
    return str(len(results.of(variant.name)))


def cell(results: Results, variant: Variant, place: str, metric: str, shown: Shown) -> str:
    """Return a figure with its interval: bootstrap of one run, t of several seeds."""
    found = results.by_seed(variant.name, place, metric)
    spread = intervals.spread(list(found.values()))
    if spread.mean is None:
        return NONE
    if spread.half is not None:
        return f"{shown.text(spread.mean)} ± {shown.text(spread.half)}"
    run = next(one for one in results.of(variant.name) if one.member.seed in found)
    both = kept.interval(run.member, place, metric)
    if both is None:
        return shown.text(spread.mean)
    return f"{shown.text(spread.mean)} [{shown.text(both[0])}, {shown.text(both[1])}]"


def spreads(results: Results) -> str:
    """Return what the intervals are."""
    if len(results.seeds) < 2:
        return (
            "[95 % percentile bootstrap over lesions: those of this test, not of another training]"
        )
    return "Mean ± half of the 95 % t interval over seeds."


def untouched(frame: Frame, place: str) -> str:
    """Return how far a place is from what was chosen by."""
    split = place.rpartition("/")[2]
    what = "an outside test set" if split == OUTSIDE else "the split that nothing was chosen on"
    return f"On {place}, {what}; temperatures and thresholds are of the split calibration."


def figures(frame: Frame, results: Results, place: str) -> Table:
    """Return how well the classes are told apart."""
    rows = [
        [_name(one), *(cell(results, one, place, shown.name, shown) for shown in frame.figures)]
        for one in results.study.variants
    ]
    header = ["network", *(shown.axis for shown in frame.figures)]
    return Table(
        f"Networks on {place}", header, rows, f"{untouched(frame, place)} {spreads(results)}"
    )


def calibrations(frame: Frame, results: Results, place: str) -> Table:
    """Return calibration errors before and after temperature scaling."""
    rows = []
    for variant in results.study.variants:
        temperature = _over(results, variant, _temperature, "{:.3f}")
        for stage, told in ((BEFORE, "1"), (AFTER, temperature)):
            cells = (cell(results, variant, place, one.name + stage, one) for one in CALIBRATIONS)
            rows.append([_name(variant), stage.strip("_"), told, *cells])
    header = ["network", "temperature scaling", "T", *(one.axis for one in CALIBRATIONS)]
    note = (
        f"{untouched(frame, place)} 15 bins; Brier score: mean over images of the sum over classes,"
        f" from 0 to 2. No temperature changes which class is told. Calibration errors come out too"
        " high on few images, and more so on resampled ones: a figure may lie at the lower end of"
        f" its interval, or below. {spreads(results)}"
    )
    return Table(f"Calibration on {place}", header, rows, note)


def points(frame: Frame, results: Results, place: str) -> Table:
    """Return the rates at the operating points."""
    percent = Shown(name="", title="", percent=True)
    rows = []
    for variant in results.study.variants:
        for point, promise in frame.points.items():
            threshold = _over(results, variant, partial(_threshold, point), "{:.3f}")
            rates = (cell(results, variant, place, f"{rate}@{point}", percent) for rate in RATES)
            rows.append([_name(variant), promise, threshold, *rates])
    header = ["network", "promised on calibration", "threshold", *RATE_TITLES]
    note = (
        f"{frame.positive} against all other classes, told where its calibrated probability is the"
        f" threshold or more. {untouched(frame, place)} What is promised there holds here but for"
        f" chance. {spreads(results)}"
    )
    return Table(f"Operating points on {place}", header, rows, note)


def costs(results: Results) -> Table:
    """Return parameters, times of inference and of training."""
    rows, machines = [], dict[str, None]()
    for variant in results.study.variants:
        found = [one for run in results.of(variant.name) if (one := kept.timing(run.member))]
        row = [_name(variant), f"{found[0]['parameters'] / 1e6:.1f}" if found else NONE]
        row.append(" × ".join(map(str, found[0]["input"][1:])) if found else NONE)
        row += [milliseconds(found, batch) for batch in ("1", "32")]
        rates = [images_per_s(one, "32") for one in found]
        row.append(f"{median(rates):,.1f}" if rates else NONE)
        for one in found:
            threads = f", {one['threads']} threads" if one["device"] else ""
            machines[f"{one['device']}{threads}, {one['precision']}"] = None
        works = [run.work for run in results.of(variant.name) if run.work]
        row += [", ".join(clock(work["seconds"]) for work in works) or NONE]
        row += [", ".join(f"{work['steps']:,}" for work in works) or NONE]
        rows.append(row)
    header = ["network", "parameters, millions", "image, px", "ms an image, batch 1", "batch 32"]
    header += ["images/s, batch 32", "training", "steps"]
    note = (
        f"Measured on {'; '.join(machines) or 'nothing yet'}. Inference: random images of the"
        " network's own size, synchronised, after a warm-up, nothing else running; median of the"
        " rounds (fastest … slowest). Training: steps alone, without validation and start-up."
    )
    return Table("Costs", header, rows, note)


def milliseconds(found: Sequence[kept.Facts], batch: str) -> str:
    """Return the time of an image of a batch, with its range."""
    known = [one["batches"][batch] for one in found if batch in one["batches"]]
    if not known:
        return NONE
    middle = median(one["ms_per_image"] for one in known)
    low, high = min(one["low"] for one in known), max(one["high"] for one in known)
    return f"{middle:.2f} ({low:.2f} … {high:.2f})"


def images_per_s(found: kept.Facts, batch: str) -> float:
    """Return a throughput, NaN where it was not measured."""
    return float(found["batches"].get(batch, {}).get("images_per_s", float("nan")))


def ranks(frame: Frame, results: Results, place: str) -> dict[str, dict[str, int]]:
    """Return figure -> network -> rank, 1 for the best mean; equal ones share the better rank."""
    found: dict[str, dict[str, int]] = {}
    for shown in frame.ranked:
        sign = -1 if shown.better == "higher" else 1
        means = {
            one.name: sign * mean
            for one in results.variants
            if (mean := results.spread(one.name, place, shown.name).mean) is not None
        }
        found[shown.name] = {
            name: 1 + sum(other < value for other in means.values())
            for name, value in means.items()
        }
    return found


def ranking(frame: Frame, results: Results, place: str) -> Table:
    """Return each network's rank by each figure."""
    found = ranks(frame, results, place)
    rows = []
    for variant in results.study.variants:
        own = [found[shown.name].get(variant.name) for shown in frame.ranked]
        known = [rank for rank in own if rank is not None]
        mean = f"{sum(known) / len(known):.2f}" if known else NONE
        rows.append([_name(variant), *(NONE if one is None else str(one) for one in own), mean])
    header = ["network", *(shown.title for shown in frame.ranked), "mean rank"]
    note = "1 is best, by means over seeds; whether networks can be told apart, the tests say."
    return Table(f"Ranks on {place}", header, rows, note)


def _name(variant: Variant) -> str:
    return variant.label or variant.name


def _over(results: Results, variant: Variant, value: Callable[[Result], Any], form: str) -> str:
    """Return a number of each run of a network, seed by seed."""
    found = [value(run) for run in results.of(variant.name)]
    return ", ".join(form.format(one) for one in found if one is not None) or NONE


def _temperature(run: Result) -> Any:
    found = kept.calibration(run.member)
    return found["temperature"] if found else None


def _threshold(point: str, run: Result) -> Any:
    found = kept.calibration(run.member)
    return found["points"].get(point, {}).get("threshold") if found else None


def first(results: Results, variant: Variant) -> Member | None:
    """Return a network's run of the lowest seed that was calibrated: the one that is drawn."""
    return next(
        (one.member for one in results.of(variant.name) if kept.calibration(one.member)), None
    )
