"""Limits of the digits' work: indexing one tensor in memory, batch by batch, and many at once."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from itertools import cycle
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from workload import Setting

from digits import corpus
from digits.work import BIAS, SCALE, SIDE, Work

Labelled = Generator[tuple[Tensor, Tensor], None, None]
# Batches that the ceiling gathers at once.
TOGETHER = 16


def orders(count: int, size: int, seed: int) -> Iterator[npt.NDArray[np.int64]]:
    """Yield `size` rows at a time of one random permutation after another, without end."""
    rng, left = np.random.default_rng(seed), np.empty(0, np.int64)
    while True:
        while len(left) < size:
            left = np.concatenate([left, rng.permutation(count)])
        yield left[:size]
        left = left[size:]


def index(work: Work, setting: Setting) -> Labelled:
    """Index the bytes with a slice of a permutation, then convert; every batch is new memory."""
    torch.set_num_threads(setting["threads"])
    images, labels = _held(work)
    for chosen in orders(len(labels), work.batch, work.seed):
        rows = torch.from_numpy(chosen)
        yield images[rows].float().mul_(SCALE).add_(BIAS).to(work.device), labels[rows]


def ceiling(work: Work, setting: Setting) -> Labelled:
    """Gather many batches at once, convert one after the other, all in the same memory."""
    torch.set_num_threads(setting["threads"])
    images, labels = _held(work)
    size = TOGETHER * work.batch
    raw = torch.empty(size, 1, SIDE, SIDE, dtype=torch.uint8)
    # One is with the consumer while the other is filled.
    outs = cycle([torch.empty(work.batch, 1, SIDE, SIDE) for _ in range(2)])
    for chosen in orders(len(labels), size, work.seed):
        rows = torch.from_numpy(chosen)
        torch.index_select(images, 0, rows, out=raw)
        parts = raw.view(TOGETHER, -1, 1, SIDE, SIDE)
        for part, numbers in zip(parts, labels[rows].view(TOGETHER, -1), strict=True):
            yield next(outs).copy_(part).mul_(SCALE).add_(BIAS).to(work.device), numbers


def _held(work: Work) -> tuple[Tensor, Tensor]:
    images, labels = corpus.pixels(Path(work.files))
    return torch.tensor(images).unsqueeze(1), torch.from_numpy(labels)
