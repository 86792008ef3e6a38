"""Splits of samples that come in groups, several pictures of one lesion say, and what they leak.

A group lies in one split as a whole, so that nothing is tested on what it was trained on. Legend:
N samples; a split is a list of ids.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def by_group(
    groups: Sequence[str], labels: Sequence[str], shares: Mapping[str, float], seed: int
) -> list[str]:
    """Return the split of each sample: of each class about its share, a group never parted.

    The groups of a class are ordered by a hash of seed and group, and the order is cut where the
    samples reach the shares: within half of a group of them. So a group keeps its split when others
    come or go, but for those beside a cut. A class with as many groups as there are splits is in
    every split. ValueError for a group of two classes, or shares that are none.
    """
    wanted = {name: share for name, share in shares.items() if share > 0}
    if min(shares.values()) < 0 or not abs(sum(shares.values()) - 1) <= 1e-6:
        raise ValueError(f"shares must be 0 or more and add up to 1, not {_listed(shares)}")
    sizes, classes = Counter(groups), defaultdict(set)
    for group, label in zip(groups, labels, strict=True):
        classes[label].add(group)
    if sum(map(len, classes.values())) != len(sizes):
        raise ValueError("a group has samples of two classes")
    split: dict[str, str] = {}
    for label in sorted(classes):
        ordered = sorted(classes[label], key=lambda group: _rank(seed, group))
        cuts = _cuts([sizes[group] for group in ordered], list(wanted.values()))
        for name, start, stop in zip(wanted, cuts, cuts[1:], strict=False):
            split |= dict.fromkeys(ordered[start:stop], name)
    return [split[group] for group in groups]


def _rank(seed: int, group: str) -> str:
    return hashlib.sha256(f"{seed}:{group}".encode()).hexdigest()


def _cuts(sizes: Sequence[int], shares: Sequence[float]) -> list[int]:
    """Return where each split begins among groups of these sizes, and the end."""
    ends = np.cumsum(sizes)
    # A group lies where its middle does.
    middles = ends - np.asarray(sizes) / 2
    cuts = np.searchsorted(middles, np.cumsum(shares)[:-1] * ends[-1]).tolist()
    count, parts = len(sizes), len(shares)
    cuts = [0, *cuts, count]
    if count >= parts:  # each split has a group at least, also where a large one covers its share
        for i in range(1, parts):
            cuts[i] = max(cuts[i], cuts[i - 1] + 1)
        for i in range(parts - 1, 0, -1):
            cuts[i] = min(cuts[i], cuts[i + 1] - 1)
    return cuts


def by_sample(labels: Sequence[str], held_out: float, seed: int) -> Array:
    """Return (N,) bool, True where a random stratified split by sample holds one out.

    The same rows as scikit-learn's train_test_split(test_size=held_out, stratify=labels,
    random_state=seed). ValueError where a class has one sample alone.
    """
    from sklearn.model_selection import train_test_split  # takes a second to import

    _, test = train_test_split(
        np.arange(len(labels)), test_size=held_out, stratify=labels, random_state=seed
    )
    chosen = np.zeros(len(labels), bool)
    chosen[test] = True
    return chosen


def shared(splits: Mapping[str, Array], groups: Array) -> dict[str, int]:
    """Return for each pair of splits, as "train/val", the groups that are in both."""
    of = {name: np.unique(groups[ids]) for name, ids in splits.items()}
    return {
        f"{one}/{other}": len(np.intersect1d(of[one], of[other], assume_unique=True))
        for one, other in combinations(splits, 2)
    }


def twins(ids: Array, train: Array, groups: Array) -> Array:
    """Return the ids whose group has a sample among those of `train`."""
    found: Array = ids[np.isin(groups[ids], groups[train])]
    return found


def leak(ids: Array, train: Array, groups: Array, labels: Array, label: int) -> dict[str, Any]:
    """Count the samples of a split that have a twin in `train`, and so of one class."""
    found = twins(ids, train, groups)
    facts = {"samples": len(ids), "twins": len(found), "share": _share(len(found), len(ids))}
    of, also = int((labels[ids] == label).sum()), int((labels[found] == label).sum())
    return facts | {"of_class": {"samples": of, "twins": also, "share": _share(also, of)}}


def _share(part: int, whole: int) -> float:
    return round(part / whole, 6) if whole else 0.0


def _listed(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {share:g}" for name, share in shares.items())
