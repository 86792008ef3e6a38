"""`python -m loaders SET…`: figures of every set, and one line for a mistake. No time is judged."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from dataprep.build import build
from dataprep.sources import imagefolder
from loaders import Dataset
from loaders.speed import Window, Work, busy_s, stages, window

SHORT = ("--crop", "32", "--batch", "8", "--seconds", "0.05", "--rounds", "1")


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with two sets of the same 12 photographs."""
    folder = tmp_path_factory.mktemp("speed")
    rng = np.random.default_rng(0)
    for i in range(12):
        path = folder / "raw" / "only" / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (60 + i, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    build(imagefolder.Source(), folder / "raw", folder / "kept", workers=1)
    build(imagefolder.Source(raw_pixels=True), folder / "raw", folder / "pixels", workers=1)
    return folder


def run(*words: str) -> Any:
    return CliRunner().invoke(importlib.import_module("loaders.__main__").main, words)


def test_every_set_gets_its_figures(sets: Path) -> None:
    result = run("kept", "pixels", "--data-root", str(sets), "--threads", "2", *SHORT, "--json")
    assert result.exit_code == 0, result.stderr
    facts = json.loads(result.stdout)
    assert [row["set"] for row in facts["sets"]] == ["kept", "pixels"]
    assert facts["threads"] == 2 and facts["crop"] == 32 and facts["rounds"] == 1
    for row in facts["sets"]:
        assert all(value > 0 for name, value in row.items() if name != "set"), row
        assert row["samples_per_s_alone"] >= row["samples_per_s"]
        assert row["lowest"] <= row["samples_per_s"] <= row["highest"]


def test_the_table_names_the_sets(sets: Path) -> None:
    result = run(str(sets / "kept"), *SHORT)
    assert "samples/s" in result.stdout and str(sets / "kept") in result.stdout
    assert "round 1 of 1" in result.stderr


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("missing",), "no such set"),
        (("kept", "--split", "val"), "no such split; there are: train"),
        ((), "Missing argument"),
        (("kept", "--crop", "0"), "--crop"),
    ],
)
def test_a_mistake_is_one_line(sets: Path, words: tuple[str, ...], why: str) -> None:
    result = run(*words, "--data-root", str(sets), "--json")
    assert result.exit_code == 2 and why in result.stderr
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1


def test_a_window_counts_whole_batches(sets: Path) -> None:
    # A batch of 64 of 12 samples: one of 12, without fillers.
    work = Work(crop=32, batch=64, threads=1, seconds=0.0)
    found = window(Dataset(sets / "kept"), work)
    assert found.samples % 12 == 0 and found.samples > 0
    assert found.wall_s > 0 and found.cpu_s > 0 and found.first_s > 0


def test_stages_are_those_of_training(sets: Path) -> None:
    names = [type(stage).__name__ for stage in stages(Dataset(sets / "kept"), 32)]
    assert names == ["RandomResizedCrop", "Flip", "Normalise"]


@pytest.mark.parametrize(
    ("cpu_s", "busy_s", "threads", "alone"),
    [
        (4.0, 4.0, 2, 500),  # nobody else
        (2.0, 4.0, 2, 1000),  # half of the cores was somebody else's
        (2.0, 16.0, 1, 500),  # others on cores that one thread has no use for
        (2.0, 0.0, 2, 500),  # unknown
    ],
)
def test_what_others_took_is_given_back(
    cpu_s: float, busy_s: float, threads: int, alone: float
) -> None:
    assert Window(1000, 2.0, cpu_s, busy_s, 0.1).alone(threads) == pytest.approx(alone)


def test_busy_seconds_only_grow() -> None:
    before = busy_s()
    assert busy_s() >= before >= 0
