"""Who takes part, with which settings, and what is missing: `bench/loader.py --list`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import timing
from workload import Contestant, Setting, Workload

HEAD = ("contestant", "what it does", "settings tried", "installed")


def listing(found: Mapping[str, Workload], threads: int) -> str:
    """Return the contestants of workloads as text."""
    return "\n\n".join(f"{name}\n{_table(one, threads)}" for name, one in found.items())


def _table(workload: Workload, threads: int) -> str:
    cores = threads or len(os.sched_getaffinity(0))
    kind: Any = workload.kind  # its fields have defaults, the base's `batch` has none
    work = kind(root="", data="", threads=cores)
    rows = [_row(name, one, work) for name, one in workload.contestants.items()]
    return timing.table(HEAD, rows, left=len(HEAD))


def _row(name: str, contestant: Contestant, work: Any) -> list[str]:
    return [name, contestant.summary, choices(contestant.settings(work)), installed(contestant)]


def choices(settings: Sequence[Setting]) -> str:
    """Return settings in short: workers=0|1|2."""
    keys = dict.fromkeys(key for setting in settings for key in setting)
    values = {key: dict.fromkeys(str(s[key]) for s in settings if key in s) for key in keys}
    return " ".join(f"{key}={'|'.join(values[key])}" for key in keys)


def installed(contestant: Contestant) -> str:
    """Return "yes", or what is missing and how it comes."""
    if not contestant.missing:
        return "yes"
    text = f"no: {', '.join(contestant.missing)}"
    return f"{text}; pip install -e '.[{contestant.install}]'" if contestant.install else text
