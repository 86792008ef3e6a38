"""The sets that are built from the photographs, by the real builder, and the peers' own forms."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from files import each, written

from dataprep.build import build
from dataprep.manifest import DataError
from dataprep.sources import Base, imagefolder
from photos import corpus
from photos.work import Work

# What each variant asks the builder for.
SHORT = 256
FEW = 1000
OPTIONS: dict[str, dict[str, Any]] = {
    "native": {},
    "whole": {},
    "short": {"resize_short": SHORT, "quality": 90},
    "raw": {"resize_short": SHORT, "raw_pixels": True},
}
AS_THEY_CAME = ("native", "whole")
# A peer's form of the photographs: the module that writes it, and of which attribute of the work.
FORMS = {
    "ffcv-jpg": ("photos.ffcv_peer", "files"),
    "ffcv-256": ("photos.ffcv_peer", "files"),
    "ffcv-256raw": ("photos.ffcv_peer", "files"),
    "litdata": ("photos.litdata_peer", "own"),
    "mosaic": ("photos.mosaic_peer", "own"),
}


def built(root: Path, files: Path, variant: str) -> Path:
    """Return the set of one variant."""
    # One set for all that take the photographs as they came.
    name = "native" if variant in AS_THEY_CAME else variant
    folder = root / f"set-{files.name}-{name}"
    workers = 1 if len(each(files)) < FEW else None  # starting more would take longer
    build_anew(imagefolder.Source(**OPTIONS[variant]), files, folder, workers)
    return folder


def build_anew(source: Base, files: Path, folder: Path, workers: int | None = None) -> None:
    """Build a set, unless it is there already; one of other files is built over."""
    try:
        build(source, files, folder, workers=workers)
    except DataError:
        build(source, files, folder, workers=workers, overwrite=True)


def small(root: Path, files: Path) -> Path:
    """Return the images of the short set as files."""
    return corpus.extracted(root, built(root, files, "short"))


def peer_files(work: Work, form: str) -> Path:
    """Return the folder of one peer's form of the photographs."""
    module, name = FORMS[form]
    files = getattr(work, name)
    # Imported only where its package is installed.
    write = import_module(module).write
    folder = Path(work.form(form, files))
    return written(folder, lambda to: write(form, Path(files), to), corpus.origin(Path(files)))
