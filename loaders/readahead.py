"""Read-ahead for cold storage: the order is known, so the system is told what comes next.

`posix_fadvise(WILLNEED)` starts the reads and returns; by the time a batch is read, its bytes lie
in the page cache. In a full shuffle that is many small reads at once, which a solid-state disk or a
parallel file system serves far better than one after another; in a block shuffle whole blocks of
the next window, spread over the steps of this one. On warm files it costs some microseconds a
sample; systems without it ignore it.
"""

from __future__ import annotations

import os
import queue
import threading
import weakref
from collections import deque
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from dataprep.manifest import DataError
from loaders.engine import Stores
from loaders.files import Files
from loaders.order import Order
from loaders.world import World

Array = npt.NDArray[Any]

# Members nearer to each other than this are asked for as one.
_GAP_BYTES = 1 << 16
# Hints that may wait: those of some windows.
_MOST = 4096

Todo = queue.Queue[Array | tuple[int, int] | None]


class ReadAhead:
    """Asks for the bytes of coming samples, in a thread and with files of its own.

    Asking may itself wait for the disk. Where it cannot keep up, hints are dropped. The ranks of a
    node share its page cache, and so the blocks to be asked for.
    """

    def __init__(
        self, fields: Stores, order: Order, split: Any, world: World | None = None
    ) -> None:
        self._order, self._world = order, world or World()
        self._window = b""
        self._ranges: deque[Array] = deque()
        self._share = 0
        self._todo: Todo = queue.Queue(_MOST)
        self._stopped = threading.Event()
        # The thread knows nothing of this object: a loader that is dropped unclosed ends it, too.
        work = (self._todo, self._stopped, fields, split)
        self._thread = threading.Thread(target=_work, args=work, daemon=True, name="nostall-ahead")
        self._thread.start()
        self._stop = weakref.finalize(self, _stop, self._todo, self._stopped)

    def ask(self, ids: Array | tuple[int, int]) -> None:
        """Ask for the stored bytes of some samples, or of a range of rows of the split."""
        with suppress(queue.Full):
            self._todo.put_nowait(ids)

    def step(self, epoch: int, step: int) -> None:
        """Ask for this step's share of the next window of a block shuffle."""
        ranges = self._shared(epoch, step)
        window = ranges.tobytes()  # all: of two windows the first block may be the same
        if window != self._window:
            if not self._window and step == 0:
                for first, end in self._shared(epoch, -1).tolist():
                    self.ask((first, end))
            self._window = window
            self._ranges.extend(ranges)
            rows = int((ranges[:, 1] - ranges[:, 0]).sum()) * self._world.local_size
            steps = max(1, rows // self._order.batch // 2)  # done when half of this one is read
            self._share = -(-len(self._ranges) // steps)
        for _ in range(min(self._share, len(self._ranges))):
            first, end = self._ranges.popleft().tolist()
            self.ask((first, end))

    def _shared(self, epoch: int, step: int) -> Array:
        """Return this rank's share of the ranges of a window."""
        return self._order.ahead(epoch, step)[self._world.local_rank :: self._world.local_size]

    def close(self) -> None:
        """Stop the thread, whatever is still to be asked for; it closes its files."""
        self._stop()
        self._thread.join()


def _stop(todo: Todo, stopped: threading.Event) -> None:
    stopped.set()
    with suppress(queue.Full):  # full: the thread is awake
        todo.put_nowait(None)


def _work(todo: Todo, stopped: threading.Event, fields: Stores, split: Any) -> None:
    """Ask for what is wanted until told to stop."""
    files = {name: field.own_files() for name, field in fields.items()}
    while (wanted := todo.get()) is not None and not stopped.is_set():
        with suppress(DataError, OSError, AttributeError):
            # A hint only: who reads the sample says what is wrong with it.
            ids = np.asarray(split[slice(*wanted)]) if isinstance(wanted, tuple) else wanted
            for name, field in fields.items():
                _advise(files[name], *field.spans(ids))
    for opened in files.values():
        opened.close()


def _advise(files: Files, shards: Array, offsets: Array, sizes: Array) -> None:
    order = np.lexsort((offsets, shards))
    shards, offsets = shards[order], offsets[order].astype(np.int64)
    ends = offsets + sizes[order].astype(np.int64)
    apart = (shards[1:] != shards[:-1]) | (offsets[1:] - ends[:-1] > _GAP_BYTES)
    firsts = np.concatenate([[0], np.flatnonzero(apart) + 1])
    lasts = np.concatenate([firsts[1:], [len(shards)]]) - 1
    fds = files.open(shards[firsts])
    for fd, start, end in zip(fds, offsets[firsts], ends[lasts], strict=True):
        os.posix_fadvise(int(fd), int(start), int(end - start), os.POSIX_FADV_WILLNEED)
