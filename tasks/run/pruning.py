"""Splits of the samples that a table ranks highest: `python -m tasks prune`.

Paul et al. 2021 (arXiv:2107.07075, section 3): of samples ranked by EL2N, the share `keep` after
the share `offset` of the very hardest, which are often mislabelled.

Legend: M samples of the split.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from dataprep import derived
from dataprep.manifest import DataError
from loaders import Dataset
from tasks.run.scoring import identity

Array = npt.NDArray[Any]

LABEL = "label"


@dataclass(frozen=True)
class Rule:
    """Which samples of a split are kept: shares of it, and by which end of the ranking."""

    keep: float
    offset: float = 0.0
    order: Literal["highest", "lowest"] = "highest"
    per_class: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.keep < 1 or not 0 <= self.offset < 1 or self.keep + self.offset > 1 + 1e-9:
            raise ValueError(
                f"--keep {self.keep:g} --offset {self.offset:g}: want shares, keep above 0 and"
                " below 1, both together no more than 1"
            )

    def name(self, table: str) -> str:
        """Return the usual name of a split made by this rule: el2n_keep50."""
        parts = [
            table,
            *(["lowest"] if self.order == "lowest" else []),
            f"keep{_percent(self.keep)}",
        ]
        parts += [f"offset{_percent(self.offset)}"] if self.offset else []
        return "_".join(parts + (["per_class"] if self.per_class else []))

    def apply(self, ids: Array, scores: Array, labels: Array | None = None) -> Array:
        """Return the ids kept, ascending; equal scores count in the order of ids.

        ids: (M,) ascending. scores, labels: (M,); with labels each class is ranked by itself.
        """
        groups = np.zeros(len(ids), np.int64) if labels is None else labels
        kept = [self._of_group(np.flatnonzero(groups == one), scores) for one in np.unique(groups)]
        return np.sort(ids[np.concatenate(kept)])

    def _of_group(self, rows: Array, scores: Array) -> Array:
        keys = -scores[rows] if self.order == "highest" else scores[rows]
        ranked = rows[np.argsort(keys, kind="stable")]
        first = round(self.offset * len(rows))
        return ranked[first : first + round(self.keep * len(rows))]


def prune(dataset: Dataset, by: str, split: str, rule: Rule) -> tuple[Array, dict[str, Any]]:
    """Return the ids kept and what they are made from.

    DataError where a sample has no score, and where nothing would be kept.
    """
    path = dataset.result(by)
    table, ids = dataset.table(by), np.asarray(dataset.split(split))
    missing = ids[~np.isfinite(table[ids])]
    if len(missing):
        why = f"{len(missing):,} of {len(ids):,} samples of split {split} have no score in it"
        raise DataError(path, "", f"{why}, the first is sample {missing[0]}: score that split")
    kept = rule.apply(ids, table[ids], _labels(dataset)[ids] if rule.per_class else None)
    if not len(kept):
        raise DataError(path, "", f"--keep {rule.keep:g} of {len(ids):,} samples leaves none")
    made_from = {
        "data": dataset.manifest.fingerprint,
        "by": f"{path.name} {derived.fingerprint(path)}",
        "split": identity(dataset, split),
        "keep": rule.keep,
        "offset": rule.offset,
        "order": rule.order,
        "per_class": rule.per_class,
    }
    return kept, made_from


def _labels(dataset: Dataset) -> Array:
    field = dataset.fields.get(LABEL)
    if field is None or field.kind != "value" or field.shape:
        raise DataError(dataset.folder, LABEL, "no such field, so there are no classes to balance")
    return np.asarray(dataset.values(LABEL))


def _percent(share: float) -> str:
    return f"{100 * share:.6g}"
