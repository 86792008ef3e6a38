"""bench/track.py: a slow-down is found, noise is not; other machines and other work stay apart."""

from __future__ import annotations

import importlib
import json
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

BENCH = Path(__file__).resolve().parents[1] / "bench"
# CPU ms a sample.
COSTS = {"nostall": 0.55, "nostall-dali": 2.2, "torchvision": 3.8, "decode": 0.9}
RUNS, SEEDS = 10, 200


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Import a file of bench/ as its siblings do."""
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module


@pytest.fixture
def track(module: Callable[[str], Any]) -> Callable[..., Result]:
    """Run the command as its users do."""
    main = module("track").main
    return lambda *options: CliRunner().invoke(main, [str(option) for option in options])


def rounds(
    rng: random.Random, slower: Mapping[str, float], count: int = 5, noise: float = 1
) -> dict[str, list[dict[str, float]]]:
    """Return rounds with the noise of a machine that is shared.

    CPU time of a round 3 %, of a run 1.5 %; samples/s 10 %.
    """
    found = {}
    for name, cost in COSTS.items():
        run = rng.gauss(1, 0.015 * noise)
        cpu_s = [
            cost * slower.get(name, 1) * run * rng.gauss(1, 0.03 * noise) for _ in range(count)
        ]
        found[name] = [
            {"items": 1000.0, "cpu_s": one, "wall_s": one / 2 * abs(rng.gauss(1, 0.1 * noise))}
            for one in cpu_s
        ]
    return found


def line(number: int, measured: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Return a line of results as bench/loader.py keeps it, as far as it matters here."""
    return {
        "bench": "loader",
        "when": f"2026-01-{number + 1:02d}T00:00:00+00:00",
        "commit": f"commit{number}",
        "machine": {"cpu": "made up", "cores": 2, "ram_gb": 16, "versions": {}},
        "workload": "w1",
        "quick": False,
        "step_ms": 0,
        "cold": False,
        "set": {"images": 4000},
        "work": {"batch": 64, "device": "cpu"},
        "contestants": {},
        "rounds": measured,
    } | more


def lines(seed: int, count: int, slower: float = 1, noise: float = 1) -> list[dict[str, Any]]:
    """Return a history of which the newest run is `slower`."""
    rng = random.Random(seed)
    calm = [line(i, rounds(rng, {}, noise=noise)) for i in range(count - 1)]
    return [*calm, line(count - 1, rounds(rng, {"nostall": slower}, noise=noise))]


def written(folder: Path, history: Sequence[Mapping[str, Any]], name: str = "loader") -> Path:
    """Write lines as a file of results; return the folder."""
    folder.mkdir(exist_ok=True)
    text = "".join(json.dumps(one) + "\n" for one in history)
    (folder / f"{name}.jsonl").write_text(text)
    return folder


def fell(module: Callable[[str], Any], history: Sequence[Mapping[str, Any]], **more: Any) -> int:
    """Return how many contestants fell in the newest run of a history."""
    past = module("history")
    runs = [past._run(one) for one in history]
    rule = {"figures": ("cpu",), "fall": 0.15, "window": 10} | more
    return sum(verdict.fell for verdict in past.verdicts(runs, **rule))


def test_noise_over_ten_runs_is_no_fall(module: Callable[[str], Any]) -> None:
    alarms = 0
    for seed in range(SEEDS):
        history = lines(seed, RUNS)
        alarms += sum(fell(module, history[:count]) > 0 for count in range(2, RUNS + 1))
    assert alarms == 0  # of 1,800 comparisons of two contestants


def test_noise_of_samples_per_second_is_rarely_a_fall(module: Callable[[str], Any]) -> None:
    alarms = sum(fell(module, lines(seed, RUNS), figures=("wall",)) > 0 for seed in range(SEEDS))
    assert alarms <= SEEDS / 50


def test_a_disturbed_machine_is_judged_by_its_own_scatter(module: Callable[[str], Any]) -> None:
    """Three times the noise: a plain threshold would give an alarm in every tenth run."""
    alarms = sum(fell(module, lines(seed, RUNS, noise=3)) > 0 for seed in range(SEEDS))
    assert alarms <= SEEDS / 50


