"""The trainer as its users run it: results that do not depend on ranks, micro-batches or kills."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from toys import Hardest, SuperResolution, built

import train
from dataprep.manifest import DataError
from tasks import superres
from tasks.run import Run, load_checkpoint

ROOT = Path(__file__).parents[1]
SMALL = [
    "--model",
    "shufflemixer_tiny",
    "--net",
    "scale=2",
    "--net",
    "width=16",
    "--net",
    "blocks=1",
]
SMALL += ["--task", "patch=12", "--global-batch-size", "6", "--steps", "12", "--log-every", "1"]
SMALL += ["--log-ids", "--checkpoint-every", "3", "--threads", "1", "--device", "cpu"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("train") / "pairs"
    built(SuperResolution(), folder)
    return folder


@pytest.fixture(scope="module")
def reference(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return an uninterrupted run on one rank."""
    return finished(data, tmp_path_factory.mktemp("runs"), "reference")


def launch(data: Path, runs: Path, name: str, *other: str) -> Result:
    """Train in this process."""
    arguments = [*SMALL, "--data", str(data), "--runs", str(runs), "--name", name, *other]
    return CliRunner().invoke(train.main, arguments)


def finished(data: Path, runs: Path, name: str, *other: str) -> Run:
    result = launch(data, runs, name, *other)
    assert result.exit_code == 0, result.output
    return Run(runs / name)


