"""The order of peers in torch DataLoaders: batches of one size, without end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler


class Buckets(Sampler[list[int]]):
    """Shuffle the samples of each group, cut them to batches, shuffle those, epoch by epoch."""

    def __init__(self, groups: Sequence[int], batch: int) -> None:
        self.groups, self.batch = torch.tensor(groups), batch

    def __iter__(self) -> Iterator[list[int]]:
        while True:
            order = torch.randperm(len(self.groups))
            batches = []
            for group in torch.unique(self.groups):
                rows = order[self.groups[order] == group]
                whole = len(rows) // self.batch * self.batch  # what is left over waits for its turn
                batches += list(torch.split(rows[:whole], self.batch))
            for i in torch.randperm(len(batches)):
                yield batches[i].tolist()
