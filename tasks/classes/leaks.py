"""Do splits that must know nothing of each other share samples, or lesions?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from loaders import Dataset
from tasks.classes.outputs import SAMPLES, group_name, groups_of


def leaks(
    dataset: Dataset, trained: Sequence[str], calibration: str, judged: Sequence[str]
) -> list[str]:
    """Return what is shared, a text for each pair of splits that share anything.

    trained: what weights were fitted to and then chosen by, such as train and val. A calibration
    split may be the one that weights were chosen by; a judged one knows none of them.
    """
    pairs = [(calibration, trained[0])] if trained else []
    pairs += [(split, other) for split in judged for other in (calibration, *trained)]
    return [text for pair in dict.fromkeys(pairs) for text in _shared(dataset, *pair)]


def _shared(dataset: Dataset, one: str, other: str) -> Iterator[str]:
    first, second = (np.asarray(dataset.split(name)) for name in (one, other))
    groups = groups_of(dataset, first)
    samples = len(np.intersect1d(first, second))
    together = len(np.intersect1d(groups, groups_of(dataset, second)))
    word = group_name(dataset)
    if together:
        whole = f"{one} shares {together:,} of its {len(np.unique(groups)):,} {word} with {other}"
        yield whole + (f" ({samples:,} samples are in both)" if samples and word != SAMPLES else "")
