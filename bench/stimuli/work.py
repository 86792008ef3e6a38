"""The work of bench/loader.py --work w4."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import workload
from photos.work import MEAN, STD

__all__ = ["MEAN", "STD", "Work"]


@dataclass(frozen=True, kw_only=True)
class Work(workload.Work):
    """Whole stimuli, resized to height × width, those not wider than high to width × height.

    float32, normalised; fixations scaled with the image; every batch of one size. files: the raw
    layout of MIT1003. reference: figures of each training image that batches must be near.
    """

    batch: int = 8
    height: int = 768
    width: int = 1024
    files: str = ""
    reference: str = ""

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Return the size (height, width) at which an image of this size is wanted."""
        return (self.height, self.width) if width > height else (self.width, self.height)

    @property
    def fixations(self) -> str:
        """Return the folder of the fixations in an HDF5 file."""
        return self.form("fixations")

    @property
    def arrays(self) -> str:
        """Return the folder of the stimuli as arrays in an HDF5 file."""
        return self.form("arrays")

    @property
    def database(self) -> str:
        """Return the folder of the LMDB of stimuli in the two sizes."""
        return self.form("database")

    def form(self, name: str) -> str:
        """Return the folder of one peer's form of the stimuli."""
        return f"{self.root}/{name}-{Path(self.files).name}"