@pytest.mark.parametrize(("earlier", "share"), [(1, 0.95), (3, 0.97), (9, 0.99)])
def test_a_slow_down_of_30_percent_is_found(
    earlier: int, share: float, module: Callable[[str], Any]
) -> None:
    """30 % more CPU time a sample: the ratio falls by 23 %."""
    found = sum(fell(module, lines(seed, earlier + 1, slower=1.3)) == 1 for seed in range(SEEDS))
    assert found >= share * SEEDS


def test_a_fall_is_found_again_when_the_run_is_repeated(module: Callable[[str], Any]) -> None:
    history = lines(0, RUNS, slower=1.3)
    again = line(RUNS, rounds(random.Random(1), {"nostall": 1.3}))
    assert fell(module, [*history, again]) == 1


def test_faster_is_never_a_fall(module: Callable[[str], Any]) -> None:
    assert not any(fell(module, lines(seed, RUNS, slower=0.5)) for seed in range(SEEDS))


def test_the_command_names_workload_ratio_and_commits(
    track: Callable[..., Result], tmp_path: Path
) -> None:
    folder, target = written(tmp_path / "results", lines(0, 4, slower=1.5)), tmp_path / "v.json"
    done = track("--results", folder, "--json", target)
    assert done.exit_code == 1
    (said,) = [one for one in done.output.splitlines() if one.startswith("fell: ")]
    assert "w1: nostall against torchvision, cpu:" in said and "commit2 → commit3" in said
    facts = json.loads(target.read_text())
    (judged,) = [one for one in facts["judged"] if one["fell"]]
    assert facts["fell"] and judged["is"] < judged["limit"] < judged["was"]
    assert track("--results", folder, "--report").exit_code == 0
    assert track("--results", folder, "--fall", 0.5).exit_code == 0
    assert track("--results", written(folder, lines(0, 4))).exit_code == 0


def test_a_single_round_is_shown_and_never_a_fall(
    track: Callable[..., Result], tmp_path: Path
) -> None:
    """As of quick runs, whose windows are too short to tell."""
    rng = random.Random(0)
    quick = [line(i, rounds(rng, {}, 1), quick=True) for i in range(3)]
    quick.append(line(3, rounds(rng, {"nostall": 3}, 1), quick=True))
    done = track("--results", written(tmp_path, quick))
    assert done.exit_code == 0 and "low: w1 quick: nostall" in done.output


def test_waiting_is_seen_by_samples_per_second_alone(
    track: Callable[..., Result], tmp_path: Path
) -> None:
    history = lines(0, 4, noise=0.1)
    for one in history[-1]["rounds"]["nostall"]:
        one["wall_s"] *= 2
    folder = written(tmp_path, history)
    assert track("--results", folder).exit_code == 0
    assert track("--results", folder, "--wall").exit_code == 1


@pytest.mark.parametrize(
    "other",
    [
        {"machine": {"cpu": "another", "cores": 2}},
        {"machine": {"cpu": "made up", "cores": 4}},
        {"machine": {"cpu": "made up", "cores": 2, "gpu": "one"}},
        {"workload": "w1-raw"},
        {"bench": "step"},
        {"quick": True},
        {"cold": True},
        {"step_ms": 36.0},
        {"set": {"images": 42}},
        {"work": {"batch": 64, "device": "cuda"}},
    ],
    ids=str,
)
def test_other_machines_and_other_work_are_not_compared(
    other: dict[str, Any], track: Callable[..., Result], tmp_path: Path
) -> None:
    history = lines(0, 3, slower=2)
    assert track("--results", written(tmp_path, history)).exit_code == 1
    done = track("--results", written(tmp_path, [*history[:2], history[2] | other]))
    assert done.exit_code == 0 and "nothing to compare with" in done.output


def test_runs_on_two_gpus_are_not_compared(track: Callable[..., Result], tmp_path: Path) -> None:
    machine = {"cpu": "made up", "cores": 2}
    history = [one | {"machine": machine | {"gpu": "A"}} for one in lines(0, 3, slower=2)]
    done = track("--results", written(tmp_path, history))
    assert done.exit_code == 1 and "made up, 2 cores, A" in done.output
    history[-1]["machine"] = machine | {"gpu": "B"}
    assert track("--results", written(tmp_path, history)).exit_code == 0


