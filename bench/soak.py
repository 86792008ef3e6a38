"""Does the loader hold on to anything? Many epochs of a small set; exit code 1 if something grows.

    python bench/soak.py [--epochs 30] [--engine host|dali]

Each epoch is a fresh iteration of one loader, broken off at its end; between two of them a second
loader is made, used for a few batches and closed, as for an evaluation. After each, the process's
anonymous memory, threads and open files are noted.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any, Literal

import click
import results as kept
import timing
from photos import corpus, ours, sets
from photos.work import Work

from dataprep import flags

IMAGES = corpus.Photographs(count=512, long=250, short=188)
HEAD = ("epoch", "MB anon.", "threads", "files")
# Epochs that count for nothing: buffers grow to the largest image, the allocator finds its size.
SETTLING = 3
# An allocator breathes: medians of two parts of the epochs may differ so much.
SHARE, BYTES = 0.01, 2e6


@dataclass(frozen=True)
class State:
    """What the process holds after an epoch."""

    anonymous_bytes: int
    threads: int
    files: int


def held() -> State:
    """Look at this process now."""
    gc.collect()
    process = Path("/proc/self")
    return State(
        timing.anonymous_bytes(),
        len(list((process / "task").iterdir())),
        len(os.listdir(process / "fd")) - 1,  # one is the listing's own
    )


def epochs(work: Work, engine: Literal["host", "dali"], count: int) -> list[State]:
    """Run the epochs and return the state after each."""
    loader = ours.loader(work, engine, work.threads)
    states = []
    for number in range(count):
        for _ in islice(loader, loader.steps):
            pass
        other = ours.loader(work, engine, work.threads, shuffle=False)
        for _ in islice(other, 2):
            pass
        other.close()
        del other
        states.append(held())
        print(f"epoch {number + 1} of {count}: {states[-1]}", file=sys.stderr, flush=True)
    loader.close()
    return states


def growth(states: Sequence[State]) -> list[str]:
    """Return what grew, in words: the last third of the settled epochs beside the first."""
    settled = states[SETTLING:]
    part = len(settled) // 3
    if part == 0:
        return []  # too few to tell
    early, late = settled[:part], settled[-part:]
    faults = []
    for name in ("threads", "files"):
        before, after = (max(getattr(state, name) for state in some) for some in (early, late))
        if after > before:
            faults.append(f"{name}: {before} early, {after} late")
    before, after = (median(state.anonymous_bytes for state in some) for some in (early, late))
    if after > before * (1 + SHARE) + BYTES:
        faults.append(f"anonymous memory: {before / 1e6:.1f} MB early, {after / 1e6:.1f} MB late")
    return faults


def rows(states: Sequence[State]) -> list[list[str]]:
    """Return the table."""
    return [
        [f"{i}", *(f"{n:,.0f}" for n in (s.anonymous_bytes / 1e6, s.threads, s.files))]
        for i, s in enumerate(states, start=1)
    ]


@click.command(cls=flags.Command, context_settings={"show_default": True})
@click.option("--root", type=click.Path(path_type=Path), default=Path("data/bench"))
@click.option("--epochs", "count", type=click.IntRange(1), default=30)
@click.option("--engine", type=click.Choice(["host", "dali"]), default="host")
@click.option("--threads", type=click.IntRange(0), default=0, help="[0: one a core]")
@click.option("--quick", is_flag=True, help="tiny images, few epochs: only to see it work")
@kept.saving
def main(
    root: Path,
    count: int,
    engine: Literal["host", "dali"],
    threads: int,
    quick: bool,
    results: Path | None,
    no_save: bool,
    target: Path | None,
) -> None:
    """Watch memory, threads and files over many epochs."""
    goal = kept.destination(results, no_save, quick)
    kept.facts_of_run()
    root = root.resolve()
    size, count = (corpus.QUICK, min(count, 4)) if quick else (IMAGES, count)
    data = sets.built(root, corpus.photographs(root, size), "native")
    threads = threads or len(os.sched_getaffinity(0))
    work = Work(root=str(root), data=str(data), batch=32, size=96, threads=threads)
    try:
        states = epochs(work, engine, count)
    except RuntimeError as error:
        raise click.ClickException(str(error)) from None
    print(timing.table(HEAD, rows(states)))
    faults = growth(states)
    for fault in faults:
        print(f"grows: {fault}", file=sys.stderr)
    facts: dict[str, Any] = {
        "quick": quick,
        "engine": engine,
        "set": {"images": size.count},
        "grew": faults,
    }
    facts |= {"work": {"batch": work.batch, "size": work.size, "threads": threads}}
    facts |= {"epochs": [asdict(state) for state in states]}
    kept.finish("soak", facts, goal, target)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
