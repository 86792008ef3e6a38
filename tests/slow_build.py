"""Build a set slowly, to be killed: python tests/slow_build.py RAW FOLDER WORKERS SOURCE."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from dataprep.build import build
from dataprep.raw import Raw
from dataprep.sources import Base, Entry, Sample, imagefolder, images


@dataclass(frozen=True, kw_only=True)
class Slow(images.Source):
    """As `images`, with time to be killed in."""

    def read(self, raw: Raw, entry: Entry) -> Iterator[Sample]:
        time.sleep(0.02)
        yield from super().read(raw, entry)


@dataclass(frozen=True, kw_only=True)
class SlowFolder(imagefolder.Source):
    """As `imagefolder`, likewise."""

    def read(self, raw: Raw, entry: Entry) -> Iterator[Sample]:
        time.sleep(0.02)
        yield from super().read(raw, entry)


SOURCES: dict[str, type[Base]] = {"images": Slow, "imagefolder": SlowFolder}

if __name__ == "__main__":
    raw, folder, workers, name = sys.argv[1:]
    build(SOURCES[name](), raw, folder, workers=int(workers), on_error="skip")
