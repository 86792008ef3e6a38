"""`python -m tasks calibrate` from end to end, on classifiers of real digits."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from digit_set import CLASSES, SIDE
from lesion_set import TWINS, calibrate, calibrated_run, done, read, real
from PIL import Image
from scipy.special import softmax
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score

import models
from loaders import Dataset
from tasks.__main__ import main
from tasks.classes import assessment, calibrated, diagrams, outputs
from tasks.metrics import calibration
from tasks.run import Run, load_checkpoint


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return calibrated_run(tmp_path_factory.mktemp("calibrate"))


def lesions(run: Path) -> Dataset:
    return Dataset(run.parents[1] / "lesions")


def by_hand(run: Path, dataset: Dataset, split: str) -> tuple[Any, Any, Any]:
    """Return ids, labels and logits of a split in numpy, from the best weights."""
    net = models.build("mlp", side=SIDE, hidden=64)
    models.initialise(net, load_checkpoint(Run(run).best()))
    w = {key: value.detach().double().numpy() for key, value in net.state_dict().items()}
    ids = np.asarray(dataset.split(split))
    images = (real()[0] * 15).astype(np.uint8)[ids] / 255
    hidden = np.maximum(images @ w["hidden.weight"].T + w["hidden.bias"], 0)
    labels = np.asarray(dataset.values("label"))[ids]
    return ids, labels, hidden @ w["out.weight"].T + w["out.bias"]


def test_outputs_are_the_networks(run: Path) -> None:
    dataset = lesions(run)
    for split, count in (("calibration", 400), ("test", 200)):
        ids, labels, logits = by_hand(run, dataset, split)
        with np.load(run / f"outputs-lesions-{split}.npz") as found:
            assert set(found) == {"id", "label", "logits", "group"} and len(ids) == count
            np.testing.assert_array_equal(found["id"], ids)
            np.testing.assert_array_equal(found["label"], labels)
            np.testing.assert_array_equal(found["group"], ids // TWINS)
            assert found["logits"].dtype == np.float64
            np.testing.assert_allclose(found["logits"], logits, atol=2e-5)


def test_a_calibration_holds_what_it_says(run: Path) -> None:
    dataset = lesions(run)
    said = read(run, "calibration.json")
    _, labels, logits = by_hand(run, dataset, "calibration")
    assert said["set"] == "lesions" and said["split"] == "calibration" and said["samples"] == 400
    assert said["data"] == dataset.manifest.fingerprint and said["leaky"] is False
    assert said["classes"] == CLASSES and said["checkpoint"]["name"] == "best.pt"
    assert said["nll_after"] < said["nll_before"] == pytest.approx(calibration.nll(logits, labels))
    for factor in (0.99, 1.01):
        other = calibration.nll(logits / (factor * said["temperature"]), labels)
        assert said["nll_after"] < other
    p, is_one = softmax(logits / said["temperature"], axis=1)[:, 8], labels == 8
    for name, wanted in (("spec95", "specificity"), ("sens95", "sensitivity")):
        point = said["points"][name]
        assert (point["class"], point["index"], point["wanted"]) == ("digit 8", 8, wanted)
        assert point[wanted] >= point["least"] == 0.95
        assert (point["positives"], point["negatives"]) == (is_one.sum(), (~is_one).sum())
        called = p >= point["threshold"]  # computed otherwise: nobody lies so near to it
        assert point["sensitivity"] == pytest.approx(called[is_one].mean())
        assert point["specificity"] == pytest.approx(1 - called[~is_one].mean())


def test_an_assessment_is_scikit_learns(run: Path) -> None:
    said = read(run, "assessment-lesions.json")
    assert said["checkpoint"] == read(run, "calibration.json")["checkpoint"]
    assert said["origin"]["split"] == "test" and said["origin"]["seed"] == 0
    test = said["splits"]["test"]
    assert (test["samples"], test["groups"]) == (200, 100)
    _, labels, logits = by_hand(run, lesions(run), "test")
    p = softmax(logits / read(run, "calibration.json")["temperature"], axis=1)
    wanted = {
        "accuracy": (p.argmax(axis=1) == labels).mean(),
        "balanced_accuracy": balanced_accuracy_score(labels, p.argmax(axis=1)),
        "macro_f1": f1_score(labels, p.argmax(axis=1), average="macro"),
        "macro_auc": roc_auc_score(labels, p, multi_class="ovr"),
        "auc/digit 8": roc_auc_score(labels == 8, p[:, 8]),
        "ece_before": calibration.ece(softmax(logits, axis=1), labels),
        "ece_after": calibration.ece(p, labels),
        "nll_after": calibration.nll(np.log(p), labels),
        "brier_after": calibration.brier(p, labels),
    }
    for name, value in wanted.items():
        assert test["figures"][name] == pytest.approx(value, abs=1e-5), name
    names = {"ece", "mce", "classwise_ece", "adaptive_ece", "brier", "nll"}
    every = {f"{name}_{when}" for name in names for when in ("before", "after")}
    rates = ("sensitivity", "specificity", "ppv", "npv")
    every |= {f"{rate}@{point}" for rate in rates for point in ("spec95", "sens95")}
    every |= {f"auc/{name}" for name in CLASSES} | set(wanted)
    assert set(test["figures"]) == set(test["intervals"]) == every
    for name in ("accuracy", "macro_auc", "nll_after", "auc/digit 8", "sensitivity@spec95"):
        low, high = test["intervals"][name]
        assert low <= test["figures"][name] <= high and low < high, name


def test_the_class_that_is_told_is_the_same(run: Path) -> None:
    """Calibration changes no argmax, so no accuracy; evaluate says the same."""
    found = calibrated.load(Run(run))
    assert found is not None
    for split in ("calibration", "test"):
        with np.load(run / f"outputs-lesions-{split}.npz") as columns:
            p = found.probabilities(columns["logits"])
            np.testing.assert_array_equal(p.argmax(axis=1), columns["logits"].argmax(axis=1))
            np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-12)
    asked = ["evaluate", str(run), "--split", "test", "--device", "cpu"]
    assert CliRunner().invoke(main, asked).exit_code == 0
    told = read(run, "evaluation-lesions.json")["figures"]["test"]
    own = read(run, "assessment-lesions.json")["splits"]["test"]["figures"]
    for name in ("accuracy", "balanced_accuracy", "macro_f1"):
        assert own[name] == pytest.approx(told[name])
    assert own["nll_before"] == pytest.approx(told["loss"], abs=1e-5)


def test_figures_tell_where_they_are_from(run: Path) -> None:
    for name in ("reliability-lesions-test", "roc-lesions-test"):
        with Image.open(run / "figures" / f"{name}.png") as picture:
            assert min(picture.size) > 400 and np.asarray(picture).std() > 10
            facts = picture.info
        assert facts["split"] == "test" and facts["seed"] == "0"
        assert facts["data"] and facts["command"] and facts["checkpoint"]
        assert float(facts["temperature"]) == read(run, "calibration.json")["temperature"]


def test_what_a_split_does_not_decide_is_left_out() -> None:
    """A judged split without a positive: no AUC of it, no ROC curve, no sensitivity."""
    one = calibrated.Calibration(("a", "b", "c"), 2.0, {"spec95": POINT})
    logits = np.eye(3)[[0, 0, 2, 2]]
    found = outputs.Outputs("test", np.arange(4), np.array([0, 2, 2, 0]), logits, np.arange(4))
    judged = assessment.judged(found, one)
    result = assessment.assess(judged, resamples=30, seed=0)
    assert {"auc/b", "sensitivity@spec95", "ppv@spec95"}.isdisjoint(result.figures)
    assert result.figures["specificity@spec95"] == 1 and result.figures["auc/a"] == 0.5
    assert not any(np.isnan(value).any() for value in result.intervals.values())
    assert "auc/b" not in assessment.table(result, one.points)
    assert diagrams.of_points(judged, result, "") is None
    assert diagrams.of_calibration(judged, result, "").shape[2] == 3


POINT = {"class": "b", "index": 1, "wanted": "specificity", "least": 0.95, "threshold": 0.9}
POINT |= {"sensitivity": 0.5, "specificity": 1.0, "positives": 2, "negatives": 2}


def test_the_same_again_and_other_options(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    for name in ("calibration.json", "assessment-lesions.json"):
        (copy / name).unlink()
    text = done(calibrate(copy, "--positive", "digit 8"))
    assert "200 samples of 100 lesions, 95 % intervals over lesions" in text and "T = " in text
    for name in ("calibration.json", "assessment-lesions.json"):
        first, again = read(run, name), read(copy, name)
        for one in (first, again):
            one.pop("command", None)
            one.pop("origin", None)
        assert first == again
    done(calibrate(copy, "--split", "val", "--judge", "test, calibration", "--resamples", "0"))
    said = read(copy, "assessment-lesions.json")["splits"]
    assert list(said) == ["test", "calibration"] and not said["test"]["intervals"]
    assert read(copy, "calibration.json")["points"] == {}
    rates = ("--specificity", "0.9", "--sensitivity", "0.975", "--judge", "")
    done(calibrate(copy, "--positive", "digit 3", *rates))
    assert set(read(copy, "calibration.json")["points"]) == {"spec90", "sens97.5"}


def test_help_teaches() -> None:
    text = CliRunner().invoke(main, ["calibrate", "--help"]).output
    assert all(
        word in text for word in ("runs/resnet50 --judge test,isic2018_test", "--allow-leak")
    )
