"""From a plan to batches: what the engine reads, and points, values, weights beside it.

Legend: B samples of a rank, of all planned batches together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dataprep.index import Column
from loaders import geometry
from loaders.batch import Batch, Points
from loaders.dataset import Dataset
from loaders.engine import Engine
from loaders.lane import Lane
from loaders.moves import Moves
from loaders.planner import Plan
from loaders.program import Program

Array = npt.NDArray[Any]


class Reader:
    """Reads planned batches into one slot of the ring; BadSample where a sample cannot be read."""

    def __init__(self, dataset: Dataset, program: Program, engine: Engine, lane: Lane) -> None:
        self.program, self.engine, self._lane = program, engine, lane
        self._columns: dict[str, Any] = {
            name: dataset.points(name) if field.kind == "points" else dataset.values(name)
            for name, field in program.fields.items()
            if not field.is_pixels
        }

    @property
    def value_bytes(self) -> int:
        """Bytes of a sample's values, points left out."""
        columns = (column for column in self._columns.values() if isinstance(column, Column))
        return sum(column.dtype.itemsize * math.prod(column.shape[1:]) for column in columns)

    def read(self, plan: Plan, slot: int) -> list[Batch]:
        """Return the batches, which share the memory of the slot."""
        ids = plan.keys.ids
        with self._lane.filling(slot):
            fields: dict[str, Tensor | Points] = {}
            if plan.drawn:
                fields |= self.engine.read(ids, plan.drawn, slot)
            for name, column in self._columns.items():
                if self.program.fields[name].kind == "points":
                    fields[name] = self._points(column, name, ids, plan.moves.get(""))
                else:
                    fields[name] = self._sent(np.ascontiguousarray(column[ids]))
            weights = self._sent(plan.weights.astype(np.float32, copy=False))
        return _batches(plan, fields, weights)

    def _points(self, column: Any, name: str, ids: Array, moves: Moves | None) -> Points:
        """Return the samples' points, moved with the image; those cut off are left out."""
        rows = [np.array(column[int(i)], np.float64) for i in ids]
        if moves is not None:
            own = self.program.carried(moves, name, moves.before)
            for i, points in enumerate(rows):
                points[:, :2], inside = geometry.move_points(
                    points[:, :2], own.matrices[i], own.sizes[i]
                )
                rows[i] = points[inside]
                # As float32 a point at 31.9999999 would lie on the border of 32, outside.
                last = np.nextafter(own.sizes[i][::-1].astype(np.float32), np.float32(0))
                rows[i][:, :2] = np.minimum(rows[i][:, :2], last)
        starts = np.cumsum([0] + [len(points) for points in rows])
        values = np.concatenate(rows).astype(np.float32)
        return Points(self._sent(values), torch.from_numpy(starts))

    def _sent(self, values: Array) -> Tensor:
        """Return a small array on the device, copied in the lane's order."""
        return torch.from_numpy(values).to(self._lane.device, non_blocking=True)


def _batches(plan: Plan, fields: dict[str, Tensor | Points], weights: Tensor) -> list[Batch]:
    """Cut what was read together into batches, without a copy."""
    count = len(plan.choices)
    cut = {name: _cut(value, count) for name, value in fields.items()}
    keys = (torch.from_numpy(part) for part in (plan.keys.ids, plan.keys.positions))
    ids, positions, weight = (_cut(part, count) for part in (*keys, weights))
    return [
        Batch(
            {name: parts[i] for name, parts in cut.items()},
            ids[i],
            positions[i],
            weight[i],
            float(len(choice.rows)),
            choice.epoch,
            choice.step,
            choice.steps,
            choice.weights is not None,
        )
        for i, choice in enumerate(plan.choices)
    ]


def _cut(value: Any, count: int) -> Sequence[Any]:
    if isinstance(value, Points):
        return value.split((len(value.starts) - 1) // count)
    return [value] if count == 1 else value.unflatten(0, (count, -1)).unbind(0)
