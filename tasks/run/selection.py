"""A strategy's say in a training step: scores of all ranks in, this rank's weighted batch out.

Every rank gathers the same numbers and asks its own copy of the strategy, so all agree without
sending decisions. Legend: B samples of this rank, G of the global step.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from loaders import Batch, Loader, World
from loaders.draw import Keys
from tasks import Loss, Task

Array = npt.NDArray[Any]
Scored = tuple[Array, dict[str, Array]]

_SLOT = 1 << 43  # of the keys that pick; stages count up from 0


def gather(loader: Loader, batch: Batch, scores: Mapping[str, Tensor]) -> Scored:
    """Return ids (G,) and scores (G,) of the global step, in position order, without fillers.

    scores are (B,).
    """
    if loader.world.size == 1:
        real = batch.weight.cpu().numpy() > 0
        columns = {name: value.double().cpu().numpy() for name, value in scores.items()}
        return batch.id.numpy()[real], {name: value[real] for name, value in columns.items()}
    real_ones = batch.weight > 0
    own = {name: value.double() for name, value in scores.items()}
    own |= {"id": batch.id.to(real_ones.device).double(), "real": real_ones.double()}
    # One exchange for all: the columns of a table.
    table = loader.world.gather(torch.stack(list(own.values()), dim=1)).T.cpu().numpy()
    columns = dict(zip(own, table, strict=True))
    real = columns.pop("real") > 0
    ids = columns.pop("id")[real].astype(np.int64)
    return ids, {name: value[real] for name, value in columns.items()}


def select(
    loader: Loader, task: Task, batch: Batch, losses: Sequence[Loss]
) -> tuple[Batch, Scored]:
    """Return what the strategy makes of a scored batch, and the scores of the global step."""
    local = [task.scores(loss, loader.strategy.needs) for loss in losses]
    own = {name: torch.cat([part[name] for part in local]) for name in local[0]}
    if loader.strategy.weighs():
        return weigh(loader, batch, own)
    ids, scores = gather(loader, batch, own)
    first = batch.step * loader.strategy.order.batch
    keys = Keys(loader.seed, batch.epoch, first + np.arange(len(ids)), ids, _SLOT)
    places, weights = loader.strategy.pick(loader.rows(ids), scores, keys)
    return _share(batch, places, weights, loader.world), (ids, scores)


def weigh(loader: Loader, batch: Batch, own: Mapping[str, Tensor]) -> tuple[Batch, Scored]:
    """Return a batch with the weights that its scores (B,) give it, and those of the whole step."""
    ids, scores = gather(loader, batch, own)
    weights = loader.strategy.weigh(loader.rows(ids), scores)
    first, real = loader.world.rank * len(batch), batch.weight > 0
    weight = torch.zeros_like(batch.weight)
    part = torch.from_numpy(np.asarray(weights[first : first + len(batch)], np.float32))
    weight[real] = part.to(weight.device)
    return dataclasses.replace(batch, weight=weight), (ids, scores)


def _share(batch: Batch, places: Array, weights: Array, world: World) -> Batch:
    """Return this rank's part of what was picked, equally long on every rank.

    places are positions among the real samples of the global step; a rank trains on those that it
    has decoded. Missing ones are filled with weight 0.
    """
    owner, local = places // len(batch), places % len(batch)
    longest = max(1, int(np.bincount(owner, minlength=world.size).max()))
    mine = local[owner == world.rank]
    rows = np.resize(mine, longest) if len(mine) else np.zeros(longest, np.int64)
    own = torch.zeros(longest, device=batch.weight.device)
    own[: len(mine)] = torch.from_numpy(weights[owner == world.rank]).to(own)
    taken = batch.take(torch.from_numpy(rows))
    return dataclasses.replace(taken, weight=own, total=float(len(places)))
