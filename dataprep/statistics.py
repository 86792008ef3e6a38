"""Mean and standard deviation of each channel, exact and so independent of order and workers.

Whole numbers up to 16 bits are summed as integers. Floats are summed in double per sample, and the
samples' sums in the order of ids: the same bytes for any number of workers as well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dataprep.manifest import Field

Array = npt.NDArray[Any]


@dataclass
class Sums:
    """Count, sum and sum of squares per channel."""

    count: int
    total: list[Any]
    squares: list[Any]

    @classmethod
    def of(cls, array: Array) -> Sums:
        """Sum one image (H, W) or (H, W, C)."""
        # Imported here: numba takes a second, and most commands do without.
        from dataprep.kernels import channel_sums

        array = array.view(np.uint8) if array.dtype == bool else array
        flat = array.reshape(array.shape[0] * array.shape[1], -1)
        exact = array.dtype.kind in "ui" and array.dtype.itemsize <= 2
        total = np.zeros((2, flat.shape[1]), np.int64 if exact else np.float64)
        channel_sums(np.ascontiguousarray(flat), total)
        return cls(len(flat), total[0].tolist(), total[1].tolist())

    def __add__(self, other: Sums) -> Sums:
        return Sums(
            self.count + other.count,
            [a + b for a, b in zip(self.total, other.total, strict=True)],
            [a + b for a, b in zip(self.squares, other.squares, strict=True)],
        )

    def report(self, field: Field) -> dict[str, list[float]]:
        """Return mean and std in the field's unit."""
        n = self.count
        both = list(zip(self.total, self.squares, strict=True))
        # Integers of any size in Python: nothing is rounded before the division.
        variances = [max((n * squares - total * total) / (n * n), 0.0) for total, squares in both]
        return {
            "mean": [total / n * field.scale + field.offset for total in self.total],
            "std": [math.sqrt(variance) * field.scale for variance in variances],
        }
