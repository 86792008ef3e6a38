"""A study as its users run it: real trainings, killed and gone on with, judged and reported."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from scipy import stats
from toys import SuperResolution, built

import jobs.studies
import models
from dataprep.manifest import DataError
from jobs import plan, report, results
from jobs.__main__ import main
from jobs.study import Execution, Member, Study
from tasks.run import Run

ROOT = Path(__file__).parents[1]
TOY = """
from jobs.study import Metric, Study, Variant

SMALL = {"net.scale": "2", "net.width": "16", "net.blocks": "1", "task.patch": "12"}
SMALL |= {"global_batch_size": "6", "steps": "12", "data": "pairs"}
STUDY = Study(
    summary="Is <b>more</b> & longer better?",
    variants=(
        Variant(name="short", model="shufflemixer_tiny", settings=SMALL, label="12 steps"),
        Variant(name="long", model="shufflemixer_tiny", settings=SMALL | {"steps": "80"}),
        Variant(name="broken", model="shufflemixer_tiny", settings=SMALL | {"task.patch": "4000"}),
    ),
    headline=(Metric(name="psnr_y", label="PSNR", unit="dB"), Metric(name="ssim_y", label="SSIM")),
    seeds=(1, 2),
)
"""
# The same command in a process of its own, which can be killed.
ENTRY = """
import sys
import jobs.studies
jobs.studies.__path__.append(sys.argv.pop(1))
from jobs.__main__ import main
main()
"""


@dataclass(frozen=True)
class Tried:
    """The toy study: where everything lies, and how its first two seeds went."""

    root: Path
    went: Result

    @property
    def folder(self) -> Path:
        return self.root / "runs" / "toy"

    def run(self, name: str) -> Run:
        return Run(self.folder / name)

    def report(self) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads((self.folder / "report.json").read_text())
        return facts

    def copied(self, to: Path) -> Tried:
        """Return the same elsewhere, for a test that changes it."""
        shutil.copytree(self.root / "runs", to / "runs")  # keeps the times of files
        (to / "data").symlink_to(self.root / "data")
        return replace(self, root=to)

    def study(self, *other: str) -> Result:
        return CliRunner().invoke(main, arguments(self.root, *other))


def arguments(root: Path, *other: str) -> list[str]:
    places = ["--into", str(root / "runs"), "--data-root", str(root / "data")]
    launch = ["--device", "cpu", "--threads", "1", "--log-every", "1", "--checkpoint-every", "1000"]
    return ["study", "toy", *places, *launch, *other]


TWO = ("--variants", "short,long")


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tried]:
    """Two variants by two seeds; killed -9 in the second run, then gone on with."""
    root = tmp_path_factory.mktemp("study")
    for name in ("pairs", "other"):
        built(SuperResolution(), root / "data" / name)
    (root / "studies").mkdir()
    (root / "studies" / "toy.py").write_text(TOY)
    command = [sys.executable, "-c", ENTRY, str(root / "studies"), *arguments(root, *TWO)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        wait_for_step(Run(root / "runs" / "toy" / "long-s1"), 3, process)
        process.kill()
    jobs.studies.__path__.append(str(root / "studies"))
    try:
        yield Tried(root, CliRunner().invoke(main, arguments(root, *TWO)))
    finally:
        jobs.studies.__path__.remove(str(root / "studies"))


def wait_for_step(run: Run, step: int, process: subprocess.Popen[Any]) -> None:
    deadline = time.monotonic() + 120
    while all(line.get("step", 0) < step for line in run.read_log() if line["kind"] == "step"):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)


def launches(run: Run) -> list[int]:
    """Return the step at which each launch of a run began."""
    lines = map(json.loads, (run.folder / "log.jsonl").read_text().splitlines())
    return [line["step"] for line in lines if line["kind"] == "launch"]


def psnr(tried: Tried, variant: str) -> list[float]:
    """Return what the runs themselves say, seed by seed."""
    reports = (tried.folder / f"{variant}-s{seed}" / "report.json" for seed in (1, 2))
    return [json.loads(path.read_text())["figures"]["psnr_y"] for path in reports]


def test_killed_study_goes_on(tried: Tried) -> None:
    assert tried.went.exit_code == 0, tried.went.output
    assert "1 of 4 are done: short-s1" in tried.went.output
    assert launches(tried.run("short-s1")) == [0]  # finished before: not run again
    first, second = launches(tried.run("long-s1"))
    assert first == 0 and 3 <= second < 80  # the run saved when its study was killed
    assert [launches(tried.run(f"{name}-s2")) for name in ("short", "long")] == [[0], [0]]
    assert "time left in all: 0:" in tried.went.output
    assert "long-s2 | " in tried.went.output and "\r" not in tried.went.output
    assert "told to stop: saved step" in (tried.folder / "long-s1" / "output.log").read_text()


def test_a_finished_study_runs_nothing(tried: Tried) -> None:
    before = (tried.folder / "jobs.jsonl").read_text()
    again = tried.study(*TWO)
    assert again.exit_code == 0 and "4 of 4 are done" in again.output
    assert (tried.folder / "jobs.jsonl").read_text() == before


def test_intervals_and_tests_are_those_of_scipy(tried: Tried) -> None:
    report = tried.report()
    short, long_ = np.array(psnr(tried, "short")), np.array(psnr(tried, "long"))
    mean = next(
        one
        for one in report["means"]
        if one["variant"] == "long" and (one["place"], one["metric"]) == ("pairs/val", "psnr_y")
    )
    low, high = stats.t.interval(0.95, 1, long_.mean(), stats.sem(long_))
    assert mean["seeds"] == [1, 2] and mean["n"] == 2
    found = [mean[key] for key in ("mean", "sd", "low", "high")]
    assert found == pytest.approx([long_.mean(), long_.std(ddof=1), low, high])
    one = comparison(report, "seeds", "psnr_y")
    test = stats.ttest_rel(long_, short)
    assert one["p_t"] == pytest.approx(test.pvalue)
    assert [one["low"], one["high"]] == pytest.approx(list(test.confidence_interval(0.95)))
    assert one["difference"] == pytest.approx((long_ - short).mean())
    # Two tests of each kind: PSNR and SSIM.
    ps = sorted(comparison(report, "seeds", name)["p_t"] for name in ("psnr_y", "ssim_y"))
    holm = sorted(comparison(report, "seeds", name)["p_holm"] for name in ("psnr_y", "ssim_y"))
    assert holm == pytest.approx([min(1, 2 * ps[0]), min(1, max(2 * ps[0], ps[1]))])


def test_samples_are_paired_and_averaged_over_seeds(tried: Tried) -> None:
    tables = {}
    for variant in ("short", "long"):
        seeds = []
        for seed in (1, 2):
            with open(tried.folder / f"{variant}-s{seed}" / "values-pairs-val.csv") as file:
                seeds.append({row["key"]: float(row["psnr_y"]) for row in csv.DictReader(file)})
        tables[variant] = [(seeds[0][key] + seeds[1][key]) / 2 for key in ("009", "010", "011")]
    one = comparison(tried.report(), "samples", "psnr_y")
    test = stats.ttest_rel(tables["long"], tables["short"])
    assert (one["n"], one["p_t"]) == (3, pytest.approx(test.pvalue))
    assert one["p_wilcoxon"] == stats.wilcoxon(tables["long"], tables["short"]).pvalue
    differences = np.subtract(tables["long"], tables["short"])
    assert differences.min() <= one["low"] < differences.mean() < one["high"] <= differences.max()


def comparison(report: dict[str, Any], over: str, metric: str) -> dict[str, Any]:
    (one,) = (c for c in report["comparisons"] if (c["over"], c["metric"]) == (over, metric))
    assert (one["variant"], one["baseline"], one["place"]) == ("long", "short", "pairs/val")
    found: dict[str, Any] = one
    return found


def test_report_says_how_to_do_it_again(tried: Tried) -> None:
    report = tried.report()
    assert report["missing"] == [] and report["plan"]["seeds"] == [1, 2]
    assert "study toy --seeds 1,2 --variants short,long" in report["command"]
    fingerprint = Run(tried.folder / "long-s1").facts()["fingerprint"]
    assert all(run["data"] == {"pairs/val": fingerprint} for run in report["runs"])
    for run in report["runs"]:
        (command,) = run["commands"]
        assert f"--name toy/{run['run']}" in command and f"--seed {run['seed']}" in command
    assert {"torch", "numpy", "scipy"} <= report["versions"].keys()


def test_results_are_a_line_a_figure(tried: Tried) -> None:
    with open(tried.folder / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    found = {
        (row["variant"], int(row["seed"])): float(row["value"])
        for row in rows
        if (row["set"], row["split"], row["metric"]) == ("pairs", "val", "psnr_y")
    }
    expected = {(v, s): psnr(tried, v)[s - 1] for v in ("short", "long") for s in (1, 2)}
    assert found == expected


def test_summary_in_three_forms(tried: Tried) -> None:
    assert {path.name for path in tried.folder.iterdir()} >= {*report.FILES}
    rows = json.loads((tried.folder / "summary.json").read_text())["rows"]
    with open(tried.folder / "summary.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(row["variant"], row["metric"]) for row in rows] == [
        *(("short", "psnr_y"), ("long", "psnr_y"), ("short", "ssim_y"), ("long", "ssim_y")),
    ]
    assert [float(line["mean"]) for line in lines] == [row["mean"] for row in rows]
    one = comparison(tried.report(), "seeds", "psnr_y")
    assert rows[1]["p_t"] == one["p_t"] and rows[1]["difference_low"] == one["low"]
    text = (tried.folder / "summary.txt").read_text()
    assert "Headline figures" in text and f"{rows[1]['mean']:.4g} ±" in text


class Page(HTMLParser):
    """Checks that elements are closed in order, and collects what a browser would fetch."""

    VOID = ("meta", "img", "br", "link")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.sources += [value or "" for key, value in attrs if key in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_page_is_whole_and_alone(tried: Tried) -> None:
    text = (tried.folder / "report.html").read_text()
    page = Page()
    page.feed(text)
    assert page.open == [] and page.seen.count("img") == 2 and page.seen.count("table") >= 4
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert not {"script", "link", "iframe"} & set(page.seen) and "url(" not in text
    assert "Is &lt;b&gt;more&lt;/b&gt; &amp; longer better?" in text
    assert tried.report()["command"].split("--into")[0].strip() in text


def test_table_for_latex(tried: Tried) -> None:
    text = (tried.folder / "table.tex").read_text()
    assert text.count("{") == text.count("}") and text.count(r"\begin") == text.count(r"\end")
    header, short, long_ = (line for line in text.splitlines()[:10] if line.endswith(r"\\"))
    assert header.count("&") == short.count("&") == long_.count("&") == 3
    assert f"{np.mean(psnr(tried, 'short')):.4g} $\\pm$" in short and r"95 \%" in text


def test_dry_run_prints_what_is_left(tried: Tried) -> None:
    before = sorted(tried.folder.rglob("*"))
    lines = tried.study(*TWO, "--seeds", "1,3", "--dry-run", "--nproc", "2").output.splitlines()
    assert [line.startswith("# done: ") for line in lines] == [True, True, False, False]
    assert "torch.distributed.run --standalone --nproc-per-node=2 train.py" in lines[2]
    assert "--name toy/short-s3" in lines[2] and lines[2].count("--seed 3") == 1
    assert sorted(tried.folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (["--set", "lr=0.01"], "lr was not set, is 0.01"),
        (["--set", "net.width=32", "--report-only"], "net.width was not set, is 32"),
        (["--set", "colour=red"], "unknown setting 'colour'; there are: net.NAME"),
        (["--set", "net.colour=3"], "unknown key 'colour'"),
        (["--set", "lr=fast"], "lr=fast: want a number"),
        (["--set", "seed=3"], "seeds are given by --seeds"),
        (["--set", "lr=1", "--set", "lr=2"], "lr is given twice"),
        (["--seeds", "1,x"], "--seeds 1,x: want whole numbers"),
        (["--seeds", ","], "want whole numbers"),
        (["--variants", "longer"], "no variant 'longer'; there are: short, long, broken"),
        (["--nproc", "-1"], "--nproc must be at least 0"),
        (["--micro-batch", "-1"], "--micro-batch must be at least 0"),
        (["--data-root", "nowhere"], "no such set"),
    ],
)
def test_mistakes_are_one_line(tried: Tried, tmp_path: Path, other: list[str], why: str) -> None:
    fresh = [] if "lr=0.01" in other or "--report-only" in other else ["--into", str(tmp_path)]
    result = tried.study(*TWO, *fresh, *other)
    assert result.exit_code == 2, result.output
    assert why in result.output and result.output.count("\n") == 1


def test_no_such_study() -> None:
    result = CliRunner().invoke(main, ["study", "nothing"])
    assert result.exit_code == 2 and "no study 'nothing'; there are:" in result.output


def test_changed_recipe_is_refused(tried: Tried, monkeypatch: pytest.MonkeyPatch) -> None:
    """The study's file was edited since its runs were trained."""
    module = sys.modules["jobs.studies.toy"]
    toy: Study = module.STUDY
    short, *others = toy.variants
    changed = replace(short, settings={**short.settings, "steps": "13"})
    edited = replace(toy, variants=(changed, *others))
    monkeypatch.setattr(module, "STUDY", edited)
    result = tried.study(*TWO)
    assert result.exit_code == 2 and "steps was 12, is 13" in result.output


