"""`python -m tasks time`: what it measures, when it reads the clock, what it refuses."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

import models
from models import Recipe
from tasks.__main__ import main
from tasks.commands.time import timed
from tasks.run import Run, report


def made(folder: Path, model: str, **net: Any) -> Run:
    """Return a run of random weights."""
    family, recipe = models.recipes()[model]
    run = Run(folder)
    facts = Recipe(**{**recipe.facts(), "net": {**recipe.net, **net}}).facts()
    run.begin({"model": model, "family": family, "recipe": facts, "fingerprint": "f"})
    network = models.build(family, **facts["net"])
    run.save(3, {"model": network.state_dict()}, keep=1)
    return run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return made(tmp_path / "run", "mlp", side=8, channels=3, classes=4, hidden=16)


def command(run: Run, *other: str) -> Any:
    return CliRunner().invoke(main, ["time", str(run.folder), "--device", "cpu", *other])


def test_times_parameters_and_weights_are_written(run: Run) -> None:
    result = command(run, "--batches", "1,6", "--rounds", "3")
    assert result.exit_code == 0, result.output
    facts = json.loads((run.folder / "timing.json").read_text())
    latest = run.latest()
    assert latest and facts["checkpoint"] == report.identity(latest)
    net = models.build("mlp", **run.facts()["recipe"]["net"])
    assert facts["parameters"] == sum(p.numel() for p in net.parameters())
    assert facts["input"] == [3, 8, 8] and facts["threads"] == torch.get_num_threads()
    assert facts["device"] and facts["precision"] == "fp32" and set(facts["batches"]) == {"1", "6"}
    for one in facts["batches"].values():
        assert 0 < one["low"] <= one["ms_per_image"] <= one["high"] and one["rounds"] == 3
        assert one["images_per_s"] == pytest.approx(1e3 / one["ms_per_image"])
    assert "batch 6: " in result.output and "timing.json" in result.output


class Images:
    """Stands for a batch of four images on a GPU."""

    is_cuda, device = True, "cuda:0"

    def __len__(self) -> int:
        return 4


def test_the_clock_is_read_when_the_device_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each pass queues 10 ms of work, which is done by the time of the next wait."""
    events: list[str] = []
    now, queued = [0.0], [0.0]

    def wait(device: Any) -> None:
        now[0], queued[0] = now[0] + queued[0], 0.0
        events.append("wait")

    def clock() -> float:
        events.append("clock")
        return now[0]

    def net(images: Any) -> None:
        queued[0] += 0.010
        events.append("pass")

    monkeypatch.setattr(torch.cuda, "synchronize", wait)
    monkeypatch.setattr(time, "perf_counter", clock)
    images: Any = Images()
    found = timed(net, images, 5)
    assert (found.ms_per_image, found.low, found.high) == pytest.approx((2.5, 2.5, 2.5))
    assert found.images_per_s == pytest.approx(400) and found.passes == 20
    assert all(events[i - 1] == "wait" for i, event in enumerate(events) if event == "clock")
    warm_up = events.count("pass") - 5 * 20
    assert warm_up * 0.010 >= 0.5


def test_median_and_range_are_of_the_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    now, costs = [0.0], iter([0.2] * 4 + [0.2, 0.4, 0.9])  # warm-up, then how long a pass takes
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def net(images: torch.Tensor) -> None:
        now[0] += next(costs)

    found = timed(net, torch.zeros(2, 3, 4, 4), 3)
    assert (found.low, found.ms_per_image, found.high) == pytest.approx((100, 200, 450))


@pytest.mark.parametrize("text", ["", "0", "1,x", "-3"])
def test_batches_are_whole_numbers(run: Run, text: str) -> None:
    result = command(run, "--batches", text)
    assert result.exit_code == 2 and "want whole numbers of 1 and more" in result.output


def test_a_network_of_any_size_is_refused(tmp_path: Path) -> None:
    run = made(tmp_path / "run", "shufflemixer_tiny", width=16, blocks=1)
    result = command(run)
    assert result.exit_code == 2 and result.output.count("\n") == 1
    assert "only a network that takes one image of a size of its own" in result.output


def test_no_run_is_one_line(tmp_path: Path) -> None:
    result = command(Run(tmp_path))
    assert result.exit_code == 2 and "not a run" in result.output
