"""The plan of a study's folder: study, options, overrides and seeds, so that nothing is mixed.

Seeds may be added later, and items to an option that is a list; what the study calls free may
change, nothing else. One
process at a time works in a folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import click

from dataprep.manifest import DataError, atomic

FILE_NAME = "study.json"
PATIENCE_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a folder of runs, or of a report, belongs to; options in JSON's types.

    free: options that may change. untyped: lists that nobody typed: new items join them.
    """

    study: str
    overrides: Mapping[str, str]
    seeds: Sequence[int]
    options: Mapping[str, Any] = field(default_factory=dict)
    free: Sequence[str] = field(default_factory=list)
    untyped: Sequence[str] = field(default_factory=list)

    def joined(self, before: Plan) -> Plan:
        """Return this plan with the seeds and the lists' items of an earlier one."""
        lists = {
            key: [*dict.fromkeys([*before.options.get(key, ()), *value])]
            for key, value in self.options.items()
            if isinstance(value, list)
        }
        seeds = sorted({*before.seeds, *self.seeds})
        options = {**self.options, **lists}
        return replace(self, seeds=seeds, options=options, untyped=before.untyped)


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
    """Write a plan joined to earlier ones; ValueError where it is that of other runs."""
    before = recorded(folder)
    if before:
        refuse_changes(folder, before, plan)
        plan = plan.joined(before)
    with atomic(folder / FILE_NAME) as path:
        path.write_text(json.dumps(asdict(plan), indent=1) + "\n")
    return plan


def refuse_changes(folder: Path, before: Plan, plan: Plan) -> None:
    """ValueError names the options and overrides that differ."""
    if before.study != plan.study:
        raise ValueError(f"{folder} holds the study {before.study}, not {plan.study}")
    old, new = ({**_single(one.options), **one.overrides} for one in (before, plan))
    changed = [
        f"{key} was {old.get(key, 'not set')}, is {new.get(key, 'not set')}"
        for key in {**old, **new}
        if old.get(key) != new.get(key) and key not in plan.free
    ]
    if changed:
        raise ValueError(
            f"{folder} is a study with other settings ({'; '.join(changed)}): give the same"
            " options and --set, or choose other folders by --into and --out"
        )


def _single(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that are no lists."""
    return {key: value for key, value in options.items() if not isinstance(value, list)}


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