def spawn(data: Path, runs: Path, name: str, *other: str, ranks: int = 1) -> subprocess.Popen[str]:
    """Train in processes of their own."""
    command = [sys.executable]
    if ranks > 1:
        command += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    command += [
        "train.py",
        *SMALL,
        "--data",
        str(data),
        "--runs",
        str(runs),
        "--name",
        name,
        *other,
    ]
    facts = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=ROOT, env=facts, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def wait_for(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


def steps_of(run: Run) -> dict[int, dict[str, Any]]:
    return {e["step"]: e for e in run.read_log() if e["kind"] == "step"}


def weights(run: Run) -> dict[str, torch.Tensor]:
    latest = run.latest()
    assert latest
    state: dict[str, torch.Tensor] = load_checkpoint(latest)["model"]
    return state


def assert_identical(one: Run, other: Run) -> None:
    a, b = weights(one), weights(other)
    assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_run_leaves_what_it_promises(reference: Run) -> None:
    lines = steps_of(reference)
    assert sorted(lines) == list(range(1, 13))
    assert {"loss", "l1", "fft", "lr", "samples_per_s", "wait_share", "ids"} <= lines[12].keys()
    report = json.loads((reference.folder / "report.json").read_text())
    assert {"psnr_y", "bicubic_psnr_y", "gain_db"} <= report["figures"].keys()
    assert report["origin"].keys() == {"command", "seed", "split", "data"}
    assert [path.name for path in reference.steps()] == [f"step-{s:08d}.pt" for s in (6, 9, 12)]
    assert (reference.checkpoints / "best.pt").exists()
    assert (reference.folder / "figures" / "curves.png").exists()
    assert (reference.folder / "figures" / "panels.png").exists()
    assert list(reference.folder.glob("events.out.*"))


def test_an_epoch_brings_each_sample_once(reference: Run) -> None:
    lines = steps_of(reference)
    ids = [lines[step]["ids"] for step in range(1, 13)]  # 9 samples: steps of 6 and 3
    for first in range(0, 12, 2):
        assert sorted(ids[first] + ids[first + 1]) == list(range(9))


def test_micro_batches_change_nothing(data: Path, reference: Run, tmp_path: Path) -> None:
    run = finished(data, tmp_path, "micro", "--micro-batch", "2")
    for step, line in steps_of(reference).items():
        assert steps_of(run)[step]["loss"] == pytest.approx(line["loss"], rel=1e-5)


def test_two_ranks_equal_one(data: Path, reference: Run, tmp_path: Path) -> None:
    """Also with an odd share: 4 samples over 2 ranks and a short batch of 3."""
    wait_for(spawn(data, tmp_path, "two", ranks=2))
    lines = steps_of(Run(tmp_path / "two"))
    for step, line in steps_of(reference).items():
        assert lines[step]["ids"] == line["ids"]
        assert lines[step]["loss"] == pytest.approx(line["loss"], rel=1e-5)
        assert lines[step]["fft"] == pytest.approx(line["fft"], rel=1e-5)


def kill_at(process: subprocess.Popen[str], run: Run, step: int) -> None:
    """Kill -9 every process of a run once it has logged a step."""
    deadline = time.monotonic() + 120
    while max(steps_of(run), default=0) < step and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    tree = subprocess.run(
        ["pgrep", "-f", str(run.folder.parent)], capture_output=True, text=True, check=False
    )
    for pid in (int(line) for line in tree.stdout.split()):
        if pid != os.getpid():
            os.kill(pid, signal.SIGKILL)
    process.communicate(timeout=60)


@pytest.mark.parametrize(("before", "after"), [(1, 1), (2, 2), (2, 1), (2, 3)])
def test_killed_and_resumed(data: Path, tmp_path: Path, before: int, after: int) -> None:
    """kill -9 at a random step; the run goes on identically, on any number of ranks."""
    wait_for(spawn(data, tmp_path, "whole", ranks=before))
    step = random.Random(17 * before + after).randint(4, 10)
    kill_at(spawn(data, tmp_path, "killed", ranks=before), Run(tmp_path / "killed"), step)
    wait_for(spawn(data, tmp_path, "killed", ranks=after))
    whole, killed = Run(tmp_path / "whole"), Run(tmp_path / "killed")
    for number, line in steps_of(whole).items():
        assert steps_of(killed)[number]["ids"] == line["ids"]
    if before == after:
        assert_identical(whole, killed)


def test_stop_signal_saves_and_marks(data: Path, reference: Run, tmp_path: Path) -> None:
    process = spawn(data, tmp_path, "stopped")
    run = Run(tmp_path / "stopped")
    while max(steps_of(run), default=0) < 4:
        time.sleep(0.005)
    process.send_signal(signal.SIGUSR1)
    output = wait_for(process)
    assert "told to stop" in output and (run.folder / "REQUEUE").exists()
    assert "\r" not in output
    finished(data, tmp_path, "stopped")
    assert not (run.folder / "REQUEUE").exists()
    lines = steps_of(run)
    assert [lines[s]["ids"] for s in lines] == [steps_of(reference)[s]["ids"] for s in lines]


def test_signal_handlers_are_those_of_the_caller_again(data: Path, tmp_path: Path) -> None:
    def mine(number: int, frame: object) -> None: ...

    before = signal.signal(signal.SIGINT, mine)
    try:
        finished(data, tmp_path, "run")
        assert signal.getsignal(signal.SIGINT) is mine
    finally:
        signal.signal(signal.SIGINT, before)


def test_resume_refuses_another_recipe(data: Path, tmp_path: Path) -> None:
    finished(data, tmp_path, "run")
    result = launch(data, tmp_path, "run", "--lr", "0.01", "--net", "blocks=2")
    assert result.exit_code == 2
    assert result.output.count("\n") == 1
    assert "lr was 0.0005, is 0.01" in result.output and "'blocks': 2" in result.output


def test_launch_flags_may_change_on_resume(data: Path, tmp_path: Path) -> None:
    finished(data, tmp_path, "run")
    finished(data, tmp_path, "run", "--engine", "dali", "--micro-batch", "3", "--prefetch", "1")
    launches = [e for e in Run(tmp_path / "run").read_log() if e["kind"] == "launch"]
    assert launches[-1]["engine"] == "dali"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--net", "colour=3"], "unknown key 'colour'"),
        (["--net", "scale=5"], "choose from 2, 3, 4"),
        (["--task", "patch=4000"], "9 of 9 images are smaller than a crop of 4000"),
        (["--train-split", "dev"], "no such split; there are: train, val"),
        (["--init", "nowhere.pt"], "no such checkpoint"),
        (["--data", "nowhere/at/all"], "no such set"),
        (["--steps", "0"], "say how long to train"),
        (["--val-split", "dev"], "no such split; there are: train, val"),
        (["--checkpoint-every", "0"], "must be at least 1"),
        (["--log-every", "0"], "--log-every must be at least 1"),
        (["--micro-batch", "-1"], "--micro-batch must be at least 0"),
        (["--prefetch", "-2"], "--prefetch must be at least 0"),
        (["--task", "tile=-5"], "tile must be 0 or more"),
    ],
)
def test_mistakes_are_one_line(data: Path, tmp_path: Path, arguments: list[str], why: str) -> None:
    result = launch(data, tmp_path, "run", *arguments)
    assert result.exit_code == 2
    assert why in result.output and result.output.count("\n") == 1


