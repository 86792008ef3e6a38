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
from loaders.moves import Moves, compose
from loaders.stages import Geometric, Interpolation, Normalise, Photometric, Stage, Views

Array = npt.NDArray[Any]

# How far a filter reaches, in pixels of the coarser side.
_REACH = {"linear": 1.0, "cubic": 2.0, "nearest": 0.0}


@dataclass(frozen=True)
class Route:
    """One output of the loader: a field, seen through one chain of stages.

    A chain is (slot, stage) pairs; the slot keys the stage's draws. view "" is the plain sample.
    interpolation: None where no stage resamples, so that a cut between pixels is a mistake.
    """

    name: str
    field: str
    view: str
    photometric: tuple[tuple[int, Photometric], ...]
    normalise: Normalise | None
    interpolation: Interpolation | None


@dataclass(frozen=True)
class Drawn:
    """The draws of one route for a batch, on the pixels as they are stored.

    boxes (B, 4 float: y, x, h, w): the source of each output, to be turned by codes (B,).
    covers (B, 4 int): the pixels that are read for it; a filter sees no others.
    exact: boxes are whole pixels and as large as the output, so nothing is resampled.
    warps (B, 3, 3), only where samples are rotated: from the output to the box, which was resampled
        to `between` (B, 2: height, width) before. Outside of it is 0.
    """

    route: Route
    boxes: Array
    covers: Array
    codes: Array
    height: int
    width: int
    exact: bool
    parameters: tuple[dict[str, Array], ...] = ()
    warps: Array | None = None
    between: Array | None = None


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
        _check(stages, fields)
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

    def size_codes(self, sizes: Mapping[str, Array]) -> Array:
        """Return a code (N,) a sample, equal where every output has the same size.

        sizes: (N, 2) of the reference and of every field with a route. ValueError where a stage
        draws its output's size.
        """
        before = sizes[self.reference]
        codes = np.zeros(len(before), np.int64)
        for route in self.routes:
            out = before
            for _, stage in self.geometric[route.view]:
                out = stage.resized(out)
            ratio = self._ratio(route.field, before, sizes[route.field])
            height, width = np.rint(out * ratio).astype(np.int64).T
            # One number a sample, three times as fast to sort as rows of two.
            pairs = np.unique(height << 32 | width, return_inverse=True)[1]
            codes = np.unique(codes * len(codes) + pairs, return_inverse=True)[1]
        return codes

    def move(self, keys: Keys, sizes: Array) -> dict[str, Moves]:
        """Draw the geometry of every view; sizes (B, 2) are those of the reference field."""
        return {view: compose(chain, keys, sizes) for view, chain in self.geometric.items()}

    def draw(
        self,
        keys: Keys,
        moves: Mapping[str, Moves],
        route: Route,
        sizes: Array,
        turns: Array | None = None,
    ) -> Drawn:
        """Return one route's draws; ValueError where samples differ in size or need resampling.

        sizes (B, 2) are those of the route's field, turns (B,) the dihedral codes that make its
        stored pixels upright, None where they are.
        """
        parameters = tuple(stage.draw(keys.at(slot)) for slot, stage in route.photometric)
        still = not self.geometric[route.view] and (turns is None or not turns.any())
        if still and route.field == self.reference:
            return _whole(route, sizes, parameters)
        on_field = self.carried(moves[route.view], route.field, sizes)
        height, width = _common_size(route, on_field.sizes)
        on_field = on_field.at(height, width)
        if turns is not None and turns.any():
            on_field = on_field.stored(turns)
        if route.interpolation is None:
            found = geometry.exact(on_field.matrices, on_field.sizes)
            if found is None:
                raise ValueError(
                    f"field {route.field!r} would be cut between its pixels: the crop of"
                    f" {self.reference!r} does not fall on its grid"
                )
            boxes, codes = found
            return Drawn(route, boxes, boxes, codes, height, width, True, parameters)
        return _resampled(route, on_field, height, width, parameters)

    def carried(self, moves: Moves, field: str, sizes: Array) -> Moves:
        """Return the geometry on another field, whose sizes (B, 2) are given."""
        if field == self.reference:
            return moves
        return moves.scaled(self._ratio(field, moves.before, sizes), sizes)

    def _ratio(self, field: str, before: Array, sizes: Array) -> Array:
        """Return pixels (B, 2) of a field of these sizes for one of the reference's."""
        own, reference = self.fields[field].pitch, self.fields[self.reference].pitch
        if own is not None and reference is not None:
            return np.full(before.shape, reference / own)
        return sizes / before


