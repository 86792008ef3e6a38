"""The order of peers in torch DataLoaders: it never ends, so workers are never started anew."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler


class Endless(Sampler[int]):
    """One random permutation after another."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __iter__(self) -> Iterator[int]:
        while True:
            yield from torch.randperm(self.count).tolist()
