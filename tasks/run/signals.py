"""Signals that ask a run to stop."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any

STOPPING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class Asked:
    """True once a signal came inside the context; a second Ctrl-C interrupts at once.

    Signals are answered between steps, so that a checkpoint is whole. Outside the context they do
    what they did before: who called the trainer keeps its own handlers.
    """

    def __init__(self) -> None:
        self._asked = False
        self._before: list[Any] = []

    def __bool__(self) -> bool:
        return self._asked

    def __enter__(self) -> Asked:
        self._before = [signal.signal(number, self._ask) for number in STOPPING]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, before in zip(STOPPING, self._before, strict=True):
            signal.signal(number, before or signal.SIG_DFL)  # None: set outside Python

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self._asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._asked = True
