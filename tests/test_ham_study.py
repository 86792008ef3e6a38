"""The study of networks: what it runs, what it makes of results, and a small one for real."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from network_runs import (
    CLASSES,
    Lesions,
    members,
    write_calibration,
    write_timing,
    write_training,
)
from PIL import Image
from scipy.special import softmax
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, confusion_matrix, roc_auc_score
from toys import built

from jobs import results, studies
from jobs.__main__ import main
from jobs.networks import FOUR, kept
from jobs.study import Execution, Member, Study
from jobs.work import Work, works
from loaders import Dataset
from models import timm_nets
from tasks.run import Run, report

ROOT = Path(__file__).parents[1]
PLACE = "lesions/test"


@pytest.fixture(scope="module")
def lesions(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return built(Lesions(), tmp_path_factory.mktemp("networks") / "data" / "lesions")


def made(root: Path, dataset: Dataset, **options: Any) -> Study:
    (root / "data").mkdir(parents=True, exist_ok=True)
    if not (root / "data" / "lesions").exists():
        (root / "data" / "lesions").symlink_to(dataset.folder)
    kind = studies.load("ham10000")
    execution = Execution(runs=root / "runs", data_root=str(root / "data"))
    return kind.study(kind.options(data="lesions", **options), execution)


def command(root: Path, *other: str) -> Result:
    places = ["--into", str(root / "runs"), "--data-root", str(root / "data"), "--data", "lesions"]
    return CliRunner().invoke(main, ["study", "ham10000", *places, "--device", "cpu", *other])


def written(study: Study, root: Path, dataset: Dataset, seeds: tuple[int, ...] = (42,)) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        for number, member in enumerate(members(study, root / "runs", seeds)):
            write_training(member, dataset)
            write_calibration(member, dataset)
            write_timing(member, 3.0 + number)


# What is run


def test_networks_are_recipes_or_any_of_timm(tmp_path: Path, lesions: Dataset) -> None:
    study = made(tmp_path, lesions, nets=("densenet121", "test_resnet.r160_in1k"))
    own, other = members(study, tmp_path / "runs")
    assert set(FOUR) <= set(timm_nets.RECIPES)
    assert (own.name, own.variant.label) == ("densenet121-s42", "DenseNet-121")
    recipe = own.facts["recipe"]
    assert recipe["net"]["classes"] == 7 and recipe["task_options"]["positive"] == "mel"
    assert recipe["validate_epochs"] == 1
    assert (other.name, other.facts["recipe"]["net"]["arch"]) == (
        *("test_resnet-r160_in1k-s42", "test_resnet.r160_in1k"),
    )
    for member in (own, other):  # alike but for the network
        assert member.facts["recipe"] | {"net": 0} == recipe | {"net": 0}


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (["--nets", "resnet51"], "--nets: no 'resnet51'; there are: resnet50,"),
        (["--nets", ","], "--nets: want one or more"),
        (["--positive", "melanoma"], "lesions: melanoma: no such class; there are: akiec, bcc"),
        (["--specificity", "95"], "--specificity 95.0: want above 0 and up to 1"),
        (["--set", "val_split=test"], "no figure may be of what was chosen on"),
        (["--set", "task.positive=nv"], "--set task.positive: give --positive"),
        (["--set", "global_batch_size=0"], "--global-batch-size must be at least 1"),
        (["--data", "nowhere"], "no such set"),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path, lesions: Dataset, other: list[str], why: str
) -> None:
    made(tmp_path, lesions)
    result = command(tmp_path, *other)
    assert result.exit_code == 2, result.output
    assert why in result.output and result.output.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_a_set_must_have_a_split_for_each_choice(tmp_path: Path) -> None:
    class Short(Lesions):
        def entries(self, raw: Any) -> Any:
            return [one for one in super().entries(raw) if one.split != "calibration"]

    built(Short(), tmp_path / "data" / "lesions")
    result = command(tmp_path)
    assert result.exit_code == 2
    assert "lesions: calibration: no such split; there are: test, train, val" in result.output


def test_calibration_follows_each_training_and_timing_comes_alone_at_the_end(
    tmp_path: Path, lesions: Dataset
) -> None:
    study = made(tmp_path, lesions, nets=FOUR[:2])
    todo = list(works(study, list(members(study, tmp_path / "runs"))))
    first, second = "resnet50-s42", "efficientnet_b3-s42"
    assert [work.label for work in todo] == [
        *(first, f"{first} calibration", second, f"{second} calibration"),
        *(f"{first} timing", f"{second} timing"),
    ]
    assert [work.alone for work in todo] == [False] * 4 + [True] * 2
    assert all(work.after == (work.part_of,) for work in todo if work.part_of)
    line = " ".join(todo[1].command())
    assert "tasks calibrate" in line and "--judge test --positive mel --specificity 0.95" in line
    assert "--allow-leak" not in line


def test_overrides_reach_every_network_and_the_dry_run(tmp_path: Path, lesions: Dataset) -> None:
    made(tmp_path, lesions)
    sets = ("net.side=96", "net.pretrained=false", "epochs=2", "global_batch_size=10")
    asked = [part for one in sets for part in ("--set", one)]
    lines = command(tmp_path, *asked, "--dry-run", "--variants", "vit_b_16,resnet50").output
    trainings = [line for line in lines.splitlines() if "train.py" in line]
    assert len(trainings) == 2 and lines.count("tasks calibrate") == lines.count("tasks time") == 2
    for line in trainings:
        assert "--net side=96" in line and "--net pretrained=false" in line
        assert "--epochs 2" in line and "--global-batch-size 10" in line


def only(study: Study, root: Path, kind: str) -> tuple[Member, Work]:
    """Return the first run and its work of a kind."""
    member = next(members(study, root / "runs"))
    return member, next(work for work in works(study, [member]) if work.kind == kind)


@pytest.mark.parametrize("kind", ["calibrate", "time"])
def test_what_is_of_other_weights_or_damaged_is_made_anew(
    tmp_path: Path, lesions: Dataset, kind: str
) -> None:
    study = made(tmp_path, lesions, nets=FOUR[:1])
    written(study, tmp_path, lesions)
    member, work = only(study, tmp_path, kind)
    name = {"calibrate": "assessment-lesions.json", "time": "timing.json"}[kind]
    assert work.is_done()
    path = member.run.folder / name
    kept_, path_text = path.read_bytes(), path.read_text()
    path.write_text(path_text[:50])
    assert not work.is_done()
    path.write_bytes(kept_)
    assert work.is_done()
    best = member.run.best()
    assert member.checkpoint == best  # as the recipe says: the report judges the best weights
    best.write_bytes(b"trained on")
    assert not work.is_done()


def test_a_calibration_lacks_what_was_asked_since(tmp_path: Path, lesions: Dataset) -> None:
    study = made(tmp_path, lesions, nets=FOUR[:1])
    written(study, tmp_path, lesions)
    assert only(study, tmp_path, "calibrate")[1].is_done()
    for asked in ({"specificity": 0.9}, {"positive": "bcc"}):
        other = made(tmp_path, lesions, nets=FOUR[:1], **asked)
        assert not only(other, tmp_path, "calibrate")[1].is_done()
    path = only(study, tmp_path, "calibrate")[0].run.folder / "outputs-lesions-test.npz"
    path.write_bytes(path.read_bytes()[:100])
    assert not only(study, tmp_path, "calibrate")[1].is_done()


# The report, of runs that were written


@pytest.fixture(scope="module")
def reported(lesions: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """All four networks, one seed."""
    root = tmp_path_factory.mktemp("reported")
    written(made(root, lesions), root, lesions)
    result = command(root, "--report-only")
    assert result.exit_code == 0, result.output
    (root / "said.txt").write_text(result.output)
    yield root


def folder(root: Path) -> Path:
    return root / "runs" / "ham10000"


def tables(root: Path) -> dict[str, dict[str, Any]]:
    facts = json.loads((folder(root) / "report.json").read_text())
    return {one["title"]: one for one in facts["tables"]}


def outputs(root: Path, net: str) -> tuple[Any, Any, Any, float]:
    """Return logits, labels, lesions and temperature as they lie there."""
    run = folder(root) / f"{net}-s42"
    with np.load(run / "outputs-lesions-test.npz") as columns:
        found = [columns[name] for name in ("logits", "label", "group")]
    said = json.loads((run / "calibration.json").read_text())
    return found[0], found[1], found[2], said["temperature"]


def test_figures_are_those_of_the_outputs(reported: Path) -> None:
    table = tables(reported)[f"Networks on {PLACE}"]
    rows = {row[0]: row[1:] for row in table["rows"]}
    assert list(rows) == ["ResNet-50", "EfficientNet-B3", "DenseNet-121", "ViT-B/16"]
    logits, labels, _, t = outputs(reported, "densenet121")
    right = accuracy_score(labels, logits.argmax(1))
    auc = roc_auc_score(labels == 4, softmax(logits / t, axis=1)[:, 4])
    cells = dict(zip(table["header"][1:], rows["DenseNet-121"], strict=True))
    assert cells["accuracy, %"].startswith(f"{100 * right:.1f} [")
    assert cells["AUC mel"].startswith(f"{auc:.3f} [")
    assert "nothing was chosen on" in table["note"] and "calibration" in table["note"]


def test_pairs_are_tested_on_one_image_a_lesion(reported: Path) -> None:
    facts = json.loads((folder(reported) / "comparison_results.json").read_text())
    tests = {(one["test"], one["a"], one["b"]): one for one in facts["tests"]}
    assert len(tests) == 2 * 6
    (one, labels, lesion, _), (other, *_) = (outputs(reported, net) for net in FOUR[:2])
    _, once = np.unique(lesion, return_index=True)
    hits = [logits.argmax(1) == labels for logits in (one, other)]
    only_a, only_b = (int((a & ~b)[once].sum()) for a, b in (hits, hits[::-1]))
    found = tests["mcnemar", *FOUR[:2]]
    assert (found["only_a"], found["only_b"], found["tested"]) == (only_a, only_b, 140)
    assert found["p"] == pytest.approx(binomtest(only_a, only_a + only_b).pvalue)
    assert found["difference"] == pytest.approx((hits[0].astype(float) - hits[1]).mean())
    assert found["low"] < found["difference"] < found["high"] and found["n"] == 280
    ps = sorted(one["p"] for key, one in tests.items() if key[0] == "mcnemar")
    holm = sorted(one["p_holm"] for key, one in tests.items() if key[0] == "mcnemar")
    assert holm[0] == pytest.approx(min(1, 6 * ps[0]))
    area = tests["delong", *FOUR[:2]]
    assert 0 <= area["p"] <= 1 and area["low"] < area["difference"] < area["high"]


def test_ranks_are_by_hand(reported: Path) -> None:
    table = tables(reported)[f"Ranks on {PLACE}"]
    right = {}
    for net in FOUR:
        logits, labels, *_ = outputs(reported, net)
        right[net] = accuracy_score(labels, logits.argmax(1))
    order = sorted(right.values(), reverse=True)
    assert [row[1] for row in table["rows"]] == [str(1 + order.index(right[n])) for n in FOUR]


def test_everything_is_there_to_compute_with(reported: Path) -> None:
    facts = json.loads((folder(reported) / "comparison_results.json").read_text())
    assert set(facts["networks"]) == set(FOUR) and "study ham10000" in facts["command"]
    run = facts["networks"]["vit_b_16"]["runs"]["42"]
    best = folder(reported) / "vit_b_16-s42" / "checkpoints" / "best.pt"
    assert run["checkpoint"] == report.identity(best)
    assert run["temperature"] > 1 and set(run["operating_points"]) == {"spec95", "sens95"}
    assert run["operating_points"]["spec95"]["specificity"] >= 0.95
    assert run["inference"]["batches"]["32"]["images_per_s"] > 0
    assert run["training"]["seconds"] == 123.0
    both = run["test"][PLACE]
    assert {"ece_before", "ece_after", "nll_after"} <= set(both["intervals"])
    with open(folder(reported) / "comparison_table.csv", newline="") as file:
        rows = {row["network"]: row for row in csv.DictReader(file)}
    assert float(rows["vit_b_16"]["ece_after"]) == both["figures"]["ece_after"]
    assert float(rows["vit_b_16"]["accuracy_low"]) == both["intervals"]["accuracy"][0]
    with open(folder(reported) / "summary.csv", newline="") as file:
        assert {row["place"] for row in csv.DictReader(file)} == {PLACE}


def test_figures_of_the_report(reported: Path) -> None:
    facts = json.loads((folder(reported) / "report.json").read_text())
    assert {Path(name).stem for name in facts["figures"]} == {
        *(f"{name}-test" for name in ("metrics", "calibration", "reliability", "roc", "confusion")),
        *("inference", "curves"),
    }
    fingerprint = facts["runs"][0]["data"][PLACE]
    page = (folder(reported) / "report.html").read_text()
    assert page.count("<figure>") == len(facts["figures"])
    for name in facts["figures"]:
        with Image.open(folder(reported) / name) as image:
            said, pixels = image.info, np.asarray(image.convert("L"))
        assert "study ham10000" in said["command"] and said["seeds"] == "[42]"
        assert fingerprint in said["data"] and (pixels < 128).mean() > 0.005
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", page)
    of_test = [one for one in captions if f"On {PLACE}" in one]
    assert len(of_test) == 5 and all("nothing was chosen on" in one for one in of_test)


def test_no_figure_is_nan_and_latex_is_whole(reported: Path) -> None:
    for name in ("summary.txt", "summary.csv", "comparison_table.csv", "comparison_results.json"):
        assert not re.search(r"\bnan\b|NaN", (folder(reported) / name).read_text())
    tex = (folder(reported) / "table.tex").read_text()
    assert tex.count(r"\begin{table}") == len(tables(reported)) and tex.isascii()
    said = (reported / "said.txt").read_text()
    assert f"Networks on {PLACE}" in said and "comparison_results.json" in said
    assert "Paired differences to the baseline" not in said  # one seed tells nothing of seeds


def test_what_is_not_there_is_named(reported: Path, lesions: Dataset, tmp_path: Path) -> None:
    """One network not trained, one not calibrated, one not timed."""
    shutil.copytree(folder(reported), tmp_path / "runs" / "ham10000")
    made(tmp_path, lesions)
    shutil.rmtree(folder(tmp_path) / "vit_b_16-s42")
    (folder(tmp_path) / "densenet121-s42" / "calibration.json").unlink()
    (folder(tmp_path) / "resnet50-s42" / "timing.json").unlink()
    result = command(tmp_path, "--report-only")
    assert result.exit_code == 0, result.output
    said = [line for line in result.output.splitlines() if line.startswith("missing:")]
    assert said == [
        "missing: densenet121-s42 calibration: not calibrated",
        "missing: vit_b_16-s42: not trained to its end",
        "missing: resnet50-s42 timing: not timed",
    ]
    rows = {row[0]: row[1:] for row in tables(tmp_path)[f"Networks on {PLACE}"]["rows"]}
    assert set(rows["ViT-B/16"]) == {"n/a"} and "n/a" not in rows["ResNet-50"]
    costs = {row[0]: row for row in tables(tmp_path)["Costs"]["rows"]}
    assert costs["ResNet-50"][3] == "n/a" and costs["DenseNet-121"][3] != "n/a"
    facts = json.loads((folder(tmp_path) / "comparison_results.json").read_text())
    assert facts["networks"]["vit_b_16"]["runs"] == {}


def test_seeds_have_intervals_and_tests_of_each(lesions: Dataset, tmp_path: Path) -> None:
    study = made(tmp_path, lesions, nets=FOUR[:2])
    written(study, tmp_path, lesions, (1, 2, 3))
    result = command(tmp_path, "--nets", ",".join(FOUR[:2]), "--seeds", "1,2,3", "--report-only")
    assert result.exit_code == 0, result.output
    found = tables(tmp_path)
    cells = found[f"Networks on {PLACE}"]["rows"][0][1:]
    assert all("±" in cell for cell in cells)
    mcnemar = found[f"McNemar's exact test between networks on {PLACE}"]
    assert [row[1] for row in mcnemar["rows"]] == ["1", "2", "3"]
    assert "Holm: over the rows of this table, 3." in mcnemar["note"]
    paired = found["Paired differences to the baseline"]
    assert all(row[2] == "3 seeds" for row in paired["rows"])


def test_an_outside_test_set_is_judged_too(tmp_path: Path) -> None:
    dataset = built(Lesions(outside=True), tmp_path / "data" / "lesions")
    study = made(tmp_path, dataset, nets=FOUR[:1])
    work = only(study, tmp_path, "calibrate")[1]
    assert "--judge test,isic2018_test" in " ".join(work.command())
    written(study, tmp_path, dataset)
    assert command(tmp_path, "--nets", FOUR[0], "--report-only").exit_code == 0
    titles = list(tables(tmp_path))
    first, second = (titles.index(f"Networks on lesions/{n}") for n in ("test", "isic2018_test"))
    assert first < second
    note = tables(tmp_path)["Networks on lesions/isic2018_test"]["note"]
    assert "an outside test set" in note


def test_splits_that_leak_are_said_before_all_else(tmp_path: Path, lesions: Dataset) -> None:
    """As the set's own checks tell it."""
    shutil.copytree(lesions.folder, tmp_path / "data" / "lesions")
    says = "LEAKY: of test, 39.9% of the images show a lesion of train"
    checks = {"lesions": {"says": [says], "disjoint": False}}
    replace(lesions.manifest, checks=checks).save(tmp_path / "data" / "lesions")
    dataset = Dataset(tmp_path / "data" / "lesions")
    study = made(tmp_path, dataset, nets=FOUR[:1])
    assert "--allow-leak" in only(study, tmp_path, "calibrate")[1].command()
    written(study, tmp_path, dataset)
    result = command(tmp_path, "--nets", FOUR[0], "--report-only")
    assert f"warning: {says}" in result.output
    page = (folder(tmp_path) / "report.html").read_text()
    assert "LEAKY: the splits of lesions share" in page.split("<h2>Networks")[0]
    assert says in (folder(tmp_path) / "summary.txt").read_text().split("Networks on")[0]


