"""What `python -m tasks calibrate` refuses, and calibrations that are not a checkpoint's."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lesion_set import Lesions, calibrate, calibrated_run, done, read, refused, trained
from toys import built

from dataprep import manifest
from dataprep.manifest import DataError
from loaders import Dataset
from tasks.classes import calibrated
from tasks.classify import Task
from tasks.run import Run
from tasks.run.restore import restore


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return calibrated_run(tmp_path_factory.mktemp("calibrate"))


def test_leaks_are_refused_or_recorded(run: Path, tmp_path: Path) -> None:
    built(Lesions(by_lesion=False), tmp_path / "images")
    trained(tmp_path, "images", "leaky")
    leaky = tmp_path / "runs" / "leaky"
    line = refused(calibrate(leaky))
    assert "test shares 100 of its 200 lesions with train" in line and "--allow-leak" in line
    assert not (leaky / "calibration.json").exists()
    result = calibrate(leaky, "--allow-leak")
    assert "leak: test shares 100 of its 200 lesions with calibration" in done(result)
    assert (
        read(leaky, "calibration.json")["leaky"] and read(leaky, "assessment-images.json")["leaky"]
    )
    for asked, why in (
        (("--split", "test"), "test shares 100 of its 100 lesions with test (200 samples are in"),
        (("--split", "train"), "calibration shares 100 of its 100 lesions with train"),
        (("--judge", "val"), "val shares 100 of its 100 lesions with val"),
        (("--judge", "train"), "train shares 100 of its 100 lesions with train"),
    ):
        assert why.removeprefix("calibration") in refused(calibrate(run, *asked)), asked


def test_another_set_is_not_known(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    facts = read(copy, "recipe.json")
    (copy / "recipe.json").write_text(json.dumps(facts | {"fingerprint": "another"}))
    assert "is of another set: not known what it saw" in done(calibrate(copy, "--judge", ""))


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (("--split", "dev"), "no such split; there are: "),
        (("--judge", "dev"), "no such split; there are: "),
        (("--positive", "mel"), "--positive mel: no such class; there are: digit 0"),
        (("--specificity", "1.5"), "want --specificity and --sensitivity above 0"),
        (("--sensitivity", "0"), "want --specificity and --sensitivity above 0"),
        (("--resamples", "-1"), "--resamples"),
        (("--checkpoint", "none.pt"), "none.pt"),
        (("--data", "none"), "no such set"),
        (("--task", "colour=3"), "unknown key 'colour'"),
    ],
)
def test_mistakes_are_one_line(run: Path, asked: tuple[str, ...], why: str) -> None:
    assert why in refused(calibrate(run, *asked))


def test_no_classifier(tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text('{"recipe": {"task": "superres"}}')
    assert "is no classifier to calibrate" in refused(calibrate(tmp_path))
    assert "not a run" in refused(calibrate(tmp_path / "none"))


def test_what_cannot_be_calibrated(run: Path, tmp_path: Path) -> None:
    """A class without samples, logits that are no numbers, a network that knows nothing."""
    few = tmp_path / "few"
    shutil.copytree(run.parents[1] / "lesions", few)
    dataset = Dataset(run.parents[1] / "lesions")
    ids = np.asarray(dataset.split("calibration"))
    labels = np.asarray(dataset.values("label"))[ids]
    for kept, asked, why in (
        (labels != 8, ("--positive", "digit 8"), "calibration: no sample of digit 8"),
        (labels == 8, ("--positive", "digit 8"), "no other sample than those of digit 8"),
        (labels == 8, (), "samples are of class 8"),
    ):
        resplit(few, "calibration", ids[kept])
        assert why in refused(calibrate(run, "--data", few, *asked)), why
    for change, why in ((0.0, "all logits of a sample are equal"), (np.nan, "not finite")):
        other = tmp_path / f"run {change}"
        shutil.copytree(run, other)
        state = torch.load(other / "checkpoints" / "best.pt", weights_only=True)
        for value in state["model"].values():
            value.mul_(change)
        torch.save(state, other / "checkpoints" / "best.pt")
        assert why in refused(calibrate(other))
        with pytest.raises(DataError, match="is of another checkpoint"):
            calibrated.load(Run(other))


def resplit(folder: Path, name: str, ids: Any) -> None:
    """Replace a split of a set, and what its manifest says of it."""
    np.save(folder / "splits" / f"{name}.npy", ids)
    facts = manifest.load(folder)
    replace(facts, splits={**facts.splits, name: len(ids)}).save(folder)


def test_load(run: Path, tmp_path: Path) -> None:
    found = calibrated.load(Run(run))
    assert found is not None and found.temperature == read(run, "calibration.json")["temperature"]
    assert found == calibrated.load(Run(run), Run(run).best())
    assert found.points == read(run, "calibration.json")["points"]
    with pytest.raises(ValueError, match="logits of 3 classes, calibrated 10"):
        found.probabilities(np.zeros((1, 3)))
    with pytest.raises(DataError, match=r"of another checkpoint \(best.pt\) than weights.pt"):
        other = tmp_path / "weights.pt"
        other.write_bytes(b"others")
        calibrated.load(Run(run), other)
    assert calibrated.load(Run(tmp_path)) is None


def test_photographs_brought_to_size_otherwise(run: Path) -> None:
    """Its thresholds are of what the network was shown: squashed it is shown something else."""
    assert read(run, "calibration.json")["fit"] == "crop"
    for fit, why in (("crop", None), ("squash", "by fit=crop, not squash: calibrate with --task")):
        task, _ = restore(Run(run), fit=fit)
        assert isinstance(task, Task)
        if why is None:
            assert task.calibration == calibrated.load(Run(run))
            continue
        with pytest.raises(DataError, match=why):
            assert task.calibration


@pytest.mark.parametrize(
    "change",
    [{"temperature": -1}, {"temperature": "NaN"}, {"points": {"x": {}}}, {"classes": None}, None],
)
def test_a_damaged_calibration(run: Path, tmp_path: Path, change: Any) -> None:
    text = json.dumps(read(run, "calibration.json") | change) if change else "{"
    (tmp_path / "calibration.json").write_text(text)
    with pytest.raises(DataError, match=r"calibration.json: damaged"):
        calibrated.load(Run(tmp_path))
