"""bench/loader.py with toy contestants: who fails loses nothing for the others, all is kept.

The contestants are in bench_toys.py.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from click import UsageError
from click.testing import CliRunner
from PIL import Image

from dataprep.manifest import DataError

TESTS = Path(__file__).parent
BENCH = TESTS.parent / "bench"
Module = Callable[[str], Any]
LOW = ["--seconds", "0.05", "--rounds", "2"]


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Module:
    """Import a file of bench/ as its siblings do."""
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module


def environment() -> dict[str, str]:
    """Return what a child of this test sees."""
    return os.environ | {"PYTHONPATH": f"{TESTS.parent}{os.pathsep}{BENCH}"}


def toys(root: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Run the toys; results go to root/results unless told otherwise."""
    command = [sys.executable, str(TESTS / "bench_toys.py"), "--root", str(root), *more]
    if "--work" not in more:
        command += ["--work", "toy"]
    return subprocess.run(command, env=environment(), capture_output=True, text=True)


def only(root: Path) -> dict[str, Any]:
    """Return the one line of results."""
    (line,) = (root / "results" / "loader.jsonl").read_text().splitlines()
    facts: dict[str, Any] = json.loads(line)
    return facts


def test_who_fails_loses_nothing_for_the_others(tmp_path: Path) -> None:
    peers = "nostall,wrong,late,gone,silent,slow,slow"  # a name that comes twice counts once
    done = toys(tmp_path, *LOW, "--peers", peers, "--results", str(tmp_path / "results"))
    assert done.returncode == 1, done.stderr
    facts = only(tmp_path)
    assert facts["contestants"].keys() == {"nostall", "slow"} and facts["complete"]
    assert facts["failed"].keys() == {"wrong", "late", "silent"}
    assert facts["failed"]["silent"].endswith("gave no result; it printed nothing")
    assert facts["failed"]["wrong"].endswith(": pixels are 0.00") and "failed: wrong" in done.stdout
    assert facts["failed"]["late"] == "RuntimeError: one run too many"  # its last round of two
    assert facts["not_installed"] == {"gone": ["no_such.package"]}
    assert [len(rounds) for rounds in facts["rounds"].values()] == [2, 2]
    assert "no_such.package is not installed" in done.stderr


def test_the_best_setting_is_found_and_shown(tmp_path: Path) -> None:
    done = toys(tmp_path, *LOW, "--peers", "nostall,slow", "--results", str(tmp_path / "results"))
    facts = only(tmp_path)["contestants"]["nostall"]
    rates = {row[0]["workers"]: row[1] for row in facts["tried"]}
    assert done.returncode == 0 and rates.keys() == {0, 3}
    assert facts["setting"] == {"workers": max(rates, key=lambda count: rates[count])}
    first, second = done.stdout.split("batches hold")
    assert "workers=3 " in second and facts["digest"] in second and "× slow wall" in first
    assert "5.5 (+4.5)" in second  # the mean of its pixels, and how far from the baseline's


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_keeps_what_there_is(number: int, tmp_path: Path) -> None:
    peers, results = "nostall,stuck,slow", str(tmp_path / "results")
    options = ["--work", "toy", "--root", str(tmp_path), "--peers", peers, "--results", results]
    command = [sys.executable, str(TESTS / "bench_toys.py"), *LOW, *options]
    child = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True)
    mark = tmp_path / "stuck.pid"
    while not (mark.exists() and mark.read_text()):
        assert child.poll() is None
        time.sleep(0.05)
    child.send_signal(number)
    printed, _ = child.communicate(timeout=60)
    assert child.returncode == 130 and "interrupted" in printed and "slow" not in printed
    facts = only(tmp_path)
    assert not facts["complete"] and facts["contestants"].keys() == {"nostall"}
    assert ended(int(mark.read_text()))


def ended(process: int) -> bool:
    """Wait until a process that was killed is gone; False where it lives on."""
    for _ in range(100):
        stat = Path(f"/proc/{process}/stat")
        try:
            if stat.read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.05)
    return False


