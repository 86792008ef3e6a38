"""What a loader yields. Legend: B samples on this rank, M points of all of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor


class Points(NamedTuple):
    """Ragged points: those of sample i are values[starts[i] : starts[i + 1]], (x, y, …)."""

    values: Tensor
    starts: Tensor

    def rows(self, rows: slice | Tensor) -> Points:
        """Return the points of some samples."""
        chosen = torch.arange(len(self.starts) - 1)[rows]
        parts = [self.values[self.starts[i] : self.starts[i + 1]] for i in chosen]
        counts = torch.tensor([0] + [len(part) for part in parts])
        return Points(torch.cat(parts) if parts else self.values[:0], counts.cumsum(0))

    def split(self, size: int) -> list[Points]:
        """Return the points of every `size` samples, not copied."""
        return [
            Points(self.values[part[0] : part[-1]], part - part[0])
            for first in range(0, len(self.starts) - 1, size)
            for part in [self.starts[first : first + size + 1]]
        ]


@dataclass(frozen=True)
class Batch:
    """Fields of B samples; valid until the loader's next batch, `clone` keeps it.

    id: place in the set; position: place in the epoch's global sequence; weight: how much a sample
    counts in the loss, 0 for fillers (repeated samples that make ranks and batches equal); total:
    the samples of the global step, all ranks together, fillers not counted: the loss is Σ w·ℓ over
    it. steps: of this epoch. final: the weights were chosen with the samples, nothing is picked.
    """

    fields: dict[str, Tensor | Points]
    id: Tensor
    position: Tensor
    weight: Tensor
    total: float
    epoch: int = 0
    step: int = 0
    steps: int = 0
    final: bool = False

    def __len__(self) -> int:
        return len(self.id)

    def __getitem__(self, name: str) -> Tensor:
        value = self.fields[name]
        if isinstance(value, Points):
            raise TypeError(f"{name!r} holds points: use batch.fields[{name!r}]")
        return value

    def take(self, rows: slice | Tensor) -> Batch:
        """Return some of the samples."""
        fields: dict[str, Tensor | Points] = {
            name: value.rows(rows) if isinstance(value, Points) else value[rows]
            for name, value in self.fields.items()
        }
        parts = {name: getattr(self, name)[rows] for name in ("id", "position", "weight")}
        return replace(self, fields=fields, **parts)

    def split(self, size: int) -> Iterator[Batch]:
        """Yield micro-batches of at most `size` samples."""
        for first in range(0, len(self), size):
            yield self.take(slice(first, first + size))

    def clone(self) -> Batch:
        """Return a copy that outlives the loader's next batch."""
        fields: dict[str, Tensor | Points] = {
            name: Points(*(part.clone() for part in value))
            if isinstance(value, Points)
            else value.clone()
            for name, value in self.fields.items()
        }
        return replace(self, fields=fields, id=self.id.clone(), weight=self.weight.clone())
