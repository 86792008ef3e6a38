"""What a DALI graph is fed for one route, by the names of its external sources. Legend: B batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from loaders import geometry
from loaders.program import Drawn

Array = npt.NDArray[Any]


def early(drawn: Drawn) -> Array:
    """Return the turns (B,) to be made when raw pixels are read, before DALI.

    Two shapes that a turn makes equal fit one buffer only when turned already.
    """
    return drawn.codes if drawn.height != drawn.width else np.zeros_like(drawn.codes)


def slices(drawn: Drawn, origins: Array) -> dict[str, Array]:
    """Return the place of a route's cover in the decoded images, which begin at origins (B, 2)."""
    name = drawn.route.name
    return {
        f"{name} corner": (drawn.covers[:, :2] - origins).astype(np.int32),
        f"{name} cover": drawn.covers[:, 2:].astype(np.int32),
    }


def draws(drawn: Drawn, is_raw: bool) -> dict[str, Array]:
    """Return a route's draws: how it is resampled, turned, warped, and its stages' parameters."""
    name, route, codes = drawn.route.name, drawn.route, drawn.codes
    fed: dict[str, Array] = {}
    if route.interpolation is not None:
        out = np.broadcast_to(np.array([drawn.height, drawn.width]), drawn.boxes[:, 2:].shape)
        onto = np.where(((codes & 4) != 0)[:, None], out[:, ::-1], out)
        onto = onto if drawn.between is None else drawn.between
        start = drawn.boxes[:, :2] - drawn.covers[:, :2]
        fed[f"{name} start"] = start.astype(np.float32)
        fed[f"{name} end"] = (start + drawn.boxes[:, 2:]).astype(np.float32)
        fed[f"{name} size"] = onto.astype(np.float32)
        warps = geometry.identity(len(codes)) if drawn.warps is None else drawn.warps
        fed[f"{name} warp"] = warps[:, :2].astype(np.float32)
        fed[f"{name} out"] = out.astype(np.float32)
        fed[f"{name} warped"] = np.full(len(codes), drawn.warps is not None, np.int32)
    elif is_raw:
        codes = codes - early(drawn)
    for bit in (1, 2, 4):
        fed[f"{name} {bit}"] = ((codes & bit) != 0).astype(np.int32)
    for (number, _), parameters in zip(route.photometric, drawn.parameters, strict=True):
        fed |= {f"{name} {number} {key}": value for key, value in parameters.items()}
    return fed
