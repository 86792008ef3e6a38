"""bench/loader.py with one more workload, `toy`: contestants that are quick, slow, wrong or stuck.

    python tests/bench_toys.py --work toy --peers nostall,slow

test_bench_toys.py runs it as a user runs bench/loader.py.
"""

from __future__ import annotations

import atexit
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

BENCH = Path(__file__).resolve().parents[1] / "bench"
sys.path[:0] = [str(BENCH)]

import loader  # noqa: E402
import turns  # noqa: E402
import workload as workloads  # noqa: E402
from workload import Against, Check, Contestant, Origin, Setting, Workload  # noqa: E402

turns.SCRIPT = __file__
FILES, BATCH_BYTES = 20, 1 << 16
Batches = Generator[Any, None, None]


@dataclass(frozen=True, kw_only=True)
class Work(workloads.Work):
    """Batches of four items. files: folder of the toys' files, a batch in each."""

    batch: int = 4
    files: str = ""


def same(work: Work, setting: Setting) -> Batches:
    """Yield the same batch without end; more workers, faster."""
    while True:
        time.sleep(0.002 / (1 + setting["workers"]))
        yield np.arange(12, dtype=np.uint8).reshape(4, 3), [0, 1, 2, 3]


def slow(work: Work, setting: Setting) -> Batches:
    """Yield a batch every 30 ms."""
    while True:
        time.sleep(0.03)
        yield np.ones((4, 3), np.uint8), [0, 1, 2, 3]


def read(work: Work, setting: Setting) -> Batches:
    """Yield a file of the folder a batch, over and over."""
    while True:
        for path in sorted(Path(work.files).iterdir()):
            yield np.frombuffer(path.read_bytes(), np.uint8), [0, 1, 2, 3]


def wrong(work: Work, setting: Setting) -> Batches:
    """Yield what no check lets pass."""
    while True:
        time.sleep(0.002)
        yield np.zeros((4, 3), np.uint8), [0, 1, 2, 3]


def late(work: Work, setting: Setting) -> Batches:
    """Fail in the last of three rounds: the mark of each is left in the root."""
    marks = Path(work.root) / "marks"
    marks.mkdir(exist_ok=True)
    (marks / str(time.monotonic_ns())).touch()
    if len(list(marks.iterdir())) > 3:  # two settings are tried
        raise RuntimeError("one run too many")
    yield from same(work, setting)


def chatty(work: Work, setting: Setting) -> Batches:
    """Say good-bye, as some libraries do."""
    atexit.register(print, "good-bye")
    yield from slow(work, setting)


def silent(work: Work, setting: Setting) -> Batches:
    """End the process as if all were well."""
    sys.exit(0)
    yield from slow(work, setting)


def stuck(work: Work, setting: Setting) -> Batches:
    """Start another process, note its id in the root, and give nothing."""
    child = subprocess.Popen(["sleep", "1000"])
    (Path(work.root) / "stuck.pid").write_text(str(child.pid))
    child.wait()
    yield from slow(work, setting)


def workers(work: Work) -> list[Setting]:
    """The best one first: the last would be a quick run's."""
    return [{"workers": 3}, {"workers": 0}]


class LooksForZeros:
    """Wants anything but zeros."""

    def __init__(self) -> None:
        self.means: list[float] = []

    def __call__(self, batch: Any) -> None:
        self.means.append(float(batch[0].mean()))

    def result(self) -> dict[str, Any]:
        if not any(self.means):
            raise ValueError("pixels are 0.00")
        return {"samples": len(self.means), "mean": self.means[0]}


CONTESTANTS = {
    "nostall": Contestant("gives the same batch", same, workers),
    "slow": Contestant("30 ms a batch", slow),
    "read": Contestant("reads files", read, reads="files"),
    "wrong": Contestant("gives zeros", wrong),
    "chatty": Contestant("prints more after its result", chatty),
    "silent": Contestant("ends without a result", silent),
    "ceiling": Contestant("limit: the same batch, nothing else", slow),
    "late": Contestant("fails in its last round", late, workers),
    "stuck": Contestant("gives nothing", stuck),
    "gone": Contestant("is not there", slow, needs=("no_such.package",), install="rare"),
}


class Toys(Workload):
    """Toys."""

    kind = Work
    unit = "item"
    against = (Against("slow", "times_slow", ("× slow wall", "CPU")),)
    contestants = CONTESTANTS

    def prepare(self, work: Work, origin: Origin, names: Sequence[str]) -> Work:
        files = Path(work.root) / "files"
        files.mkdir(parents=True, exist_ok=True)
        for number in range(FILES):
            (files / str(number)).write_bytes(bytes([1 + number]) * BATCH_BYTES)
        return replace(work, files=str(files))

    def epoch_items(self, work: Work) -> int:
        return FILES * work.batch

    def item_bytes(self, work: Work) -> int:
        return 3

    def check(self, work: Work, name: str) -> Check:
        return LooksForZeros()

    def facts(self, work: Work) -> dict[str, Any]:
        return {"set": {"items": FILES}, "work": {"batch": work.batch, "threads": work.threads}}


def workload(variant: str) -> Workload:
    """Return the toys."""
    return Toys()


# `bench_toys` is this file once more: as __main__ it only adds it to the workloads.
sys.path[:0] = [str(Path(__file__).parent)]
workloads.NAMES["toy"] = ("bench_toys", "")
# Not there at all, and there with a package missing inside.
workloads.NAMES["absent"] = ("no_such_workload", "")

if __name__ == "__main__":
    # A shell ignores it for what runs in the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    loader.main()
