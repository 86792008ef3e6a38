"""Classifiers as users train, judge and use them: commands from end to end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
import torch
from click.testing import CliRunner, Result
from digit_set import CLASSES, SIDE, Digits, digits
from PIL import Image
from toys import built

import models
import train
from dataprep.build import build
from dataprep.sources.imagefolder import Source
from loaders import Dataset, World
from tasks import evaluate
from tasks.__main__ import main
from tasks.classify import Task
from tasks.run import Run

NET = ["--net", f"side={SIDE}", "--net", "hidden=32"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("classify")
    built(Digits(), folder / "digits")
    result = trained(folder, "--task", "label_noise=0.1", "--task", "top_k=2")
    assert result.exit_code == 0, result.output
    return Run(folder / "runs" / "mlp")


def trained(folder: Path, *other: str) -> Result:
    arguments = ["--model", "mlp", *NET, "--data", str(folder / "digits"), "--steps", "150"]
    arguments += ["--lr", "0.01", "--device", "cpu", "--threads", "1"]
    arguments += ["--runs", str(folder / "runs"), *other]
    return CliRunner().invoke(train.main, arguments)


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_a_run_learns_and_keeps_its_noise(run: Run) -> None:
    figures = json.loads((run.folder / "report.json").read_text())["figures"]
    assert figures["accuracy"] > 0.8 and figures["top_k"] > figures["accuracy"]
    with np.load(run.folder / "label_noise.npz") as record:
        assert len(record["id"]) == 240
        assert 0.02 < (record["label"] != record["given"]).mean() < 0.2
    for name in ("confusion", "panels", "curves"):
        with Image.open(run.folder / "figures" / f"{name}.png") as picture:
            assert min(picture.size) > 100
    steps = [entry for entry in run.read_log() if entry.get("kind") == "step"]
    assert 0 < steps[-1]["accuracy"] <= 1


def test_evaluate_prints_figures_and_recalls(run: Run) -> None:
    result = call("evaluate", run.folder, "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "top-2 accuracy" in result.output and CLASSES[3] in result.output
    told = json.loads((run.folder / "evaluation-digits.json").read_text())["figures"]["val"]
    assert told == json.loads((run.folder / "report.json").read_text())["figures"]


def test_predict_tells_a_digit(run: Run, tmp_path: Path) -> None:
    """Without the set the run knows its classes; --task names= gives them others."""
    dataset = Dataset(run.folder.parents[1] / "digits")
    sample = int(dataset.split("train")[0])
    Image.fromarray(digits()[0][sample]).save(tmp_path / "digit.png")
    said = predicted(run, tmp_path / "digit.png", tmp_path / "numbers")
    label = int(dataset.values("label")[sample])
    assert said["class"] == CLASSES[label]
    assert list(said["probabilities"]) == CLASSES
    assert sum(said["probabilities"].values()) == pytest.approx(1)
    names = ",".join(f"number {i}" for i in range(10))
    named = predicted(run, tmp_path / "digit.png", tmp_path / "named", "--task", f"names={names}")
    assert named["class"] == f"number {label}"
    again = call("predict", run.folder, tmp_path / "digit.png", "--out", tmp_path / "named")
    assert again.exit_code == 2 and "is there already" in again.output


def test_photographs_are_judged_as_they_are_predicted(tmp_path: Path) -> None:
    """Through the loader and from the file: shrunk, then the middle, to within a grey level."""
    pictures = {"cat": skimage.data.chelsea(), "cup": skimage.data.coffee()}
    for name, pixels in pictures.items():
        (tmp_path / "raw" / "val" / name).mkdir(parents=True)
        Image.fromarray(pixels[:301, :400]).save(tmp_path / "raw" / "val" / name / f"{name}.png")
    build(Source(), tmp_path / "raw", tmp_path / "photos", workers=1)
    dataset = Dataset(tmp_path / "photos")
    torch.manual_seed(0)
    net = models.build("mlp", side=32, channels=3, classes=2).eval()
    task = Task(dataset, net)
    judged = evaluate(task, net, "val", world=World())
    for i, sample in enumerate(judged.ids.tolist()):
        name = task.names[int(judged.values["label"][i])]
        path = tmp_path / "raw" / "val" / name / f"{name}.png"
        with torch.no_grad():
            said = Task(None, net).predict(net, path, tmp_path).said
        own = said["probabilities"][str(int(dataset.values("label")[sample]))]
        assert -np.log(own) == pytest.approx(judged.values["loss"][i], abs=2e-3)


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (["--net", "classes=5"], "--net classes=10"),
        (["--net", "side=28"], "--net side=8"),
        (["--task", "label_noise=many"], "label_noise=many: want a number"),
        (["--task", "augment=turn"], "choose from none, flip"),
    ],
)
def test_mistakes_are_one_line(run: Run, other: list[str], why: str) -> None:
    result = trained(run.folder.parents[1], *other, "--name", "wrong")
    assert result.exit_code == 2 and why in result.output
    assert len(result.output.strip().splitlines()) == 1


def predicted(run: Run, path: Path, out: Path, *other: str) -> Any:
    result = call("predict", run.folder, path, "--out", out, "--device", "cpu", *other)
    assert result.exit_code == 0, result.output
    return json.loads(Path(result.output.strip().splitlines()[-1]).read_text())
