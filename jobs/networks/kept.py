"""What calibration and timing left in a run's folder.

None where there is nothing that is whole and of the weights that the run's report judges: then it
is made anew.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dataprep.manifest import DataError
from jobs.networks import CALIBRATION, TEST, Frame
from jobs.results import is_built, is_of_weights, read_json, set_name
from jobs.study import Judged, Member
from tasks.classes.outputs import Outputs, load

Facts = Mapping[str, Any]


def calibration(member: Member) -> Facts | None:
    """Return calibration.json."""
    return _of_weights(member, member.run.folder / "calibration.json")


def timing(member: Member) -> Facts | None:
    """Return timing.json."""
    return _of_weights(member, member.run.folder / "timing.json")


def assessment(member: Member) -> Facts | None:
    """Return what was found on the run's own set."""
    name = set_name(member.facts["recipe"]["data"], member.execution.data_root)
    return _of_weights(member, member.run.folder / f"assessment-{name}.json")


def _of_weights(member: Member, path: Path) -> Facts | None:
    if not member.is_finished or not path.is_file():
        return None
    try:
        found = read_json(path)
    except DataError:
        return None
    return found if is_of_weights(member, found.get("checkpoint")) else None


def outputs(member: Member, split: str) -> Outputs | None:
    """Return the logits of a split of the run's own set."""
    name = set_name(member.facts["recipe"]["data"], member.execution.data_root)
    if assessment(member) is None:
        return None
    try:
        return load(member.run, name, split)
    except DataError:
        return None


def judged(member: Member) -> dict[str, Judged]:
    """Return place -> what was found there."""
    found = assessment(member)
    if found is None:
        return {}
    name = set_name(member.facts["recipe"]["data"], member.execution.data_root)
    print_ = found["origin"]["data"]
    return {
        f"{name}/{split}": Judged(
            {key: value for key, value in one["figures"].items() if value is not None}, print_
        )
        for split, one in found["splits"].items()
    }


def interval(member: Member, place: str, metric: str) -> tuple[float, float] | None:
    """Return the bootstrap interval of a figure."""
    found = assessment(member) or {"splits": {}}
    split = found["splits"].get(place.rpartition("/")[2], {"intervals": {}})
    low, high = split["intervals"].get(metric, (math.nan, math.nan))
    return (low, high) if math.isfinite(low) and math.isfinite(high) else None


def is_calibrated(frame: Frame, member: Member) -> bool:
    """True where a run's weights were calibrated and judged on the set, where that is there."""
    found, said = calibration(member), assessment(member)
    if found is None or said is None:
        return False
    splits: tuple[str, ...] = (TEST,)
    same_data = True
    if is_built(member.judged(()), member.execution.data_root):
        splits, same_data = frame.splits, found["data"] == frame.manifest.fingerprint
    return (
        same_data
        and {*frame.points} <= {*found["points"]}
        and all(found["points"][name]["class"] == frame.positive for name in frame.points)
        and {*splits} <= {*said["splits"]}
        and all(outputs(member, split) is not None for split in (CALIBRATION, *splits))
    )
