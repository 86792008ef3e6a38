"""Read-ahead for cold storage: the order is known, so the system is told what comes next.

`posix_fadvise(WILLNEED)` starts the reads and returns; by the time a batch is read, its bytes lie
in the page cache. In a full shuffle that is many small reads at once, which a solid-state disk or a
parallel file system serves far better than one after another; in a block shuffle whole blocks of
the next window, spread over the steps of this one. On warm files it costs some microseconds a
sample; systems without it ignore it.
"""

from __future__ import annotations

import os
from collections import deque
from typing import Any

import numpy as np
import numpy.typing as npt

from dataprep.manifest import DataError
from loaders.engine import Stores
from loaders.files import Files
from loaders.order import Order

Array = npt.NDArray[Any]

# Members nearer to each other than this are asked for as one.
_GAP_BYTES = 1 << 16


class ReadAhead:
    """Asks for the bytes of samples and of row ranges; for one thread, with files of its own."""

    def __init__(self, fields: Stores, order: Order, split: Any) -> None:
        self._fields = fields
        self._files: dict[str, Files] = {name: f.own_files() for name, f in fields.items()}
        self._order, self._split = order, split
        self._window: tuple[int, ...] = ()
        self._ranges: deque[Array] = deque()
        self._share = 0

    def ask(self, ids: Array) -> None:
        """Ask for the stored bytes of some samples."""
        for name, field in self._fields.items():
            shards, offsets, sizes = field.spans(ids)
            self._ask(self._files[name], shards, offsets.astype(np.int64), sizes.astype(np.int64))

    def step(self, epoch: int, step: int) -> None:
        """Ask for this step's share of the next window of a block shuffle."""
        ranges = self._order.ahead(epoch, step)
        window = tuple(ranges[:1].ravel().tolist())
        if window != self._window:
            if not self._window and step == 0:
                self._begin(epoch)
            self._window = window
            self._ranges.extend(ranges)
            rows = int((ranges[:, 1] - ranges[:, 0]).sum())
            steps = max(1, rows // self._order.batch // 2)  # done when half of this one is read
            self._share = -(-len(self._ranges) // steps)
        for _ in range(min(self._share, len(self._ranges))):
            first, end = self._ranges.popleft().tolist()
            self.ask(np.asarray(self._split[first:end]))

    def _begin(self, epoch: int) -> None:
        for first, end in self._order.ahead(epoch, -1).tolist():
            self.ask(np.asarray(self._split[first:end]))

    def _ask(self, files: Files, shards: Array, offsets: Array, sizes: Array) -> None:
        order = np.lexsort((offsets, shards))
        shards, offsets = shards[order], offsets[order]
        ends = offsets + sizes[order]
        apart = (shards[1:] != shards[:-1]) | (offsets[1:] - ends[:-1] > _GAP_BYTES)
        firsts = np.concatenate([[0], np.flatnonzero(apart) + 1])
        lasts = np.concatenate([firsts[1:], [len(shards)]]) - 1
        try:
            fds = files.open(shards[firsts])
            for fd, start, end in zip(fds, offsets[firsts], ends[lasts], strict=True):
                os.posix_fadvise(int(fd), int(start), int(end - start), os.POSIX_FADV_WILLNEED)
        except (DataError, OSError, AttributeError):
            pass  # a hint only: who reads the sample says what is wrong with it

    def close(self) -> None:
        """Close the files."""
        for files in self._files.values():
            files.close()
