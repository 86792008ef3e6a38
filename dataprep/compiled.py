"""Compiled kernels, kept on disk for exactly this version of the code.

numba keeps what it compiled of a file until that file changes, even where the machine code has
another file's function inlined: after an update it would go on with yesterday's. So the folder that
it keeps them in is named by the content of both rooms that hold kernels.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from numba import config as numba_config
from numba import njit

F = TypeVar("F", bound=Callable[..., Any])

# Its names are made while it is imported, so that type checkers do not know them.
config: Any = numba_config

# Folders of other versions that stay: checkouts that are used in turns need not compile anew.
_KEPT = 8


def compiled(function: F) -> F:
    """Compile a function for use without the GIL; $NUMBA_CACHE_DIR is respected."""
    before = config.CACHE_DIR
    config.CACHE_DIR = before or str(folder())
    try:
        return cast(F, njit(nogil=True, cache=True)(function))
    except RuntimeError:  # nothing can be written there: numba has places of its own
        config.CACHE_DIR = before
        return cast(F, njit(nogil=True, cache=True)(function))
    finally:
        config.CACHE_DIR = before


@cache
def folder() -> Path:
    """Return where this version's kernels are kept; of older versions only a few are left."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nostall"
    named = (
        home / f"kernels-{version(Path(__file__).parent, Path(__file__).parents[1] / 'loaders')}"
    )
    if not named.exists():
        older = sorted(home.glob("kernels-*"), key=lambda path: path.stat().st_mtime)
        for path in older[: -(_KEPT - 1)]:
            shutil.rmtree(path, ignore_errors=True)
    return named


def version(*rooms: Path) -> str:
    """Return a name for the content of the rooms' files."""
    digest = hashlib.sha256()
    for path in sorted(path for room in rooms for path in room.rglob("*.py")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]