def test_the_first_run_has_nothing_to_compare_with(
    track: Callable[..., Result], tmp_path: Path
) -> None:
    done = track("--results", written(tmp_path, lines(0, 1)))
    assert done.exit_code == 0 and "nothing to compare with" in done.output
    assert "nothing could be judged" in done.output
    foreign = [{"bench": "decode", "when": "", "machine": {}, "contestants": {}}]
    done = track("--results", written(tmp_path, foreign))
    assert done.exit_code == 0 and "nothing to compare with" in done.output


def test_only_the_window_counts(module: Callable[[str], Any]) -> None:
    rng = random.Random(0)
    fast = [line(i, rounds(rng, {"nostall": 0.5})) for i in range(6)]
    slow = [line(6 + i, rounds(rng, {})) for i in range(4)]
    assert fell(module, [*fast, *slow]) == 1
    assert fell(module, [*fast, *slow], window=3) == 0


def test_interrupted_runs_count_for_nothing(track: Callable[..., Result], tmp_path: Path) -> None:
    *earlier, last = lines(0, 4, slower=2)
    stopped = last | {"complete": False}
    done = track("--results", written(tmp_path, [*earlier, stopped]))
    assert done.exit_code == 0 and "commit3" not in done.output
    assert track("--results", written(tmp_path, [*earlier, last | {"complete": True}])).exit_code
    nobody = stopped | {"failed": {"nostall": "it broke"}}
    assert track("--results", written(tmp_path, [*earlier, nobody])).exit_code == 0


def test_rounds_count_as_far_as_both_went(module: Callable[[str], Any]) -> None:
    *earlier, last = lines(0, 3, slower=1.5)
    last["rounds"]["torchvision"].pop()
    assert fell(module, [*earlier, last]) == 1
    last["rounds"] |= {"torchvision": []}  # it failed
    assert fell(module, [*earlier, last]) == 0


def test_a_torn_line_is_one_line_of_complaint(track: Callable[..., Result], tmp_path: Path) -> None:
    folder = written(tmp_path, lines(0, 3))
    path = folder / "loader.jsonl"
    path.write_bytes(path.read_bytes()[:-40])
    done = track("--results", folder)
    assert done.exit_code == 2 and len(done.output.strip().splitlines()) == 1
    assert f"{path}: line 3" in done.output


@pytest.mark.parametrize(
    "change",
    [{"machine": {}}, {"rounds": {"nostall": [{"items": 0, "cpu_s": 1, "wall_s": 1}]}}],
    ids=str,
)
def test_a_line_of_something_else_is_one_line_of_complaint(
    change: dict[str, Any], track: Callable[..., Result], tmp_path: Path
) -> None:
    history = lines(0, 3)
    done = track("--results", written(tmp_path, [history[0], history[1] | change, history[2]]))
    assert done.exit_code == 2 and "loader.jsonl: line 2" in done.output
    assert len(done.output.strip().splitlines()) == 1


