"""Which stimuli train, validate and test: seeded splits and pysaliency's cross-validation.

All of it goes by names alone, so it is the same for every layout of the same stimuli.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterable, Sequence

import numpy as np


def natural_key(name: str) -> list[str | int]:
    """Return a key that sorts numbers in names by their value: i2 before i10."""
    return [int(part) if i % 2 else part for i, part in enumerate(re.split("([0-9]+)", name))]


def held_out(names: Sequence[str], seed: int | str, share: float) -> set[str]:
    """Return the names that a shuffle of the plainly sorted ones puts last: `share` of them.

    At least one, where there are two or more.
    """
    shuffled = sorted(names)
    random.Random(seed).shuffle(shuffled)
    count = round(len(shuffled) * share)
    return set(shuffled[len(shuffled) - max(count, min(len(shuffled) - 1, 1)) :])


def held_out_of_each(classes: Iterable[Sequence[str]], seed: int, share: float) -> set[str]:
    """Return the names to hold out of classes: `share` of each, chosen by a hash of seed and name.

    By the hash, not by the order of names: neighbours are often the same scene.
    """

    def rank(name: str) -> str:
        return hashlib.sha256(f"{seed}:{name}".encode(errors="surrogateescape")).hexdigest()

    return {
        name for names in classes for name in sorted(names, key=rank)[: round(len(names) * share)]
    }


def fold_splits(
    names: Sequence[str], folds: int, seed: int | Sequence[int], what: str = "stimuli"
) -> dict[str, tuple[str, ...]]:
    """Return the splits fold0_train, fold0_val, fold0_test, fold1_train, … that each name is in.

    As pysaliency makes them: the naturally sorted names are shuffled and cut into `folds` chunks;
    fold i tests chunk i, validates chunk i - 1 and trains on all others. ValueError where a chunk
    would be empty; `what`: how it calls the names.
    """
    ordered = sorted(names, key=natural_key)
    rows = np.arange(len(ordered))
    np.random.RandomState(seed).shuffle(rows)
    size = -(-len(ordered) // folds)
    if size * (folds - 1) >= len(ordered):
        raise ValueError(f"--folds {folds} leaves folds of {len(ordered)} {what} empty")
    chunk = np.empty(len(ordered), np.int64)
    chunk[rows] = np.arange(len(ordered)) // size
    return {
        name: tuple(f"fold{fold}_{_part(own, fold, folds)}" for fold in range(folds))
        for name, own in zip(ordered, chunk.tolist(), strict=True)
    }


def _part(chunk: int, fold: int, folds: int) -> str:
    return {fold: "test", (fold - 1) % folds: "val"}.get(chunk, "train")
