"""Works of a study: what waits for what, what is left out, and several commands at a time."""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dataprep.manifest import DataError
from jobs import plan
from jobs import runner as runners
from jobs.forecast import Forecast, Pace
from jobs.plan import Plan
from jobs.runner import Runner
from jobs.study import Execution, Member, Study, Variant
from jobs.work import Work, missing, works

WRITE = "import pathlib, sys; pathlib.Path(sys.argv[1]).write_text('x')"


class Bench:
    """Works that write a file each, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.order = folder, list[str]()
        self.both = threading.Barrier(2, timeout=20)

    def work(self, name: str, code: str = WRITE, place: str = "", **other: Any) -> Work:
        target = self.folder / f"{name}.done"
        return Work(
            label=name,
            kind=other.pop("kind", "train"),
            folder=lambda: self.folder / (place or name),
            is_done=target.exists,
            command=lambda: [sys.executable, "-c", code, str(target)],
            **other,
        )

    def acting(self, name: str, act: Callable[[], None] = lambda: None, **other: Any) -> Work:
        def whole() -> None:
            act()
            self.order.append(name)
            (self.folder / f"{name}.done").touch()

        return self.work(name, act=whole, **other)

    def forecast(self, *done: dict[str, Any], jobs: int = 1) -> Forecast:
        log = self.folder / "jobs.jsonl"
        log.write_text("\n".join([*map(json.dumps, done), "{cut"]))
        return Forecast(log, jobs)

    def run(self, *todo: Work, jobs: int = 1) -> Runner:
        runner = Runner(self.folder, todo, jobs)
        with plan.locked(self.folder) as held:
            runner.run(held)
        return runner


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_failure_leaves_out_what_waits_for_it_and_nothing_else(bench: Bench) -> None:
    failing = "import sys; print('error: no luck'); sys.exit(2)"
    todo = [
        bench.work("table", failing, kind="score"),
        bench.work("wants", after=("table",)),
        bench.work("of-wants", after=("wants",), part_of="wants"),
        bench.work("other", after=("not in this study",)),
    ]
    runner = bench.run(*todo)
    assert runner.failed == {"table": "error: no luck"}
    assert runner.left_out == {"wants": "waits for table", "of-wants": "waits for wants"}
    assert runner.done == {"other"}
    assert list(missing(todo, runner.failed)) == [
        "table: not done (error: no luck)",
        "wants: not done (waits for table)",
    ]


def test_a_damaged_result_is_named_and_the_others_go_on(bench: Bench) -> None:
    def damaged() -> bool:
        raise DataError("origin.json", "", "damaged")

    table = replace(bench.work("table"), is_done=damaged)
    todo = [table, bench.work("wants", after=("table",)), bench.work("other")]
    runner = bench.run(*todo)
    assert runner.done == {"other"} and runner.left_out == {"wants": "waits for table"}
    assert runner.failed["table"].endswith("damaged")
    assert [line.split(":")[0] for line in missing(todo, {})] == ["table", "wants"]


def test_what_is_done_is_not_run_again(bench: Bench) -> None:
    todo = [bench.work("a"), bench.work("b", after=("a",))]
    bench.run(*todo)
    lines = (bench.folder / "jobs.jsonl").read_text()
    assert [json.loads(line)["label"] for line in lines.splitlines()] == ["a", "b"]
    bench.run(*todo)
    assert (bench.folder / "jobs.jsonl").read_text() == lines


def test_order_is_that_of_the_list_but_for_what_waits(bench: Bench) -> None:
    bench.run(*(bench.acting("late", after=("last",)), bench.acting("a"), bench.acting("last")))
    assert bench.order == ["a", "last", "late"]


def test_two_at_a_time(bench: Bench) -> None:
    """Both meet at the barrier, or neither ends."""

    def meet() -> None:
        bench.both.wait()

    runner = bench.run(*(bench.acting(name, meet) for name in "ab"), jobs=2)
    assert runner.done == {"a", "b"}


def test_alone_and_in_one_folder_only_one_at_a_time(bench: Bench) -> None:
    inside: list[str] = []
    most: list[int] = []

    def busy(name: str) -> Callable[[], None]:
        def act() -> None:
            inside.append(name)
            time.sleep(0.05)
            most.append(len(inside))
            inside.remove(name)

        return act

    bench.run(*(bench.acting(n, busy(n), alone=n == "b") for n in "abc"), jobs=3)
    assert bench.order == ["a", "b", "c"] and most == [1, 1, 1]
    bench.run(*(bench.acting(n, busy(n), place="same", kind=n) for n in "def"), jobs=3)
    assert bench.order[3:] == ["d", "e", "f"] and most == 6 * [1]


def test_what_is_done_here_may_fail_by_name(bench: Bench) -> None:
    def damaged() -> None:
        raise DataError("calibration.json", "", "damaged")

    runner = bench.run(bench.acting("note", damaged), bench.acting("next"))
    assert runner.failed == {"note": "calibration.json: damaged"} and runner.done == {"next"}


def test_time_left_counts_a_shared_run_once(bench: Bench) -> None:
    forecast = bench.forecast({"label": "first", "kind": "train", "seconds": 90.0})
    twins = [bench.work("x", place="two"), bench.work("y", place="two")]
    assert forecast.left([], twins) == "time left in all: 1:30"
    unknown = bench.work("z", kind="score")
    assert forecast.left([], [*twins, unknown]).endswith("1:30, and 1 of kinds not run before")
    assert "not known" in forecast.left([], [unknown])


def test_time_left_goes_by_what_is_running(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter in 100 s: 300 s to go, and 400 for the other one; the score's kind is unknown."""
    now, share = [0.0], [0.5]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    first = replace(bench.work("first", alike="a"), share=lambda: share[0])
    others = [bench.work("second", alike="b"), bench.work("z", kind="score")]
    forecast, pace = bench.forecast(), Pace(first)
    assert "not known" in forecast.left([pace], others)
    now[0], share[0] = 10.0, 0.25  # a checkpoint that lay behind the last line of the log
    pace.look()
    now[0], share[0] = 100.0, 0.5
    pace.look()
    said = forecast.left([pace], others)
    assert said == (
        "time left in all: about 10:00, by 25 % of first, and 1 of kinds not run before"
    )
    assert pace.told == "first: train, 50 %" and (pace.part(True), pace.part(False)) == (0.75, 0.25)
    # What is known of the second one counts more than the first one's pace, that of itself less.
    before = {"label": "second", "kind": "train", "alike": "b", "seconds": 30.0, "code": 0}
    forecast = bench.forecast(before | {"share": 0.5, "done": False})
    assert forecast.left([pace], others[:1]) == "time left in all: 4:20"
    assert forecast.left([], [first]) == "time left in all: 1:00"


