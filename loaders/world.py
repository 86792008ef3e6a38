"""Which process this is among those that train together, as torchrun says it."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class World:
    """Rank facts; the default is a process alone."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @classmethod
    def from_environment(cls) -> World:
        """Read torchrun's variables; alone where there are none."""
        read = {
            "rank": "RANK",
            "size": "WORLD_SIZE",
            "local_rank": "LOCAL_RANK",
            "local_size": "LOCAL_WORLD_SIZE",
        }
        return cls(
            **{name: int(os.environ[key]) for name, key in read.items() if key in os.environ}
        )

    @property
    def is_first(self) -> bool:
        """True on the one rank that writes."""
        return self.rank == 0

    def gather(self, rows: Tensor) -> Tensor:
        """Return the rows (B, …) of all ranks, in rank order."""
        if self.size == 1:
            return rows
        parts = [torch.empty_like(rows) for _ in range(self.size)]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    def threads(self) -> int:
        """Return this process's fair share of the cores it may run on."""
        affinity = getattr(os, "sched_getaffinity", None)  # Linux; elsewhere all cores count
        cores = len(affinity(0)) if affinity else os.cpu_count() or 1
        return max(1, cores // self.local_size)
