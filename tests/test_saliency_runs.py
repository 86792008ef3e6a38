"""Saliency trained by train.py: on toys in seconds, and on real stimuli where they are at hand."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from toys import Stimuli, built

import train
from dataprep.build import build
from dataprep.raw import Raw
from dataprep.sources import Entry
from dataprep.sources.mit1003 import Source
from loaders import Dataset, Loader
from tasks.__main__ import main as commands
from tasks.run import Run
from tasks.run.restore import restore

ROOT = Path(__file__).resolve().parents[1]
TINY = ["--model", "saliency_demo", "--net", "backbone=test_resnet", "--net", "downsample=1"]
TINY += ["--task", "size=48x64", "--device", "cpu", "--threads", "1", "--log-every", "1"]
TINY += ["--global-batch-size", "5", "--validate-every", "0"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets") / "stimuli"
    built(Stimuli(), folder)
    return folder


def trained(data: Path, runs: Path, name: str, *other: str) -> Run:
    arguments = [*TINY, "--data", str(data), "--runs", str(runs), "--name", name, *other]
    result = CliRunner().invoke(train.main, arguments)
    assert result.exit_code == 0, result.output
    return Run(runs / name)


def logged(run: Run, name: str) -> list[float]:
    return [line[name] for line in run.read_log() if line.get("kind") == "step"]


def nll(run: Run, data: Path) -> tuple[float, float]:
    """Return bit per fixation on the training images: of the network, of the centre bias alone.

    Both see of an image's own fixations nothing: the bias is that of the other images.
    """
    task: Any
    task, net = restore(run, dataset=Dataset(data))
    task.begin("train")
    net.eval()
    network, baseline = [], []
    for batch in Loader(
        task.dataset, **vars(task.feed(training=False)), global_batch_size=4, epochs=1
    ):
        with torch.no_grad():
            found = task.loss(net, batch, 0).terms["nll"]
        for i in np.flatnonzero(batch.weight.numpy()):
            network.append(float(found[i]))
            size = batch["image"].shape[-2:]
            own = task.judge.relative(batch.id.numpy()[i : i + 1])[0]
            density = task.judge.centre_bias(np.asarray(task.dataset.split("train")))
            points: Any = batch.fields["fixations"]
            x, y = points.values[points.starts[i] : points.starts[i + 1], :2].long().T.numpy()
            baseline.append(-density.log_density(*size, own)[y, x].mean() / math.log(2))
    return float(np.mean(network)), float(np.mean(baseline))


def test_learns_what_the_centre_bias_does_not_know(data: Path, tmp_path: Path) -> None:
    run = trained(data, tmp_path, "run", "--steps", "80", "--lr", "0.01")
    network, baseline = nll(run, data)
    assert network < baseline - 0.3
    report = json.loads((run.folder / "report.json").read_text())["figures"]
    assert report["ig"] > 0
    for name in ("figures/panels.png", "figures/curves.png", "values-stimuli-val.csv"):
        assert (run.folder / name).stat().st_size > 100


def test_entropy_term_spreads_the_bias(data: Path, tmp_path: Path) -> None:
    """The same run with and without it; how often it was applied stands in the log."""
    weights, steps = (0.0, 5.0), 40
    entropies = []
    for weight in weights:
        options = ["--steps", str(steps), "--task", f"entropy_weight={weight}", "--lr", "0.01"]
        run = trained(data, tmp_path, f"w{weight}", *options, "--task", "entropy_every=4")
        figures = json.loads((run.folder / "report.json").read_text())["figures"]
        entropies.append(figures["bias_entropy_nats"])
        assert figures["bias_entropy_nats"] <= figures["bias_entropy_bound_nats"]
    assert sum(logged(run, "entropy_applied")) == steps / 4
    assert entropies[1] > entropies[0] + 0.02


@pytest.mark.parametrize("entropy_weight", [0, 1])
def test_two_ranks_equal_one(data: Path, tmp_path: Path, entropy_weight: int) -> None:
    """In parts of two images, with fillers: each image, and the term of a step, counts once.

    The backbone is frozen: batch statistics are of one rank, and would make another network.
    """
    common = ["--steps", "6", "--net", "tuned=false", "--task", f"entropy_weight={entropy_weight}"]
    one = trained(data, tmp_path, "one", *common)
    arguments = [*TINY, "--data", str(data), "--runs", str(tmp_path), "--name", "two", *common]
    arguments += ["--micro-batch", "2"]
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "train.py"]
    done = subprocess.run(
        [sys.executable, *command, *arguments], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    two = Run(tmp_path / "two")
    np.testing.assert_allclose(logged(two, "loss"), logged(one, "loss"), rtol=2e-5)
    mine, theirs = (
        json.loads((run.folder / "report.json").read_text())["figures"] for run in (one, two)
    )
    assert mine.keys() == theirs.keys()
    for name, value in mine.items():
        assert theirs[name] == pytest.approx(value, rel=1e-3, abs=1e-3), name


def test_stopped_and_resumed(data: Path, tmp_path: Path) -> None:
    """The centre bias comes from the checkpoint and from the data: both as before."""
    whole = trained(data, tmp_path, "whole", "--steps", "6", "--checkpoint-every", "3")
    parts = trained(data, tmp_path, "parts", "--steps", "6", "--checkpoint-every", "3")
    for path in parts.steps()[1:]:
        path.unlink()
    (parts.folder / "report.json").unlink()
    trained(data, tmp_path, "parts", "--steps", "6", "--checkpoint-every", "3")
    assert logged(parts, "loss") == logged(whole, "loss")


def test_weights_of_another_set_come_without_its_centre_bias(data: Path, tmp_path: Path) -> None:
    class Corner(Stimuli):
        def one(self, i: int) -> dict[str, Any]:
            sample = super().one(i)
            sample["fixations"][:, :2] /= 4
            return sample

    built(Corner(), tmp_path / "corner")
    other = trained(tmp_path / "corner", tmp_path, "other", "--steps", "2")
    options = ["--steps", "1", "--lr", "1e-9"]
    best = str(other.best())
    runs = [trained(data, tmp_path, "own", *options)]
    runs.append(trained(data, tmp_path, "after", *options, "--init", best))
    own, after = (torch.load(run.best(), weights_only=True)["model"] for run in runs)
    torch.testing.assert_close(after["centre_bias"], own["centre_bias"])
    rest = own.keys() - {"centre_bias"}
    assert any(not torch.equal(after[name], own[name]) for name in rest)


def test_folds_are_judged_on_their_own_part(tmp_path: Path) -> None:
    """By default: the other lists hold images that this run was trained on."""

    class Folded(Stimuli):
        def entries(self, raw: Raw) -> list[Entry]:
            also = [("fold0_val",) if i % 4 == 1 else ("fold0_train",) for i in range(20)]
            pairs = zip(super().entries(raw), also, strict=True)
            return [dataclasses.replace(entry, also=more) for entry, more in pairs]

    built(Folded(), tmp_path / "folded")
    folds = ["--train-split", "fold0_train", "--val-split", "fold0_val"]
    run = trained(tmp_path / "folded", tmp_path, "run", "--steps", "1", *folds)
    done = CliRunner().invoke(commands, ["evaluate", str(run.folder), "--device", "cpu"])
    assert "folded fold0_val: 5 samples" in done.output and "folded val:" not in done.output


def test_commands_around_a_run(data: Path, tmp_path: Path) -> None:
    """Evaluated on another size, predicted from, without the set's folder being named."""
    run = trained(data, tmp_path, "run", "--steps", "2")
    asked = [str(run.folder), "--device", "cpu"]
    done = CliRunner().invoke(commands, ["evaluate", *asked, "--task", "size=native"])
    assert done.exit_code == 0, done.output
    found = json.loads((run.folder / "evaluation-stimuli.json").read_text())
    assert set(found["figures"]) == {"val"} and len(found["origin"]["checkpoint"]["sha256"]) == 64
    wrong = CliRunner().invoke(commands, ["evaluate", *asked, "--task", "colour=red"])
    assert wrong.exit_code == 2 and "unknown key 'colour'" in wrong.output
    tiled = CliRunner().invoke(commands, ["evaluate", *asked, "--tile", "64"])
    assert tiled.exit_code == 2 and "unknown key 'tile'" in tiled.output
    picture = ROOT / "bench" / "results" / "w1.png"
    out = tmp_path / "out"
    done = CliRunner().invoke(commands, ["predict", *asked, str(picture), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert {path.name for path in out.iterdir()} == {"w1_saliency.png", "w1_saliency.npy"}


def test_thirty_real_stimuli(tmp_path: Path) -> None:
    """A small network from random weights beats the centre bias on the images it is trained on."""
    from shared import folder

    data = tmp_path / "mit1003"
    build(Source(), folder("saliency") / "mit1003_real", data)
    options = [
        "--steps",
        "120",
        "--task",
        "size=96x128",
        "--global-batch-size",
        "6",
        "--lr",
        "0.01",
    ]
    network, baseline = nll(trained(data, tmp_path, "run", *options), data)
    assert network < baseline
