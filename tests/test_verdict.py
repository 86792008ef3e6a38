"""What predict says of one image: class, calibrated probability, decision, and where from."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

import models
from dataprep.manifest import DataError
from models import Input
from tasks.classes import inputs, verdict
from tasks.classes.calibrated import Calibration
from tasks.classify import Task

NAMES = ("mel", "nv", "bcc")
POINT = {"class": "mel", "index": 0, "threshold": 0.25}
LOGITS = np.log([2.0, 7.0, 1.0])  # probabilities 0.2, 0.7, 0.1; at T = 2 as their square roots


def test_verdict_by_hand() -> None:
    said = verdict.verdict(LOGITS, NAMES, Calibration(NAMES, 2.0, {"spec95": POINT}))
    roots = np.sqrt([2, 7, 1]) / np.sqrt([2, 7, 1]).sum()
    assert list(said["probabilities"].values()) == pytest.approx(roots.tolist())
    assert said["class"] == "nv" and said["probability"] == pytest.approx(roots[1])
    assert roots[0] > 0.25 and said["decisions"]["spec95"]["positive"]
    assert verdict.line(said) == "nv 0.523 (calibrated); mel at spec95: yes, 0.279 ≥ 0.250"
    json.dumps(said)


def test_without_a_calibration_nothing_is_decided() -> None:
    said = verdict.verdict(LOGITS, NAMES, None)
    assert list(said["probabilities"].values()) == pytest.approx([0.2, 0.7, 0.1])
    assert "decisions" not in said and verdict.line(said) == "nv 0.700 (not calibrated)"


def test_a_probability_at_the_threshold_is_positive() -> None:
    plain = Calibration(NAMES, 1.0)
    own = float(plain.probabilities(LOGITS[None])[0, 0])
    for threshold, positive in ((own, True), (np.nextafter(own, 1), False)):
        calibration = replace(plain, points={"p": POINT | {"threshold": threshold}})
        said = verdict.verdict(LOGITS, NAMES, calibration)
        assert said["decisions"]["p"]["positive"] is positive


def test_calibration_of_other_classes_is_refused() -> None:
    with pytest.raises(ValueError, match="logits of 3 classes, calibrated 2"):
        verdict.verdict(LOGITS, NAMES, Calibration(NAMES[:2], 1.0))


@pytest.mark.parametrize("crop", [1.0, 0.875])
@pytest.mark.parametrize("shape", [(300, 400), (400, 300), (128, 128)])
def test_the_box_is_what_the_network_sees(shape: tuple[int, int], crop: float) -> None:
    """Rows and columns as grey levels: the fitted picture spans the box, to within a pixel."""
    wanted = Input(size=(64, 64), crop=crop)
    rows, columns = np.indices(shape) * 255 / max(shape)
    image = Image.fromarray(np.stack([rows, columns, rows], axis=2).astype(np.uint8))
    top, left, height, width = inputs.seen(image, wanted)
    fitted = inputs.fitted(image, wanted).astype(float) * max(shape) / 255
    half = height / 128  # of the picture's pixels in one of the network's
    assert fitted[0, :, 0].mean() == pytest.approx(top + half, abs=3)
    assert fitted[-1, :, 0].mean() == pytest.approx(top + height - half, abs=3)
    assert fitted[:, 0, 1].mean() == pytest.approx(left + half, abs=3)
    assert fitted[:, -1, 1].mean() == pytest.approx(left + width - half, abs=3)
    assert inputs.seen(image, wanted, "squash") == (0, 0, *shape)


def test_predict_draws_what_it_went_by(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = models.build("timm_nets", arch="resnet10t", pretrained=False, classes=3, side=64).eval()
    task = Task(None, net, names=NAMES)
    photo = skimage.data.coffee()
    Image.fromarray(photo).save(tmp_path / "cup.png")
    with torch.no_grad():
        made = task.predict(net, tmp_path / "cup.png", tmp_path)
    told, drawn = made.written
    assert json.loads(told.read_text())["probabilities"] == made.said["probabilities"]
    with Image.open(drawn) as picture:
        shown = np.asarray(picture).astype(int)
    assert shown.shape == photo.shape
    top, left, height, width = inputs.seen(Image.fromarray(photo), task.input)
    changed = np.abs(shown - photo).max(axis=2) > 2
    assert changed[top : top + height, left : left + width].mean() > 0.2
    changed[top : top + height, left : left + width] = False
    assert not changed.any()
    with pytest.raises(DataError, match="is there already"):
        task.predict(net, tmp_path / "cup.png", tmp_path)


def test_a_network_without_a_grid_is_used_all_the_same(tmp_path: Path) -> None:
    net = models.build("timm_nets", arch="levit_128s", pretrained=False, classes=3).eval()
    Image.fromarray(skimage.data.coffee()).save(tmp_path / "cup.png")
    with torch.no_grad():
        made = Task(None, net, names=NAMES).predict(net, tmp_path / "cup.png", tmp_path)
    assert [path.name for path in made.written] == ["cup_classes.json"]
    assert "levit_128s" in made.said["no_overlay"]
    assert json.loads(made.written[0].read_text())["no_overlay"] == made.said["no_overlay"]
