"""Stages compiled for one set: which outputs there are, and their draws for a batch.

Geometry is drawn once per view on the reference field and carried to every other field by the
ratio of their grids, so LR and HR, RGB and thermal, image and fixations always match. Legend:
B batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dataprep.manifest import Field
from loaders import geometry
from loaders.draw import Keys
from loaders.stages import Geometric, Normalise, Photometric, Stage, Views

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Route:
    """One output of the loader: a field, seen through one chain of stages.

    A chain is (slot, stage) pairs; the slot keys the stage's draws. view "" is the plain sample.
    """

    name: str
    field: str
    view: str
    photometric: tuple[tuple[int, Photometric], ...]
    normalise: Normalise | None


@dataclass(frozen=True)
class Drawn:
    """The draws of one route for a batch: source boxes (B, 4), dihedral codes (B,), output size."""

    route: Route
    boxes: Array
    codes: Array
    height: int
    width: int
    parameters: tuple[dict[str, Array], ...]


@dataclass(frozen=True)
class Moves:
    """The geometry of one view for a batch, on the reference field."""

    matrices: Array
    sizes: Array  # (B, 2) of the output
    before: Array  # (B, 2) of the source


class Program:
    """All routes of a loader. `reference` is the field whose pixels the geometric stages count."""

    def __init__(
        self, fields: Mapping[str, Field], stages: Sequence[Stage], reference: str | None
    ) -> None:
        pixels = [name for name, field in fields.items() if field.is_pixels]
        self.fields = fields
        self.reference = reference or (pixels[0] if pixels else "")
        if pixels and self.reference not in pixels:
            raise ValueError(f"the reference field {self.reference!r} is not one of {pixels}")
        self._check(stages, set(fields))
        chains = _chains(stages)
        self.geometric = {
            view: tuple((slot, stage) for slot, stage in chain if isinstance(stage, Geometric))
            for view, (_, chain) in chains.items()
        }
        viewed = {name for only, _ in chains.values() for name in only}
        plain = tuple(name for name in pixels if name not in viewed)
        self.routes = [
            _route(name, view, chain)
            for view, (only, chain) in chains.items()
            for name in (only if view else plain)
        ]

    def move(self, keys: Keys, sizes: Array) -> dict[str, Moves]:
        """Draw the geometry of every view; sizes (B, 2) are those of the reference field."""
        return {view: _compose(chain, keys, sizes) for view, chain in self.geometric.items()}

    def draw(self, keys: Keys, moves: Mapping[str, Moves], route: Route, sizes: Array) -> Drawn:
        """Return one route's draws; ValueError where samples differ in size or need resampling."""
        matrices, out = self.carried(moves[route.view], route.field, sizes)
        found = geometry.exact(matrices, out)
        if found is None:
            raise ValueError(
                f"field {route.field!r} would be cut between its pixels: the crop of"
                f" {self.reference!r} does not fall on its grid"
            )
        shapes = np.rint(out).astype(int)
        if (shapes != shapes[0]).any():
            listed = ", ".join(f"{h}×{w}" for h, w in np.unique(shapes, axis=0)[:4])
            raise ValueError(
                f"field {route.field!r}: one batch holds several sizes ({listed}): crop them, or"
                " batch samples of one size (groups='size')"
            )
        parameters = tuple(stage.draw(keys.at(slot)) for slot, stage in route.photometric)
        height, width = (int(side) for side in shapes[0])
        return Drawn(route, *found, height, width, parameters)

    def carried(self, moves: Moves, field: str, sizes: Array) -> tuple[Array, Array]:
        """Return matrices and output sizes on another field, whose sizes (B, 2) are given."""
        if field == self.reference:
            return moves.matrices, moves.sizes
        own, reference = self.fields[field].pitch, self.fields[self.reference].pitch
        if own is not None and reference is not None:
            ratio = np.full(moves.before.shape, reference / own)
        else:
            ratio = sizes / moves.before
        return geometry.for_field(moves.matrices, moves.sizes, ratio)

    @staticmethod
    def _check(stages: Sequence[Stage], fields: set[str]) -> None:
        """Refuse unknown fields and geometry after grey levels (its order would not be kept)."""
        seen_photometric = False
        for stage in stages:
            named = getattr(stage, "fields", None) or (getattr(stage, "field", None),)
            for name in named:
                if name is not None and name not in fields:
                    raise ValueError(
                        f"stage {type(stage).__name__} names field {name!r}; loaded are"
                        f" {sorted(fields)}"
                    )
            if isinstance(stage, Geometric) and seen_photometric:
                raise ValueError(f"{type(stage).__name__} stands after a photometric stage")
            seen_photometric |= isinstance(stage, Photometric)


Chain = list[tuple[int, Stage]]


def _chains(stages: Sequence[Stage]) -> dict[str, tuple[tuple[str, ...], Chain]]:
    """Return view -> (its fields, its chain); "" is the plain sample.

    A shared stage has the same slot in every view and so the same draw; a view's own stages have
    slots of their own.
    """
    shared: Chain = [(i, stage) for i, stage in enumerate(stages) if not isinstance(stage, Views)]
    chains: dict[str, tuple[tuple[str, ...], Chain]] = {"": ((), shared)}
    for at, views in enumerate(stages):
        if not isinstance(views, Views):
            continue
        for number, (name, own) in enumerate(zip(views.names, views.stages, strict=True)):
            first = 1000 * (number + 1)
            inner: Chain = [(first + i, stage) for i, stage in enumerate(own)]
            before = [(i, stage) for i, stage in shared if i < at]
            after = [(i, stage) for i, stage in shared if i > at]
            chains[name] = (views.fields, before + inner + after)
    return chains


def _route(name: str, view: str, chain: Chain) -> Route:
    photometric = tuple(
        (slot, stage)
        for slot, stage in chain
        if isinstance(stage, Photometric) and name in stage.fields
    )
    ends = [s for _, s in chain if isinstance(s, Normalise) and s.field == name]
    output = f"{name}.{view}" if view else name
    return Route(output, name, view, photometric, ends[-1] if ends else None)


def _compose(chain: Sequence[tuple[int, Geometric]], keys: Keys, sizes: Array) -> Moves:
    matrices, current = geometry.identity(len(sizes)), sizes
    for slot, stage in chain:
        drawn, current = stage.draw(keys.at(slot), current)
        matrices = matrices @ drawn
    return Moves(matrices, current, sizes)
