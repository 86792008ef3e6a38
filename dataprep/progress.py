"""Say how a long work gets on: a bar on a terminal, plain timed lines in a log file."""

from __future__ import annotations

import shutil
import sys
import time
from types import TracebackType
from typing import Any

from tqdm import tqdm

EVERY_S = 10.0


class Progress:
    """Count items and bytes; print to stderr. `done` items were finished by an earlier run."""

    def __init__(self, label: str, total: int, done: int = 0, unit: str = "images") -> None:
        self.label, self.total, self.done, self.unit = label, total, done, unit
        self._first, self._bytes = done, 0
        self._start = self._said = time.monotonic()
        self._bar = None
        if sys.stderr.isatty():
            # Some terminals say that they are 0 × 0: tqdm believes them and shows nothing.
            columns, lines = shutil.get_terminal_size()
            size = {"ncols": columns, "nrows": lines}
            style = {"total": total or None, "desc": label} | self._unit() | size
            self._bar = tqdm(initial=done, **style)

    def add(self, items: int, size_bytes: int) -> None:
        """Count finished items."""
        self.done += items
        self._bytes += size_bytes
        if self._bar is not None:
            self._bar.set_postfix_str(self._beside(), refresh=False)
            self._bar.update(items)
        elif time.monotonic() - self._said >= EVERY_S:
            self._said = time.monotonic()
            self._line()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, why: BaseException | None, at: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        elif kind is None:
            self._line()

    def _unit(self) -> dict[str, Any]:
        return {"unit": f" {self.unit}"}

    def _beside(self) -> str:
        return f"{self._bytes_per_s() / 1e6:.0f} MB/s"

    def _seconds(self) -> float:
        return max(time.monotonic() - self._start, 1e-6)

    def _bytes_per_s(self) -> float:
        return self._bytes / self._seconds()

    def _line(self) -> None:
        rate = (self.done - self._first) / self._seconds()
        left = (self.total - self.done) / rate if rate else 0.0
        state = f"ETA {clock(left)}" if self.done < self.total else f"in {clock(self._seconds())}"
        sys.stderr.write(
            f"{time.strftime('%H:%M:%S')} {self.label}: {self.done:,} of {self.total:,} {self.unit}"
            f" · {rate:,.1f} {self.unit}/s · {self._bytes_per_s() / 1e6:,.0f} MB/s · {state}\n"
        )
        sys.stderr.flush()


class Transfer(Progress):
    """Count the bytes of one file on its way, in MB; `total` is 0 where nobody knows it."""

    def __init__(self, label: str, total: int, done: int = 0) -> None:
        super().__init__(label, total, done, "bytes")

    def _unit(self) -> dict[str, Any]:
        return {"unit": "B", "unit_scale": True}

    def _beside(self) -> str:
        return ""  # the bar's own rate is of bytes

    def _line(self) -> None:
        if self.done == self.total and self._said == self._start:
            return  # so short a way needs no line
        rate = self._bytes_per_s()
        left = f"ETA {clock((self.total - self.done) / rate)}" if self.total and rate else "ETA ?"
        state = f"in {clock(self._seconds())}" if self.done == self.total else left
        of = f"of {self.total / 1e6:,.1f} " if self.total else ""
        sys.stderr.write(
            f"{time.strftime('%H:%M:%S')} {self.label}: {self.done / 1e6:,.1f} {of}MB"
            f" · {rate / 1e6:,.1f} MB/s · {state}\n"
        )
        sys.stderr.flush()


def clock(seconds: float) -> str:
    """Return seconds as h:mm:ss, or m:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
