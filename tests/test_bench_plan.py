"""bench/plan.py: which figure stands beside which forecast. Nothing is measured here."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

BENCH = Path(__file__).resolve().parents[1] / "bench"
FORETOLD = {"choice": "restart", "samples_per_s": 1200.0, "set_gb": 1.1}
TRUTH = {
    "samples_per_s": {"median": 900.0, "min": 800.0, "max": 1000.0},
    "wall": {"median": 600.0, "min": 500.0, "max": 700.0},
    "cpu_ms_per_sample": {"median": 1.0, "min": 1.0, "max": 1.0},
}


@pytest.fixture
def plan(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module("plan")


@pytest.fixture
def run(plan: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Any]:
    """Run the command on one forecast that is 20 % too high; return exit code, line, output."""

    def compare(files: Path, *more: Any) -> list[dict[str, Any]]:
        row = plan.row(FORETOLD, TRUTH, 10**9)
        return [{"files": "some", **row, "build_s": None}]

    def call(*options: str) -> Any:
        target = tmp_path / "result.json"
        words = ["--no-save", "--json", str(target), "--root", str(tmp_path), *options]
        done = CliRunner().invoke(plan.main, words)
        return done.exit_code, json.loads(target.read_text()), done.output

    monkeypatch.setattr(plan, "compare", compare)
    monkeypatch.setattr(plan.corpus, "photographs", lambda root, size: root)
    monkeypatch.setattr(plan.corpus, "copies", lambda root, images, count: root)
    monkeypatch.setattr(plan, "CORPORA", plan.CORPORA[:1])
    return call


def test_best_beside_best_and_the_clock_beside(plan: Any) -> None:
    row = plan.row(FORETOLD, TRUTH, 10**9)
    assert row["measured"] == 1000 and row["off_percent"] == 20
    assert row["wall"]["median"] == 600 and row["wall_off_percent"] == 100
    assert row["set_gb"] == 1 and row["size_off_percent"] == pytest.approx(10)
    cells = dict(zip(plan.HEAD[3:7], plan.lines([{"files": "some", **row}])[0][3:7], strict=True))
    assert cells["measured"] == "1,000" and cells["wall (min-max)"] == "600 (500-700)"


def test_the_limit_is_for_the_best(run: Callable[..., Any]) -> None:
    code, line, output = run("--limit", "19")
    assert code == 1 and "off by +20.0 %" in output and line["limit"] == 19
    code, _, output = run("--limit", "21")
    assert code == 0 and "+100.0" in output and "+20.0" in output


@pytest.mark.parametrize(
    ("options", "plain"),
    [
        ((), True),
        (("--rounds", "2", "--limit", "0"), True),
        (("--samples", "64"), False),
        (("--threads", "1"), False),
        (("--images", "folder"), False),
        (("--quick",), False),
    ],
)
def test_plain_is_the_work_as_it_is(
    options: tuple[str, ...], plain: bool, run: Callable[..., Any]
) -> None:
    assert run(*options)[1]["plain"] is plain


def test_a_set_of_other_photographs_is_built_anew(plan: Any, tmp_path: Path) -> None:
    def made(noise: float) -> tuple[str, float | None]:
        what = plan.Photographs(count=20, long=60, short=40, noise=noise)
        files = plan.corpus.photographs(tmp_path, what)
        folder, took = plan.built(tmp_path, files, plan.choices(32)[0])
        return json.loads((folder / "manifest.json").read_text())["fingerprint"], took

    first, took = made(0)
    assert took is not None
    assert made(0) == (first, None)
    other, took = made(50)
    assert other != first and took is not None