def test_a_stuck_contestant_is_ended_with_all_it_started(tmp_path: Path) -> None:
    options = ["--peers", "stuck", "--timeout-s", "2", "--results", str(tmp_path / "results")]
    done = toys(tmp_path, "--quick", *options)
    assert done.returncode == 1 and only(tmp_path)["failed"] == {"stuck": "not done after 2 s"}
    assert ended(int((tmp_path / "stuck.pid").read_text()))


def test_a_cold_run_with_steps_splits_the_wait(tmp_path: Path) -> None:
    options = ["--cold", "--step-ms", "5", "--peers", "read,nostall,ceiling"]
    done = toys(tmp_path, *LOW, *options, "--results", str(tmp_path / "results"))
    if "stayed in the page cache" in done.stdout:
        pytest.skip("files of this file system lie in memory")
    assert done.returncode == 0, done.stderr
    line = only(tmp_path)
    assert line["cold"] and line["step_ms"] == 5 and line["rules"]["step_s"] == 0.005
    assert line["contestants"].keys() == {"read", "nostall"}
    assert "ceiling does not run cold: a limit" in done.stderr
    heads = ("AU %", "wait %", "prep stall %", "fetch stall %", "MB/s read", "items/s", "CPU ms")
    assert all(head in done.stdout for head in heads)
    for facts in line["contestants"].values():
        assert 0 < facts["utilisation"]["max"] <= 1
        assert facts["wait_share"]["min"] == pytest.approx(1 - facts["utilisation"]["max"])
        assert 0 <= facts["prep_stall"]["median"] < 1 and 0 <= facts["fetch_stall"]["median"] < 1
    for one in line["rounds"]["read"]:
        assert one["items"] == 4 * 19  # an epoch of twenty batches, the first left out
        assert 0 < one["read_bytes"] and one["check"]["samples"] == 4
    assert all(one["read_bytes"] == 0 for one in line["rounds"]["nostall"])


