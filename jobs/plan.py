"""The plan of a study's folder: study, overrides and seeds, so that nothing is mixed silently.

Seeds may be added later; overrides may not change. One process at a time works in a folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import click

from dataprep.manifest import DataError, atomic

FILE_NAME = "study.json"
PATIENCE_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a folder of runs, or of a report, belongs to."""

    study: str
    overrides: Mapping[str, str]
    seeds: Sequence[int]


def recorded(folder: Path) -> Plan | None:
    """Return the plan of a folder, None where it has none; DataError where it is damaged."""
    path = folder / FILE_NAME
    try:
        return Plan(**json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise DataError(path, "", f"damaged ({error})") from None


def record(folder: Path, plan: Plan) -> Plan:
    """Write a plan with the seeds of earlier ones; ValueError where it is that of other runs."""
    before = recorded(folder)
    if before:
        refuse_changes(folder, before, plan)
        seeds = sorted({*before.seeds, *plan.seeds})
        plan = Plan(study=plan.study, overrides=plan.overrides, seeds=seeds)
    with atomic(folder / FILE_NAME) as path:
        path.write_text(json.dumps(asdict(plan), indent=1) + "\n")
    return plan


def refuse_changes(folder: Path, before: Plan, plan: Plan) -> None:
    """ValueError names the overrides that differ."""
    if before.study != plan.study:
        raise ValueError(f"{folder} holds the study {before.study}, not {plan.study}")
    old, new = before.overrides, plan.overrides
    changed = [
        f"{key} was {old.get(key, 'not set')}, is {new.get(key, 'not set')}"
        for key in {**old, **new}
        if old.get(key) != new.get(key)
    ]
    if changed:
        raise ValueError(
            f"{folder} is a study with other settings ({'; '.join(changed)}): give the same --set,"
            " or choose other folders by --runs and --out"
        )


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[int]:
    """Hold a folder for this process and its commands; ValueError where another keeps it.

    The commands of a study that was killed save and end by themselves: they are waited for.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "a+") as file:
        if not _taken(file.fileno()):
            _wait(folder, file)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield file.fileno()


def _wait(folder: Path, file: IO[str]) -> None:
    file.seek(0)
    owner = f"process {file.read().strip() or 'unknown'}, or a command that it started,"
    click.echo(f"{folder}: waiting, {owner} is at work here", err=True)
    deadline = time.monotonic() + PATIENCE_S
    while not _taken(file.fileno()):
        if time.monotonic() > deadline:
            raise ValueError(f"{folder}: {owner} is still at work here")
        time.sleep(0.2)


def _taken(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
