"""Two threads ahead of the training loop: one plans the next batch while the other reads this one.

Planning (choice, draws) is a few tenths of a millisecond of Python; beside the reading threads,
which run without the GIL, it costs little.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Plan = TypeVar("Plan")
Result = TypeVar("Result")


class Ahead(Generic[Plan, Result]):
    """Calls `plan` until it returns None and `read(plan, slot)` for each, at most `slots` ahead."""

    def __init__(
        self, plan: Callable[[], Plan | None], read: Callable[[Plan, int], Result], slots: int
    ) -> None:
        self._plan, self._read = plan, read
        self._plans: queue.Queue[Plan | BaseException | None] = queue.Queue(maxsize=1)
        self._ready: queue.Queue[tuple[int, Result] | BaseException | None] = queue.Queue()
        self._free: queue.Queue[int | None] = queue.Queue()
        for slot in range(slots):
            self._free.put(slot)
        self._stopped = threading.Event()
        self._planner = threading.Thread(target=self._plan_all, daemon=True)
        self._reader = threading.Thread(target=self._read_all, daemon=True)
        self._planner.start()
        self._reader.start()

    def take(self) -> tuple[int, Result] | None:
        """Return the next slot and result, None at the end; raises what went wrong in a thread."""
        item = self._ready.get()
        if isinstance(item, BaseException):
            raise item
        return item

    def give_back(self, slot: int) -> None:
        """Let a slot be filled again."""
        self._free.put(slot)

    def stop(self) -> None:
        """End both threads; a `plan` that waits must have been woken."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        self._planner.join()
        self._free.put(None)
        if self._plans.empty():
            self._plans.put(None)
        self._reader.join()

    def _plan_all(self) -> None:
        try:
            while not self._stopped.is_set():
                plan = self._plan()
                self._put(plan)
                if plan is None:
                    return
        except BaseException as error:  # whatever it is, the training thread must hear of it
            self._put(error)

    def _put(self, plan: Plan | BaseException | None) -> None:
        while not self._stopped.is_set():
            try:
                return self._plans.put(plan, timeout=0.1)
            except queue.Full:
                continue

    def _read_all(self) -> None:
        try:
            while (slot := self._free.get()) is not None:
                plan = self._plans.get()
                if plan is None or self._stopped.is_set():
                    break
                if isinstance(plan, BaseException):
                    raise plan
                self._ready.put((slot, self._read(plan, slot)))
            self._ready.put(None)
        except BaseException as error:
            self._ready.put(error)
