"""Built sets of stimuli with fixations, for tests: read by their columns and files alone."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from dataprep import index
from dataprep.build import build
from dataprep.manifest import Manifest
from dataprep.sources import Base, mit1003
from dataprep.tar import tar_path


class Set:
    """A built set, read by its columns alone."""

    source: ClassVar[type[Base]] = mit1003.Source

    def __init__(self, raw: Path, out: Path, **options: Any) -> None:
        self.said: list[str] = []
        skip = options.pop("on_error", "fail")
        self.facts: Manifest = build(
            self.source(**options), raw, out, workers=1, on_error=skip, say=self.said.append
        )
        self.folder = out
        keys = index.Names(out / "index", "key", self.facts.samples)
        self.rows = {keys[i]: i for i in range(self.facts.samples)}

    def column(self, name: str) -> Any:
        return np.load(self.folder / "index" / f"{name}.npy")

    def points(self, key: str) -> Any:
        starts = self.column("fixations.starts")
        row = self.rows[key]
        return self.column("fixations.values")[starts[row] : starts[row + 1]]

    def file(self, key: str) -> bytes:
        row = self.rows[key]
        shard, offset, size = (
            int(self.column(f"image.{w}")[row]) for w in ("shard", "offset", "size")
        )
        return tar_path(self.folder, shard).read_bytes()[offset : offset + size]

    def keys(self, split: str) -> set[str]:
        of = {row: key for key, row in self.rows.items()}
        return {of[i] for i in np.load(self.folder / "splits" / f"{split}.npy").tolist()}


def zip_folder(source: Path, archive: Path) -> None:
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(source.rglob("*")):
            if path.is_file():
                file.write(path, path.relative_to(source.parent))
