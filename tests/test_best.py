"""Early stopping, and which weights a report judges: on a run that learns and then is wrecked."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from digit_set import SIDE, Digits
from toys import built

import train
from loaders import Dataset, World
from tasks import evaluate
from tasks.classify import Task
from tasks.run import Run, load_checkpoint
from tasks.run.best import Best
from tasks.run.restore import restore

# The learning rate grows 500-fold after a quarter: what was learnt is lost.
WRECKED = ["--schedule", "steps", "--milestones", "0.25", "--gamma", "500", "--lr", "0.01"]


def trained(folder: Path, *other: str) -> Result:
    arguments = ["--model", "mlp", "--net", f"side={SIDE}", "--net", "hidden=32", "--threads", "1"]
    arguments += ["--data", str(folder / "digits"), "--steps", "200", "--validate-every", "10"]
    arguments += ["--checkpoint-every", "10", "--keep", "100", "--device", "cpu", *WRECKED]
    return CliRunner().invoke(train.main, [*arguments, "--runs", str(folder / "runs"), *other])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("best")
    built(Digits(), folder / "digits")
    return folder


@pytest.fixture(scope="module")
def stopped(folder: Path) -> Run:
    result = trained(folder, "--name", "stopped", "--patience", "4", "--weights", "best")
    assert result.exit_code == 0, result.output
    assert "is the last: 4 validations brought no better accuracy" in result.output
    return Run(folder / "runs" / "stopped")


def validations(run: Run) -> dict[int, dict[str, Any]]:
    return {e["step"]: e for e in run.read_log() if e["kind"] == "validation"}


def reported(run: Run) -> dict[str, float]:
    figures: dict[str, float] = json.loads((run.folder / "report.json").read_text())["figures"]
    return figures


def test_training_ends_when_it_gets_no_better(stopped: Run) -> None:
    found = validations(stopped)
    best = max(found, key=lambda step: (found[step]["accuracy"], -step))
    assert max(found) == best + 40 < 200


def test_the_report_is_of_the_best_weights(stopped: Run, folder: Path) -> None:
    """Read back from their file and judged again: not the last ones under the best one's name."""
    found = validations(stopped)
    assert reported(stopped)["accuracy"] == max(one["accuracy"] for one in found.values())
    latest, dataset = stopped.latest(), Dataset(folder / "digits")
    assert latest and reported(stopped)["accuracy"] > found[max(found)]["accuracy"] + 0.3
    for checkpoint, same in ((stopped.best(), True), (latest, False)):
        task, net = restore(stopped, checkpoint, "cpu", dataset)
        figures = evaluate(task, net, "val", world=World()).figures
        assert (figures == reported(stopped)) == same
    best, last = (load_checkpoint(path)["model"] for path in (stopped.best(), latest))
    assert not all(torch.equal(best[name], last[name]) for name in best)
    assert stopped.judged() == stopped.best()


def test_without_patience_the_last_weights_are_judged(folder: Path) -> None:
    assert trained(folder, "--name", "last").exit_code == 0
    run = Run(folder / "runs" / "last")
    found = validations(run)
    assert max(found) == 200 and reported(run)["accuracy"] == found[200]["accuracy"]
    assert run.judged() == run.latest()


def test_a_stopped_wait_goes_on(stopped: Run, folder: Path) -> None:
    """Killed between the best and the end: the resumed run waits no longer than a whole one."""
    again = Run(folder / "runs" / "again")
    shutil.copytree(stopped.folder, again.folder)
    (again.folder / "report.json").unlink()
    for path in again.steps()[-3:]:
        path.unlink()
    arguments = ("--name", "again", "--patience", "4", "--weights", "best")
    assert trained(folder, *arguments).exit_code == 0
    assert reported(again) == reported(stopped)
    latest, before = again.latest(), stopped.latest()
    assert latest and before and latest.name == before.name


def test_a_validation_that_a_signal_put_off_is_made_up_for(
    stopped: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told to stop in the very step of the best validation: no result may depend on that."""
    found = validations(stopped)
    at = min(found, key=lambda step: (-found[step]["accuracy"], step))
    step = train.Trainer._step

    def told(self: train.Trainer, batch: Any) -> Any:
        if self.step == at - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, batch)

    arguments = ("--name", "put-off", "--patience", "4", "--weights", "best")
    with monkeypatch.context() as patched:
        patched.setattr(train.Trainer, "_step", told)
        assert "told to stop" in trained(folder, *arguments).output
    run = Run(folder / "runs" / "put-off")
    assert run.latest() and at not in validations(run)
    assert trained(folder, *arguments).exit_code == 0
    assert list(validations(run)) == list(found)
    assert reported(run) == reported(stopped)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--best", "nss"], "--best nss: the task ranks by accuracy, balanced_accuracy, macro_f1"),
        (["--patience", "-1"], "--patience must be at least 0"),
        (["--patience", "2", "--validate-every", "0"], "--patience counts validations"),
        (
            ["--strategy", "balanced", "--task", "class_weights=balanced"],
            "choose one, or they count twice",
        ),
    ],
)
def test_mistakes_are_one_line(folder: Path, arguments: list[str], why: str) -> None:
    result = trained(folder, "--name", "wrong", *arguments)
    assert result.exit_code == 2, result.output
    assert why in result.output and result.output.count("\n") == 1


def test_validations_go_by_epochs_too(folder: Path) -> None:
    """240 samples in batches of 64: four steps an epoch."""
    arguments = ("--name", "epochs", "--validate-every", "0", "--validate-epochs", "2")
    assert trained(folder, *arguments, "--steps", "21").exit_code == 0
    assert sorted(validations(Run(folder / "runs" / "epochs"))) == [8, 16, 21]


def test_smaller_losses_are_better() -> None:
    best = Best(Task, "loss", 2)  # type: ignore[arg-type]  # its ranks are the class's
    taken = [best.take({"loss": value}) for value in (0.5, float("nan"), 0.4, 0.4, 0.6)]
    assert taken == [True, False, True, False, False]
    assert best.is_over
    resumed = Best(Task, "loss", 2)  # type: ignore[arg-type]
    resumed.load(best.state())
    assert resumed.is_over and not resumed.take({"loss": 0.45}) and resumed.take({"loss": 0.3})
