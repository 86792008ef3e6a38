"""bench/: every benchmark runs, results hold what they promise. No test here looks at a time.

What happens to contestants that fail, hang or are interrupted, and how results are kept, is in
test_bench_toys.py.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click import ClickException
from click.testing import CliRunner

BENCH = Path(__file__).resolve().parents[1] / "bench"
# Who runs here, of each workload, and the package that must be there.
WORKLOADS = {
    "w1": ("nostall", "torchvision", "dali-file", "decode"),
    "w1-short": ("nostall", "nostall-decode", "decode"),
    "w1-raw": ("nostall",),
    "w1-whole": ("nostall", "torchvision", "nostall-decode", "decode"),
    "w2": ("nostall", "npy"),
}
# Their own tests run them.
OTHERS = ("w3", "w4", "own")
PEERS = {"torchvision": "torchvision", "dali-file": "nvidia.dali", "decode": "simplejpeg"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: Any) -> Path:
    """One folder for everything that benchmarks make."""
    folder: Path = tmp_path_factory.mktemp("bench")
    return folder


def run(script: str, root: Path, *more: str) -> tuple[dict[str, Any], str]:
    """Run a benchmark as its users do, quickly; return its result and what it printed."""
    target = root / "result.json"
    options = ["--quick", "--root", str(root), "--json", str(target), *more]
    command, path = [sys.executable, str(BENCH / script), *options], str(BENCH.parent)
    env = os.environ | {"PYTHONPATH": path}
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    facts: dict[str, Any] = json.loads(target.read_text())
    return facts, done.stdout


@pytest.fixture(scope="module")
def pair_result(root: Path) -> dict[str, Any]:
    """The loader beside one peer, on pairs."""
    facts, printed = run(
        "loader.py", root, "--work", "w2", "--patch", "16", "--peers", "nostall,npy"
    )
    assert "× CPU" in printed and "MB disk" not in printed  # nothing stands in that column
    assert "AU %" not in printed and "MB/s read" not in printed
    assert all(one["digest"] in printed for one in facts["contestants"].values())
    return facts


def found(name: str) -> bool:
    """Tell whether a contestant's package is installed."""
    return name not in PEERS or importlib.util.find_spec(PEERS[name]) is not None


