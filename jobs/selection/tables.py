"""Tables of the study of batch selection."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

from jobs import intervals
from jobs.comparisons import compare
from jobs.intervals import Spread
from jobs.results import Results
from jobs.selection import EL2N, RANDOM, Column, calibration, informed, labels_of
from jobs.selection.contest import Contest
from jobs.selection.coverage import HARDEST, coverage, mean
from jobs.selection.prepared import KEPT, Prepared
from jobs.study import Table

MARKS = {"better": " ▲", "worse": " ▼"}


def tables(contest: Contest, results: Results) -> list[Table]:
    """Return accuracy and loss in every column, what it cost, and how the data was covered."""
    found = [_figures(contest, results, *one) for one in (("accuracy", True), ("loss", False))]
    found += [_budgets(contest, results), _calibrations(contest)]
    found += [_preparations(contest, results), _coverage(contest, results)]
    return [table for table in found if table.rows]


def _figures(contest: Contest, results: Results, metric: str, in_percent: bool) -> Table:
    """Return a metric of every contender in every column, on the split judged once."""
    place = _place(results, metric)
    verdicts = {
        one.variant: MARKS.get(one.verdict, "")
        for one in compare(results)
        if (one.metric == metric and one.place == place)
    }

    def cell(contender: str, column: Column) -> str:
        name = f"{contender}-{column.name}"
        spread = results.spread(name, place, metric)
        return (percent(spread) if in_percent else nats(spread)) + verdicts.get(name, "")

    rows = [[one, *(cell(one, column) for column in contest.columns)] for one in contest.contenders]
    unit = "%" if in_percent else "nats"
    seeds = len(results.seeds)
    note = (
        f"Mean ± half of the 95 % t interval over {seeds} seed{'s' * (seeds != 1)}, measured once"
        " on weights of the last step; one run has no interval. ▲ better, ▼ worse than random in"
        " the same column: paired t-test over seeds, Holm's correction over the column, 5 %."
        f"{informed(contest.contenders)}"
    )
    header = ["strategy", *(column.title for column in contest.columns)]
    return Table(f"Test {metric}, {unit}, on {place}", header, rows, note)


def _place(results: Results, metric: str) -> str:
    wanted = next(one for one in results.study.headline if one.name == metric)
    return next(iter(results.places(wanted)), "test")


def percent(spread: Spread) -> str:
    """Return a share in per cent."""
    return _ranged(spread, lambda value: f"{100 * value:.2f}")


def nats(spread: Spread) -> str:
    """Return a loss."""
    return _ranged(spread, lambda value: f"{value:.4f}")


def _ranged(spread: Spread, shown: Callable[[float], str]) -> str:
    if spread.mean is None:
        return "n/a"
    half = "n/a" if spread.half is None else shown(spread.half)
    return f"{shown(spread.mean)} ± {half}"


def _budgets(contest: Contest, results: Results) -> Table:
    """Return steps and costs of the runs as they were."""
    noiseless = [column for column in contest.columns if not column.noise]
    rows = []
    for contender in contest.contenders:
        row = [contender]
        for column in noiseless:
            steps = contest.steps(contender, column)
            works = [run.work for run in results.of(f"{contender}-{column.name}") if run.work]
            cost = mean([calibration.cost(work) for work in works])
            decoded = mean([work["decoded"] for work in works])
            row.append("n/a" if steps is None else f"{steps:,}")
            row.append("n/a" if cost is None else f"{cost / contest.frame.cost:.2f}")
            row.append("n/a" if decoded is None else f"{decoded:,.0f}")
            row.append(
                _ranged(intervals.spread([work["seconds"] for work in works]), "{:.1f}".format)
            )
        rows.append(row)
    header = ["strategy"]
    for column in noiseless:
        header += [f"{column.title}: steps", "cost, × random", "samples decoded", "seconds"]
    note = (
        f"Random's steps are {contest.frame.epochs} × the {contest.frame.epoch_steps():,} of an"
        " epoch. Cost: forward passes of one sample, 1 for each sample scored, 3 for each trained"
        f" on; {contest.frame.cost:,} are {contest.frame.epochs} × the split train. In every"
        " column each run's learning rate falls to 0 by its own last step. Columns"
        " with the same steps share their runs. Seconds: what training took in these runs, without"
        " validation and start-up, mean ± half of the 95 % t interval over seeds; whatever else the"
        " machine did meanwhile is in it."
    )
    return Table("Budgets", header, rows if noiseless else [], note)


def _calibrations(contest: Contest) -> Table:
    """Return what a step costs, as it was measured before the runs."""
    known = calibration.read(contest.frame.folder)
    rows = []
    for name in contest.contenders:
        if name in known:
            one = known[name]
            low, high = min(one.rounds()), max(one.rounds())
            rows.append(
                [
                    *(name, f"{one.own.cost:.1f}", f"{one.ratio('cost'):.3f}"),
                    *(f"{1e3 * median(one.own.seconds):.3f}", f"{one.ratio('time'):.3f}"),
                    *(f"{low:.3f} … {high:.3f}", str(one.series)),
                ]
            )
    told = {name: one for name, one in known.items() if name in contest.contenders}
    if known:
        first = min(known.values(), key=lambda one: one.series).random
        seconds = f"{1e3 * median(first.seconds):.3f}"
        rows.insert(0, [RANDOM, f"{first.cost:.1f}", "1", seconds, "1", "", "1"])
    disturbed = [name for name, one in told.items() if one.is_disturbed]
    lengths = sorted({one.length or contest.length for one in told.values()})
    header = ["strategy", "forward passes a step", "× random", "ms a step", "× random"]
    header += ["rounds, × random", "series"]
    note = (
        "Medians over rounds in which the strategies take turns, each run of"
        f" {' or '.join(f'{steps:,}' for steps in lengths)} steps, validation and start-up left"
        " out. Each is set against random in its own rounds: the ratio of times is the median of"
        " the rounds' ratios. Measured once; the steps of equal cost and equal time follow from it."
        f" {EL2N} makes random's batches."
    )
    if disturbed:
        spread = f"{100 * calibration.SPREAD:.0f} %"
        note += f" Rounds differ by more than {spread}, so equal time is uncertain: "
        note += f"{', '.join(disturbed)}."
    return Table("Calibration", header, rows, note)


def _preparations(contest: Contest, results: Results) -> Table:
    """Return what was paid before the runs, which no column counts."""
    found: dict[Prepared, str] = {}
    for column in contest.columns:
        for contender in contest.contenders:
            for one in contest.prepared(contender, column):
                found[one] = contender
    rows = []
    for one, contender in found.items():
        works = [calibration.work(member.run.folder) for member in one.models if member.is_finished]
        if works:
            cost = sum(map(calibration.cost, works))
            cost += calibration.FORWARD * len(works) * contest.frame.manifest.splits["train"]
            steps = sum(int(work["steps"]) for work in works)
            told = [
                f"{len(works)}",
                f"{steps:,}",
                f"{cost / 1e6:.2f}",
                f"{cost / contest.frame.cost:.2f}",
            ]
            rows.append([contender, one.name, *told])
    header = ["strategy", "result", "runs", "steps", "cost, 10⁶ forward", "× a run of random"]
    note = (
        "Trainings and scoring passes that come before a strategy's own runs; no budget counts"
        " them. They are made once for each share of wrong labels and serve all seeds. Irreducible"
        " losses: a network trained on the split val. el2n: the mean over its runs; the"
        f" {100 * KEPT:.0f} % of largest scores are kept."
    )
    return Table("What was prepared", header, rows, note)


def _coverage(contest: Contest, results: Results) -> Table:
    """Return how many of the samples were seen, in the first column."""
    column = contest.columns[0]
    rows = []
    for contender in contest.contenders:
        runs = results.of(f"{contender}-{column.name}")
        found = [one for one in (coverage(contest, run) for run in runs) if one]
        if found:
            first = mean([one.first_epoch for one in found])
            spreads = [[1 - one.never for one in found], [one.top for one in found]]
            seen, top = (percent(intervals.spread(values)) for values in spreads)
            shown = "n/a" if first is None else f"{100 * first:.1f}"
            rows.append([contender, shown, seen, top])
    header = ["strategy", "seen in the first epoch, %", "seen in the run, %"]
    header += [f"visits of the most seen {100 * HARDEST:.0f} %, %"]
    note = (
        f"Of the samples of the split train, in the column of {column.title}: those that were"
        " trained on at least once. An epoch is the strategy's own. Even visits would give"
        f" {100 * HARDEST:.0f} % of them to any {100 * HARDEST:.0f} % of the samples."
        f"{labels_of(column)}"
    )
    return Table("Coverage", header, rows, note)
