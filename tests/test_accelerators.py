"""bench/accelerators.py: the arithmetic, the search, settings, and ranks that meet or die."""

from __future__ import annotations

import importlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).resolve().parents[1] / "bench"


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Import a file of bench/ as its siblings do."""
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module


class Clock:
    """Time that passes only where it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def pass_s(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


def endless(rank: int, ranks: int) -> Iterator[int]:
    """A contestant that has its batches ready."""
    try:
        while True:
            yield rank
    finally:
        pass


def short(rank: int, ranks: int) -> Iterator[int]:
    """The last rank has two batches only."""
    yield from range(2 if rank == ranks - 1 else 10_000)


def failing(rank: int, ranks: int) -> Iterator[int]:
    """The last rank fails at its third batch."""
    yield from range(2)
    if rank == ranks - 1:
        raise ValueError("no such photograph\nand more")
    yield from range(10_000)


def dying(rank: int, ranks: int) -> Iterator[int]:
    """The last rank is killed at its third batch."""
    yield from range(2)
    if rank == ranks - 1:
        os.kill(os.getpid(), signal.SIGKILL)
    yield from range(10_000)


def hanging(rank: int, ranks: int) -> Iterator[int]:
    """No batch comes for an hour."""
    time.sleep(3600)
    yield rank


def absent(rank: int, ranks: int) -> Iterator[int]:
    """The last rank cannot even start."""
    if rank == ranks - 1:
        raise ImportError("no module")
    return endless(rank, ranks)


def test_utilisation_of_a_trace_done_by_hand(module: Callable[[str], Any]) -> None:
    """Three steps of 0.5 s after the first; they end 2 s after it: 75 %."""
    ranks = module("ranks")
    assert ranks.utilisation([9.0, 9.6, 10.4, 11.0], 0.5) == pytest.approx(0.75)
    assert ranks.rate([9.0, 9.6, 10.4, 11.0], 400) == pytest.approx(600)


@pytest.mark.parametrize(
    ("wait_s", "meet_s", "expected"), [(0, 0, 1), (0.1, 0, 0.8), (0, 0.4, 0.5)]
)
def test_waiting_and_meeting_are_not_computing(
    wait_s: float, meet_s: float, expected: float, module: Callable[[str], Any]
) -> None:
    """The first batch takes a minute and counts for nothing."""
    ranks, clock = module("ranks"), Clock()

    def batches() -> Iterator[None]:
        clock.pass_s(60)
        yield None
        while True:
            clock.pass_s(wait_s)
            yield None

    ends = ranks.drive(
        batches(), 5, 0.4, lambda: clock.pass_s(meet_s), sleep=clock.pass_s, clock=lambda: clock.now
    )
    assert len(ends) == 5
    assert ranks.utilisation(ends, 0.4) == pytest.approx(expected)


def test_without_a_step_nobody_sleeps(module: Callable[[str], Any]) -> None:
    slept: list[float] = []
    module("ranks").drive(endless(0, 1), 3, 0.0, lambda: None, sleep=slept.append)
    assert slept == []


@pytest.mark.parametrize("feeds", [0, 1, 2, 5, 8])
@pytest.mark.parametrize("guess", [0, 1, 2, 4, 8, 100])
def test_the_search_finds_the_number_from_any_guess(
    feeds: int, guess: int, module: Callable[[str], Any]
) -> None:
    calls: list[int] = []

    def au(number: int) -> float:
        calls.append(number)
        return 0.95 if number <= feeds else 0.95 * feeds / number

    found, tried = module("accelerators").most(au, guess, 0.9, 8)
    assert found == feeds and list(tried) == calls and len(set(calls)) == len(calls)
    assert max(calls) <= 8
    assert feeds == 8 or tried[feeds + 1] < 0.9  # that one more is too many was seen


def test_enough_is_exactly_enough(module: Callable[[str], Any]) -> None:
    assert module("accelerators").most(lambda number: 0.9, 1, 0.9, 3)[0] == 3


def test_ranks_meet(module: Callable[[str], Any]) -> None:
    """All clocks are one: no rank's step ends before every rank's step before has ended."""
    ends = module("ranks").run(endless, 2, 4, 0.01)
    assert [len(one) for one in ends] == [4, 4]
    for before, after in zip(range(3), range(1, 4), strict=True):
        assert min(one[after] for one in ends) > max(one[before] for one in ends)
    assert 0 < module("ranks").utilisation(ends[0], 0.01) <= 1


@pytest.mark.parametrize(
    ("start", "why"),
    [
        (failing, "rank 1: ValueError: no such photograph"),
        (dying, "rank 1 died"),
        (short, "rank 1: has no batch left"),
        (absent, "rank 1: ImportError: no module"),
    ],
)
def test_a_rank_that_ends_ends_all(start: Any, why: str, module: Callable[[str], Any]) -> None:
    """The other would wait ten minutes for it."""
    with pytest.raises(RuntimeError) as caught:
        module("ranks").run(start, 2, 50, 0.0)
    assert str(caught.value) == why


def test_a_rank_that_hangs_is_given_up(
    module: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module("ranks"), "PATIENCE_S", 0.0)
    monkeypatch.setattr(module("ranks"), "STEP_S", 0.2)
    with pytest.raises(RuntimeError, match="no answer after 1 s"):
        module("ranks").run(hanging, 1, 3, 0.0)


def test_shares_of_the_machine(
    module: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight threads for three ranks: two each, and three seeds."""
    workloads, ranks = module("workload"), module("ranks")
    seen: list[tuple[int, dict[str, int]]] = []

    def start(work: Any, setting: dict[str, int]) -> Iterator[int]:
        seen.append((work.seed, setting))
        return endless(0, 1)

    class Toy:
        kind = workloads.Work
        contestants = {"toy": workloads.Contestant("a toy", start)}  # noqa: RUF012

    monkeypatch.setattr(workloads, "load", lambda name: Toy)
    work = {"root": "", "data": "", "batch": 4, "threads": 8, "seed": 7}
    for rank in range(3):
        ranks.Share("toy", "toy", work)(rank, 3)
    assert seen == [(7, {"threads": 2}), (8, {"threads": 2}), (9, {"threads": 2})]
    ranks.Share("toy", "toy", work)(0, 100)
    assert seen[-1] == (7, {"threads": 1})


def test_the_fastest_setting_is_kept(
    module: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two cores; workers bring two batches at once, of which the first two count for nothing."""
    workloads, ranks = module("workload"), module("ranks")
    settings = [{"workers": 2}, {"workers": 1}, {"workers": 0}]
    times = {2: [9, 9, 10, 10, 11, 11, 12, 12], 1: [5.0 + i / 3 for i in range(8)]}

    class Toy:
        kind = workloads.Work
        contestants = {  # noqa: RUF012
            "toy": workloads.Contestant("a toy", endless, lambda work: settings),
            "plain": workloads.Contestant("one setting", endless, lambda work: settings[:1]),
        }

    def run(share: Any, number: int, steps: int, compute_s: float, most_s: float) -> Any:
        assert (number, steps, compute_s) == (1, 8, 0)
        if share.setting["workers"] not in times:
            raise RuntimeError("no such number")
        return [times[share.setting["workers"]]]

    monkeypatch.setattr(workloads, "load", lambda name: Toy)
    monkeypatch.setattr(ranks, "run", run)
    share = ranks.Share("toy", "toy", {"root": "", "data": "", "batch": 4, "threads": 2})
    best, tried = ranks.best(share, 4)
    assert best.setting == {"workers": 1}
    assert tried == [[{"workers": 2}, 8], [{"workers": 1}, pytest.approx(12)]]
    assert ranks.best(share, 0)[0].setting == {"workers": 0}  # quick: nothing is tried
    assert ranks.best(replace(share, name="plain"), 4) == (
        replace(share, name="plain", setting={"workers": 2}),
        [],
    )
    times.clear()
    with pytest.raises(RuntimeError, match="no such number"):
        ranks.best(share, 4)


@pytest.mark.parametrize(
    ("setting", "share", "expected"),
    [
        ({"workers": 8, "v2": 1}, 4, {"workers": 4, "v2": 1}),
        ({"workers": 8, "threads": 1}, 2, {"workers": 2, "threads": 1}),
        ({"workers": 0, "threads": 9}, 4, {"workers": 0, "threads": 5}),
        ({"workers": 4}, 4, {"workers": 2}),
        ({"workers": 1}, 1, {"workers": 1}),
        ({"threads": 9, "whole": 1}, 8, {"threads": 9, "whole": 1}),
    ],
)
def test_a_setting_shrinks_with_the_cores(
    setting: dict[str, int], share: int, expected: dict[str, int], module: Callable[[str], Any]
) -> None:
    assert module("ranks").scaled(setting, 8, share) == expected


def test_a_slow_rank_is_not_driven_on(module: Callable[[str], Any]) -> None:
    clock = Clock()

    def batches() -> Iterator[None]:
        while True:
            clock.pass_s(8)
            yield None

    ends = module("ranks").drive(
        batches(), 100, 0.0, lambda: None, clock=lambda: clock.now, most_s=20.0
    )
    assert ends == [108, 116, 124, 132]


def test_dlio_that_hangs_is_ended_with_all_it_started(
    module: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    dlio, started = module("dlio"), tmp_path / "started"
    fake = tmp_path / "mpirun"
    fake.write_text(f"#!/bin/sh\ntrap '' TERM\nsleep 3600 &\necho $! > {started}\nwait\n")
    fake.chmod(0o755)
    monkeypatch.setattr(dlio, "_mpirun", lambda: str(fake))
    monkeypatch.setattr(dlio, "PATIENCE_S", 1.0)
    monkeypatch.setattr(dlio, "FAREWELL_S", 0.2)
    share = module("ranks").Share("w1", "nostall", {"batch": 4})
    with pytest.raises(RuntimeError, match="DLIO was not done after 1 s"):
        dlio.au(share, 1, 2, 0.1)
    for _ in range(100):
        if not is_running(int(started.read_text())):
            break
        time.sleep(0.1)
    else:
        pytest.fail("what mpirun had started still runs")


def is_running(pid: int) -> bool:
    """Tell whether a process is there and not dead already."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_dlio_is_told_mlperfs_work(module: Callable[[str], Any], tmp_path: Path) -> None:
    options = module("dlio").options(tmp_path, 400, 2, 30, 0.224)
    told = dict(one.lstrip("+").split("=", 1) for one in options)
    assert told["workload"] == "resnet50_h100"
    assert told["workload.train.computation_time"] == "0.224"
    assert told["workload.dataset.num_samples_per_file"] == f"{2 * 30 * 400}"
    assert told["workload.reader.data_loader_classname"] == "dlio.plugin.Contestant"