@pytest.fixture(scope="module", params=["w1", "w1-short", "w1-raw", "w1-whole"])
def photo_result(request: Any, root: Path) -> dict[str, Any]:
    """The loader beside those peers that are installed, on photographs."""
    peers = [name for name in WORKLOADS[request.param] if found(name)]
    options = ["--work", request.param, "--size", "64", "--peers", ",".join(peers)]
    return run("loader.py", root, *options)[0]


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Import a file of bench/ as its siblings do."""
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module


def test_a_result_tells_the_machine_and_the_work(pair_result: dict[str, Any]) -> None:
    assert {"cpu", "cores", "ram_gb", "python", "versions"} <= pair_result["machine"].keys()
    assert pair_result["machine"]["versions"]["torch"]
    assert pair_result["quick"] and not pair_result["cold"] and pair_result["step_ms"] == 0
    assert pair_result["peers"] == ["nostall", "npy"] and pair_result["complete"]
    assert os.uname().nodename not in json.dumps(pair_result["machine"])
    assert pair_result["work"]["patch"] == 16 and pair_result["work"]["scale"] == 4
    assert pair_result["workload"] == "w2"


def has_figures(facts: dict[str, Any], unit: str) -> bool:
    """Tell whether a contestant has all figures, in order."""
    names = [f"{unit}s_per_s", "mb_per_s", f"cpu_ms_per_{unit}", "first_batch_s", "anonymous_mb"]
    names += ["nostall_times_faster", "nostall_times_less_cpu"]
    return all(0 < facts[n]["min"] <= facts[n]["median"] <= facts[n]["max"] for n in names)


@pytest.mark.parametrize("name", ["nostall", "npy"])
def test_every_contestant_has_every_figure(name: str, pair_result: dict[str, Any]) -> None:
    facts = pair_result["contestants"][name]
    assert has_figures(facts, "pair")
    assert len(facts["digest"]) == 12
    assert facts["check"]["distance"] < facts["check"]["distance_a_pixel_off"]
    assert len(pair_result["rounds"][name]) == 1


def test_photographs_have_every_figure(photo_result: dict[str, Any], root: Path) -> None:
    assert photo_result["set"]["images"] == 160 and photo_result["set"]["mean_kb"] > 1
    assert photo_result["work"]["size"] == 64
    assert str(root) not in json.dumps(photo_result)
    for name, facts in photo_result["contestants"].items():
        assert (
            has_figures(facts, "image") and facts["disk_mb"] > 0 and facts["check"]["samples"] > 0
        )
        for other in photo_result["contestants"].keys() & {"torchvision", "decode"}:
            assert facts[f"times_{other}"]["cpu"]["median"] > 0
        assert name == "decode" or facts["check"]["label_distance"] < 0.8


def test_a_cold_run_reads_every_image(root: Path) -> None:
    facts, printed = run("cold.py", root)
    assert "% sequential" in printed
    whole, *others = (c["rounds"][0]["read_bytes"] for c in facts["contestants"].values())
    for read in others:  # a tar has headers and labels too; a short last batch is dropped
        assert 0.5 * whole < read < whole


def test_a_soak_notes_every_epoch(root: Path) -> None:
    facts, _ = run("soak.py", root, "--epochs", "3")
    assert len(facts["epochs"]) == 3 and facts["grew"] == []
    assert all(min(state.values()) > 0 for state in facts["epochs"])


def test_real_photographs_are_repeated(module: Callable[[str], Any], tmp_path: Path) -> None:
    corpus = module("photos.corpus")
    size = corpus.Photographs(count=15, long=40, short=32)
    few = corpus.photographs(tmp_path, size)
    folder = corpus.copies(tmp_path, few, 40)
    paths = sorted((folder / "train").rglob("*.jpg"))
    assert len(paths) == 40 and len({path.parent.name for path in paths}) == corpus.CLASSES
    assert len({path.read_bytes() for path in paths}) == 15
    assert corpus.copies(tmp_path, few, 40) == folder


def test_files_are_evicted(module: Callable[[str], Any], root: Path) -> None:
    """How much leaves the page cache is the file system's matter: in memory, nothing."""
    files = module("files")
    folder = root / "evicted"
    folder.mkdir()
    (folder / "a").write_bytes(os.urandom(1 << 20))
    (folder / "empty").touch()
    assert files.resident(files.each(folder)) == 1
    assert 0 <= files.evict(folder) <= 1


@pytest.mark.parametrize("name", ["threads", "files", "anonymous_bytes"])
def test_growth_is_seen(name: str, module: Callable[[str], Any]) -> None:
    soak = module("soak")
    still = {"anonymous_bytes": int(4e8), "threads": 6, "files": 30}
    assert soak.growth([soak.State(**still)] * 12) == []
    more = {name: still[name] + (5 if name != "anonymous_bytes" else int(1e7))}
    states = [soak.State(**still)] * 9 + [soak.State(**(still | more))] * 3
    assert len(soak.growth(states)) == 1


def test_figures_of_rounds_are_put_together(module: Callable[[str], Any]) -> None:
    """Two rounds, the second disturbed for both: ratios and shares do not see it."""
    summary, workload = module("summary"), module("workload").load("w2")
    checked = {"check": {}, "first_s": 1.0, "anonymous_bytes": 1e6, "items": 100}
    rounds = {
        name: [checked | {"wall_s": wall * times, "cpu_s": 2 * wall} for times in (1, 3)]
        for name, wall in (("nostall", 2.0), ("ceiling", 1.0), ("npy", 8.0))
    }
    found = summary.summarise(rounds, workload, workload.kind(root="", data=""))
    assert found["npy"]["nostall_times_faster"] == {"median": 4, "min": 4, "max": 4}
    assert found["npy"]["nostall_times_less_cpu"]["median"] == 4
    assert found["nostall"]["share_of_ceiling"]["wall"]["median"] == 0.5
    assert found["nostall"]["pairs_per_s"]["max"] == 50
    assert summary.rows(found, workload)[0][0] == "ceiling"


