"""Nothing to write: the photographs are installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def write(folder: Path) -> dict[str, Any]:
    """Return options of the source."""
    return {"scales": (4,)}
