"""What bench/loader.py asks of a workload: what is measured, on what, by whom, does it count.

A workload is a package of this folder with a function `workload(variant)` and a line in NAMES; a
contestant is an entry in the workload's table.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Protocol

from timing import counts

Setting = dict[str, int]
Batches = Generator[Any, None, None]
Start = Callable[[Any, Setting], Batches]
# Name on the command line: package and variant.
NAMES = {
    "w1": ("photos", "native"),
    "w1-short": ("photos", "short"),
    "w1-raw": ("photos", "raw"),
    "w1-whole": ("photos", "whole"),
    "w2": ("pairs", ""),
    "w3": ("digits", ""),
    "w4": ("stimuli", ""),
    "own": ("own", ""),
}
# What `all` means: own needs a set and a recipe of the user's.
ALL = tuple(name for name in NAMES if name != "own")


@dataclass(frozen=True, kw_only=True)
class Work:
    """The work, the same for every contestant. data: folder of the built set."""

    root: str
    data: str
    batch: int
    threads: int = 2
    device: str = "cpu"
    seed: int = 0


@dataclass(frozen=True)
class Origin:
    """Where the bytes come from. data: a built set; images: a folder of photographs; else made."""

    data: Path | None = None
    images: Path | None = None
    quick: bool = False


def late(module: str, name: str, *more: Any) -> Start:
    """Return a start that imports its module when it runs: nobody pays for another's imports."""

    def start(work: Any, setting: Setting) -> Batches:
        batches: Batches = getattr(import_module(module), name)(work, setting, *more)
        return batches

    return start


def threads(work: Work) -> list[Setting]:
    """As many threads as there are cores."""
    return [{"threads": work.threads}]


def threads_and_more(work: Work) -> list[Setting]:
    """As many threads as there are cores, and one more."""
    return [{"threads": count} for count in (work.threads, work.threads + 1)]


def workers(work: Work) -> list[Setting]:
    """0, 1, 2 … worker processes."""
    return [{"workers": count} for count in counts(work.threads)]


@dataclass(frozen=True)
class Contestant:
    """One way to do the work. settings: those worth trying; forms: files of its own that it reads.

    needs: packages without which it cannot run; install: the extra that brings them, "" for none.
    reads: the attribute of the work that names the folder it reads, for its size on disk and to
    put it out of the page cache. devices: those for which it makes sense.
    """

    summary: str
    start: Start
    settings: Callable[[Any], list[Setting]] = threads
    forms: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    reads: str = ""
    install: str = "bench"
    devices: tuple[str, ...] = ("cpu", "cuda")

    @property
    def missing(self) -> list[str]:
        """Return the packages that are not installed."""
        return [name for name in self.needs if not _installed(name)]


def _installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # not even the package above it
        return False


class Check(Protocol):
    """Looks at the first batches of a contestant; ValueError says what is wrong with them."""

    def __call__(self, batch: Any, /) -> None:
        """Take in one batch."""

    def result(self) -> dict[str, Any]:
        """Return what was seen."""


@dataclass(frozen=True)
class Against:
    """Everyone's figures as multiples of this contestant's. heads: of its columns in the table."""

    name: str
    key: str
    heads: tuple[str, ...] = ()
    percent: bool = False


class Workload(ABC):
    """One kind of work. kind: its `Work`; its fields are options of the command line.

    unit: what is counted. `nostall` is compared with everyone, everyone with those in `against`.
    """

    kind: ClassVar[type[Work]]
    unit: ClassVar[str]
    against: ClassVar[tuple[Against, ...]]
    contestants: Mapping[str, Contestant]

    @abstractmethod
    def prepare(self, work: Any, origin: Origin, names: Sequence[str]) -> Any:
        """Make all that these contestants read, and warm it; return the work with its folders."""

    def epoch_items(self, work: Any) -> int:
        """Return the items of an epoch; 0: this work cannot be measured cold."""
        return 0

    @property
    def baseline(self) -> str:
        """Return the contestant that the others' pixels are compared with."""
        return self.against[0].name if self.against else "nostall"

    @abstractmethod
    def item_bytes(self, work: Any) -> int:
        """Return the bytes of one item in 8-bit numbers: what MB/s counts."""

    @abstractmethod
    def check(self, work: Any, name: str) -> Check:
        """Return a fresh check of what this contestant yields."""

    @abstractmethod
    def facts(self, work: Any) -> dict[str, Any]:
        """Return what a result tells of work and data: no paths."""


def load(name: str) -> Workload:
    """Import a workload by its name on the command line; ImportError where it is not all there."""
    package, variant = NAMES[name]
    module = import_module(package)
    if not hasattr(module, "workload"):  # a folder alone imports too
        raise ImportError(f"{package} has no function workload")
    found: Workload = module.workload(variant)
    return found
