"""What tests of the lesion set share: names of its files, and a build that is verified."""

from __future__ import annotations

from pathlib import Path

from dataprep import manifest
from dataprep.build import build
from dataprep.manifest import Manifest
from dataprep.sources.ham10000 import Source
from dataprep.verify import verify

TABLE = "HAM10000_metadata.csv"
TRUTH = "ISIC2018_Task3_Test_GroundTruth.csv"
PARTIAL = Source(allow_partial=True)


def built(source: Source, raw: Path, folder: Path) -> tuple[Manifest, list[str]]:
    """Build a set and return its facts and what was said; every sample is read back."""
    said: list[str] = []
    facts = build(source, raw, folder, workers=1, say=said.append)
    assert list(verify(folder, decode=True)) == [] and manifest.load(folder) == facts
    return facts, said
