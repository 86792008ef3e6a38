"""bench/: results hold what they promise; no contestant passes with pairs that do not match.

No test here looks at a time.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

BENCH = Path(__file__).resolve().parents[1] / "bench"


@pytest.fixture(scope="module")
def result(tmp_path_factory: Any) -> dict[str, Any]:
    """Run the benchmark as its users do: the loader beside one peer."""
    folder = tmp_path_factory.mktemp("bench")
    target = folder / "result.json"
    options = ["--quick", "--patch", "16", "--root", str(folder), "--json", str(target)]
    done = subprocess.run(
        [sys.executable, str(BENCH / "loader.py"), *options, "--peers", "nostall,npy"],
        env=os.environ | {"PYTHONPATH": str(BENCH.parent)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "× CPU" in done.stdout
    facts: dict[str, Any] = json.loads(target.read_text())
    return facts


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Import a file of bench/ as its siblings do."""
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module


def test_a_result_tells_the_machine_and_the_work(result: dict[str, Any]) -> None:
    assert {"cpu", "cores", "ram_gb", "python", "versions"} <= result["machine"].keys()
    assert result["machine"]["versions"]["torch"] != "not installed"
    assert os.uname().nodename not in json.dumps(result["machine"])
    assert result["work"]["patch"] == 16 and result["work"]["scale"] == 4


@pytest.mark.parametrize("name", ["nostall", "npy"])
def test_every_contestant_has_every_figure(name: str, result: dict[str, Any]) -> None:
    facts = result["contestants"][name]
    for key in ("pairs_per_s", "mb_per_s", "cpu_ms_per_pair", "first_batch_s", "anonymous_mb"):
        assert 0 < facts[key]["min"] <= facts[key]["median"] <= facts[key]["max"], key
    for key in ("nostall_times_faster", "nostall_times_less_cpu"):
        assert facts[key]["median"] > 0
    assert facts["check"]["distance"] < facts["check"]["distance_a_pixel_off"]
    assert len(result["rounds"][name]) == 1


def pairs(count: int = 16) -> tuple[Tensor, Tensor]:
    """Return smooth noise as HR, its block means as LR."""
    torch.manual_seed(0)
    rough = torch.rand(count, 3, 16, 16)
    hr = torch.nn.functional.interpolate(rough, scale_factor=4, mode="bilinear")
    return torch.nn.functional.avg_pool2d(hr, 4), hr.contiguous()


@pytest.fixture
def check(module: Callable[[str], Any]) -> Any:
    return module("check").Check(scale=4, patch=16, batch=16)


def test_aligned_pairs_pass(check: Any) -> None:
    check(pairs())
    assert check.result()["samples"] == 16


@pytest.mark.parametrize("shift", [(1, 0), (-1, 0), (0, 1), (0, -2)])
def test_hr_a_pixel_beside_is_caught(shift: tuple[int, int], check: Any) -> None:
    lr, hr = pairs()
    check((lr, hr.roll(shift, (2, 3))))
    with pytest.raises(ValueError, match=r"not aligned|another place"):
        check.result()


def test_pairs_mixed_up_are_caught(check: Any) -> None:
    lr, hr = pairs()
    check((lr.roll(1, 0), hr))
    with pytest.raises(ValueError, match="another place"):
        check.result()


def test_one_crop_again_and_again_is_caught(check: Any) -> None:
    lr, hr = pairs(1)
    check((lr.repeat(16, 1, 1, 1), hr.repeat(16, 1, 1, 1)))
    with pytest.raises(ValueError, match="only 1 of 16"):
        check.result()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda lr, hr: (lr, hr * 255),
        lambda lr, hr: (lr, hr.half()),
        lambda lr, hr: (lr, hr[:, :, :-4]),
        lambda lr, hr: (lr, hr.to(memory_format=torch.channels_last)),
    ],
    ids=["bytes", "half", "smaller", "a view"],
)
def test_other_than_the_promised_tensors_are_caught(spoil: Any, check: Any) -> None:
    with pytest.raises(ValueError):
        check(spoil(*pairs()))


def test_figures_of_rounds_are_put_together(module: Callable[[str], Any]) -> None:
    """Two rounds, the second disturbed for both: ratios and shares do not see it."""
    loader, contestants = module("loader"), module("contestants")
    checked = {"check": {}, "first_s": 1.0, "anonymous_bytes": 1e6, "items": 100}
    rounds = {
        name: [checked | {"wall_s": wall * times, "cpu_s": 2 * wall} for times in (1, 3)]
        for name, wall in (("nostall", 2.0), ("ceiling", 1.0), ("npy", 8.0))
    }
    summary = loader.summarise(rounds, contestants.Work(root="", data=""))
    assert summary["npy"]["nostall_times_faster"] == {"median": 4, "min": 4, "max": 4}
    assert summary["npy"]["nostall_times_less_cpu"]["median"] == 4
    assert summary["nostall"]["share_of_ceiling"]["wall"]["median"] == 0.5
    assert summary["nostall"]["pairs_per_s"]["max"] == 50
    assert loader.rows(summary, {name: {"threads": 2} for name in rounds})[0][0] == "ceiling"


def test_wrong_names_and_sets_are_one_line(tmp_path: Path, module: Callable[[str], Any]) -> None:
    main = module("loader").main
    unknown = CliRunner().invoke(main, ["--peers", "pngs"])
    assert unknown.exit_code == 2 and "there are: nostall" in unknown.output
    missing = CliRunner().invoke(main, ["--data", str(tmp_path / "none"), "--peers", "nostall"])
    assert missing.exit_code == 2 and len(missing.output.strip().splitlines()) == 1


def test_every_contestant_is_listed(module: Callable[[str], Any]) -> None:
    listed = CliRunner().invoke(module("loader").main, ["--list"]).output
    assert all(name in listed for name in module("contestants").CONTESTANTS)
