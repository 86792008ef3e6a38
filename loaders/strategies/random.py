"""Every sample once an epoch, in an order drawn anew each epoch: the baseline."""

from __future__ import annotations

from loaders import strategies


class Strategy(strategies.Strategy):
    """All defaults: the loader's order is already a fresh permutation."""
