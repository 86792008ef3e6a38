"""Where real sample data lies that tests may read: $NOSTALL_TEST_DATA, or beside the checkout."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

DATA = Path(os.environ.get("NOSTALL_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")


def folder(name: str) -> Path:
    """Return one family's sample data; where there is none, skip the calling test or module."""
    path = DATA / name
    if not path.is_dir():
        pytest.skip(f"no sample data of {name}: set NOSTALL_TEST_DATA", allow_module_level=True)
    return path
