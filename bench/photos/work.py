"""The work of bench/loader.py --work w1, w1-short, w1-raw and w1-whole."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import workload

# ImageNet's, of pixels in [0, 1]; what torchvision's own recipes use.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# RandomResizedCrop's defaults: share of the area, width over height.
AREA, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)
# The whole image: turned by so many degrees at most, brightness and contrast by 1 ± so much.
TURN, JITTER = 20.0, 0.2
# The side of what is left of an output where only decoding counts.
FEW = 8


@dataclass(frozen=True, kw_only=True)
class Work(workload.Work):
    """RandomResizedCrop(size), horizontal flip, normalise to float32.

    Variant "whole": the whole image resized to a square, both flips, a turn, brightness, contrast.

    files: folder `train/<class>/*.jpg` of the photographs as they came. own: the same kind of
        folder with the images of the set, where the set holds smaller ones. reference: figures
        that every contestant's batches must be near.
    """

    variant: str = "native"
    size: int = 224
    batch: int = 64
    files: str = ""
    own: str = ""
    reference: str = ""

    @property
    def litdata(self) -> str:
        """Return the folder of litdata's chunks."""
        return self.form("litdata", self.own)

    @property
    def mosaic(self) -> str:
        """Return the folder of MosaicML's shards."""
        return self.form("mosaic", self.own)

    def form(self, name: str, files: str) -> str:
        """Return the folder of one peer's form of a folder of photographs."""
        return f"{self.root}/{name}-{Path(files).name}"