def test_report_of_another_plan_is_not_overwritten(tried: Tried, tmp_path: Path) -> None:
    other = plan.Plan(study="toy", overrides={"lr": "1"}, seeds=[1])
    plan.record(tmp_path / "out", other)
    result = tried.study(*TWO, "--out", str(tmp_path / "out"))
    assert result.exit_code == 2 and "lr was 1, is not set" in result.output
    assert plan.recorded(tmp_path / "out") == other


def test_a_failing_variant_is_named_and_the_others_reported(tried: Tried, tmp_path: Path) -> None:
    copy = tried.copied(tmp_path)
    result = copy.study("--seeds", "1")
    assert result.exit_code == 1
    why = "9 of 9 images are smaller than a crop of 4000"
    assert f"broken-s1 failed: error: {tmp_path}" in result.output and why in result.output
    report = copy.report()
    assert {run["run"] for run in report["runs"]} == {"short-s1", "long-s1", "short-s2", "long-s2"}
    assert [line.split(":")[0] for line in report["missing"]] == ["broken-s1", "broken-s2"]
    assert "Not complete" in (copy.folder / "report.html").read_text()
    assert launches(copy.run("long-s1")) == launches(tried.run("long-s1"))


def test_report_only_of_more_seeds_says_what_is_missing(tried: Tried, tmp_path: Path) -> None:
    copy = tried.copied(tmp_path)
    result = copy.study(*TWO, "--seeds", "3", "--report-only", "--out", str(tmp_path / "out"))
    assert result.exit_code == 0, result.output
    facts = json.loads((tmp_path / "out" / "report.json").read_text())
    assert facts["plan"]["seeds"] == [1, 2, 3]
    assert facts["missing"] == [f"{name}-s3: not trained to its end" for name in ("short", "long")]