def test_no_results_are_bad_input(track: Callable[..., Result], tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        done = track("--results", folder)
        assert done.exit_code == 2 and "no results" in done.output
    assert track("--ratios", tmp_path / "ratios.txt").exit_code == 2


def test_kept_ratios_are_history_and_hold_no_times(
    track: Callable[..., Result], tmp_path: Path
) -> None:
    history, ratios = lines(0, 4, slower=1.5), tmp_path / "kept" / "ci.jsonl"
    for number, one in enumerate(history):  # each run on a fresh checkout: one line a time
        folder = written(tmp_path / f"{number}", [one])
        for _ in range(2):  # the second time, the line is there
            done = track("--results", folder, "--ratios", ratios)
            assert done.exit_code == (number == 3)
    kept = [json.loads(text) for text in ratios.read_text().splitlines()]
    assert [one["commit"] for one in kept] == [one["commit"] for one in history]
    assert [one["when"] for one in kept] == [one["when"] for one in history]
    for one in kept:
        assert one["ratios"]["cpu"].keys() == COSTS.keys() - {"torchvision"}
        assert one["machine"] == {"cpu": "made up", "cores": 2}
        assert not {"rounds", "contestants", "cpu_ms"} & one.keys()
    assert track("--results", ratios.parent).exit_code == 1


def test_figures_are_drawn(track: Callable[..., Result], tmp_path: Path) -> None:
    mixed = [*lines(0, 3), line(3, rounds(random.Random(3), {}), machine={"cpu": "b", "cores": 8})]
    mixed += [line(4, rounds(random.Random(4), {}), workload="w1-raw", quick=True)]
    folder = written(tmp_path / "results", mixed)
    done = track("--results", folder, "--plot", tmp_path / "plots")
    assert done.exit_code == 0, done.output
    names = sorted(path.name for path in (tmp_path / "plots").iterdir())
    assert names == ["w1-raw-quick.png", "w1.png"]


def without(one: Mapping[str, Any], *names: str, **more: Any) -> dict[str, Any]:
    """Return a line in which these contestants were not measured."""
    left = {name: found for name, found in one["rounds"].items() if name not in names}
    return {**one, "rounds": left, **more}


@pytest.mark.parametrize(
    ("gone", "more", "said"),
    [
        (("nostall",), {"failed": {"nostall": "it broke"}}, "w1: nostall failed: it broke"),
        (("nostall",), {}, "w1: nostall was not measured"),
        (("nostall", "torchvision"), {"failed": {"nostall": "x", "torchvision": "x"}}, "failed: x"),
        (tuple(COSTS), {"failed": dict.fromkeys(COSTS, "no files")}, "nostall-dali failed"),
    ],
    ids=["failed", "missing", "with the baseline", "all"],
)
def test_a_lost_nostall_fell(
    gone: tuple[str, ...],
    more: dict[str, Any],
    said: str,
    track: Callable[..., Result],
    tmp_path: Path,
) -> None:
    *earlier, last = lines(0, 4)
    target, lost = tmp_path / "v.json", without(last, *gone, **more)
    done = track("--results", written(tmp_path, [*earlier, lost]), "--json", target)
    assert done.exit_code == 1, done.output
    (line,) = [one for one in done.output.splitlines() if said in one and one.startswith("fell: ")]
    assert "commit3" in line
    facts = json.loads(target.read_text())
    assert facts["fell"] and any(said in one for one in facts["lost"])
    assert track("--results", tmp_path, "--report").exit_code == 0
    mended = line_again(last)
    assert track("--results", written(tmp_path, [*earlier, lost, mended])).exit_code == 0


def line_again(one: Mapping[str, Any]) -> dict[str, Any]:
    """Return a line as it is when measured a day later."""
    return {**one, "when": "2026-01-20T00:00:00+00:00", "commit": "later"}


def test_what_was_left_out_on_purpose_is_not_lost(
    track: Callable[..., Result], tmp_path: Path
) -> None:
    *earlier, last = lines(0, 3)
    chosen = without(last, "nostall", peers=["torchvision", "decode"])
    assert track("--results", written(tmp_path, [*earlier, chosen])).exit_code == 0
    chosen = without(last, "nostall", peers=["torchvision", "nostall"])
    assert track("--results", written(tmp_path, [*earlier, chosen])).exit_code == 1
    other = without(last, "nostall", bench="cold")  # who takes part there is named otherwise
    assert track("--results", written(tmp_path, [*earlier, other])).exit_code == 0


def test_kept_ratios_remember_what_was_lost(track: Callable[..., Result], tmp_path: Path) -> None:
    lost = without(lines(0, 1)[0], *COSTS, failed={"nostall": "in /somewhere"})
    ratios = tmp_path / "kept" / "ci.jsonl"
    folder = written(tmp_path / "results", [lost])
    assert track("--results", folder, "--ratios", ratios, "--report").exit_code == 0
    assert "somewhere" not in ratios.read_text()
    done = track("--results", ratios.parent)
    assert done.exit_code == 1 and "fell: w1: nostall failed" in done.output


@pytest.mark.parametrize("baselines", [("dataloader-batches", "dataloader"), ("dataloader",)])
def test_own_sets_have_a_baseline(
    baselines: tuple[str, ...], track: Callable[..., Result], tmp_path: Path
) -> None:
    history = []
    for one in lines(0, 3, slower=2):
        measured = {"nostall": one["rounds"]["nostall"]}
        measured |= {name: one["rounds"]["torchvision"] for name in baselines}
        history.append(one | {"workload": "own", "rounds": measured})
    done = track("--results", written(tmp_path, history))
    assert done.exit_code == 1 and f"own: nostall against {baselines[0]}, cpu" in done.output
