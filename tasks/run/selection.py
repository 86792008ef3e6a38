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

from loaders import Batch, Loader
from loaders.draw import Keys
from tasks import Loss, Task

Array = npt.NDArray[Any]
Scored = tuple[Array, dict[str, Array]]


def gather(loader: Loader, batch: Batch, scores: Mapping[str, Tensor]) -> Scored:
    """Return ids (G,) and scores (G,) of the global step, in position order, without fillers.

    scores are (B,).
    """
    real_ones = batch.weight > 0
    own = {name: value.double() for name, value in scores.items()}
    own |= {"id": batch.id.to(real_ones.device).double(), "real": real_ones.double()}
    table = loader.world.gather(torch.stack(list(own.values()), dim=1)).T.cpu().numpy()
    columns = dict(zip(own, table, strict=True))
    real = columns.pop("real") > 0
    ids = columns.pop("id")[real].astype(np.int64)
    return ids, {name: value[real] for name, value in columns.items()}


def select(
    loader: Loader, task: Task, batch: Batch, losses: Sequence[Loss]
) -> tuple[Batch, Scored]:
    """Return what the strategy makes of a scored batch, and the scores of the global step."""
    strategy = loader.strategy
    local = [task.scores(loss, strategy.needs) for loss in losses]
    ids, scores = gather(
        loader, batch, {name: torch.cat([part[name] for part in local]) for name in local[0]}
    )
    rows = loader.rows(ids)
    if strategy.weighs():
        places, weights = np.arange(len(rows)), strategy.weigh(rows, scores)
    else:
        first = batch.step * strategy.order.batch
        keys = Keys(loader.seed, batch.epoch, first + np.arange(len(ids)), ids)
        places, weights = strategy.pick(rows, scores, keys)
    return _share(batch, places, weights, loader), (ids, scores)


def _share(batch: Batch, places: Array, weights: Array, loader: Loader) -> Batch:
    """Return this rank's part of what was taken, equally long on every rank.

    places are positions among the real samples of the global step; a rank trains on those that it
    has decoded. Missing ones are filled with weight 0.
    """
    world = loader.world
    owner, local = places // len(batch), places % len(batch)
    longest = max(1, int(np.bincount(owner, minlength=world.size).max()))
    mine = local[owner == world.rank]
    rows = np.resize(mine, longest) if len(mine) else np.zeros(longest, np.int64)
    own = torch.zeros(longest, device=batch.weight.device)
    own[: len(mine)] = torch.from_numpy(weights[owner == world.rank]).to(own)
    taken = batch.take(torch.from_numpy(rows))
    return dataclasses.replace(taken, weight=own, total=float(weights.sum()))