def test_further_sets_are_judged_once(tried: Tried, tmp_path: Path) -> None:
    """Once for these weights: with other ones, the figures do not count."""
    copy = tried.copied(tmp_path)
    asked = ("--variants", "short", "--seeds", "1", "--evaluate", "other")
    first = copy.study(*asked)
    assert first.exit_code == 0 and "short-s1 on other: evaluate other" in first.output
    short = next(run for run in copy.report()["runs"] if run["run"] == "short-s1")
    assert "tasks evaluate" in short["commands"][1] and "--data other" in short["commands"][1]
    # Both sets hold the same pictures.
    assert short["figures"]["other/val"] == pytest.approx(short["figures"]["pairs/val"])
    assert "short-s2 on other: not judged" in copy.report()["missing"]
    assert "2 of 2 are done" in copy.study(*asked).output
    latest = copy.run("short-s1").latest()
    assert latest
    shutil.copy(copy.run("short-s2").latest() or "", latest)
    left = copy.study(*asked, "--dry-run").output.splitlines()
    assert [line.startswith("# done: ") for line in left] == [True, False]
    assert f"--data other --checkpoint {latest}" in left[1]
    lost = copy.study(*asked[:-1], "nowhere:test", "--report-only")
    assert lost.exit_code == 0 and "no run is judged on nowhere: no such set" in lost.output


