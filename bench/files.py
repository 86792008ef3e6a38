"""Files of a benchmark: made once, brought into the page cache or put out of it. Linux only."""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

DONE = "complete"
_PIECE = 1 << 24


def written(folder: Path, write: Callable[[Path], None], facts: Any = None) -> Path:
    """Fill a folder unless that was done before, from the same facts."""
    done = folder / DONE
    if not (done.exists() and json.loads(done.read_text()) == facts):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        write(folder)
        done.write_text(json.dumps(facts))
    return folder


def each(folder: Path) -> list[Path]:
    """Return every file under a folder, sorted."""
    return sorted(path for path in Path(folder).rglob("*") if path.is_file())


def size_bytes(folder: Path) -> int:
    """Return the bytes of all files under a folder; two names of one file count twice."""
    return sum(path.stat().st_size for path in each(folder))


def warm(folder: Path) -> None:
    """Read every file once, so that it lies in the page cache."""
    for path in each(folder):
        with open(path, "rb", buffering=0) as file:
            while file.read(_PIECE):
                pass


def evict(folder: Path) -> float:
    """Put every file out of the page cache; return the share of pages that stayed."""
    paths = each(folder)
    for path in paths:
        with open(path, "rb", buffering=0) as file:
            os.fdatasync(file.fileno())  # a page that is not on the disk yet would stay
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return resident(paths)


def resident(paths: list[Path]) -> float:
    """Return the share of the files' pages that lie in the page cache, as mincore says."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
    inside = total = 0
    for path in filter(lambda path: path.stat().st_size, paths):
        pages = np.zeros(-(-path.stat().st_size // mmap.PAGESIZE), np.uint8)
        mapped = np.memmap(path, mode="r")
        if libc.mincore(mapped.ctypes.data, len(mapped), pages.ctypes.data):
            raise OSError(ctypes.get_errno(), "mincore", str(path))
        inside, total = inside + int((pages & 1).sum()), total + len(pages)
    return inside / max(total, 1)
