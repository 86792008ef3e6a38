"""A calibration of one checkpoint: temperature and operating points, kept in calibration.json.

Legend: N samples, C classes. Thresholds are on the calibrated probability of a class; who has
`threshold` or more is called of it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax

from dataprep.manifest import DataError
from tasks.classes import temperature
from tasks.metrics import operating
from tasks.run import Run, report

if TYPE_CHECKING:  # outputs are collected by the task, which imports this module
    from tasks.classes.outputs import Outputs

Array = npt.NDArray[Any]

FILE_NAME = "calibration.json"
POINT = {"class": str, "index": int, "wanted": str, "least": float, "threshold": float}
POINT |= {"sensitivity": float, "specificity": float, "positives": int, "negatives": int}


@dataclass(frozen=True)
class Calibration:
    """points: name ("spec95") -> class, index, wanted, least, threshold, what was seen there.

    fit: how photographs became the network's square; brought to it otherwise, none of this holds.
    """

    classes: tuple[str, ...]
    temperature: float
    points: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    fit: str = "crop"

    def log_probabilities(self, logits: Array) -> Array:
        """Return log softmax(logits / T) (N, C), float64; ValueError for other classes."""
        logits = np.asarray(logits, np.float64)
        if logits.shape[-1] != len(self.classes):
            raise ValueError(
                f"logits of {logits.shape[-1]} classes, calibrated {len(self.classes)}"
            )
        return np.asarray(log_softmax(logits / self.temperature, axis=-1))

    def probabilities(self, logits: Array) -> Array:
        """Return calibrated probabilities (N, C), float64."""
        return np.asarray(np.exp(self.log_probabilities(logits)))


def fit(
    found: Outputs, classes: Sequence[str], positive: str, specificity: float, sensitivity: float
) -> Calibration:
    """Return the calibration of a split's outputs; ValueError, one line, where there is none.

    positive: the class of the operating points; "": none.
    """
    plain = Calibration(tuple(classes), temperature.fit(found.logits, found.labels))
    if not positive:
        return plain
    index = plain.classes.index(positive)
    scores, is_one = plain.probabilities(found.logits)[:, index], found.labels == index
    points = {}
    for wanted, short, choose, least in (
        ("specificity", "spec", operating.specific, specificity),
        ("sensitivity", "sens", operating.sensitive, sensitivity),
    ):
        threshold = operating.settled(scores, choose(scores, is_one, least))
        seen = operating.rates(scores, is_one, threshold)
        points[f"{short}{100 * least:g}"] = {
            "class": positive,
            "index": index,
            "wanted": wanted,
            "least": least,
            "threshold": threshold,
            "sensitivity": seen.sensitivity,
            "specificity": seen.specificity,
            "positives": int(is_one.sum()),
            "negatives": int((~is_one).sum()),
        }
    return Calibration(plain.classes, plain.temperature, points)


def load(run: Run, checkpoint: Path | None = None) -> Calibration | None:
    """Return the calibration of a run's checkpoint (default: its best); None where there is none.

    DataError where it is of another checkpoint, or damaged.
    """
    path = run.folder / FILE_NAME
    if not path.is_file():
        return None
    try:
        facts = json.loads(path.read_text())
        made_of, digest = facts["checkpoint"]["name"], facts["checkpoint"]["sha256"]
        found = _read(facts)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(path, "", f"damaged ({error!r})") from None
    used = report.identity(checkpoint or run.best())
    if used["sha256"] != digest:
        why = f"is of another checkpoint ({made_of}) than {used['name']}"
        raise DataError(path, "", f"{why}: python -m tasks calibrate {run.folder}")
    return found


def _read(facts: Mapping[str, Any]) -> Calibration:
    """Return what a file holds; ValueError or KeyError where it cannot be."""
    classes = tuple(str(name) for name in facts["classes"])
    temperature, points = float(facts["temperature"]), dict(facts["points"])
    found = Calibration(classes, temperature, points, str(facts.get("fit", "crop")))
    if not (math.isfinite(found.temperature) and found.temperature > 0):
        raise ValueError(f"temperature {found.temperature}")
    for name, point in found.points.items():
        for key, kind in POINT.items():
            if not isinstance(point[key], (int, float) if kind is float else kind):
                raise ValueError(f"{key} of {name} is {point[key]!r}")
        if not 0 <= point["index"] < len(classes) or math.isnan(point["threshold"]):
            raise ValueError(f"{name} is of class {point['index']} at {point['threshold']}")
    return found