def test_what_stays_in_the_page_cache_is_not_cold(
    tmp_path: Path, module: Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that is mapped by somebody stays; here all of them, by decree."""
    turns, work = module("turns"), module("photos.work").Work(root="", data=str(tmp_path))
    one = turns.Turns("w1", work, module("timing").Rules(), cold=True)
    monkeypatch.setattr(turns.files, "evict", lambda folder: 0.5)
    with pytest.raises(RuntimeError, match=f"50 % of {tmp_path} stayed in the page cache"):
        one.evict("nostall")
    monkeypatch.setattr(turns.files, "evict", lambda folder: os.stat(folder / "none").st_size)
    with pytest.raises(RuntimeError, match=f"{tmp_path} stays in the page cache: .*No such file"):
        one.evict("nostall")
    monkeypatch.setattr(turns.files, "evict", lambda folder: 0.01)
    one.evict("nostall")


def test_quick_results_are_kept_only_on_demand(tmp_path: Path, module: Module) -> None:
    results = module("results")
    assert results.destination(None, False, quick=True) is None
    assert results.destination(None, False, quick=False) == BENCH / "results"
    assert results.destination(tmp_path, False, quick=True) == tmp_path
    assert results.destination(tmp_path, True, quick=False) is None


def test_results_that_cannot_be_saved_are_shown_first(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file where a folder should be")
    alone = tmp_path / "alone.json"
    options = ["--results", str(tmp_path / "results"), "--json", str(alone), "--quiet"]
    done = toys(tmp_path, "--quick", "--peers", "slow", *options)
    assert done.returncode == 2 and "items/s" in done.stdout
    (complaint,) = [one for one in done.stderr.splitlines() if not one.startswith("load ")]
    assert "result not saved" in complaint
    assert json.loads(alone.read_text())["contestants"].keys() == {"slow"}


def test_several_works_have_files_of_their_own(tmp_path: Path) -> None:
    options = ["--work", "toy,absent", "--peers", "slow", "--quick"]
    files = ["--json", str(tmp_path / "a.json"), "--png", str(tmp_path / "a.png")]
    done = toys(tmp_path, *options, *files)
    assert done.returncode == 0 and "absent cannot be loaded" in done.stderr
    assert json.loads((tmp_path / "a.json").read_text())["workload"] == "toy"
    assert not (tmp_path / "results").exists()
    alone = toys(tmp_path, "--work", "absent", "--quick")
    assert alone.returncode == 2 and "cannot be loaded" in alone.stderr
    listed = toys(tmp_path, "--work", "toy,absent", "--list")
    assert listed.returncode == 0 and "no_such.package; pip install -e '.[rare]'" in listed.stdout
    assert "workers=3|0" in listed.stdout


def test_two_works_do_not_share_a_file(tmp_path: Path, module: Module) -> None:
    suite, workload = module("suite"), module("workload")
    request = suite.Request(
        origin=workload.Origin(), rules=suite.QUICK, target=tmp_path / "a.json", png=None
    )
    assert suite._own_files(request, "w1").target == tmp_path / "a-w1.json"
    folder = tmp_path / "results"
    kept = suite.Request(origin=workload.Origin(), rules=suite.QUICK, folder=folder)
    assert suite.figure(kept, "w1") == folder / "w1.png"
    cold = suite.Request(origin=workload.Origin(), rules=suite.QUICK, folder=folder, cold=True)
    assert suite.figure(cold, "w1") == folder / "w1-cold.png"
    some = suite.Request(origin=workload.Origin(), rules=suite.QUICK, folder=folder, peers=("a",))
    assert suite.figure(some, "w1") is None


def test_a_figure_is_drawn(tmp_path: Path, module: Module) -> None:
    done = toys(tmp_path, "--quick", "--peers", "nostall,slow", "--png", str(tmp_path / "a.png"))
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "a.png") as image:
        assert image.width == 1000
        seen = {pixel for _, pixel in image.convert("RGB").getcolors(1 << 20) or []}
    draw = module("draw")
    for shade in (draw.OURS, draw.PEER):
        assert tuple(bytes.fromhex(shade[1:])) in seen
    assert draw.colour("ceiling", "limit: nothing but copies") == draw.LIMIT
    wrong = toys(tmp_path, "--quick", "--peers", "slow", "--png", str(tmp_path / "a.bmpx"))
    assert wrong.returncode == 2 and "items/s" in wrong.stdout
    assert "figure not saved" in wrong.stderr.splitlines()[-1]


def test_a_busy_machine_is_named_once(
    module: Module, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    turns, timing = module("turns"), module("timing")
    one = turns.Turns("w2", None, timing.Rules(), quiet=True)
    monkeypatch.setattr(timing, "busy", lambda: 0.0)
    one.warn_if_busy(0)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(timing, "busy", lambda: 99.0)
    one.warn_if_busy(1)
    one.warn_if_busy(2)
    (line,) = capsys.readouterr().err.splitlines()
    assert "load 99.0" in line and "round 2" in line


def test_stalls_of_a_hand_computed_run(module: Module) -> None:
    stalls = module("stalls")
    assert stalls.utilisation(0.04, 50, 2.5) == pytest.approx(0.8)
    assert stalls.prep_stall(0.04, 0.05) == pytest.approx(0.2)
    assert stalls.fetch_stall(0.05, 0.2) == pytest.approx(0.75)
    assert stalls.prep_stall(0.041, 0.04) == stalls.fetch_stall(0.05, 0.04) == 0


def test_a_step_of_the_accelerator_follows_every_batch(
    module: Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    timing = module("timing")
    events: list[Any] = []

    def batches() -> Any:
        for number in range(1000):
            events.append(number)
            yield number

    monkeypatch.setattr(timing.time, "sleep", events.append)
    rules = timing.Rules(warm_s=0.0, seconds=0.0, batches=3, step_s=0.5)
    seen: list[int] = []
    window = timing.measure(batches(), 4, rules, 0.0, seen.append)
    steps = [0.5] * timing.BARE_STEPS  # of the loop without a loader: after all else
    assert events == [0, 1, 0.5, 2, 0.5, 3, 0.5, 4, 5, 6, 7, *steps]
    assert window.items == 12 and seen == [4, 5, 6, 7]  # the window's batches were not looked at


@pytest.mark.parametrize("change", [{"a": 2}, {"b": 3}])
def test_a_digest_sees_every_piece(change: Mapping[str, int], module: Module) -> None:
    digest = module("digest").digest
    parts = {"a": 1, "b": 2} | change
    before = {"b": torch.ones(2), "a": [np.ones(3)]}
    after = {"a": [np.full(3, float(parts["a"]))], "b": torch.full((2,), float(parts["b"]) / 2)}
    assert digest(before) != digest(after) and len(digest(before)) == 12
    assert digest(before) == digest({"a": (np.ones(3),), "b": np.ones(2, np.float32)})
    assert digest(torch.ones(2, 2, dtype=torch.bfloat16).T)


def test_lines_of_two_processes_stay_whole(tmp_path: Path) -> None:
    code = "import results, sys, pathlib\n"
    code += "results.facts_of_run = dict\n"
    code += "for i in range(50):\n"
    code += "    text = {'who': sys.argv[2], 'i': i, 'much': sys.argv[2] * 20000}\n"
    code += "    results.append('toy', text, pathlib.Path(sys.argv[1]))\n"
    command = [sys.executable, "-c", code, str(tmp_path)]
    children = [subprocess.Popen([*command, who], env=environment()) for who in "ab"]
    assert [child.wait(60) for child in children] == [0, 0]
    lines = (tmp_path / "toy.jsonl").read_text().splitlines()
    found = [(one["who"], one["i"]) for one in map(json.loads, lines)]
    assert len(found) == 100 and {(w, i) for w in "ab" for i in range(50)} == set(found)
    assert [i for who, i in found if who == "a"] == list(range(50))


def test_what_does_not_fit_is_taken_back(tmp_path: Path, module: Module) -> None:
    """A limit on the size of files does as a full disk does: a part of the line is written."""
    results = module("results")
    path = results.append("toy", {"number": 1}, tmp_path)
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 100, limits[1]))
    try:
        with pytest.raises(DataError, match="result not saved"):
            results.append("toy", {"number": 2}, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    results.append("toy", {"number": 3}, tmp_path)
    assert [one["number"] for one in results.read(path)] == [1, 3]


def test_a_damaged_line_is_named(tmp_path: Path, module: Module) -> None:
    results = module("results")
    path = results.append("toy", {"text": "a\u2028b"}, tmp_path)  # a line's end to some, not here
    assert results.read(path)[0]["text"] == "a\u2028b"
    assert list(results.read(path)[0])[:4] == ["bench", "when", "commit", "machine"]
    for damage in (b'{"half": ', b"[1]", b"\xff"):
        whole = path.read_bytes()
        path.write_bytes(whole + damage + b"\n")
        with pytest.raises(DataError, match=r"toy\.jsonl: line 2: is no JSON object"):
            results.read(path)
        path.write_bytes(whole)
    with pytest.raises(DataError, match="no results"):
        results.read(tmp_path / "none.jsonl")


def test_a_commit_is_named(tmp_path: Path, module: Module) -> None:
    results = module("results")
    assert results.commit(tmp_path) == ""
    me = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(tmp_path), *me, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    assert results.commit(tmp_path) == ""
    (tmp_path / "bench" / "results").mkdir(parents=True)
    (tmp_path / "code.py").write_text("1")
    git("add", ".")
    git("commit", "-q", "-m", "a")
    short = git("rev-parse", "--short", "HEAD")
    assert results.commit(tmp_path) == short
    (tmp_path / "bench" / "results" / "toy.jsonl").write_text("{}")
    assert results.commit(tmp_path) == short
    (tmp_path / "code.py").write_text("2")
    assert results.commit(tmp_path) == short + "+"
    (tmp_path / "inner").mkdir()
    assert results.commit(tmp_path / "inner") == ""


def test_options_nobody_knows_are_one_line(tmp_path: Path, module: Module) -> None:
    main = module("loader").main
    counts = ("--rounds", "--batch", "--size", "--scale", "--patch")
    for options in (*([name, "0"] for name in counts), ["--step-ms", "-1"], ["--threads", "-1"]):
        refused = CliRunner().invoke(main, ["--work", "w2", *options])
        assert refused.exit_code == 2 and options[0] in refused.output


def test_the_gpu_is_waited_for_at_every_reading_of_the_clock(
    module: Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    timing, events = module("timing"), []
    cuda = SimpleNamespace(is_initialized=lambda: True, synchronize=lambda: events.append("all"))
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))

    def batches() -> Any:
        for number in range(9):
            events.append(number)
            yield number

    timing.measure(batches(), 4, timing.Rules(warm_s=0.0, seconds=0.0, batches=2), 0.0)
    assert events == [0, "all", "all", 1, 2, "all", 3, 4, 5, 6]
    cuda.is_initialized = lambda: False
    timing.synchronise()
    monkeypatch.delitem(sys.modules, "torch")
    timing.synchronise()
    assert "torch" not in sys.modules and events.count("all") == 3


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("", "gave no result; it printed nothing"),
        ("print('[1]'); print('almost {')", "gave no result; the last it printed: almost {"),
        ("import sys; sys.exit('error: no disk')", "no disk"),
    ],
)
def test_a_child_without_a_result_is_named(
    code: str, why: str, module: Module, tmp_path: Path
) -> None:
    script = tmp_path / "child.py"
    script.write_text(code)
    with pytest.raises(RuntimeError) as error:
        module("timing").spawn(str(script))
    assert str(error.value) == why


def test_what_a_child_prints_after_its_result_is_passed_over(tmp_path: Path) -> None:
    done = toys(tmp_path, "--quick", "--peers", "chatty", "--results", str(tmp_path / "results"))
    assert done.returncode == 0, done.stderr
    assert only(tmp_path)["contestants"]["chatty"]["check"]["mean"] == 1


@pytest.mark.parametrize(("steps", "quick"), [(19, False), (1, True), (0, False)])
def test_a_short_epoch_is_not_measured_cold(steps: int, quick: bool, module: Module) -> None:
    suite, workload = module("suite"), module("workload")
    request = suite.Request(origin=workload.Origin(), rules=suite.QUICK, cold=True, quick=quick)
    work, toy = SimpleNamespace(batch=4), SimpleNamespace(epoch_items=lambda work: 4 * steps + 3)
    with pytest.raises(UsageError, match=f"an epoch of toy is {steps} batches of 4, not at least"):
        suite.check_epoch(request, "toy", toy, work)
    enough = SimpleNamespace(epoch_items=lambda work: 4 * 20)
    suite.check_epoch(request, "toy", enough, work)
    none = SimpleNamespace(epoch_items=lambda work: 0)
    with pytest.raises(UsageError, match="all that toy reads is read before the first batch"):
        suite.check_epoch(request, "toy", none, work)


def test_a_work_that_cannot_be_cold_is_one_line(tmp_path: Path) -> None:
    short = toys(tmp_path, *LOW, "--cold", "--peers", "ceiling")
    assert short.returncode == 2 and "no contestant" in short.stderr
    linked = toys(tmp_path, *LOW, "--cold", "--images", str(tmp_path), "--peers", "read")
    assert linked.returncode == 2 and "several names" in linked.stderr
    assert len(linked.stderr.strip().splitlines()) == 1


def test_a_root_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = toys(tmp_path / "file", "--quick", "--peers", "slow")
    assert done.returncode == 2 and str(tmp_path / "file") in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
