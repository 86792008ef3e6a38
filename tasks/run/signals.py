"""Signals that ask a run to stop."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any, Self

STOPPING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class Asked:
    """True once a signal came inside the context, which one is kept; a second Ctrl-C interrupts.

    Signals are answered between steps, so that a checkpoint is whole. Outside the context they do
    what they did before: who called the trainer keeps its own handlers.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._before: list[Any] = []

    def __bool__(self) -> bool:
        return bool(self.signal)

    def __enter__(self) -> Self:
        self._before = [signal.signal(number, self.ask) for number in STOPPING]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, before in zip(STOPPING, self._before, strict=True):
            signal.signal(number, before or signal.SIG_DFL)  # None: set outside Python

    def ask(self, number: int, frame: FrameType | None) -> None:
        """Take in a signal."""
        if self.signal and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number