def test_weights_of_another_network_are_refused(data: Path, reference: Run, tmp_path: Path) -> None:
    best = str(reference.best())
    result = launch(data, tmp_path, "run", "--init", best, "--net", "blocks=2")
    assert result.exit_code == 2 and "weights of another network" in result.output
    again = finished(data, tmp_path, "again", "--init", best, "--lr", "0", "--ema", "0")
    for name, value in load_checkpoint(best)["ema"].items():
        if name != "n_averaged":
            assert torch.equal(weights(again)[name.removeprefix("module.")], value)


def test_full_disk_keeps_earlier_checkpoints(data: Path, tmp_path: Path) -> None:
    """Real bytes up to the limit of a file's size, then the kernel says no: as a full disk does."""
    finished(data, tmp_path, "run", "--checkpoint-every", "100")
    run = Run(tmp_path / "run")
    saved = run.latest()
    assert saved
    before = saved.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        with pytest.raises(DataError, match="earlier ones are whole"):
            run.save(13, load_checkpoint(saved), keep=3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert saved.read_bytes() == before and run.latest() == saved
    assert [p.name for p in run.checkpoints.iterdir() if p.name.startswith(".")] == []


def test_checkpoint_cannot_run_code(data: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path}/owned",)

    torch.save({"model": Evil()}, tmp_path / "evil.pt")
    result = launch(data, tmp_path, "run", "--init", str(tmp_path / "evil.pt"))
    assert result.exit_code == 2 and "not a checkpoint" in result.output
    assert not (tmp_path / "owned").exists()


def test_not_finite_stops_with_step_and_ids(data: Path, tmp_path: Path) -> None:
    """A learning rate that overflows the weights: stop, named, with a checkpoint."""
    result = launch(data, tmp_path, "run", "--lr", "1e30")
    assert result.exit_code == 2
    assert "step 2: loss or gradient is not finite; samples" in result.output
    assert Run(tmp_path / "run").latest()


def test_not_finite_can_be_skipped(
    data: Path, reference: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One poisoned step changes nothing, is counted, and training goes on."""
    sound = superres.Task.loss

    def poisoned(self: Any, net: Any, batch: Any, step: int) -> Any:
        loss = sound(self, net, batch, step)
        return dataclasses.replace(
            loss, per_sample=loss.per_sample * float("nan" if step == 11 else 1)
        )

    monkeypatch.setattr(superres.Task, "loss", poisoned)
    run = finished(data, tmp_path, "skip", "--on-non-finite", "skip")
    assert steps_of(run)[12]["skipped"] == 1
    before = load_checkpoint(run.checkpoints / "step-00000009.pt")["model"]
    assert not all(torch.equal(before[k], weights(run)[k]) for k in before)
    for step in range(1, 12):
        assert steps_of(run)[step]["loss"] == steps_of(reference)[step]["loss"]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_trains(data: Path, tmp_path: Path, precision: str) -> None:
    run = finished(data, tmp_path, "run", "--precision", precision, "--channels-last")
    losses = [line["loss"] for line in steps_of(run).values()]
    assert np.isfinite(losses).all() and losses[-1] < losses[0]


def test_loss_falls(reference: Run) -> None:
    losses = [line["loss"] for line in steps_of(reference).values()]
    assert np.mean(losses[-3:]) < 0.9 * np.mean(losses[:3])


def test_strategy_is_heard_on_two_ranks(data: Path, tmp_path: Path) -> None:
    """What is chosen by the losses of both ranks is what one rank chooses by its own."""
    options = ["--strategy", "smart", "--feedback-lag", "3", "--strategy-option", "refresh=1"]
    one = finished(data, tmp_path, "one", *options)
    wait_for(spawn(data, tmp_path, "two", *options, ranks=2))
    two = Run(tmp_path / "two")
    assert [e["ids"] for e in steps_of(one).values()] == [e["ids"] for e in steps_of(two).values()]


def test_strategy_without_its_scores_is_refused(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that cannot supply what a strategy needs says so in one line, at the first step."""
    from loaders import strategies

    class Wants(Hardest):
        needs = ("correct",)

    real = strategies.load
    monkeypatch.setattr(strategies, "load", lambda n: Wants if n == "wants" else real(n))
    result = launch(data, tmp_path, "run", "--strategy", "wants")
    assert result.exit_code == 2 and "has no per-sample correct" in result.output
