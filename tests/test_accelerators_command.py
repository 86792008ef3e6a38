"""bench/accelerators.py as a command: what is kept of a run, and by which exit code it leaves."""

from __future__ import annotations

import importlib
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

BENCH = Path(__file__).resolve().parents[1] / "bench"


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Import a file of bench/ as its siblings do."""
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module


def test_wrong_options_are_one_line(
    module: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    main = module("accelerators").main
    unknown = CliRunner().invoke(main, ["--peers", "decode"])  # a limit does part of the work
    assert unknown.exit_code == 2 and "there are: nostall" in unknown.output
    assert CliRunner().invoke(main, ["--compute-s", "1"]).exit_code == 2
    assert CliRunner().invoke(main, ["--accelerator", "custom"]).exit_code == 2
    monkeypatch.setattr(module("dlio"), "_mpirun", lambda: None)
    absent = CliRunner().invoke(main, ["--judge", "dlio", "--peers", "nostall"])
    assert absent.exit_code == 2 and "bench/dlio/README.md" in absent.output
    assert len(absent.output.strip().splitlines()) == 1


def test_a_quick_run_keeps_its_figures(module: Callable[[str], Any], tmp_path: Path) -> None:
    """As users run it, on the loader itself."""
    main, target = module("accelerators").main, tmp_path / "result.json"
    options = ["--quick", "--peers", "nostall", "--root", str(tmp_path / "made")]
    done = CliRunner().invoke(main, [*options, "--json", str(target), "--work", "w1-raw"])
    assert done.exit_code == 0, done.output
    facts = json.loads(target.read_text())
    assert facts["bench"] == "accelerators" and facts["rules"]["compute_s"] == 0.224
    (ours,) = facts["contestants"].values()
    assert set(ours["au"]) == set(ours["runs"]) <= {"1"}
    assert all(0 < au <= 1 for au in ours["au"].values())
    assert ours["accelerators"] in (0, 1) and ours["samples_per_s"] > 0


@pytest.fixture
def command(
    module: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Any]:
    """Run the command on toys "a" and "b"; return exit code, the line or None, output.

    A toy is what happens when it is measured.
    """
    accelerators, workloads = module("accelerators"), module("workload")
    figures = {"accelerators": 1, "au": {"1": 0.9}, "runs": {"1": [0.9]}, "samples_per_s": 5.0}
    figures |= {"share_of_one": 1.0, "setting": {"threads": 2}, "tried": []}

    class Toy:
        def facts(self, work: Any) -> dict[str, Any]:
            return {"set": {}, "work": {}}

    def call(toys: dict[str, Callable[[], object]], *options: str) -> Any:
        def measured(share: Any, judge: Any, rules: Any) -> dict[str, Any]:
            toys[share.name]()
            return figures

        work = workloads.Work(root="", data="", batch=4)
        monkeypatch.setattr(accelerators, "measured", measured)
        monkeypatch.setattr(accelerators, "chosen", lambda name, peers: list(toys))
        monkeypatch.setattr(accelerators, "prepared", lambda *given: work)
        monkeypatch.setattr(workloads, "load", lambda name: Toy())
        done = CliRunner().invoke(accelerators.main, ["--results", str(tmp_path), *options])
        path = tmp_path / "accelerators.jsonl"
        line = json.loads(path.read_text().splitlines()[-1]) if path.exists() else None
        return done.exit_code, line, done.output

    return call


def fine() -> None:
    """Nothing happens."""


def fails() -> None:
    """A contestant that cannot run."""
    raise RuntimeError("no such thing")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_it_keeps_what_there_is(number: int, command: Callable[..., Any]) -> None:
    toys = {"a": fine, "b": lambda: os.kill(os.getpid(), number)}
    # A shell's background jobs ignore Ctrl-C, and so would the runner of the tests.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        code, line, output = command(toys)
    finally:
        signal.signal(signal.SIGINT, before)
    assert code == 130 and line["complete"] is False
    assert line["contestants"].keys() == {"a"} and "threads=2" in output


def test_a_run_of_nothing_is_not_kept(command: Callable[..., Any]) -> None:
    code, line, output = command({"a": fails})
    assert code == 1 and line is None and "nothing was measured" in output
    assert command({})[:2] == (1, None)


def test_who_fails_is_named_and_the_others_are_kept(command: Callable[..., Any]) -> None:
    code, line, _ = command({"a": fails, "b": fine})
    assert code == 1 and line["complete"] is True
    assert line["failed"] == {"a": "no such thing"} and line["contestants"].keys() == {"b"}


@pytest.mark.parametrize(
    ("options", "plain"),
    [
        ("", True),
        ("--steps 15 --runs 2 --work w1-raw", True),
        ("--peers a", False),
        ("--accelerator a100", False),
        ("--batch 64", False),
        ("--limit 2", False),
        ("--threads 1", False),
        ("--quick", False),
    ],
)
def test_plain_is_the_work_as_it_is(options: str, plain: bool, command: Callable[..., Any]) -> None:
    code, line, _ = command({"a": fine}, *options.split())
    assert code == 0 and line["plain"] is plain and line["complete"] is True
