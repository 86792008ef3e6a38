"""The work of bench/loader.py --work own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import workload


@dataclass(frozen=True, kw_only=True)
class Work(workload.Work):
    """The training batches of a recipe on a set of the user's.

    model: the recipe; "" for RandomResizedCrop, flip and normalise of images with labels.
    batch: 0 for the recipe's. shapes: output field -> (shape of a sample, dtype), None where sizes
        differ.
    """

    model: str = ""
    batch: int = 0
    shapes: Mapping[str, Any] = field(default_factory=dict)
