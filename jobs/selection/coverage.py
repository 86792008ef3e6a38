"""How often each sample was trained on: what visits.npz and the log of a run say.

Legend: N samples of the split `train`, also for a contender that trains on a part of it.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dataprep.manifest import DataError
from jobs.results import Result
from jobs.selection.contest import Contest

Array = npt.NDArray[np.int64]
HARDEST = 0.2  # the share of the samples that is seen most often


@dataclass(frozen=True)
class Coverage:
    """One run: visits (N,), and the share of the samples seen in its first whole epoch."""

    visits: Array
    first_epoch: float | None

    @property
    def never(self) -> float:
        """Share of the samples that were never trained on."""
        return float((self.visits == 0).mean())

    @property
    def top(self) -> float:
        """Share of all visits that the most visited fifth of the samples got."""
        ordered = np.sort(self.visits)[::-1]
        return float(ordered[: round(HARDEST * len(ordered))].sum() / max(1, ordered.sum()))


def coverage(contest: Contest, run: Result) -> Coverage | None:
    """Return the coverage of a run, None where its visits were not counted."""
    path = run.member.run.folder / "visits.npz"
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            visits = np.asarray(file["visits"], np.int64)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(path, "", f"damaged ({error})") from None
    samples = contest.frame.manifest.splits["train"]
    # Where it trained on a part of the split, the others were never seen.
    whole = np.concatenate([visits, np.zeros(max(0, samples - len(visits)), np.int64)])
    epochs = [entry for entry in run.log if entry.get("kind") == "epoch"]
    seen = epochs[0]["seen"] * len(visits) / len(whole) if epochs else None
    return Coverage(whole, seen)


def mean(values: Sequence[float | None]) -> float | None:
    """Return the mean of the values that are known, None without one."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
