"""The work of bench/loader.py --work w3."""

from __future__ import annotations

from dataclasses import dataclass

import workload

# MNIST's, of pixels in [0, 1]; what nearly every example of it uses.
MEAN, STD = 0.1307, 0.3081
SIDE = 28
# What that makes of a stored byte: byte × SCALE + BIAS.
SCALE, BIAS = 1 / 255 / STD, -MEAN / STD


@dataclass(frozen=True, kw_only=True)
class Work(workload.Work):
    """Digits of 28×28 grey pixels, shuffled, normalised to float32, with an int64 label.

    files: folder with the IDX files in MNIST/raw, as torchvision wants them.
    """

    batch: int = 256
    files: str = ""
