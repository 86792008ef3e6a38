"""How long a study will still take: by what was done before, and by how far works have come.

A work's own pace counts most, then that of its variant, then that of its kind. Nothing is said of
kinds of which nothing was done.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

from dataprep.manifest import DataError
from dataprep.progress import clock
from jobs.study import Member, opened

if TYPE_CHECKING:
    from jobs.work import Work

# A work of which less was done says nothing of its whole: start-up counts in it.
LEAST = 0.01
TAIL = 1 << 14  # bytes, in which the last lines of a log are


@dataclass
class Pace:
    """A work that is running: when it began, and how much of it was done when first seen."""

    work: Work
    began: float = field(default_factory=lambda: time.monotonic())
    first: float | None = None
    now: float | None = None

    def __post_init__(self) -> None:
        self.look()

    def look(self) -> None:
        """See how far it has come; what goes on from a checkpoint may first step back."""
        self.now = self.work.share()
        if self.now is not None:
            self.first = self.now if self.first is None else min(self.first, self.now)

    @property
    def seconds(self) -> float:
        """How long it has been running."""
        return time.monotonic() - self.began

    @property
    def gained(self) -> float:
        """The share that was done since it began."""
        return 0.0 if self.now is None or self.first is None else self.now - self.first

    def part(self, is_done: bool) -> float:
        """Return the share that was done since it began, now that it has ended."""
        return 1.0 - (self.first or 0.0) if is_done else self.gained

    @property
    def told(self) -> str:
        """What it is and, where that is known, how far it has come."""
        so_far = f", {100 * self.now:.0f} %" if self.now else ""
        return f"{self.work.label}: {self.work.kind}{so_far}"

    @property
    def whole(self) -> float | None:
        """The seconds of all of it at this pace, None before that can be told."""
        return self.seconds / self.gained if self.gained >= LEAST else None


class Forecast:
    """Times of one study's folder; log: its jobs.jsonl."""

    def __init__(self, log: Path, jobs: int = 1) -> None:
        self._log, self._jobs = log, jobs

    def left(self, running: Sequence[Pace], pending: Sequence[Work]) -> str:
        """Return the time that all of these will take, in words."""
        known = {(kind, alike): whole for kind, alike, whole in self._before()}
        rates = {(p.work.kind, p.work.alike): p.whole for p in running if p.whole is not None}
        guides = {kind: p for p in running for kind in [p.work.kind] if p.whole is not None}
        by_kind = {kind for kind, _ in known}
        spans, alone, unknown, guessed = [], 0.0, 0, ""
        for work, spent in _once(running, pending):
            own = rates.get((work.kind, work.alike)) if spent else None
            whole = own or _whole({**rates, **known}, work)
            if whole is None:
                unknown += 1
                continue
            if work.kind not in by_kind and work.kind in guides:
                guide = guides[work.kind]
                guessed = f", by {100 * guide.gained:.0f} % of {guide.work.label}"
            part = _rest(whole, spent)
            alone += part * work.alone
            spans += [] if work.alone else [part]
        if not spans and not alone:
            return "time left in all: not known before the first one of its kind"
        # Several at a time share the work, but none is shorter than the longest.
        total = max([*spans, sum(spans) / self._jobs], default=0.0) + alone
        more = f", and {unknown} of kinds not run before" if unknown else ""
        about = "about " if guessed else ""
        return f"time left in all: {about}{clock(total)}{guessed}{more}"

    def _before(self) -> Iterator[tuple[str, str, float]]:
        """Yield (kind, alike, mean seconds of a whole work) of what was done before."""
        spent: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
        for line in lines(self._log):
            share = line.get("share", 1.0 if line.get("done", True) else 0.0)
            if line.get("code", 0) == 0 and share >= LEAST:
                key = (line["kind"], line.get("alike", ""), line["label"])
                spent.setdefault(key, []).append((line["seconds"], share))
        wholes: dict[tuple[str, str], list[float]] = {}
        for (kind, alike, _), parts in spent.items():
            whole = sum(seconds for seconds, _ in parts) / sum(share for _, share in parts)
            wholes.setdefault((kind, alike), []).append(whole)
        yield from ((kind, alike, mean(found)) for (kind, alike), found in wholes.items())


def _once(running: Sequence[Pace], pending: Sequence[Work]) -> Iterator[tuple[Work, Pace | None]]:
    """Yield every work but for those that share a run with one before them."""
    seen: set[tuple[Path, str]] = set()
    both: list[tuple[Work, Pace | None]] = [(pace.work, pace) for pace in running]
    for work, pace in [*both, *((work, None) for work in pending)]:
        run = (work.folder(), work.kind)
        if run not in seen:
            seen.add(run)
            yield work, pace


def _whole(known: dict[tuple[str, str], float], work: Work) -> float | None:
    """Return the seconds of a work by those like it, else by those of its kind."""
    if (work.kind, work.alike) in known:
        return known[work.kind, work.alike]
    same = [whole for (kind, _), whole in known.items() if kind == work.kind]
    return mean(same) if same else None


def _rest(whole: float, pace: Pace | None) -> float:
    """Return the seconds that are left of a work."""
    if pace is None:
        return whole
    if pace.now is None:
        return max(0.0, whole - pace.seconds)
    return whole * (1 - pace.now)


def lines(log: Path) -> list[dict[str, Any]]:
    """Return what a study's log says of works that ended."""
    found = []
    for text in log.read_text().splitlines() if log.exists() else ():
        try:
            found.append(json.loads(text))
        except ValueError:  # the last line of a killed study
            continue
    return found


def trained(member: Member) -> float | None:
    """Return the share of a training that is done by its log, None where that is not known.

    A strategy that shortens epochs, and patience, may end it sooner.
    """
    if not member.is_ready:
        return None
    recipe, root = member.facts["recipe"], member.execution.data_root
    try:
        samples = opened(recipe["data"], root).splits.get(recipe["train_split"], 0)
    except DataError:
        return None
    epoch = math.ceil(samples / recipe["global_batch_size"])
    steps = recipe["steps"] or recipe["epochs"] * epoch
    return min(1.0, _last_step(member.run.folder / "log.jsonl") / steps) if steps else None


def _last_step(log: Path) -> int:
    """Return the step of a log's last line: a launch, a step or a validation."""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL))
            tail = file.read().splitlines()
    except OSError:
        return 0
    for text in reversed(tail):
        try:
            return int(json.loads(text)["step"])
        except (ValueError, KeyError, TypeError):  # cut off, or of no step
            continue
    return 0
