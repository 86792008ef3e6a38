"""Timing that is hard to fool: what every benchmark of this folder shares.

A contestant runs in a fresh process, contestants take turns (A B C A B C …), each warms up before
its window. Beside wall time stands the CPU time of the whole process tree, which other jobs on the
machine hardly change. Ratios are taken inside a round, then their median. Linux only: CPU time
and memory of a tree of processes come from /proc.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

Batch = TypeVar("Batch")
Spread = dict[str, float]
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Window:
    """What one process measured of itself. first_s: from process start to the first batch."""

    items: int
    wall_s: float
    cpu_s: float
    first_s: float
    anonymous_bytes: int


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How long one process warms up and measures; `batches`: of them at least, however slow."""

    warm_s: float = 1.0
    seconds: float = 3.0
    batches: int = 12


def tree() -> list[int]:
    """Return this process and all its descendants."""
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(_stat(path)[1])
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended just now
        parents.setdefault(parent, []).append(int(path.parent.name))
    found = [os.getpid()]
    for pid in found:
        found += parents.get(pid, [])
    return found


def _stat(path: Path) -> list[str]:
    return path.read_text().rpartition(")")[2].split()  # the name before it may hold anything


def cpu_s() -> float:
    """Return CPU seconds, user and system, of the tree and of children it has waited for."""
    ticks = 0
    for pid in tree():
        try:
            ticks += sum(int(field) for field in _stat(Path(f"/proc/{pid}/stat"))[11:15])
        except (FileNotFoundError, ProcessLookupError):
            continue
    return ticks / _TICKS


def anonymous_bytes() -> int:
    """Return memory of the tree that no file backs; pages shared by processes count once."""
    total = 0
    for pid in tree():
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        fields = dict(line.split(":", 1) for line in lines[1:])
        total += sum(int(fields[name].split()[0]) for name in ("Pss_Anon", "Pss_Shmem"))
    return total * 1024


def measure(
    batches: Iterator[Batch],
    size: int,
    rules: Rules,
    began: float,
    look: Callable[[Batch], None] = lambda batch: None,
) -> Window:
    """Draw batches of `size` items through warm-up and window; `look` sees the first one.

    began: time.monotonic() of the moment before this process was started.
    """
    batch = next(batches)
    first_s = time.monotonic() - began
    look(batch)
    until = time.perf_counter() + rules.warm_s
    while time.perf_counter() < until:
        look(next(batches))
    count, cpu, start = 0, cpu_s(), time.perf_counter()
    while count < rules.batches or time.perf_counter() < start + rules.seconds:
        next(batches)
        count += 1
    wall = time.perf_counter() - start
    return Window(count * size, wall, cpu_s() - cpu, first_s, anonymous_bytes())


def spawn(script: str, *arguments: str) -> dict[str, Any]:
    """Run a script in a fresh process and return the JSON of its last line of output.

    RuntimeError with the child's last line of complaint where it failed.
    """
    # The rooms stand beside bench/: no installation is needed to run a file of this folder.
    root = str(Path(__file__).resolve().parents[1])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    child = subprocess.run(
        [sys.executable, script, *arguments],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
    )
    if child.returncode:
        lines = child.stderr.strip().splitlines() or ["no message"]
        raise RuntimeError(lines[-1])
    result: dict[str, Any] = json.loads(child.stdout.strip().splitlines()[-1])
    return result


def answer(window: Window, **more: Any) -> None:
    """Print a child's result for `spawn`."""
    print(json.dumps(asdict(window) | more))


def spread(values: Sequence[float]) -> Spread:
    """Return median, least and greatest."""
    return {"median": median(values), "min": min(values), "max": max(values)}


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Return ours ÷ theirs, taken round by round."""
    return spread([a / b for a, b in zip(ours, theirs, strict=True)])


def machine(packages: Sequence[str]) -> dict[str, Any]:
    """Return facts of the machine and the versions in use; never its name."""
    cpu = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "cpu": cpu[0] if cpu else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "ram_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in packages},
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def busy() -> float:
    """Return the load average of the last minute: above 0 before a round, others are at work."""
    return os.getloadavg()[0]


def counts(cores: int) -> list[int]:
    """Return numbers of workers worth trying: 0, the powers of two below `cores`, and `cores`."""
    return sorted({0, cores} | {2**i for i in range(cores.bit_length()) if 2**i <= cores})


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows as aligned text, the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = []
    for row in (head, ["─" * width for width in widths], *rows):
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def save(path: Path, result: Mapping[str, Any]) -> None:
    """Write a result file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
