"""What the stages share whose output pixels fall between source pixels. Legend: B batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, get_args

import numpy as np

from loaders import geometry
from loaders.stages import Array, Geometric, Interpolation


@dataclass(frozen=True, kw_only=True)
class Resampling(Geometric):
    """A geometric stage that says how pixels are filled."""

    resamples: ClassVar[bool] = True

    interpolation: Interpolation = "linear"

    def __post_init__(self) -> None:
        if self.interpolation not in get_args(Interpolation):
            raise ValueError(
                f"interpolation is one of {', '.join(get_args(Interpolation))},"
                f" not {self.interpolation!r}"
            )


def stretch(boxes: Array, sizes: Array) -> Array:
    """Return (B, 3, 3) matrices that show boxes (B, 4: y, x, h, w) at sizes (B, 2: h, w)."""
    matrices = geometry.crop(boxes[:, 0], boxes[:, 1])
    scales = boxes[:, 2:] / sizes
    matrices[:, 0, 0], matrices[:, 1, 1] = scales[:, 1], scales[:, 0]
    return np.asarray(matrices)
