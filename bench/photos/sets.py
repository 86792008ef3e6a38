"""The sets that are built from the photographs, by the real builder, and the peers' own forms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from files import each, written

from dataprep.build import build
from dataprep.sources import imagefolder
from photos import corpus

# What each variant asks the builder for.
SHORT = 256
FEW = 1000
OPTIONS: dict[str, dict[str, Any]] = {
    "native": {},
    "short": {"resize_short": SHORT, "quality": 90},
    "raw": {"resize_short": SHORT, "raw_pixels": True},
}


def built(root: Path, files: Path, variant: str) -> Path:
    """Return the set of one variant."""
    folder = root / f"set-{files.name}-{variant}"
    workers = 1 if len(each(files)) < FEW else None  # starting more would take longer
    build(imagefolder.Source(**OPTIONS[variant]), files, folder, workers=workers)
    return folder


def small(root: Path, files: Path) -> Path:
    """Return the images of the short set as files."""
    return corpus.extracted(root, built(root, files, "short"))


def peer_files(root: Path, files: Path, form: str) -> Path:
    """Return the folder of one peer's form of the photographs."""
    from photos import ffcv_peer  # asked for only where ffcv is installed

    return written(root / f"{form}-{files.name}", lambda to: ffcv_peer.write(form, files, to))