def test_wrong_names_and_sets_are_one_line(tmp_path: Path, module: Callable[[str], Any]) -> None:
    main = module("loader").main
    unknown = CliRunner().invoke(main, ["--peers", "pngs"])
    assert unknown.exit_code == 2 and "there are: nostall" in unknown.output
    missing = CliRunner().invoke(main, ["--data", str(tmp_path / "none"), "--peers", "nostall"])
    assert missing.exit_code == 2 and len(missing.output.strip().splitlines()) == 1
    foreign = CliRunner().invoke(main, ["--work", "w1", "--patch", "16"])
    assert foreign.exit_code == 2 and "--patch" in foreign.output
    options = ["--work", "w1", "--images", str(tmp_path), "--root", str(tmp_path / "made")]
    empty = CliRunner().invoke(main, [*options, "--peers", "nostall"])
    assert empty.exit_code == 2 and "no JPEG files" in empty.output


@pytest.mark.parametrize("name", [*WORKLOADS, *OTHERS])
def test_every_contestant_is_listed(name: str, module: Callable[[str], Any]) -> None:
    listed = CliRunner().invoke(module("loader").main, ["--work", name, "--list"]).output
    contestants = module("workload").load(name).contestants
    assert "nostall" in contestants and all(one in listed for one in contestants)
    assert "threads=" in listed
    assert {*WORKLOADS, *OTHERS} == module("workload").NAMES.keys()


def test_all_means_every_workload_that_needs_no_set_of_the_user(
    module: Callable[[str], Any],
) -> None:
    assert module("suite").names("all") == [
        "w1",
        "w1-short",
        "w1-raw",
        "w1-whole",
        "w2",
        "w3",
        "w4",
    ]
    assert module("suite").names("w2,w1,w2") == ["w2", "w1"]
    unknown = CliRunner().invoke(module("loader").main, ["--work", "w1,w9"])
    assert unknown.exit_code == 2 and "w9" in unknown.output and "own, all" in unknown.output


def test_looking_is_over_before_the_window(
    module: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch takes a second of a clock of its own: half the warm-up passes without looking."""
    timing = module("timing")
    now, seen = [0.0], []

    def batches() -> Any:
        for number in range(1000):
            now[0] += 1
            yield number

    drawn = batches()
    with monkeypatch.context() as patch:
        patch.setattr(timing.time, "perf_counter", lambda: now[0])
        rules = timing.Rules(warm_s=10, seconds=0.0, batches=3)
        window = timing.measure(drawn, 4, rules, 0.0, seen.append)
    assert seen == list(range(11)) and window.wall_s == 3
    assert next(drawn) == 11 + 5 + 3


@pytest.mark.parametrize("name", ["cold", "soak", "prep"])
def test_mistakes_in_other_scripts_are_one_line(
    name: str, tmp_path: Path, module: Callable[[str], Any]
) -> None:
    (tmp_path / "file").touch()
    options = ["--quick", "--no-save", "--root", str(tmp_path / "file")]
    counts = {"cold": "--rounds", "soak": "--epochs", "prep": "--images"}
    for more in ([], [counts[name], "0"]):
        refused = CliRunner().invoke(module(name).main, [*options, *more])
        assert refused.exit_code == 2 and refused.output.startswith("error: ")
        assert len(refused.output.strip().splitlines()) == 1


@pytest.mark.parametrize("name", ["cold", "prep"])
def test_a_child_that_fails_is_one_line(
    name: str, tmp_path: Path, module: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    script, work = module(name), module("photos.work").Work(root="", data=str(tmp_path))

    def fails(*arguments: str) -> None:
        raise RuntimeError("50 % of it stayed")

    monkeypatch.setattr(module("timing"), "spawn", fails)
    asked = (work, ["sequential"], 1, 1) if name == "cold" else (tmp_path, tmp_path, 1)
    with pytest.raises(ClickException, match=r"(sequential|builder-1): 50 % of it stayed"):
        script.compare(*asked)


def test_the_gpu_is_named(
    tmp_path: Path, module: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    results = module("results")
    listing = ("GPU 0: Fast 9000 (UUID: GPU-12)", "  MIG 1g Device 0: (UUID: MIG-3)")
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\n" + "".join(f"echo '{line}'\n" for line in listing))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    cuda = SimpleNamespace(is_available=lambda: True)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    assert results.machine()["gpu"] == "Fast 9000"
    cuda.is_available = lambda: False
    assert "gpu" not in results.machine()
    monkeypatch.delitem(sys.modules, "torch")
    assert results.machine()["gpu"] == "Fast 9000" and "torch" not in sys.modules
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    assert "gpu" not in results.machine()
