"""Timing that is hard to fool: what every benchmark of this folder shares.

A contestant runs in a fresh process, contestants take turns (A B C A B C …), each warms up before
its window. Beside wall time stands the CPU time of the whole process tree, which other jobs on the
machine hardly change. Ratios are taken inside a round, then their median. Linux only: CPU time
and memory of a tree of processes come from /proc.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import repeat
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

Batch = TypeVar("Batch")
Spread = dict[str, float]
_TICKS = os.sysconf("SC_CLK_TCK")
# A run without warm-up looks at so many batches afterwards.
LOOKED_AT = 4
# So long a part of the warm-up comes once more, without looking.
UNLOOKED = 0.5
# So many steps of a loop without a loader are timed.
BARE_STEPS = 20
TIMEOUT_S = 600.0


@dataclass(frozen=True)
class Window:
    """What one process measured of itself. first_s: from process start to the first batch.

    read_bytes: fetched from storage. bare_step_s: a step of the same loop without a loader.
    """

    items: int
    wall_s: float
    cpu_s: float
    first_s: float
    anonymous_bytes: int
    read_bytes: int = 0
    bare_step_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How long one process warms up and measures; `batches`: of them at least, however slow.

    step_s: the consumer sleeps so long after each batch, as an accelerator leaves the CPU alone.
    """

    warm_s: float = 1.0
    seconds: float = 3.0
    batches: int = 12
    step_s: float = 0.0


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


def read_bytes() -> int:
    """Return the bytes that the tree, and children it waited for, had fetched from storage."""
    total = 0
    for pid in tree():
        try:
            lines = Path(f"/proc/{pid}/io").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        total += int(dict(line.split(": ") for line in lines)["read_bytes"])
    return total


def measure(
    batches: Iterator[Batch],
    size: int,
    rules: Rules,
    began: float,
    look: Callable[[Batch], None] = lambda batch: None,
) -> Window:
    """Draw batches of `size` items through warm-up and window; `look` sees some before or after.

    began: time.monotonic() of the moment before this process was started. Without a warm-up the
    window begins when the first batch has come, and nothing is done before.
    """
    batch = next(batches)
    synchronise()
    first_s = time.monotonic() - began
    if rules.warm_s:
        look(batch)
        _pass(rules)
        _draw(batches, rules, rules.warm_s, look)
        # Looking takes time, in which queues fill: the window must not begin with full ones.
        _draw(batches, rules, UNLOOKED * rules.warm_s)
    synchronise()
    count, read, cpu, start = 0, read_bytes(), cpu_s(), time.perf_counter()
    while count < rules.batches or time.perf_counter() < start + rules.seconds:
        next(batches)
        _pass(rules)
        count += 1
    synchronise()
    wall, cpu, read = time.perf_counter() - start, cpu_s() - cpu, read_bytes() - read
    cpu = max(cpu, 1 / _TICKS)  # a window that took less than the clock's step did not take nothing
    held = anonymous_bytes()
    for _ in range(0 if rules.warm_s else LOOKED_AT):
        look(next(batches))
    bare_s = _bare_step_s(rules) if rules.step_s else 0.0  # last: it is no part of any other figure
    return Window(count * size, wall, cpu, first_s, held, read, bare_s)


def _draw(
    batches: Iterator[Batch],
    rules: Rules,
    seconds: float,
    look: Callable[[Batch], None] = lambda batch: None,
) -> None:
    """Draw batches for so long."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        look(next(batches))
        _pass(rules)


def synchronise() -> None:
    """Wait for what the GPU has in hand; torch is asked only where it is loaded."""
    torch: Any = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.synchronize()


def _pass(rules: Rules) -> None:
    """Let one step of the emulated accelerator pass."""
    if rules.step_s:
        time.sleep(rules.step_s)


def _bare_step_s(rules: Rules) -> float:
    """Return the time of one step where the same batch is there all the time."""
    cached, start = repeat(None), time.perf_counter()
    for _ in range(BARE_STEPS):
        next(cached)
        _pass(rules)
    return (time.perf_counter() - start) / BARE_STEPS


def spawn(script: str, *arguments: str, timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
    """Run a script in a fresh process and return the last JSON object that it printed as a line.

    RuntimeError with the child's last line of complaint where it failed, or without a result.
    Whatever it started ends with it, and all of it when this process is interrupted.
    """
    # The rooms stand beside bench/: no installation is needed to run a file of this folder.
    root = str(Path(__file__).resolve().parents[1])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    child = subprocess.Popen(
        [sys.executable, script, *arguments],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        process_group=0,
    )
    try:
        printed, complaint = child.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"not done after {timeout_s:g} s") from None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    if child.returncode:
        raise RuntimeError(_why(child.returncode, complaint))
    return _result(printed)


def _result(printed: str) -> dict[str, Any]:
    """Return the last line that is a JSON object: a library may print more, even at the end."""
    lines = printed.strip().splitlines()
    for line in reversed(lines):
        with suppress(ValueError):
            found = json.loads(line)
            if isinstance(found, dict):
                return found
    last = f"the last it printed: {lines[-1]}" if lines else "it printed nothing"
    raise RuntimeError(f"gave no result; {last}")


def _why(code: int, complaint: str) -> str:
    lines = complaint.strip().splitlines()
    if code < 0:
        return f"ended by {signal.Signals(-code).name}" + (f": {lines[-1]}" if lines else "")
    return lines[-1].removeprefix("error: ") if lines else "no message"


def answer(window: Window, **more: Any) -> None:
    """Print a child's result for `spawn`."""
    print(json.dumps(asdict(window) | more))


def spread(values: Sequence[float]) -> Spread:
    """Return median, least and greatest."""
    return {"median": median(values), "min": min(values), "max": max(values)}


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Return ours ÷ theirs, round by round, as far as both went."""
    return spread([a / b for a, b in zip(ours, theirs, strict=False)])


def busy() -> float:
    """Return the load average of the last minute: above 0 before a round, others are at work."""
    return os.getloadavg()[0]


def counts(cores: int) -> list[int]:
    """Return numbers of workers worth trying: 0, the powers of two below `cores`, and `cores`."""
    return sorted({0, cores} | {2**i for i in range(cores.bit_length()) if 2**i <= cores})


def table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Return rows as aligned text, the first columns (`left`) to the left, others to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = []
    for row in (head, ["─" * width for width in widths], *rows):
        cells = [cell.ljust(width) for cell, width in zip(row[:left], widths, strict=False)]
        others = zip(row[left:], widths[left:], strict=True)
        cells += [cell.rjust(width) for cell, width in others]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
