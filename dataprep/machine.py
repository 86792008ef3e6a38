"""What this machine gives: memory, the rate of a disk, the loader's speed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

PIECE = 1 << 20
# Read of one file at the most: an archive is one file.
MOST = 256 * PIECE
# Requests that a disk gets at once: as many as the loader's read-ahead keeps open, about.
AT_ONCE = 8


class Unmeasured(Exception):
    """Something could not be measured: why, in one line."""


def free_memory() -> float:
    """Return the bytes of memory that a program may still take, the page cache among them."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024.0 * int(line.split()[1])
    except OSError:
        pass
    return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


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