def test_samples_judged_again_since_are_not_used(tried: Tried, tmp_path: Path) -> None:
    """Maybe with other weights: what the training wrote of its own set stays what counts."""
    copy = tried.copied(tmp_path)
    before = copy.report()["comparisons"]
    (copy.folder / "long-s1" / "evaluation-pairs-val.csv").write_text("id,key,psnr_y\n0,a,1.5\n")
    copy.study(*TWO, "--report-only")
    assert copy.report()["comparisons"] == before


def test_damaged_samples_are_named(tmp_path: Path) -> None:
    path = tmp_path / "values-a-val.csv"
    path.write_text("id,key,psnr\n0,a,1.5\n1,b\n")
    with pytest.raises(DataError, match="line 3: is damaged"):
        results.per_sample(path)
    path = tmp_path / "values-b-val.csv"
    path.write_text("key,psnr\n")
    with pytest.raises(DataError, match="wants the header"):
        results.per_sample(path)


def test_one_process_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "PATIENCE_S", 0.3)
    with plan.locked(tmp_path):
        with pytest.raises(ValueError, match=f"process {os.getpid()}, .* is still at work"):
            with plan.locked(tmp_path):
                pass
    with plan.locked(tmp_path):
        pass


def test_a_study_is_no_rank(tried: Tried, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    result = tried.study(*TWO)
    assert result.exit_code == 2 and "start a study as one process" in result.output


@pytest.mark.parametrize("name", jobs.studies.names())
def test_every_study_of_the_room(name: str) -> None:
    """Names tell runs apart, recipes exist and take their settings, metrics are told apart."""
    kind = jobs.studies.load(name)
    execution = Execution(runs=Path("runs"))
    study = kind.study(kind.options(), execution)
    names = [variant.name for variant in study.variants]
    assert len(set(names)) == len(names) and all(re.fullmatch(r"[\w-]+", n) for n in names)
    assert study.summary and study.headline and study.seeds
    assert all(variant.model in models.recipes() for variant in study.variants)
    for variant in study.variants:
        member = Member(name, replace(variant, late=None), 5, execution)
        assert member.facts["recipe"]["seed"] == 5
    assert f"{name}: {study.summary}" in CliRunner().invoke(main, ["list"]).output
    assert CliRunner().invoke(main, ["study", name, "--help"]).exit_code == 0
