"""Build a set slowly, to be killed: python tests/slow_build.py RAW FOLDER WORKERS."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from dataprep.build import build
from dataprep.raw import Raw
from dataprep.sources import Entry, Sample, images


@dataclass(frozen=True, kw_only=True)
class Slow(images.Source):
    """As `images`, with time to be killed in."""

    def read(self, raw: Raw, entry: Entry) -> Iterator[Sample]:
        time.sleep(0.02)
        yield from super().read(raw, entry)


if __name__ == "__main__":
    raw, folder, workers = sys.argv[1:]
    build(Slow(), raw, folder, workers=int(workers), on_error="skip")
