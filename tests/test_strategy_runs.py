"""Strategies in train.py: work is counted, schedules end, resume is exact, weights are unbiased."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from digit_set import COUNT, SIDE, Digits
from toys import built

import models
import train
from loaders import Dataset, Loader, strategies
from loaders.strategies import Chosen
from tasks.__main__ import main as tasks_main
from tasks.run import Run, load_checkpoint
from tasks.run.launch import Launch, reseed

TRAINED = COUNT * 2 // 3
BATCH, EPOCHS = 16, 4
SETTINGS = [
    "--model",
    "mlp",
    "--net",
    f"side={SIDE}",
    "--net",
    "hidden=16",
    "--validate-every",
    "0",
]
SETTINGS += ["--global-batch-size", str(BATCH), "--schedule", "cosine", "--lr", "0.01"]
SETTINGS += ["--device", "cpu", "--threads", "1", "--feedback-lag", "4", "--log-every", "1"]
ALL = [name for name in strategies.names() if not strategies.load(name).tables]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("strategy-runs") / "digits"
    built(Digits(), folder)
    return folder


def arguments(data: Path, runs: Path, name: str, *other: str) -> list[str]:
    return [*SETTINGS, "--data", str(data), "--runs", str(runs), "--name", name, *other]


def trained(data: Path, runs: Path, name: str, *other: str) -> Run:
    result = CliRunner().invoke(train.main, arguments(data, runs, name, *other))
    assert result.exit_code == 0, result.output
    return Run(runs / name)


def work(run: Run) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run.folder / "report.json").read_text())["work"]
    return found


def weights(run: Run) -> Any:
    path = run.latest()
    assert path is not None
    return load_checkpoint(path)["model"]


def entries(run: Run, kind: str) -> list[dict[str, Any]]:
    return [entry for entry in run.read_log() if entry.get("kind") == kind]


@pytest.mark.parametrize("name", ALL)
def test_work_is_counted(name: str, data: Path, tmp_path: Path) -> None:
    """Candidates are decoded and scored; without a scoring pass all that is decoded is trained."""
    run = trained(data, tmp_path, name, "--strategy", name, "--steps", "20", "--count-visits")
    told, kind = work(run), strategies.load(name)
    assert told["steps"] == 20 and told["seconds"] > 0
    assert told["scored"] == (told["decoded"] if kind.picks() else 0)
    assert told["trained"] == pytest.approx(told["decoded"] / kind.candidates, rel=0.05)
    with np.load(run.folder / "visits.npz") as found:
        ids, visits = found["id"], found["visits"]
    assert len(ids) == TRAINED
    if not kind.weighs():  # which counts what has a weight alone
        assert visits.sum() == told["trained"]
    if name in ("random", "fixed"):  # an epoch of 15 steps, and 5 of the next
        assert visits.min() == 1 and visits.max() == 2
        assert entries(run, "epoch")[0]["seen"] == 1


def test_a_shorter_epoch_shortens_no_decay(data: Path, tmp_path: Path) -> None:
    """InfoBatch steps less often; its learning rate still falls to the end, and the run ends."""
    both = {
        name: trained(
            data, tmp_path, name, "--strategy", name, "--epochs", str(EPOCHS), "--count-visits"
        )
        for name in ("random", "infobatch")
    }
    steps = {name: entries(run, "step") for name, run in both.items()}
    full = EPOCHS * TRAINED // BATCH
    assert len(steps["random"]) == full > len(steps["infobatch"])
    assert work(both["infobatch"])["decoded"] < work(both["random"])["decoded"] == EPOCHS * TRAINED
    for name, run in both.items():
        assert len(entries(run, "epoch")) == EPOCHS
        last, first = steps[name][-1]["lr"], steps[name][0]["lr"]
        assert first == pytest.approx(0.01) and last < 0.0003


@pytest.mark.parametrize(
    "name", ["smart", "infobatch", "online_rank", "ordered_sgd", "gradnorm_is"]
)
def test_killed_and_resumed_is_the_same(name: str, data: Path, tmp_path: Path) -> None:
    """Stopped inside an epoch, at the same step: weights, work and visits of a run in one go."""
    other = ["--strategy", name, "--epochs", str(EPOCHS), "--count-visits"]
    whole = trained(data, tmp_path, "whole", *other)
    parts = stopped(data, tmp_path, "parts", 13, *other)
    assert not (parts.folder / "report.json").exists()
    parts = trained(data, tmp_path, "parts", *other)
    for key, value in weights(whole).items():
        assert torch.equal(value, weights(parts)[key]), key
    told = {key: value for key, value in work(whole).items() if key != "seconds"}
    assert told == {key: value for key, value in work(parts).items() if key != "seconds"}
    with np.load(whole.folder / "visits.npz") as a, np.load(parts.folder / "visits.npz") as b:
        np.testing.assert_array_equal(a["visits"], b["visits"])


def stopped(data: Path, runs: Path, name: str, step: int, *other: str) -> Run:
    """Train in this process, told to stop at a step."""

    class Stopping(train.Trainer):
        def _step(self, batch: Any) -> Any:
            if self.step + 1 == step:
                signal.raise_signal(signal.SIGTERM)
            return super()._step(batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "Trainer", Stopping)
        result = CliRunner().invoke(train.main, arguments(data, runs, name, *other))
    assert result.exit_code == 0, result.output
    run = Run(runs / name)
    latest = run.latest()
    assert latest is not None and load_checkpoint(latest)["step"] == step
    return run


@pytest.mark.parametrize("name", ["smart", "infobatch", "selective_backprop", "ordered_sgd"])
def test_two_ranks_are_one(name: str, data: Path, tmp_path: Path) -> None:
    other = ["--strategy", name, "--steps", "24", "--count-visits"]
    alone = trained(data, tmp_path, "alone", *other)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += [train.__file__, *arguments(data, tmp_path, "two", *other)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    two = Run(tmp_path / "two")
    for key, value in weights(alone).items():
        torch.testing.assert_close(value, weights(two)[key], rtol=1e-4, atol=1e-5)
    counted = ("steps", "decoded", "scored", "trained")
    assert [work(two)[key] for key in counted] == [work(alone)[key] for key in counted]
    with np.load(alone.folder / "visits.npz") as a, np.load(two.folder / "visits.npz") as b:
        np.testing.assert_array_equal(a["visits"], b["visits"])


def test_judged_at_the_end_as_by_evaluate(data: Path, tmp_path: Path) -> None:
    run = trained(data, tmp_path, "judged", "--steps", "12", "--judge", "train,val")
    path = run.folder / "evaluation-digits.json"
    told = json.loads(path.read_text())
    latest = str(run.latest())
    call = ["evaluate", str(run.folder), "--checkpoint", latest, "--device", "cpu"]
    result = CliRunner().invoke(tasks_main, [*call, "--split", "train", "--split", "val"])
    assert result.exit_code == 0, result.output
    again = json.loads(path.read_text())
    assert told["figures"] == again["figures"] and set(told["figures"]) == {"train", "val"}
    assert told["origin"]["checkpoint"] == again["origin"]["checkpoint"]


class Doubled(strategies.Strategy):
    """Plain order, every sample counted twice."""

    def choose(self, epoch: int, step: int) -> Chosen:
        rows = self.order.take(epoch, step)
        return Chosen(rows, np.full(len(rows), 2.0, np.float32))


@pytest.mark.parametrize("micro", [0, 5])
def test_weights_are_not_normalised_away(micro: int, data: Path, tmp_path: Path) -> None:
    """Weights of 2 double the gradient: Σ w·ℓ is divided by the samples, not by Σ w."""
    gradients = {}
    for kind in (strategies.Strategy, Doubled):
        trainer = opened(data, tmp_path / kind.__name__, kind, micro)
        batch = next(iter(trainer.loader))
        trainer._backward(batch, weighs=False)
        gradients[kind] = [parameter.grad.clone() for parameter in trainer.parameters]
        trainer.loader.close()
    for one, two in zip(*gradients.values(), strict=True):
        torch.testing.assert_close(2 * one, two)


def opened(data: Path, folder: Path, kind: type[strategies.Strategy], micro: int) -> Any:
    """Return a trainer whose loader has this strategy."""
    plain = models.recipes()["mlp"][1]
    recipe = replace(plain, data=str(data), steps=5, epochs=0, net={"side": SIDE})
    launch = Launch(device="cpu", threads=1, micro_batch=micro)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strategies, "load", lambda name: kind)
        return train.Trainer("mlp", recipe, launch, Run(folder), None, False)


def test_reseeding_is_torchs() -> None:
    torch.manual_seed(123_456)
    wanted = torch.rand(3)
    reseed(123_456, torch.device("cpu"))
    assert torch.equal(torch.rand(3), wanted)


def refused(data: Path, runs: Path, *other: str) -> str:
    result = CliRunner().invoke(
        train.main, arguments(data, runs, "refused", "--steps", "4", *other)
    )
    assert result.exit_code == 2, result.output
    assert result.output.count("\n") <= 2 and not (runs / "refused" / "checkpoints").exists()
    return result.output


def test_mistakes_are_said_before_the_training(data: Path, tmp_path: Path) -> None:
    assert "tset: no such split" in refused(data, tmp_path, "--judge", "tset")
    three = ["--strategy-option", "candidates=3"]
    assert "trains on all it decodes" in refused(data, tmp_path, *three)
    assert "want 1 or more" in refused(
        data, tmp_path, "--strategy", "gradnorm_is", "--strategy-option", "candidates=0"
    )
    assert "no such table" in refused(data, tmp_path, "--strategy", "rholoss")


def test_scores_of_other_labels_are_refused(data: Path, tmp_path: Path) -> None:
    """An irreducible loss of the true labels would pick just the wrong ones."""
    copied = tmp_path / "digits"
    shutil.copytree(data, copied)
    held = trained(copied, tmp_path, "held", "--steps", "20", "--train-split", "val")
    score = ["score", str(held.folder), "--data", str(copied), "--what", "irreducible_loss"]
    score += ["--device", "cpu", "--split", "train"]
    assert CliRunner().invoke(tasks_main, score).exit_code == 0
    rho = ["--strategy", "rholoss", "--strategy-option", "candidates=2"]
    noisy = ["--task", "label_noise=0.3"]
    assert "was scored against other labels (label=label, label_noise=0.0)" in refused(
        copied, tmp_path, *rho, *noisy
    )
    trained(copied, tmp_path, "fits", "--steps", "4", *rho)
    again = CliRunner().invoke(tasks_main, [*score, *noisy, "--name", "noisy"])
    assert again.exit_code == 0, again.output
    trained(copied, tmp_path, "too", "--steps", "4", *rho, *noisy, "--strategy-option",
            "irreducible_loss=noisy")  # fmt: skip


def test_validation_on_what_is_trained_on_is_said(data: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(
        train.main, arguments(data, tmp_path, "own", "--steps", "2", "--val-split", "train")
    )
    assert f"{TRAINED} of {TRAINED} samples of split train are trained on" in result.output
    result = CliRunner().invoke(train.main, arguments(data, tmp_path, "other", "--steps", "2"))
    assert "are trained on" not in result.output


def test_nobody_observes(data: Path) -> None:
    """A loop that tells a strategy nothing gets an error, not silence for ever."""
    loader = Loader(Dataset(data), fields=("label",), strategy="smart", feedback_lag=3,
                    global_batch_size=8)  # fmt: skip
    seen = 0
    with pytest.raises(ValueError, match=r"smart waits for scores: call loader\.observe"):
        for _ in loader:
            seen += 1
    loader.close()
    assert seen == 3