def _whole(route: Route, sizes: Array, parameters: tuple[dict[str, Array], ...]) -> Drawn:
    """Return draws of images as they are: a tenth of the work where no stage moves anything."""
    height, width = _common_size(route, sizes)
    boxes = np.zeros((len(sizes), 4), np.int64)
    boxes[:, 2:] = height, width
    codes = np.zeros(len(sizes), np.int64)
    return Drawn(route, boxes, boxes, codes, height, width, True, parameters)


def _common_size(route: Route, sizes: Array) -> tuple[int, int]:
    """Return the one output size of a batch."""
    shapes = np.rint(sizes).astype(int)
    if (shapes != shapes[0]).any():
        listed = ", ".join(f"{h}×{w}" for h, w in np.unique(shapes, axis=0)[:4])
        raise ValueError(
            f"field {route.field!r}: one batch holds several sizes ({listed}): crop them, or"
            " batch samples of one size (groups='size')"
        )
    return int(shapes[0, 0]), int(shapes[0, 1])


def _resampled(
    route: Route, moves: Moves, height: int, width: int, parameters: tuple[dict[str, Array], ...]
) -> Drawn:
    out = np.broadcast_to(np.array([height, width]), moves.sizes.shape)
    found = geometry.aligned(moves.matrices, out)
    if found is None:
        return _warped(route, moves, height, width, parameters)
    boxes, codes = found
    exact = geometry.is_exact(boxes, codes, out)
    onto = np.where(((codes & 4) != 0)[:, None], out[:, ::-1], out)
    reach = _REACH[route.interpolation or "nearest"]
    support = (0.0 if exact else reach) * np.maximum(boxes[:, 2:] / onto, 1)
    covers = geometry.cover(boxes, moves.bounds, support)
    return Drawn(route, boxes, covers, codes, height, width, exact, parameters)


def _warped(
    route: Route, moves: Moves, height: int, width: int, parameters: tuple[dict[str, Array], ...]
) -> Drawn:
    """Shrink the part that is seen, antialiased and upright, then leave the rotation to a warp."""
    out = np.broadcast_to(np.array([height, width]), moves.sizes.shape)
    seen = geometry.extent(moves.matrices, out)
    covers = geometry.cover(seen, moves.bounds, np.ones(2))
    # Source pixels that one output pixel spans, along the source's y and x.
    span = np.linalg.norm(moves.matrices[:, :2, :2], axis=2)[:, ::-1]
    between = np.maximum(np.rint(covers[:, 2:] / np.maximum(span, 1)), 1).astype(np.int64)
    onto = geometry.identity(len(out))
    scale = between / covers[:, 2:]
    onto[:, (0, 1), (0, 1)] = scale[:, ::-1]
    onto[:, :2, 2] = -(covers[:, :2] * scale)[:, ::-1]
    return Drawn(
        route,
        covers.astype(np.float64),
        covers,
        np.zeros(len(out), np.int64),
        height,
        width,
        bool((between == covers[:, 2:]).all()),
        parameters,
        onto @ moves.matrices,
        between,
    )


def _check(stages: Sequence[Stage], fields: Mapping[str, Field]) -> None:
    """Refuse unknown or unfit fields, and geometry after grey levels (order would not be kept)."""
    seen_photometric = False
    for stage in stages:
        for name in getattr(stage, "fields", None) or (getattr(stage, "field", None),):
            if name is not None and name not in fields:
                raise ValueError(
                    f"stage {type(stage).__name__} names field {name!r}; loaded are"
                    f" {sorted(fields)}"
                )
        if isinstance(stage, Normalise) and stage.dtype == "uint8":
            if fields[stage.field].dtype != "uint8":
                raise ValueError(f"field {stage.field!r} is not 8-bit: it cannot stay uint8")
        if isinstance(stage, Geometric) and seen_photometric:
            raise ValueError(f"{type(stage).__name__} stands after a photometric stage")
        if isinstance(stage, Photometric):
            seen_photometric = True
            for name in stage.fields:
                stage.check(name, fields[name])
        for own in stage.stages if isinstance(stage, Views) else ():
            _check(own, fields)


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
    fills: set[Interpolation] = {
        getattr(stage, "interpolation", "linear")
        for _, stage in chain
        if isinstance(stage, Geometric) and stage.resamples
    }
    if len(fills) > 1:
        raise ValueError(f"stages of one chain ask for several interpolations: {sorted(fills)}")
    output = f"{name}.{view}" if view else name
    normalise = ends[-1] if ends else None
    return Route(output, name, view, photometric, normalise, next(iter(fills), None))
