"""Keyed draws without replacement, for strategies that put batches together sample by sample.

A subset is the beginning of a keyed permutation (loaders/order.py): O(its size) whatever it is
drawn from, the same in any process, and nothing of it needs a place in a checkpoint.
"""

from __future__ import annotations

import numpy as np

from loaders.draw import I64, draw
from loaders.order import Order, permute

# Stages draw with slots below 2^32.
_SLOT = 1 << 40


def key(order: Order, epoch: int, step: int, use: int = 0) -> int:
    """Return the key of one use of randomness in one step."""
    return int(draw(order.seed, epoch, np.array([step]), np.array([use]), _SLOT)[0])


def subset(size: int, count: int, key: int, first: int = 0) -> I64:
    """Return places `first` to `first + count` of a permutation of range(size)."""
    assert 0 <= count <= size - first, f"{count} from {first} on, of {size}"  # else it never ends
    return permute(size, key, 0, np.arange(first, first + count, dtype=np.int64))


def step_size(order: Order, step: int) -> int:
    """Return the samples of a step where only the epoch's last batch is short."""
    return min(order.batch, order.rows - step * order.batch)


def refuse_groups(order: Order) -> None:
    """Raise ValueError where a batch may hold samples of one group only."""
    if order.groups is not None:
        raise ValueError(
            "batches of one image size (groups) exclude a strategy that puts them together sample"
            " by sample: crop to one size, or choose random or fixed"
        )
