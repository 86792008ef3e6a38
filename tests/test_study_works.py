"""Works of a study: what waits for what, what is left out, and several commands at a time."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dataprep.manifest import DataError
from jobs import plan
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
    first = bench.acting("first", place="one")
    runner = bench.run(first)
    (bench.folder / "jobs.jsonl").write_text(
        json.dumps({"label": "first", "kind": "train", "seconds": 90.0}) + "\n{cut"
    )
    twins = [bench.work("x", place="two"), bench.work("y", place="two")]
    assert runner._left(twins) == "time left in all: 1:30"
    unknown = bench.work("z", kind="score")
    assert runner._left([*twins, unknown]).endswith("1:30, and 1 of kinds not run before")
    assert "not known" in runner._left([unknown])


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
