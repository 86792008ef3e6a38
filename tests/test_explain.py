"""`python -m tasks explain`: discs whose place is known, from training to the share of the heat."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from click.testing import CliRunner, Result
from digit_set import Digits
from PIL import Image
from scipy.special import logit, softmax
from toys import built

import train
from dataprep.manifest import Field
from dataprep.raw import Raw
from dataprep.sources import Base, Entry, Sample
from loaders import Dataset
from tasks.__main__ import main
from tasks.classes import explained
from tasks.classify import Task
from tasks.run import Run, report
from tasks.run.restore import restore

N, SIDE = 140, 96
CLASSES = ["blue", "red"]


@dataclass(frozen=True, kw_only=True)
class Discs(Base):
    """Blue and red discs on a grey ground; masks are half as large as the images."""

    summary: ClassVar[str] = "discs"
    needs_raw: ClassVar[bool] = False

    def classes(self, entries: Any) -> list[str]:
        return CLASSES

    def fields(self) -> dict[str, Field]:
        return {
            "image": Field(
                kind="image", dtype="uint8", shape=(None, None, 3), scale=1 / 255, codec="raw"
            ),
            "label": Field(kind="value", dtype="int64"),
            "mask": Field(kind="map", dtype="uint8", shape=(None, None, 1)),
        }

    def entries(self, raw: Raw) -> list[Entry]:
        splits = ("train", "train", "train", "train", "val", "calibration", "test")
        return [Entry(f"disc{i:03d}", splits[i % 7], {}) for i in range(N)]

    def read(self, raw: Raw, entry: Entry) -> Iterator[Sample]:
        i = int(entry.name.removeprefix("disc"))
        draw = np.random.default_rng(i)
        label = int(i // 7 % 4 == 0)  # a quarter of each split is red
        height, width = 120, 160
        x, y = draw.uniform(40, 120), draw.uniform(35, 85)
        ys, xs = np.mgrid[:height, :width] + 0.5
        inside = (xs - x) ** 2 + (ys - y) ** 2 < 18**2
        image = draw.integers(100, 140, (height, width, 3)).astype(np.uint8)
        image[inside] = (20, 20, 220) if label == 0 else (220, 20, 20)
        mask = (255 * inside).astype(np.uint8).reshape(60, 2, 80, 2).mean(axis=(1, 3))
        yield Sample(
            entry.name, {"image": image, "label": label, "mask": mask.astype(np.uint8)[..., None]}
        )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("explain")
    built(Discs(), folder / "discs")
    asked = {"arch": "test_resnet", "pretrained": "false", "side": SIDE, "classes": 2}
    arguments = ["--model", "resnet50", "--data", str(folder / "discs"), "--steps", "40"]
    for key, value in asked.items():
        arguments += ["--net", f"{key}={value}"]
    arguments += ["--task", "positive=red", "--task", "augment=none", "--patience", "0"]
    arguments += ["--lr", "0.003", "--global-batch-size", "16", "--device", "cpu"]
    arguments += ["--threads", "1", "--runs", str(folder / "runs"), "--name", "discs"]
    result = CliRunner().invoke(train.main, arguments)
    assert result.exit_code == 0, result.output
    return Run(folder / "runs" / "discs")


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def table(folder: Path) -> list[dict[str, str]]:
    with open(folder / "heat.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_pictures_and_shares(run: Run) -> None:
    result = call("explain", run.folder, "--count", 6, "--device", "cpu")
    assert result.exit_code == 0, result.output
    folder = run.folder / "explained-discs-test"
    rows = table(folder)
    assert [row["label"] for row in rows].count("red") == 3
    facts = json.loads((folder / "heat.json").read_text())
    shares = np.array([[float(row["share_inside"]), float(row["share_area"])] for row in rows])
    np.testing.assert_allclose(shares.mean(axis=0), [facts["share_inside"], facts["share_area"]])
    assert f"{facts['share_inside']:.4f}" in result.output and "not calibrated" in result.output
    # The disc is all that differs: that is where a network that learnt it looks.
    assert facts["share_inside"] > 2 * facts["share_area"]
    assert facts["share_area"] == pytest.approx(np.pi * 18**2 / 120**2, rel=0.1)
    assert {path.name for path in folder.glob("disc*.png")} == {f"{r['key']}.png" for r in rows}
    for path in folder.glob("*.png"):
        with Image.open(path) as picture:
            assert (
                picture.info["data"]
                == Dataset(run.folder.parents[1] / "discs").manifest.fingerprint
            )
            assert picture.info["split"] == "test" and picture.width > 400


def test_the_mask_moves_with_its_image(run: Run) -> None:
    dataset = Dataset(run.folder.parents[1] / "discs")
    task, net = restore(run, None, "cpu", dataset)
    rows = np.array([1, 5, 12])
    assert isinstance(task, Task)
    found = list(
        explained.explain(task, net, "train", rows, "label", partial(softmax, axis=1), "cpu")
    )
    assert [one.id for one in found] == np.asarray(dataset.split("train"))[rows].tolist()
    for one in found:
        assert one.mask is not None and one.heat.shape == one.mask.shape == (SIDE, SIDE)
        coloured = np.ptp(one.image.astype(int), axis=2) > 100
        assert (coloured & one.mask).sum() / (coloured | one.mask).sum() > 0.85
        assert one.inside == pytest.approx(one.heat[one.mask].sum() / one.heat.sum(), rel=1e-4)
        panel = explained.panel(one, CLASSES)
        border = np.abs(panel.astype(int) - explained.OUTLINE).max(axis=2) < 40
        assert border.sum() > 50


def test_an_empty_mask_is_none(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A set stores one where there was none: no share is 0, or is averaged with others."""
    masks = explained._masks

    def first_is_empty(levels: Any, height: int, width: int) -> Any:
        found = masks(levels, height, width)
        found[0] = False
        return found

    arguments = ["explain", run.folder, "--count", 6, "--device", "cpu", "--out", tmp_path / "out"]
    monkeypatch.setattr(explained, "_masks", first_is_empty)
    result = call(*arguments)
    assert result.exit_code == 0 and "1 have no mask" in result.output
    first, *others = table(tmp_path / "out")
    assert first["share_inside"] == first["share_area"] == ""
    facts = json.loads((tmp_path / "out" / "heat.json").read_text())
    assert (facts["samples"], facts["masked"]) == (6, 5)
    mean = np.mean([float(row["share_inside"]) for row in others])
    assert facts["share_inside"] == pytest.approx(mean)


