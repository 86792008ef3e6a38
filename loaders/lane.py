"""The way to the GPU: a stream of its own, so that copies run beside the training step.

A slot is filled on the lane, handed to the training stream by an event, and filled again only after
the training stream's last use of it. On a CPU there is nothing to do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Lane:
    """Orders the copies of each slot against their use."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.is_gpu = device.type == "cuda"
        self._sent: dict[int, torch.cuda.Event] = {}
        self._used: dict[int, torch.cuda.Event] = {}
        if self.is_gpu:
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    @contextmanager
    def filling(self, slot: int) -> Iterator[None]:
        """Fill a slot: waits until its last content was copied and used."""
        if not self.is_gpu:
            yield
            return
        for event in (self._sent.get(slot), self._used.get(slot)):
            if event is not None:
                event.synchronize()
        with torch.cuda.device(self.device), torch.cuda.stream(self._stream):
            yield
            self._sent[slot] = self._stream.record_event()

    def wait(self, slot: int) -> None:
        """Make the training stream wait for the slot's copies."""
        if self.is_gpu:
            torch.cuda.current_stream(self.device).wait_event(self._sent[slot])

    def finish(self) -> None:
        """Wait until the training stream has used all that it was handed."""
        if self.is_gpu:
            torch.cuda.current_stream(self.device).synchronize()

    def release(self, slot: int) -> None:
        """Note the training stream's last use of the slot."""
        if self.is_gpu:
            self._used[slot] = torch.cuda.current_stream(self.device).record_event()
