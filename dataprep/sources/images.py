"""Any folder of photographs, at any depth, as super-resolution pairs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import ClassVar

from dataprep.image import is_image
from dataprep.manifest import DataError
from dataprep.raw import Raw
from dataprep.sources import Entry
from dataprep.superres import Pairs, key_of


@dataclass(frozen=True, kw_only=True)
class Source(Pairs):
    """Every image file is one HR image."""

    summary: ClassVar[str] = "any folder, zip or tar of images: HR and bicubic LR pairs"

    val_fraction: float = field(
        default=0.1, metadata={"help": "share of the images held out as split val"}
    )
    seed: int = field(default=0, metadata={"help": "chooses which images are held out"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.val_fraction < 1:
            raise ValueError(f"--val-fraction must be from 0 to below 1, not {self.val_fraction}")

    def entries(self, raw: Raw) -> list[Entry]:
        names = [name for name in raw.names() if is_image(name)]
        if not names:
            raise DataError(raw.path, "", "no images in it")
        keys: dict[str, str] = {}
        for name in names:
            other = keys.setdefault(key_of(name), name)
            if other != name:
                raise DataError(raw.path, name, f"would have the same key as {other}: rename one")
        # The hash, not the order of names, decides: neighbours are often the same scene.
        held_out = sorted(names, key=self._rank)[: round(len(names) * self.val_fraction)]
        val = set(held_out)
        return [Entry(name, "val" if name in val else "train", {"hr": name}) for name in names]

    def seeds(self) -> dict[str, int]:
        return {"split": self.seed}

    def _rank(self, name: str) -> str:
        return hashlib.sha256(f"{self.seed}:{name}".encode()).hexdigest()
