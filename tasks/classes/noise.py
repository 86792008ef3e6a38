"""Labels made wrong on purpose. Legend: N samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from loaders.draw import Keys

Array = npt.NDArray[Any]

# No epoch of a run has this number: no augmentation shares these draws.
EPOCH = -1


def noisy(labels: Array, ids: Array, classes: int, share: float, seed: int) -> Array:
    """Return labels (N,) of which about `share` are replaced by another class, all equally likely.

    A function of (seed, id) alone: the same on any rank, in any order, at any time. Whoever is
    wrong at a small share is wrong, in the same way, at every larger one.
    """
    ids = np.asarray(ids, np.int64)
    keys = Keys(seed, EPOCH, np.zeros_like(ids), ids)
    other = keys.integers(classes - 1, 1)
    other += other >= labels
    return np.where(keys.uniform(0) < share, other, labels)
