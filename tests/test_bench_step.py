"""bench/step.py: the steps are train.py's. No test here looks at a time."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import click
import pytest
import torch
from click.testing import CliRunner

import models
from dataprep.build import build
from dataprep.manifest import DataError
from dataprep.sources import sample
from loaders import Dataset
from tasks.run import Run
from tasks.run.launch import Launch
from train import Trainer

BENCH = Path(__file__).resolve().parents[1] / "bench"
DEMO = "shufflemixer_demo"
LAUNCH = {"device": "cpu", "engine": "host", "threads": 1, "micro_batch": 0, "compile": False}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("step") / "sample"
    build(sample.Source(scales=(2,)), None, folder, workers=1)
    return folder


@pytest.fixture
def step(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module("step")


@pytest.fixture
def watched(step: Any, data: Path, tmp_path: Path) -> Callable[[str], Any]:
    def make(name: str) -> Any:
        facts = {"model": DEMO, "data": str(data), "name": name, "launch": LAUNCH}
        return step.Watched(facts, tmp_path / name)

    return make


def trained(data: Path, folder: Path, steps: int) -> list[float]:
    """Return the losses that train.py itself logs."""
    recipe = replace(models.recipes()[DEMO][1], data=str(data), steps=1_000_000)
    trainer = Trainer(DEMO, recipe, Launch(**LAUNCH, log_every=1), Run(folder), None, False)
    trainer._start()
    losses = []
    for batch in islice(trainer.loader, steps):
        losses.append(float(trainer._step(batch)["loss"]))
    trainer.loader.close()
    trainer.log.close()
    return losses


def test_the_loaders_steps_are_those_of_a_run(
    watched: Callable[[str], Any], data: Path, tmp_path: Path
) -> None:
    one = watched("loader-host")
    losses = list(islice(one.losses(), 3))
    one.trainer.loader.close()
    assert losses == trained(data, tmp_path / "run", 3)
    assert one.trainer.step == 3 and 0 <= one.wait_s(2) < one.waits[-1] + 1


def test_a_cached_batch_is_learnt_and_never_replaced(watched: Callable[[str], Any]) -> None:
    one, other = watched("cached"), watched("loader-host")
    before = [p.detach().clone() for p in one.trainer.parameters]
    losses = list(islice(one.losses(), 4))
    moved = [not torch.equal(a, b) for a, b in zip(before, one.trainer.parameters, strict=True)]
    assert any(moved) and losses[-1] < losses[0]
    assert one.wait_s(3) == 0  # nothing is read any more
    loaded = list(islice(other.losses(), 2))
    other.trainer.loader.close()
    assert loaded[0] == losses[0] and loaded[1] != losses[1]


def test_the_command_sets_the_loader_beside_the_ceiling(data: Path, tmp_path: Path) -> None:
    target = tmp_path / "one.json"
    options = ["--data", str(data), "--engine", "host", "--device", "cpu", "--threads", "1"]
    options += ["--json", str(target), "--results", str(tmp_path)]
    done = run("--root", str(tmp_path), *options)
    assert done.returncode == 0, done.stderr
    facts = json.loads(target.read_text())
    assert [json.loads((tmp_path / "step.jsonl").read_text())] == [facts]
    recipe = facts["recipes"][DEMO]
    assert recipe["set"]["fingerprint"] == Dataset(data).manifest.fingerprint
    assert recipe["batch"] == 11 and recipe["device"] == "cpu"
    cached, loaded = (recipe["contestants"][name] for name in ("cached", "loader-host"))
    assert cached["first_loss"] == loaded["first_loss"]
    assert 0 <= loaded["wait_share"]["median"] <= 1 and "wait_share" not in cached
    rates = [one["samples_per_s"]["median"] for one in (loaded, cached)]
    assert loaded["efficiency"]["median"] == pytest.approx(rates[0] / rates[1])
    assert loaded["step_ms"]["median"] == pytest.approx(1e3 * 11 / rates[0])
    assert loaded["loader"]["engine"] == "host" and "% of cached" in done.stdout
    assert str(tmp_path) not in target.read_text()


def run(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCH / "step.py"), "--quick", *options]
    env = os.environ | {"PYTHONPATH": str(BENCH.parent)}
    return subprocess.run(command, env=env, capture_output=True, text=True)


def test_a_mistake_is_one_line(data: Path) -> None:
    done = run("--model", "resnet9000", "--data", str(data))
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert "resnet9000" in done.stderr and DEMO in done.stderr


def test_recipes_without_their_set_are_left_out(
    step: Any,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("NOSTALL_DATA", str(data.parent))
    assert step.chosen(["all"], None, tmp_path) == {DEMO: data.resolve()}
    assert "shufflemixer_tiny is left out" in capsys.readouterr().err
    with pytest.raises(DataError):
        step.chosen(["shufflemixer"], None, tmp_path)
    with pytest.raises(click.UsageError, match="--data"):
        step.chosen(["shufflemixer", "shufflemixer_tiny"], None, tmp_path)
    assert step.chosen(["shufflemixer"], str(data), tmp_path) == {"shufflemixer": data.resolve()}


@pytest.mark.parametrize(
    ("options", "plain"),
    [
        ("", True),
        ("--rounds 1 --seconds 9", True),
        (f"--model {DEMO}", True),
        ("--model all", False),
        ("--data some", False),
        ("--engine host", False),
        ("--engine auto --engine host", False),
        ("--device cpu", False),
        ("--threads 1", False),
        ("--micro-batch 1", False),
        ("--compile", False),
        ("--quick", False),
    ],
)
def test_plain_is_the_work_as_it_is(
    options: str, plain: bool, step: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step, "chosen", lambda names, data, root: {})
    words = ["--results", str(tmp_path), *options.split()]
    done = CliRunner().invoke(step.main, words)
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "step.jsonl").read_text())["plain"] is plain
