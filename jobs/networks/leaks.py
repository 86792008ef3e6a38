"""What a reader must know of the splits before all else: by what the build measured on the set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dataprep.manifest import DataError
from jobs.networks import Frame, kept
from jobs.results import Results


def remarks(frame: Frame, results: Results) -> list[str]:
    """Return what is wrong with the splits, a line each; nothing is good."""
    return list(_said(frame, results))


def _said(frame: Frame, results: Results) -> Iterator[str]:
    try:
        checks = frame.manifest.checks
    except DataError:  # the set is gone, what its runs were told is not
        checks = {}
    found = [kept.calibration(run.member) for run in results.runs]
    if is_leaky(checks) or any(one["leaky"] for one in found if one):
        yield (
            f"LEAKY: the splits of {frame.data} share lesions or images, so networks are tested on"
            " what they were trained on or chosen by. No figure here says how they do on new"
            " lesions."
        )
    for check in checks.values():
        if check.get("disjoint") is False or check.get("warns"):
            yield from map(str, check.get("says", ()))


def is_leaky(checks: Mapping[str, Mapping[str, Any]]) -> bool:
    """True where a set was built with lesions in two splits, and says so."""
    return any(check.get("disjoint") is False for check in checks.values())
