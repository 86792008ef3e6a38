"""What this machine gives: memory, the rate of a disk, the loader's speed."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

PIECE = 1 << 20
# Read of one file at the most: an archive is one file.
MOST = 256 * PIECE
# Requests that a disk gets at once: as many as the loader's read-ahead keeps open, about.
AT_ONCE = 8
# Of a control group, version 2 and version 1: the file of its limit, and of what it has taken.
LIMITS = (
    ("memory.max", "memory.current"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes"),
)


class Unmeasured(Exception):
    """Something could not be measured: why, in one line."""


def free_memory(root: Path = Path("/")) -> float:
    """Return the bytes of memory that a program may still take, the page cache among them.

    What the machine has, and no more than what the limits of this process's control groups leave.
    """
    machine = float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for line in _lines(root / "proc/meminfo"):
        if line.startswith("MemAvailable:"):
            machine = 1024.0 * int(line.split()[1])
    return max(0.0, min([machine, *map(_left, _groups(root))]))


def _groups(root: Path) -> Iterator[Path]:
    """Yield the folders of the control groups that limit the memory, from the own one upwards.

    In a container the path may be that of the host: then only the topmost is there.
    """
    for line in _lines(root / "proc/self/cgroup"):
        number, names, path = line.split(":", 2)
        if number == "0" or "memory" in names.split(","):  # version 2 has no names
            top = root / "sys/fs/cgroup" / ("" if number == "0" else "memory")
            own = top / path.strip("/")
            yield from (own, *own.parents[: len(own.parts) - len(top.parts)])


def _left(folder: Path) -> float:
    """Return what a control group leaves; what it holds of files gives way when it must."""
    for limit, used in LIMITS:
        most, taken = _lines(folder / limit), _lines(folder / used)
        if most and taken and most[0].isdigit():
            stat = dict(line.split(maxsplit=1) for line in _lines(folder / "memory.stat"))
            prefix = "total_" if "total_inactive_file" in stat else ""
            files = (f"{prefix}active_file", f"{prefix}inactive_file")
            cached = sum(int(stat.get(name, 0)) for name in files)
            return float(most[0]) - float(taken[0]) + cached
    return math.inf


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def disk_rate(paths: Sequence[Path]) -> float:
    """Return bytes a second of reading files that are not cached; Unmeasured says why not."""
    if not hasattr(os, "posix_fadvise") or not hasattr(os, "RWF_NOWAIT"):
        raise Unmeasured("this system cannot put files out of its cache")
    cold = [path for path in paths if not _stays(path)]
    if len(cold) < len(paths) / 2:
        raise Unmeasured(f"{len(paths) - len(cold)} of {len(paths)} files stay in the cache")
    start = time.perf_counter()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        total = sum(pool.map(_read, cold))
    if not total:
        raise Unmeasured("the files are empty")
    return total / (time.perf_counter() - start)


def _stays(path: Path) -> bool:
    """Put a file out of the page cache; return whether its first page is there all the same."""
    with open(path, "rb", buffering=0) as file:
        os.fdatasync(file.fileno())  # a page that is not on the disk yet would stay
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        try:
            return os.preadv(file.fileno(), [bytearray(1)], 0, os.RWF_NOWAIT) > 0
        except BlockingIOError:
            return False
        except OSError as error:
            raise Unmeasured(f"this file system does not say what is cached ({error})") from None


def _read(path: Path) -> int:
    piece, total = bytearray(PIECE), 0
    with open(path, "rb", buffering=0) as file:
        while total < MOST and (got := file.readinto(piece)):
            total += got
    return total


def load(folders: Sequence[Path], **options: int) -> list[dict[str, Any]]:
    """Return the loader's figures of each set, one window each; Unmeasured where it does not run.

    options: of `python -m loaders`. The loader is another room, with torch: a program of its own.
    """
    command = [sys.executable, "-m", "loaders", *map(str, folders), "--json"]
    for name, value in {"rounds": 1, **options}.items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    paths = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    child = subprocess.run(command, env=env, capture_output=True, text=True)
    if child.returncode:
        last = (child.stderr.strip().splitlines() or ["no message"])[-1]
        without = "ModuleNotFoundError" in last or "ImportError" in last
        raise Unmeasured(f"the loader needs torch ({last})" if without else last)
    found: list[dict[str, Any]] = json.loads(child.stdout)["sets"]
    return found