def test_all_samples_of_a_class_calibrated(run: Run, tmp_path: Path) -> None:
    """Of two classes the log odds are a third at a temperature of three."""
    arguments = ["explain", run.folder, "--split", "val", "--count", 0, "--device", "cpu"]
    assert call(*arguments, "--out", tmp_path / "plain").exit_code == 0
    calibration = {"classes": CLASSES, "temperature": 3.0, "points": {}}
    calibration["checkpoint"] = report.identity(run.best())
    (run.folder / "calibration.json").write_text(json.dumps(calibration))
    after = call(*arguments, "--of", "red", "--out", tmp_path / "scaled")
    (run.folder / "calibration.json").unlink()
    assert after.exit_code == 0, after.output
    assert "20 of 20 samples, heat of red" in after.output
    assert "not calibrated" not in after.output
    plain, scaled = table(tmp_path / "plain"), table(tmp_path / "scaled")
    assert [row["predicted"] for row in plain] == [row["predicted"] for row in scaled]
    before, now = (logit([float(row["probability"]) for row in t]) for t in (plain, scaled))
    np.testing.assert_allclose(now, before / 3, rtol=1e-3)


def test_rows_are_spread_over_the_classes() -> None:
    labels = np.array([0] * 50 + [1] * 2 + [2] * 30)
    rows = explained.chosen(labels, 12)
    assert np.bincount(labels[rows]).tolist() == [5, 2, 5]
    assert rows.tolist() == sorted(set(rows.tolist())) and rows[0] == 0 and 35 < rows[4] < 50
    assert len(explained.chosen(labels, 0)) == len(explained.chosen(labels, 100)) == 82
    assert labels[explained.chosen(labels, 2)].tolist() == [0, 1]


def test_mistakes_are_one_line(run: Run, tmp_path: Path) -> None:
    built(Digits(), tmp_path / "digits")
    arguments = ["--model", "mlp", "--net", "side=8", "--data", str(tmp_path / "digits")]
    arguments += ["--steps", "1", "--device", "cpu", "--runs", str(tmp_path / "runs")]
    assert CliRunner().invoke(train.main, [*arguments, "--threads", "1"]).exit_code == 0
    cases = [
        ((run.folder, "--of", "green"), "want --of predicted, label, blue, red"),
        ((run.folder, "--split", "later"), "later"),
        ((tmp_path / "runs" / "mlp",), "names no layer that heat could be drawn from"),
        ((tmp_path / "nothing",), "not a run"),
    ]
    for given, why in cases:
        result = call("explain", *given)
        assert result.exit_code == 2 and why in result.output
        assert len(result.output.strip().splitlines()) == 1


def test_sets_without_masks(run: Run, tmp_path: Path) -> None:
    """Of any set of the run's classes: photographs in folders have none."""
    from dataprep.build import build
    from dataprep.sources.imagefolder import Source

    for i, name in enumerate(CLASSES):
        (tmp_path / "raw" / "test" / name).mkdir(parents=True)
        picture = np.random.default_rng(i).integers(0, 255, (120, 110, 3), np.uint8)
        Image.fromarray(picture).save(tmp_path / "raw" / "test" / name / f"{name}.png")
    build(Source(), tmp_path / "raw", tmp_path / "photos", workers=1)
    out = tmp_path / "out"
    result = call("explain", run.folder, "--data", tmp_path / "photos", "--out", out)
    assert result.exit_code == 0, result.output
    assert "2 have no mask" in result.output
    assert [row["share_inside"] for row in table(out)] == ["", ""]