def test_a_long_work_says_how_far_it_is(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the first one of its kind has ended."""
    monkeypatch.setattr(runners, "SAY_S", 0.05)
    shares = iter([0.0, 0.0])  # when it begins, and when that is said
    act = partial(time.sleep, 1)
    long = replace(bench.acting("long", act), share=lambda: next(shares, 0.5))
    bench.run(long, bench.acting("next"))
    said = capsys.readouterr().err
    assert re.search(r"\[1 of 2\] long: train; time left in all: not known before", said)
    assert re.search(r"\[1 of 2\] long: train, 50 %; time left in all: about 0:0\d, by 50 %", said)
    (line, _) = (bench.folder / "jobs.jsonl").read_text().splitlines()
    assert json.loads(line)["share"] == 1.0


def test_time_left_of_several_at_a_time(bench: Bench) -> None:
    """Two share the trainings; what must be alone is shared by none."""
    known = [
        {"label": "x", "kind": "train", "alike": name, "seconds": seconds}
        for name, seconds in (("a", 60.0), ("b", 20.0), ("c", 10.0))
    ]
    known.append({"label": "t", "kind": "time", "seconds": 5.0})
    forecast = bench.forecast(*known, jobs=2)
    todo = [bench.work(name, alike=name) for name in "abc"]
    todo += [bench.work(f"time-{i}", kind="time", alone=True) for i in range(2)]
    assert forecast.left([], todo) == "time left in all: 1:10"


# Runs that variants share


def variant(name: str, steps: str | None, **other: Any) -> Variant:
    return Variant(
        name=name,
        model="shufflemixer_tiny",
        settings={"lr": "0.5"},
        late=lambda: None if steps is None else {"steps": steps},
        **other,
    )


def chain(*variants: Variant) -> list[Member]:
    peers: tuple[Member, ...] = ()
    for one in variants:
        peers = (*peers, Member("toy", one, 3, Execution(runs=Path("runs")), peers))
    return list(peers)


def test_equal_settings_are_one_run() -> None:
    a, b, c, d = chain(*(variant(n, s) for n, s in zip("abcd", ("7", "8", "7", None), strict=True)))
    assert [one.home for one in (a, b, c, d)] == ["a-s3", "b-s3", "a-s3", "d-s3"]
    assert c.run.folder == a.run.folder and c.name == "c-s3"
    assert "toy/a-s3" in c.command()
    assert not d.is_ready and not d.is_finished
    with pytest.raises(ValueError, match="d-s3: waits for the table"):
        _ = chain(variant("d", None, after=("the table",)))[0].settings


def test_works_wait_for_the_preparations_of_their_variant(bench: Bench) -> None:
    study = Study(
        summary="", variants=(variant("a", "7", after=("table",)),), headline=(),
        preparations=(bench.work("table"),),
    )  # fmt: skip
    first, second = works(study, chain(*study.variants))
    assert first.label == "table" and (second.label, second.after) == ("a-s3", ("table",))


def test_seeds_go_on_counting() -> None:
    study = Study(summary="", variants=(), headline=(), seeds=(5, 3, 8))
    assert study.seeds_of(2) == (5, 3) and study.seeds_of(5) == (5, 3, 8, 9, 10)


# The plan


def test_lists_of_options_may_grow_and_nothing_else(tmp_path: Path) -> None:
    options = {"strategies": ["random", "smart"], "quick": True}
    first = Plan(study="s", overrides={"lr": "1"}, seeds=[1], options=options)
    plan.record(tmp_path, first)
    more = Plan(
        study="s", overrides={"lr": "1"}, seeds=[2], options=options | {"strategies": ["fixed"]}
    )
    joined = plan.record(tmp_path, more)
    assert joined.options["strategies"] == ["random", "smart", "fixed"] and joined.seeds == [1, 2]
    assert plan.recorded(tmp_path) == joined
    changed = Plan(study="s", overrides={"lr": "1"}, seeds=[1], options=options | {"quick": False})
    with pytest.raises(ValueError, match="quick was True, is False"):
        plan.record(tmp_path, changed)


def test_a_plan_without_options_is_still_read(tmp_path: Path) -> None:
    (tmp_path / "study.json").write_text('{"study": "s", "overrides": {}, "seeds": [1]}')
    found = plan.recorded(tmp_path)
    assert found and found.options == {}
