"""Fixations out of the groups that pysaliency writes them to: one flat table, whatever the type.

Legend: S scanpaths, L the longest of them, M fixations. A table (S, L) holds NaN behind the end of
each scanpath; fixations follow each other scanpath by scanpath.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dataprep.hdf5 import Node

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Fixations:
    """Fixations, each field (M,), in the order of the file; NaN where the file does not say.

    stimulus: row in the stimuli. order: 0, 1, ... in the scanpath as stored.
    start_s, duration_s: as stored (CAT2000 has the running index in place of a start).
    scanpath_stimulus: (S,), of every scanpath, the `empty` ones too; S = 0 for type Fixations.
    subject_names: what the numbers of `subject` stand for, where the file has names.
    """

    stimulus: Rows
    x_px: Floats
    y_px: Floats
    subject: Floats
    order: Floats
    start_s: Floats
    duration_s: Floats
    scanpath_stimulus: Rows
    empty: int
    subject_names: tuple[str, ...] | None

    def __len__(self) -> int:
        return len(self.x_px)

    @property
    def scanpaths(self) -> int:
        """Count the scanpaths, with the empty ones; 0 where the file has none."""
        return len(self.scanpath_stimulus)


def single(node: Node, stimuli: int | None) -> Fixations:
    """Read a group of type Fixations: each on its own, with what came before it."""
    used = np.ones(node.table("x", ndim=1).shape[0], bool)
    order, start = _order(node, len(used)), _cells(node, "t", used)
    if np.isnan(order).all() and not start.any():
        start = np.full(len(used), np.nan)  # what pysaliency writes where it knows no time
    subject, names = _subjects(node, "subject" if node.has("subject") else "subjects", len(used))
    return Fixations(
        stimulus=_stimulus(node, "n", len(used), stimuli),
        x_px=_cells(node, "x", used, gaps=False),
        y_px=_cells(node, "y", used, gaps=False),
        subject=subject,
        order=order,
        start_s=start,
        duration_s=_single_durations(node, used, order),
        scanpath_stimulus=np.empty(0, np.int64),
        empty=0,
        subject_names=names,
    )


def trains(node: Node, stimuli: int | None) -> Fixations:
    """Read a group of type FixationTrains."""
    used = _used(node, "train_xs", "train_lengths")
    mapping = node.json("scanpath_attribute_mapping", dict)
    duration = _attribute(node, "scanpath_fixation_attributes", mapping, "duration", used)
    if duration is None:  # version 1.1
        duration = _attribute(node, "scanpath_attributes", {"train_durations": "it"}, "it", used)
    if duration is None:
        duration = _earlier_durations(node, *np.nonzero(used))
    subject, names = _subjects(node, "train_subjects", len(used))
    return _flat(
        used,
        x_px=_cells(node, "train_xs", used, gaps=False),
        y_px=_cells(node, "train_ys", used, gaps=False),
        stimulus=_stimulus(node, "train_ns", len(used), stimuli),
        subject=subject,
        start_s=_cells(node, "train_ts", used),
        duration_s=duration,
        subject_names=names,
    )


def scanpaths(node: Node, stimuli: int | None) -> Fixations:
    """Read a group of type Scanpaths."""
    # One name in some commits of pysaliency's development, the other in the rest.
    used = _used(node, "xs", "length" if node.has("length") else "lengths")
    mapping = node.json("attribute_mapping", dict)
    unknown = np.full(np.count_nonzero(used), np.nan)
    start = _attribute(node, "fixation_attributes", mapping, "t", used)
    duration = _attribute(node, "fixation_attributes", mapping, "duration", used)
    subject, names = np.full(len(used), np.nan), None
    if node.has("scanpath_attributes"):
        subject, names = _subjects(node.child("scanpath_attributes"), "subject", len(used))
    return _flat(
        used,
        x_px=_cells(node, "xs", used, gaps=False),
        y_px=_cells(node, "ys", used, gaps=False),
        stimulus=_stimulus(node, "n", len(used), stimuli),
        subject=subject,
        start_s=unknown if start is None else start,
        duration_s=unknown if duration is None else duration,
        subject_names=names,
    )


def _flat(
    used: Mask,
    *,
    x_px: Floats,
    y_px: Floats,
    stimulus: Rows,
    subject: Floats,
    start_s: Floats,
    duration_s: Floats,
    subject_names: tuple[str, ...] | None,
) -> Fixations:
    """Give every fixation what is known of its scanpath: stimulus, subject (S,)."""
    row, order = np.nonzero(used)
    return Fixations(
        stimulus=stimulus[row],
        x_px=x_px,
        y_px=y_px,
        subject=subject[row],
        order=order.astype(np.float64),
        start_s=start_s,
        duration_s=duration_s,
        scanpath_stimulus=stimulus,
        empty=int(np.count_nonzero(~used.any(axis=1))),
        subject_names=subject_names,
    )


def _used(node: Node, name: str, lengths_name: str) -> Mask:
    """Tell where in a table (S, L) there are fixations."""
    table = node.numbers(name, ndim=2)
    lengths = np.count_nonzero(~np.isnan(table), axis=1)
    if node.has(lengths_name):
        stored = node.numbers(lengths_name, "iu", ndim=1, rows=len(table))
        if len(bad := np.flatnonzero((stored < 0) | (stored > table.shape[1]))):
            why = f"scanpath {bad[0]} has {stored[bad[0]]} of {table.shape[1]} fixations"
            raise node.bad(lengths_name, why)
        lengths = stored
    return np.asarray(np.arange(table.shape[1]) < lengths[:, None])


def _cells(node: Node, name: str, used: Mask, gaps: bool = True) -> Floats:
    """Read a table and return the values of the fixations; `gaps`: may be unknown (NaN)."""
    table = node.numbers(name, ndim=used.ndim, rows=len(used))
    if table.shape != used.shape:
        raise node.bad(name, f"has the shape {table.shape}, not {used.shape}")
    wrong = np.isinf(table)
    if table.dtype.kind == "f":
        wrong |= ~used & ~np.isnan(table)
    if not gaps:
        wrong |= used & np.isnan(table)
    if wrong.any():
        at = tuple(int(i) for i in np.argwhere(wrong)[0])
        what = "scanpath {}, fixation {}" if used.ndim == 2 else "fixation {}"
        where = "" if used[at] else ", behind the end of the scanpath,"
        raise node.bad(name, f"{what.format(*at)}{where} is {table[at]}")
    return table[used].astype(np.float64)


def _stimulus(node: Node, name: str, rows: int, stimuli: int | None) -> Rows:
    """Read rows of stimuli; `stimuli`: how many there are."""
    stored = node.numbers(name, "iu", ndim=1, rows=rows)
    end = np.iinfo(np.int64).max if stimuli is None else stimuli
    if len(bad := np.flatnonzero((stored < 0) | (stored >= end))):
        there = "" if stimuli is None else f"; there are {stimuli}"
        raise node.bad(name, f"row {bad[0]} names stimulus {stored[bad[0]]}{there}")
    return stored.astype(np.int64)


def _subjects(node: Node, name: str, rows: int) -> tuple[Floats, tuple[str, ...] | None]:
    """Read subjects as numbers; names are numbered in their sorted order."""
    if not node.has(name):
        return np.full(rows, np.nan), None
    if not node.is_text(name):
        return node.numbers(name, ndim=1, rows=rows).astype(np.float64), None
    stored = node.strings(name)
    if stored.shape != (rows,):
        raise node.bad(name, f"has the shape {stored.shape}, not {rows} rows")
    names, numbers = np.unique(stored.astype(str), return_inverse=True)
    return numbers.astype(np.float64), tuple(str(one) for one in names)


def _attribute(
    node: Node, group: str, mapping: dict[str, str], wanted: str, used: Mask
) -> Floats | None:
    """Read what a group has for every fixation under a name that the mapping makes `wanted`."""
    if not node.has(group):
        return None
    inside = node.child(group)
    names = [name for name, meaning in mapping.items() if meaning == wanted]
    for name in (*names, f"{wanted}s", wanted):
        if inside.has(name):
            return _cells(inside, name, used)
    return None


def _order(node: Node, rows: int) -> Floats:
    """Count what came before each fixation of type Fixations."""
    if node.has("lengths"):
        order = node.numbers("lengths", "iu", ndim=1, rows=rows)
        if len(bad := np.flatnonzero(order < 0)):
            raise node.bad("lengths", f"row {bad[0]} is {order[bad[0]]}")
    else:
        order = node.counts("x_hist", rows) if node.has("x_hist") else np.zeros(rows, np.int64)
    # All first ones: what came before was not kept.
    return order.astype(np.float64) if order.any() else np.full(rows, np.nan)


def _single_durations(node: Node, used: Mask, order: Floats) -> Floats:
    for name in ("duration", "durations"):
        if node.has(name):
            return _cells(node, name, used)
    if not node.has("scanpath_index") or np.isnan(order).any():
        return np.full(len(used), np.nan)
    scanpath = node.numbers("scanpath_index", "iu", ndim=1, rows=len(used))
    return _earlier_durations(node, scanpath, order.astype(np.int64))


def _earlier_durations(node: Node, scanpath: Rows, order: Rows) -> Floats:
    """Find each duration in the history of a later fixation; a last one's is in none."""
    durations = np.full(len(order), np.nan)
    if not node.has("duration_hist") or not len(order):
        return durations
    history = node.numbers("duration_hist", "f", ndim=2, rows=len(order))
    _, group = np.unique(scanpath, return_inverse=True)
    latest = np.zeros(len(order), np.int64)
    ascending = np.argsort(order, kind="stable")
    latest[group[ascending]] = ascending  # the last one assigned stays
    row = latest[group]
    known = (order < order[row]) & (order < history.shape[1])
    durations[known] = history[row[known], order[known]]
    return durations