def test_reading_takes_nothing_of_other_weights(tmp_path: Path, lesions: Dataset) -> None:
    study = made(tmp_path, lesions, nets=FOUR[:1])
    written(study, tmp_path, lesions)
    found = list(members(study, tmp_path / "runs"))
    assert PLACE in results.read(study, found).runs[0].figures
    found[0].run.best().write_bytes(b"other")
    assert PLACE not in results.read(study, found).runs[0].figures
    assert kept.outputs(found[0], "test") is None


def test_confusion_is_that_of_scikit_learn(reported: Path) -> None:
    logits, labels, *_ = outputs(reported, "resnet50")
    matrix = confusion_matrix(labels, logits.argmax(1))
    recalls = matrix.diagonal() / matrix.sum(axis=1)
    facts = json.loads((folder(reported) / "comparison_results.json").read_text())
    run = facts["networks"]["resnet50"]["runs"]["42"]["test"][PLACE]
    assert run["figures"]["balanced_accuracy"] == pytest.approx(recalls.mean())
    assert len(matrix) == len(CLASSES)


# All of it, small

SETTINGS = {"net.side": "32", "net.pretrained": "false", "epochs": "4", "lr": "0.003"}
SETTINGS |= {"global_batch_size": "8"}
SMALL = ("--nets", "test_resnet,test_convnext", "--threads", "1", "--log-every", "1")
SMALL += tuple(part for key, value in SETTINGS.items() for part in ("--set", f"{key}={value}"))


