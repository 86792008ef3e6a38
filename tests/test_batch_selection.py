"""The study of batch selection: budgets, shared runs, preparations, its report, and a small one."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from scipy import stats
from selection_runs import SAMPLES, Spots, calibrate, members, write_run
from toys import built

import jobs.selection.contest
from dataprep.manifest import DataError
from jobs import plan, studies
from jobs.__main__ import main
from jobs.selection import COLUMNS, contenders
from jobs.selection import calibration as calibrations
from jobs.selection.calibration import Calibration, Measured, measured
from jobs.selection.curves import _above
from jobs.selection.drawing import fences
from jobs.selection.prepared import Prepared
from jobs.study import Execution, Study
from loaders import Dataset, strategies

PLACE = "spots/test"


# Calibration


def test_cost_and_time_by_hand() -> None:
    """Two rounds of ten steps: 128 scored and 64 trained on a step; a random step trains 64."""
    work = {"steps": 10, "decoded": 1280, "scored": 1280, "trained": 640, "seconds": 0.5}
    own = measured([work, work | {"seconds": 0.7}])
    assert own.cost == 128 + 3 * 64 and own.seconds == pytest.approx([0.05, 0.07])
    random = Measured(3 * 64, [0.02, 0.04])
    one = Calibration(1, own, random)
    assert one.rounds() == pytest.approx([2.5, 1.75]) and one.is_disturbed
    # Of pairs: the medians' own ratio would be 2.
    assert one.ratio("cost") == pytest.approx(320 / 192)
    assert one.ratio("time") == pytest.approx(2.125)
    # 844 · 192 / 320 = 506.4 and 844 / 2.125 = 397.2.
    found = [one.steps(budget, 844) for budget in ("steps", "cost", "time")]
    assert found == [844, 506, 397]
    assert Calibration(1, Measured(3, [1]), Measured(1, [1])).steps("cost", 8) == 2  # 2.67: no more
    assert not Calibration(1, Measured(1, [1.0, 1.05]), Measured(1, [1, 1])).is_disturbed
    assert Calibration(1, Measured(1e6, [1.0]), random).steps("cost", 10) == 1
    # A short batch more or less is no other cost.
    assert Calibration(1, Measured(191.5, [1.0]), random).steps("cost", 844) == 844


def test_a_calibration_is_never_changed(tmp_path: Path) -> None:
    one = Calibration(1, Measured(1, [1.0]), Measured(2, [3.0]))
    calibrations.add(tmp_path, "smart", one)
    calibrations.add(tmp_path, "smart", replace(one, series=2))
    calibrations.add(tmp_path, "fixed", replace(one, series=2))
    assert calibrations.read(tmp_path) == {"smart": one, "fixed": replace(one, series=2)}


@pytest.mark.parametrize("text", ["{", "[]", '{"smart": {"series": 1}}', '{"smart": 3}'])
def test_a_damaged_calibration_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "calibration.json").write_text(text)
    with pytest.raises(DataError, match=r"calibration\.json: damaged"):
        calibrations.read(tmp_path)


# Variants


@pytest.fixture(scope="module")
def spots(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return built(Spots(), tmp_path_factory.mktemp("selection") / "data" / "spots")


def made(root: Path, spots: Dataset, **options: Any) -> Study:
    (root / "data").mkdir(exist_ok=True)
    if not (root / "data" / "spots").exists():
        (root / "data" / "spots").symlink_to(spots.folder)
    kind = studies.load("batch_selection")
    execution = Execution(runs=root / "runs", data_root=str(root / "data"))
    return kind.study(kind.options(data="spots", **options), execution)


def test_every_strategy_is_a_contender() -> None:
    """A new file appears by itself: in the study, and in the help of its command.

    But for what goes by the true labels, which a comparison under wrong labels cannot have.
    """
    wanted = {*strategies.names(), "el2n"} - {"balanced"}
    assert set(contenders()) == wanted and contenders()[0] == "random"
    shown = CliRunner().invoke(main, ["study", "batch_selection", "--help"]).output
    assert ",".join(contenders()) in re.sub(r"\s", "", shown)


def test_variants_are_compared_within_their_column(tmp_path: Path, spots: Dataset) -> None:
    study = made(tmp_path, spots)
    assert len(study.variants) == len(contenders()) * len(COLUMNS)
    for variant in study.variants:
        contender, column = variant.name.rsplit("-", 1)
        assert study.baseline(variant) == f"random-{column}"
        assert variant.settings["strategy"] == ("random" if contender == "el2n" else contender)


def test_columns_share_runs_where_the_steps_are_the_same(tmp_path: Path, spots: Dataset) -> None:
    study = made(tmp_path, spots, strategies=("smart", "selective_backprop"), epochs=50)
    folder = tmp_path / "runs" / "batch_selection"
    there = {one.name for one in members(study, folder, (1,))}
    assert "smart-steps-s1" in there and "smart-cost-s1" not in there  # not calibrated yet
    calibrate(folder, {"smart": (1.0, 1.2), "selective_backprop": (5 / 3, 2.0)})
    found = {one.name: one for one in members(study, folder, (1,))}
    homes = {name: one.home for name, one in found.items() if name != one.home}
    assert homes == {
        "random-cost-s1": "random-steps-s1",
        "random-time-s1": "random-steps-s1",
        "smart-cost-s1": "smart-steps-s1",
    }
    steps = {name: one.facts["recipe"]["steps"] for name, one in found.items()}
    assert (steps["smart-steps-s1"], steps["selective_backprop-cost-s1"]) == (100, 60)
    rounds = [1.2 * 0.0011 / 0.001, 1.2 * 0.00115 / 0.0011, 1.2 * 0.0010 / 0.0012]
    assert steps["smart-time-s1"] == int(100 / np.median(rounds))


def test_settings_of_a_run(tmp_path: Path, spots: Dataset) -> None:
    study = made(tmp_path, spots, strategies=("smart",), epochs=50, columns=("steps", "noise30"))
    found = {one.name: one for one in members(study, tmp_path / "runs" / "x", (7,))}
    recipe = found["smart-noise30-s7"].facts["recipe"]
    assert recipe["net"] == {"side": 6, "channels": 1, "classes": 3}
    assert recipe["task_options"]["label_noise"] == 0.3 and recipe["seed"] == 7
    assert (recipe["steps"], recipe["epochs"], recipe["validate_every"]) == (100, 0, 10)
    assert (recipe["schedule"], recipe["train_split"], recipe["val_split"]) == (
        *("cosine", "train", "val"),
    )
    command = " ".join(found["smart-steps-s7"].command())
    assert "--seed 7" in command and "label_noise" not in command


def test_what_a_strategy_wants_is_prepared_first(tmp_path: Path, spots: Dataset) -> None:
    study = made(tmp_path, spots, strategies=("rholoss", "el2n"), columns=("steps", "noise10"))
    labels = [work.label for work in study.preparations]
    assert labels[:2] == ["prepare irreducible_loss-noise0-s2024", "score irreducible_loss-noise0"]
    assert labels[2:7] == [
        *(f"prepare el2n-noise0-s{seed}" for seed in (2024, 2025, 2026)),
        *("score el2n-noise0", "prune el2n-noise0"),
    ]
    turns = [f"calibrate-1/{name}-s{s}" for s in (2024, 2025) for name in ("random", "rholoss")]
    assert labels[7:12] == [*turns, "calibration of rholoss"]
    assert labels[12:14] == [
        "prepare irreducible_loss-noise10-s2024",
        "score irreducible_loss-noise10",
    ]
    runs = {f"{one.name}-s{seed}" for one in study.variants for seed in study.seeds}
    assert len({*labels}) == len(labels) and not runs & {*labels}  # a label is one work's
    after = {one.name: one.after for one in study.variants}
    assert after["rholoss-noise10"] == ("score irreducible_loss-noise10",)
    assert after["el2n-steps"] == ("prune el2n-noise0",) and after["random-steps"] == ()
    works = {work.label: work for work in study.preparations}
    trained = " ".join(works["prepare irreducible_loss-noise0-s2024"].command())
    assert "--train-split val --val-split train" in trained  # never on the test set
    assert all(work.alone for label, work in works.items() if label.startswith("calib"))


def test_what_is_calibrated_is_not_calibrated_again(tmp_path: Path, spots: Dataset) -> None:
    """A strategy that is added takes turns with random anew."""
    calibrate(tmp_path / "runs" / "batch_selection", {"smart": (1.0, 1.2)})
    study = made(tmp_path, spots, strategies=("smart", "fixed"))
    labels = [work.label for work in study.preparations]
    assert labels[:2] == ["calibrate-2/random-s2024", "calibrate-2/fixed-s2024"]
    assert labels[-2:] == ["calibration of fixed", "calibration of smart"]
    assert not any("smart" in label for label in labels[:-1])


def test_a_table_that_nobody_makes_is_named(
    tmp_path: Path, spots: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs.selection.contest, "tables_of", lambda name: ("hardness",))
    with pytest.raises(ValueError, match="wants the table hardness; this study makes: irred"):
        made(tmp_path, spots)


# The command


def command(root: Path, *other: str) -> Result:
    places = ["--into", str(root / "runs"), "--data-root", str(root / "data"), "--data", "spots"]
    arguments = ["study", "batch_selection", *places, "--device", "cpu", "--threads", "1", *other]
    return CliRunner().invoke(main, arguments)


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (["--strategies", "clever"], "--strategies: no 'clever'; there are: random, "),
        (["--columns", "noise50"], "--columns: no 'noise50'; there are: steps, "),
        (["--columns", ","], "--columns: want one or more"),
        (["--set", "steps=3"], "--set steps: give --epochs"),
        (["--set", "strategy=fixed"], "--set strategy: give --strategies"),
        (["--runs", "2", "--seeds", "1"], "give --runs or --seeds, not both"),
        (["--epochs", "-1"], "--epochs and --calibrate must be at least 0"),
        (["--set", "global_batch_size=0"], "--global-batch-size must be at least 1"),
        (["--seeds", "a"], "--seeds a: want whole numbers"),
        (["--set", "strategy_option.explor=0.3"], "strategy_option.explor: none of random, "),
        (["--report-only"], "nothing was run here yet"),
        (["--data", "nothing"], "no such set"),
        (["--jobs", "0"], "0 is not in the range"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, spots: Dataset, other: list[str], why: str) -> None:
    made(tmp_path, spots)
    result = command(tmp_path, *other)
    assert result.exit_code == 2, result.output
    assert why in result.output and result.output.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_dry_run_knows_what_comes_later(tmp_path: Path, spots: Dataset) -> None:
    made(tmp_path, spots)
    asked = ("--strategies", "rholoss", "--columns", "steps,cost", "--runs", "1", "--dry-run")
    lines = command(tmp_path, *asked).output.splitlines()
    assert (
        "# later: score irreducible_loss-noise0, after prepare irreducible_loss-noise0-s2024"
        in lines
    )
    late = "score irreducible_loss-noise0, calibration of rholoss"
    assert lines[-1] == f"# later: rholoss-cost-s2024, after {late}"
    runs = [line for line in lines if "batch_selection/random-" in line]
    assert len(runs) == 1  # both columns' run
    assert "--judge test" in runs[0] and "--count-visits" in runs[0]
    assert not (tmp_path / "runs").exists()


def test_a_calibration_has_the_budget_of_the_study(tmp_path: Path, spots: Dataset) -> None:
    """Its runs begin anew where some of another length lie."""
    folder = tmp_path / "runs" / "batch_selection" / "calibration" / "1" / "random-s2024"
    folder.mkdir(parents=True)
    (folder / "recipe.json").write_text('{"recipe": {"steps": 300}}')
    study = made(tmp_path, spots, strategies=("smart",), columns=("time",), epochs=50)
    work = next(one for one in study.preparations if one.kind == "calibrate")
    assert work.label == "calibrate-2/random-s2024" and "--steps 100" in " ".join(work.command())


def test_only_what_is_wanted_is_prepared(tmp_path: Path, spots: Dataset) -> None:
    made(tmp_path, spots)
    asked = ("--strategies", "smart,rholoss", "--runs", "1", "--dry-run", "--variants")
    plain = command(tmp_path, *asked, "smart-steps").output
    assert "calibrat" not in plain and "irreducible" not in plain and "smart-steps" in plain
    timed = command(tmp_path, *asked, "smart-time").output
    assert "calibration/1/smart-s2025" in timed and "rholoss" not in timed


def test_a_damaged_table_stops_only_who_wants_it(
    tmp_path: Path, spots: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(self: Prepared) -> str | None:
        raise DataError("origin.json", "", "damaged")

    monkeypatch.setattr(Prepared, "table", damaged)
    made(tmp_path, spots)
    asked = ("--strategies", "rholoss,fixed", "--columns", "steps", "--runs", "1", "--dry-run")
    result = command(tmp_path, *asked)
    assert result.exit_code == 0, result.output
    assert "# later: rholoss-steps-s2024, after score irreducible_loss-noise0" in result.output
    assert "batch_selection/fixed-steps-s2024" in result.output


def test_options_reach_the_strategies_that_have_them(tmp_path: Path, spots: Dataset) -> None:
    made(tmp_path, spots)
    asked = ("--columns", "steps", "--runs", "1", "--strategies", "smart,fixed", "--dry-run")
    option = "strategy_option.explore=0.3"
    output = command(tmp_path, *asked, "--set", option).output
    (smart,) = (line for line in output.splitlines() if "smart-steps" in line)
    assert "explore=0.3" in smart and output.count("explore=0.3") == 1


def test_a_column_that_is_added_takes_over_what_is_finished(tmp_path: Path, spots: Dataset) -> None:
    folder = tmp_path / "runs" / "batch_selection"
    given: dict[str, Any] = {"strategies": ("smart",), "epochs": 50}
    calibrate(folder, {"smart": (1.0, 1.2)})
    for member in members(made(tmp_path, spots, columns=("cost",), **given), folder, (1,)):
        write_run(member, spots.manifest.fingerprint, {"accuracy": 0.5, "loss": 1.0}, "spots")
    both = list(members(made(tmp_path, spots, columns=("steps", "cost"), **given), folder, (1,)))
    assert [one.name for one in both if one.is_finished] == [one.name for one in both]
    assert {one.home for one in both} == {"random-cost-s1", "smart-cost-s1"}


def test_lists_that_nobody_typed_grow_and_shrink(
    tmp_path: Path, spots: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new strategy joins a study of all, one that is gone leaves any; both are said."""
    made(tmp_path, spots)
    folder = tmp_path / "runs" / "batch_selection"
    folder.mkdir(parents=True)
    options = {"data": "spots", "strategies": ["random", "clever"], "columns": ["steps"]}
    options |= {"epochs": 0, "quick": False, "calibrate": 300}
    facts = {"study": "batch_selection", "overrides": {}, "seeds": [1], "options": options}
    for untyped, joins in ([], False), (["strategies"], True):
        (folder / "study.json").write_text(json.dumps({**facts, "untyped": untyped}))
        output = command(tmp_path, "--dry-run").output
        assert "left out, no 'clever' in strategies any more" in output
        assert ("smart-steps-s1" in output) == joins and "random-steps-s1" in output
        assert "smart-time" not in output


