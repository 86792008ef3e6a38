"""Write a folder whole or not at all: under a temporary name, renamed at the end."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dataprep.arrays import NO_SPACE
from dataprep.manifest import DataError


@contextmanager
def new_folder(
    out: Path, is_ours: Callable[[Path], bool], overwrite: bool = False
) -> Iterator[Path]:
    """Yield a folder under a temporary name, which becomes `out` where all goes well.

    is_ours: tells a folder that may be overwritten. What a killed process left under the temporary
    name is removed by the next. DataError where `out` is there already, another process writes it,
    or the disk is full.
    """
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        if not overwrite:
            raise DataError(out, "", "is there already: choose another --out, or --overwrite")
        if not is_ours(out):
            raise DataError(out, "", "is not of this kind, so it is not overwritten")
    part = out.with_name(f".{out.name}.part")
    part.mkdir(parents=True, exist_ok=True)
    with open(part / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DataError(out, "", "another process is writing it") from None
        try:
            _empty(part)
            yield part
            (part / ".lock").unlink()
            _replace(part, out)
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            why = f"{os.strerror(error.errno or 0).lower()}: nothing was kept"
            raise DataError(out, "", why) from None
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _replace(part: Path, out: Path) -> None:
    old = part.with_name(f"{part.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        os.rename(out, old)
    os.rename(part, out)
    shutil.rmtree(old, ignore_errors=True)


def _empty(part: Path) -> None:
    for path in part.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != ".lock":
            path.unlink()
