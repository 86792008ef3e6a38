"""The training images of w4, as every peer reads them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from stimuli.work import Work

LISTING = "images.json"


@dataclass(frozen=True, kw_only=True)
class One:
    """A stimulus of the training split. row: its place among all; path, map: its files."""

    stem: str
    row: int
    height: int
    width: int
    path: str
    map: str

    @property
    def is_wide(self) -> bool:
        """True where it is wider than high."""
        return self.width > self.height


def listed(work: Work) -> list[One]:
    """Return the stimuli of the training split."""
    rows = json.loads((Path(work.reference) / LISTING).read_text())
    return [One(**row) for row in rows]


def write(every: Sequence[One], folder: Path) -> None:
    """Write the listing."""
    (folder / LISTING).write_text(json.dumps([asdict(one) for one in every]))