def test_a_study_is_killed_and_goes_on(tmp_path: Path) -> None:
    """The first network is there, the second one's training is killed -9."""
    dataset = built(Lesions(), tmp_path / "data" / "lesions")
    study = made(tmp_path, dataset, nets=("test_resnet", "test_convnext"))
    first = next(members(study, tmp_path / "runs", **SETTINGS))
    with contextlib.redirect_stdout(io.StringIO()):
        write_training(first, dataset)
        write_calibration(first, dataset)
        write_timing(first)
    places = ("--into", str(tmp_path / "runs"), "--data-root", str(tmp_path / "data"))
    typed = ("study", "ham10000", *places, "--device", "cpu", "--data", "lesions", *SMALL)
    second = Run(folder(tmp_path) / "test_convnext-s42")
    line = [sys.executable, "-m", "jobs", *typed]
    with subprocess.Popen(line, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 240
        while all(one.get("step", 0) < 5 for one in second.read_log()):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        process.kill()
    before = (first.run.folder / "calibration.json").read_bytes()
    went = command(tmp_path, *SMALL)
    assert went.exit_code == 0, went.output
    assert "3 of 6 are done: test_resnet-s42, test_resnet-s42 calibration, " in went.output
    assert re.search(r"\[4 of 6\] test_convnext-s42: train.*; time left in all: ", went.output)
    assert (first.run.folder / "calibration.json").read_bytes() == before
    lines = (folder(tmp_path) / "jobs.jsonl").read_text().splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["train", "calibrate", "time"]
    log = map(json.loads, (second.folder / "log.jsonl").read_text().splitlines())
    starts = [one["step"] for one in log if one["kind"] == "launch"]
    assert starts[0] == 0 and 5 <= starts[1] < 40
    facts = json.loads((folder(tmp_path) / "comparison_results.json").read_text())
    assert len(facts["tests"]) == 2 and facts["remarks"] == []
    assert json.loads((folder(tmp_path) / "summary.json").read_text())["missing"] == []
    run = facts["networks"]["test_convnext"]["runs"]["42"]
    assert run["checkpoint"]["name"] == "best.pt" and run["inference"]["input"] == [3, 32, 32]
    assert run["inference"]["parameters"] > 10_000
    for one in run["inference"]["batches"].values():
        assert 0 < one["low"] <= one["ms_per_image"] <= one["high"]
