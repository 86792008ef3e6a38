"""A short name of what a batch holds: two runs that agree in it made the same pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

LETTERS = 12


def digest(batch: Any) -> str:
    """Return the beginning of the sha256 of all bytes of a batch."""
    whole = hashlib.sha256()
    for piece in _pieces(batch):
        whole.update(piece)
    return whole.hexdigest()[:LETTERS]


def _pieces(batch: Any) -> Iterator[bytes]:
    """Yield the bytes of every tensor and array in order, of a mapping by its sorted keys."""
    if isinstance(batch, Mapping):
        batch = [batch[key] for key in sorted(batch)]
    if hasattr(batch, "detach"):  # a tensor, without importing torch for those that need none
        import torch

        flat = batch.detach().cpu().contiguous().reshape(-1)
        batch = flat.view(torch.uint8).numpy()
    if isinstance(batch, np.ndarray):
        yield np.ascontiguousarray(batch).tobytes()
    elif isinstance(batch, list | tuple):
        for one in batch:
            yield from _pieces(one)
    else:
        yield repr(batch).encode()