def test_differences_are_of_the_same_seed_and_share() -> None:
    """Random without seed 1; the other's budget is half of its and no multiple of its steps."""
    random = {2: {10.0: 1.0, 50.0: 2.0, 100.0: 3.0}, 3: {100.0: 9.0}}
    own = {1: {50.0: 7.0}, 2: {5.0: 1.5, 24.5: 2.75, 40.0: 8.0, 49.0: 8.0, 50.0: 4.0}}
    assert _above(own, random) == {2: {5.0: 0.5, 24.5: 0.75, 50.0: 1.0}}


# The report, of runs that were written by hand


@pytest.fixture(scope="module")
def reported(spots: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Three strategies, three columns and four seeds."""
    root = tmp_path_factory.mktemp("reported")
    asked = ("smart", "selective_backprop")
    columns = ("steps", "cost", "noise30")
    study = made(root, spots, strategies=asked, columns=columns, epochs=50)
    folder = root / "runs" / "batch_selection"
    calibrate(folder, {"smart": (1.0, 1.2), "selective_backprop": (5 / 3, 2.0)})
    for member in members(study, folder, (2024, 2025, 2026, 2027)):
        if member.name == member.home:
            figures = {"accuracy": accuracy(member.variant.name, member.seed), "loss": 0.5}
            write_run(member, spots.manifest.fingerprint, figures, "spots")
    given = ("--strategies", ",".join(asked), "--columns", ",".join(columns), "--epochs", "50")
    result = command(root, *given, "--runs", "4", "--report-only")
    assert result.exit_code == 0, result.output
    yield folder


def accuracy(variant: str, seed: int) -> float:
    """Return a figure that grows with the seed; smart is better by about 0.02."""
    rng = np.random.default_rng([seed, *variant.encode()])
    better = 0.02 if variant.startswith("smart") else 0.0
    return float(0.7 + 0.001 * (seed - 2024) + better + 0.002 * rng.random())


def test_paired_tests_are_corrected_within_a_column(reported: Path) -> None:
    facts = json.loads((reported / "summary.json").read_text())
    rows = {(row["variant"], row["metric"]): row for row in facts["rows"]}
    one = rows["smart-noise30", "accuracy"]
    seeds = range(2024, 2028)
    own, random, other = (
        [accuracy(f"{name}-noise30", seed) for seed in seeds]
        for name in ("smart", "random", "selective_backprop")
    )
    test = stats.ttest_rel(own, random)
    ps = [test.pvalue, stats.ttest_rel(other, random).pvalue]
    assert one["baseline"] == "random-noise30" and one["place"] == PLACE
    assert one["p_t"] == pytest.approx(ps[0])
    assert one["p_holm"] == pytest.approx(min(1, 2 * ps[0]))  # two comparisons in the column
    assert ps[0] < ps[1] and one["verdict"] == "better"
    low, high = stats.t.interval(0.95, 3, np.mean(own), stats.sem(own))
    assert [one["mean"], one["low"], one["high"]] == pytest.approx([np.mean(own), low, high])
    interval = test.confidence_interval(0.95)
    assert [one["difference_low"], one["difference_high"]] == pytest.approx(list(interval))
    assert rows["random-noise30", "accuracy"]["baseline"] is None
    assert {row["metric"] for row in facts["rows"]} == {"accuracy", "loss"}
    assert {row["place"] for row in facts["rows"]} == {PLACE}  # no training figures anywhere


def test_a_shared_run_counts_in_both_columns(reported: Path) -> None:
    with open(reported / "summary.csv", newline="") as file:
        rows = {(row["variant"], row["metric"]): row for row in csv.DictReader(file)}
    steps, cost = (rows[f"smart-{name}", "accuracy"] for name in ("steps", "cost"))
    assert steps["mean"] == cost["mean"] and steps["p_t"] == cost["p_t"]
    assert rows["random-steps", "accuracy"]["p_t"] == ""
    assert not (reported / "smart-cost-s2024").exists()


def test_tables_of_the_study(reported: Path) -> None:
    tables = {
        one["title"]: one for one in json.loads((reported / "report.json").read_text())["tables"]
    }
    first = tables[f"Test accuracy, %, on {PLACE}"]
    assert first["header"] == ["strategy", "equal steps", "equal cost", "30 % wrong labels"]
    shown = {row[0]: row[1:] for row in first["rows"]}
    own = [accuracy("smart-steps", seed) for seed in range(2024, 2028)]
    half = stats.t.ppf(0.975, 3) * stats.sem(own)
    assert shown["smart"][0] == f"{100 * np.mean(own):.2f} ± {100 * half:.2f} ▲"
    assert "▲" not in shown["random"][0]
    budgets = {row[0]: row[1:] for row in tables["Budgets"]["rows"]}
    assert budgets["selective_backprop"][0] == "100" and budgets["selective_backprop"][4] == "60"
    assert budgets["smart"][3] == "1.0 ± 0.0"  # seconds
    measured_ = {row[0]: row for row in tables["Calibration"]["rows"]}
    assert measured_["selective_backprop"][1:3] == ["320.0", "1.667"]
    assert measured_["random"][1] == "192.0"
    covered = {row[0]: row for row in tables["Coverage"]["rows"]}
    assert covered["smart"][1] == "75.0"
    text = (reported / "summary.txt").read_text()
    assert first["title"] in text
    assert "study batch_selection --data spots" in text


def test_coverage_is_of_the_whole_split(reported: Path) -> None:
    """By hand: the visits of the four runs."""
    shares = []
    for seed in range(2024, 2028):
        visits = np.load(reported / f"random-steps-s{seed}" / "visits.npz")["visits"]
        assert len(visits) == SAMPLES["train"]
        shares.append((visits > 0).mean())
    tables = json.loads((reported / "report.json").read_text())["tables"]
    (row,) = (
        row for t in tables if t["title"] == "Coverage" for row in t["rows"] if row[0] == "random"
    )
    assert row[2].startswith(f"{100 * np.mean(shares):.2f} ± ")


def test_judged_figures_that_are_gone_are_made_again(
    reported: Path, tmp_path: Path, spots: Dataset
) -> None:
    """Something else was judged on the same set since; that is kept."""
    root = tmp_path / "copy"
    shutil.copytree(reported, root / "runs" / "batch_selection")
    made(root, spots)
    path = root / "runs" / "batch_selection" / "smart-steps-s2025" / "evaluation-spots.json"
    facts = json.loads(path.read_text())
    path.write_text(json.dumps({**facts, "figures": {"val": facts["figures"]["test"]}}))
    output = command(root, "--report-only").output
    assert "missing: smart-steps-s2025 on test: not judged" in output
    given = ("--strategies", "smart,selective_backprop", "--columns", "steps,cost,noise30")
    output = command(root, *given, "--epochs", "50", "--dry-run").output
    (again,) = (line for line in output.splitlines() if not line.startswith("#"))
    assert "tasks evaluate" in again and "--split test --split val" in again


def test_figures_say_where_they_come_from(reported: Path) -> None:
    names = json.loads((reported / "report.json").read_text())["figures"]
    assert {Path(name).stem for name in names} == {
        *("accuracy_budgets", "accuracy_noise", "curves_steps", "curves_cost", "curves_noise30"),
        *("pairs_accuracy", "pairs_loss", "times", "coverage"),
    }
    for name in names:
        with Image.open(reported / name) as image:
            facts, pixels = image.info, np.asarray(image.convert("L"))
        assert "batch_selection" in facts["command"] and facts["seeds"].startswith("[2024")
        assert PLACE in facts["data"] and (pixels < 128).mean() > 0.002


def test_limits_leave_out_who_is_far_from_all_others() -> None:
    low, high = fences([0.80, 0.81, 0.82, 0.83, 0.20, float("nan")]) or (0, 0)
    assert 0.79 < low < 0.80 and 0.83 < high < 0.84
    low, high = fences([0.5, 0.5]) or (0, 0)
    assert low < 0.5 < high and fences([]) is None


def test_one_run_has_no_interval(spots: Dataset, tmp_path: Path) -> None:
    study = made(tmp_path, spots, strategies=(), columns=("steps",), epochs=5)
    folder = tmp_path / "runs" / "batch_selection"
    for member in members(study, folder, (2024,)):
        write_run(member, spots.manifest.fingerprint, {"accuracy": 0.5, "loss": 1.0}, "spots")
    given = ("--strategies", "", "--columns", "steps", "--epochs", "5", "--runs", "1")
    result = command(tmp_path, *given, "--report-only")
    assert result.exit_code == 0, result.output
    assert "50.00 ± n/a" in result.output
    for name in ("summary.txt", "summary.csv", "summary.json", "report.html", "report.json"):
        assert not re.search(r"\bnan\b", (folder / name).read_text().split("base64")[0])


# All of it, small


def test_a_small_study_is_run_and_goes_on(
    spots: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trained for real, with a table that is prepared first; then a strategy is added."""
    monkeypatch.setattr(calibrations, "ROUNDS", 1)
    copy = built(Spots(), tmp_path / "data" / "spots")  # derived results lie in it
    shared = ("--epochs", "2", "--calibrate", "2", "--runs", "1", "--set", "net.hidden=8")
    shared += ("--set", "global_batch_size=4")
    first = command(tmp_path, *shared, "--strategies", "rholoss", "--columns", "steps,cost")
    assert first.exit_code == 0, first.output
    folder = tmp_path / "runs" / "batch_selection"
    ran = [json.loads(line)["label"] for line in (folder / "jobs.jsonl").read_text().splitlines()]
    assert ran == [
        *("prepare irreducible_loss-noise0-s2024", "score irreducible_loss-noise0"),
        *("calibrate-1/random-s2024", "calibrate-1/rholoss-s2024", "calibration of rholoss"),
        *("random-steps-s2024", "rholoss-steps-s2024", "rholoss-cost-s2024"),
    ]
    before = (folder / "calibration.json").read_text()
    own = json.loads(before)["rholoss"]["own"]
    assert own["cost"] == 40 + 3 * 4  # ten candidates for each, in whole steps
    recipe = json.loads((folder / "rholoss-cost-s2024" / "recipe.json").read_text())["recipe"]
    assert recipe["steps"] == round(2 * 20 * 12 / 52)
    table = recipe["strategy_options"]["irreducible_loss"]
    values = copy.table(table)
    assert np.isfinite(values).sum() == SAMPLES["train"]
    judged = json.loads((folder / "random-steps-s2024" / "evaluation-spots.json").read_text())
    facts = json.loads((folder / "summary.json").read_text())
    rows = {(row["variant"], row["metric"]): row for row in facts["rows"]}
    assert rows["random-cost", "accuracy"]["mean"] == judged["figures"]["test"]["accuracy"]
    assert facts["missing"] == []

    changed = command(tmp_path, *shared[2:], "--epochs", "3")
    assert changed.exit_code == 2 and "epochs was 2, is 3" in changed.output
    again = command(tmp_path, *shared, "--strategies", "fixed", "--columns", "steps,cost")
    assert again.exit_code == 0, again.output
    lines = (folder / "jobs.jsonl").read_text().splitlines()[len(ran) :]
    assert [json.loads(line)["label"] for line in lines] == [
        *("calibrate-2/random-s2024", "calibrate-2/fixed-s2024", "calibration of fixed"),
        "fixed-steps-s2024",
    ]
    after = json.loads((folder / "calibration.json").read_text())
    assert after["rholoss"] == json.loads(before)["rholoss"] and after["fixed"]["series"] == 2
    found = plan.recorded(folder)
    assert found and found.options["strategies"] == ["rholoss", "fixed"]
    # What an earlier call asked for stays in the report.
    facts = json.loads((folder / "summary.json").read_text())
    assert {"rholoss-cost", "fixed-cost"} <= {row["variant"] for row in facts["rows"]}
    assert facts["missing"] == [] and not (folder / "fixed-cost-s2024").exists()
    told = command(tmp_path, "--report-only")  # everything as it was asked for
    assert told.exit_code == 0 and "missing" not in told.output
    assert "rholoss" in told.output and "fixed" in told.output
