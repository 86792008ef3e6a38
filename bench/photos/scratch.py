"""A place for what libraries leave among the machine's temporary files."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def scratch(root: str | Path) -> Iterator[str]:
    """Put temporary files of this process and its children into a folder that goes away."""
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory(dir=root, ignore_cleanup_errors=True) as folder:
        tempfile.tempdir = folder
        try:
            yield folder
        finally:
            tempfile.tempdir = before
