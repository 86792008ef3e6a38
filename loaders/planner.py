"""From choices of rows to all that is known of a rank's batches before they are read.

Small batches are planned and read several at a time, as one: what a batch costs beside its samples
is paid once. Legend: B samples of a rank, of all planned batches together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dataprep.manifest import DataError
from loaders.chooser import Choice
from loaders.dataset import Split
from loaders.draw import Keys
from loaders.engine import Stores
from loaders.files import BadSample
from loaders.moves import Moves
from loaders.program import Drawn, Program
from loaders.quarantine import Quarantine
from loaders.world import World

Array = npt.NDArray[Any]


class Plan(NamedTuple):
    """All that is known of some batches before they are read; `weights` (B,), 0 for fillers."""

    choices: Sequence[Choice]
    keys: Keys
    weights: Array
    moves: Mapping[str, Moves]
    drawn: Sequence[Drawn]


@dataclass(frozen=True)
class Planner:
    """Draws for choices; `batch` is the order's, candidates included, `groups` its codes (N,)."""

    program: Program
    fields: Stores
    split: Split
    quarantine: Quarantine
    world: World
    seed: int
    batch: int
    groups: Array | None = None

    @property
    def local(self) -> int:
        """Samples of a rank, B; the last ranks may hold fillers."""
        return -(-self.batch // self.world.size)

    def plan(self, choices: Sequence[Choice]) -> Plan:
        """Draw for choices of one epoch; known bad samples have given their places away."""
        rows, weights, positions = self._places(choices)
        ids = np.asarray(self.split[rows], np.int64)
        while True:
            keys = Keys(self.seed, choices[0].epoch, positions, ids)
            good, kept = self.quarantine.clean(keys, self.split, self.groups)
            keys = replace(keys, ids=good)
            try:
                moves, drawn = self._drawn(keys) if self.program.reference else ({}, [])
                return Plan(choices, keys, weights * kept, moves, drawn)
            except BadSample as error:
                self.quarantine.add(error)
            except ValueError as error:
                raise DataError(self.split.path, "", str(error)) from None

    def _places(self, choices: Sequence[Choice]) -> tuple[Array, Array, Array]:
        """Return this rank's rows, their weights (0 for fillers) and positions, all (B,)."""
        places = self.world.rank * self.local + np.arange(self.local)
        rows, weights, positions = [], [], []
        for choice in choices:
            inside = places < len(choice.rows)
            taken = np.where(inside, places, 0)
            rows.append(choice.rows[taken])
            weights.append(inside if choice.weights is None else inside * choice.weights[taken])
            positions.append(choice.step * self.batch + places)
        return (
            np.concatenate(rows),
            np.concatenate(weights, dtype=np.float32),
            np.concatenate(positions),
        )

    def _drawn(self, keys: Keys) -> tuple[dict[str, Moves], list[Drawn]]:
        fields, ids = self.fields, keys.ids
        sizes = {name: field.sizes(ids) for name, field in fields.items()}
        moves = self.program.move(keys, sizes[self.program.reference])
        drawn = [
            self.program.draw(
                keys, moves, route, sizes[route.field], fields[route.field].turns(ids)
            )
            for route in self.program.routes
        ]
        return moves, drawn
