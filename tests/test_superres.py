"""The super-resolution task and the commands around it: evaluate, predict, preview."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from test_train import finished
from toys import SuperResolution, built

import models
from dataprep.bicubic import upscale
from loaders import Batch, Dataset
from tasks.__main__ import main
from tasks.metrics.image import psnr
from tasks.run import Run, load_checkpoint
from tasks.superres import Task, fft_l1, tiled, to_image


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("superres") / "pairs"
    built(SuperResolution(), folder)
    return folder


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return finished(data, tmp_path_factory.mktemp("runs"), "run")


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def batch_of(sr_like: torch.Tensor, lr: torch.Tensor) -> Batch:
    ids = torch.arange(len(lr))
    fields: Any = {"hr": sr_like, "lr_x2": lr}
    return Batch(fields, ids, ids, torch.ones(len(lr)), float(len(lr)))


def test_loss_is_the_papers(data: Path) -> None:
    """Mean L1 + 0.1 × mean L1 of stacked real and imaginary parts of rfft2, on the unclamped SR."""
    net = models.build("shufflemixer", size="tiny", scale=2, width=16, blocks=1)
    task = Task(Dataset(data), net, patch=12)
    hr, lr = torch.rand(3, 3, 24, 24), torch.rand(3, 3, 12, 12)
    loss = task.loss(net, batch_of(hr, lr), 0)
    sr = net(lr).detach().numpy().astype(np.float64)
    spectrum = np.fft.rfft2(sr - hr.numpy())
    fft = np.abs(np.stack([spectrum.real, spectrum.imag])).mean()
    l1 = np.abs(sr - hr.numpy()).mean()
    assert loss.per_sample is not None
    assert float(loss.terms["l1"].mean()) == pytest.approx(l1, rel=1e-5)
    assert float(loss.terms["fft"].mean()) == pytest.approx(fft, rel=1e-5)
    assert float(loss.per_sample.mean().detach()) == pytest.approx(l1 + 0.1 * fft, rel=1e-5)
    assert fft_l1(torch.from_numpy(sr).float(), hr).shape == (3,)


@pytest.mark.parametrize(
    "settings", [{"size": "tiny"}, {"size": "base"}, {"size": "tiny", "kernel_size": 13}]
)
def test_tiles_equal_the_whole_image(settings: dict[str, Any]) -> None:
    torch.manual_seed(0)
    net: Any = models.build("shufflemixer", scale=2, **settings).eval()
    lr = torch.rand(1, 3, 150, 131)
    with torch.no_grad():
        whole, parts = net(lr), tiled(net, lr, 2, 40, net.reach)
    # Convolutions of other sizes add in another order; a grey level is 4e-3.
    torch.testing.assert_close(whole, parts, atol=5e-5, rtol=0)
    assert np.abs(to_image(whole).astype(int) - to_image(parts)).max() <= 1


def test_evaluate_judges_whole_images_once(data: Path, run: Run) -> None:
    """The figures of the command are those computed here by hand from the stored pixels."""
    result = call("evaluate", run.folder, "--device", "cpu")
    assert result.exit_code == 0, result.output
    report = json.loads((run.folder / "evaluation-pairs.json").read_text())["figures"]["val"]
    net = models.build("shufflemixer", size="tiny", scale=2, width=16, blocks=1).eval()
    models.initialise(net, load_checkpoint(run.best()))
    scores, bicubic = [], []
    for i in range(9, 12):
        sample = SuperResolution().one(i)
        lr = sample["lr_x2"]
        hr = sample["hr"][: 2 * lr.shape[0], : 2 * lr.shape[1]]
        with torch.no_grad():
            sr = net(torch.from_numpy(lr).permute(2, 0, 1)[None] / 255)
        scores.append(psnr(to_image(sr), hr, 2, "y"))
        bicubic.append(psnr(upscale(lr, 2), hr, 2, "y"))
    assert report["psnr_y"] == pytest.approx(np.mean(scores), abs=1e-3)
    assert report["bicubic_psnr_y"] == pytest.approx(np.mean(bicubic), abs=1e-9)
    tiled_report = call("evaluate", run.folder, "--device", "cpu", "--tile", 16)
    assert tiled_report.exit_code == 0, tiled_report.output


def test_predict_needs_no_data(run: Run, tmp_path: Path) -> None:
    """A run that was carried elsewhere still works."""
    moved = tmp_path / "moved"
    shutil.copytree(run.folder, moved)
    facts = json.loads((moved / "recipe.json").read_text())
    facts["recipe"]["data"] = "gone"
    (moved / "recipe.json").write_text(json.dumps(facts))
    Image.new("RGB", (9, 8)).save(tmp_path / "in.png")
    result = call("predict", moved, tmp_path / "in.png", "--out", tmp_path, "--device", "cpu")
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA", "P", "1"])
def test_predict_keeps_the_kind_of_picture(run: Run, tmp_path: Path, mode: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (13, 17, 4), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(tmp_path / "in.png")
    result = call("predict", run.folder, tmp_path / "in.png", "--out", tmp_path, "--device", "cpu")
    assert result.exit_code == 0, result.output
    wanted = {"P": ("RGB", "RGBA"), "1": ("L",)}.get(mode, (mode,))
    with Image.open(tmp_path / "in_x2.png") as out:
        assert out.size == (34, 26) and out.mode in wanted


def test_preview_shows_what_the_network_sees(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "preview.png"
    common = ["preview", "--model", "shufflemixer_tiny", "--net", "scale=2", "--data", data]
    result = call(*common, "--out", out, "--task", "patch=12", "--samples", 4)
    assert result.exit_code == 0, result.output
    with Image.open(out) as sheet:
        assert sheet.size == (24 + 4 + 12 + 4, 4 * (24 + 4))  # HR beside LR, a row a sample
    # The recipe's own patch does not fit these pictures: one line, naming the remedy.
    result = call(*common, "--out", out)
    assert result.exit_code == 2 and "choose a smaller --task patch=" in result.output


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["evaluate", "{tmp}"], "not a run (no recipe.json)"),
        (["evaluate", "{run}", "--split", "dev"], "no such split; there are: train, val"),
        (["evaluate", "{run}", "--checkpoint", "{tmp}/none.pt"], "no such checkpoint"),
        (["evaluate", "{run}", "--checkpoint", "{tmp}/bad.pt"], "not a checkpoint"),
        (["predict", "{run}", "{tmp}/bad.pt"], "cannot be read as an image"),
        (["predict", "{run}", "{tmp}/none.png"], "cannot be read as an image"),
    ],
)
def test_mistakes_are_one_line(run: Run, tmp_path: Path, arguments: list[str], why: str) -> None:
    (tmp_path / "bad.pt").write_bytes(b"not a picture, not a checkpoint")
    places = {"tmp": tmp_path, "run": run.folder}
    result = call(*(argument.format(**places) for argument in arguments), "--device", "cpu")
    assert result.exit_code == 2
    assert why in result.output and result.output.count("\n") == 1
