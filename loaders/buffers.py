"""Memory that is reused: a fresh page costs as much as resizing an image into it."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from loaders.resample import Workspace

Array = npt.NDArray[Any]


class Buffers:
    """The ring that batches are written into: one buffer for each slot and name."""

    def __init__(self, pinned: bool = False) -> None:
        self._pinned = pinned
        self._flat: dict[tuple[int, str], Tensor] = {}

    def shaped(self, slot: int, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return a (…) tensor of the slot; it grows to the largest shape ever asked for."""
        size = math.prod(shape) * dtype.itemsize
        flat = self._flat.get((slot, name))
        if flat is None or len(flat) < size:
            flat = torch.empty(size, dtype=torch.uint8, pin_memory=self._pinned)
            self._flat[slot, name] = flat
        return flat[:size].view(dtype).view(shape)

    @property
    def bytes(self) -> int:
        """Bytes held by all buffers."""
        return sum(len(flat) for flat in self._flat.values())


class Scratch(threading.local):
    """One thread's own arrays, by name; each grows to the largest size ever asked for."""

    def __init__(self) -> None:
        self.workspace = Workspace()
        self._flat: dict[str, Array] = {}

    def flat(self, name: str, size: int, dtype: Any = np.uint8) -> Array:
        """Return at least `size` values."""
        held = self._flat.get(name)
        if held is None or len(held) < size or held.dtype != dtype:
            # Half as much again: images grow by a little many times.
            self._flat[name] = held = np.empty(size + size // 2, dtype)
        return held

    def shaped(self, name: str, shape: tuple[int, ...], dtype: Any = np.uint8) -> Array:
        """Return an array of this shape."""
        size = math.prod(shape)
        return self.flat(name, size, dtype)[:size].reshape(shape)


def torch_type(dtype: np.dtype[Any]) -> torch.dtype:
    """Return torch's name of a numpy type."""
    return torch.from_numpy(np.empty(0, dtype)).dtype


def as_numpy(tensor: Tensor) -> Array:
    """Return a tensor's memory as numpy sees it; bfloat16, which numpy has not, as its bits."""
    array: Array = (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()
    return array
