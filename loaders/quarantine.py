"""Bad samples while a run is going: named, and stopped at or gone without, up to a limit."""

from __future__ import annotations

import logging
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from dataprep.manifest import DataError
from loaders.draw import Keys
from loaders.files import BadSample

Array = npt.NDArray[Any]
OnBad = Literal["stop", "skip", "replace"]

_LOG = logging.getLogger("nostall")
# A slot of draws that no stage has.
_SLOT = 1 << 40
_TRIES = 16
# More than any loader plans ahead: met as often, nothing takes a bad sample's place.
_PLANS = 16


class Quarantine:
    """The bad samples met so far, and what takes their places.

    stop: the first one ends the run. skip: it is counted and has weight 0, for evaluation.
    replace: another sample of the split takes its place, a pure function of (seed, epoch,
    position), so that a run resumed or on other ranks trains on the same samples.
    """

    def __init__(self, on_bad: OnBad, limit: int) -> None:
        if on_bad not in ("stop", "skip", "replace"):
            raise ValueError(f"on_bad is stop, skip or replace, not {on_bad!r}")
        self.on_bad, self.limit = on_bad, limit
        self.bad: dict[int, str] = {}
        self._met: dict[int, int] = {}

    def add(self, error: BadSample) -> None:
        """Note a bad sample; raise it where that ends the run."""
        met = self._met[error.sample] = self._met.get(error.sample, 0) + 1
        if self.on_bad == "stop" or met > _PLANS:
            raise error
        if met > 1:  # in a batch that was planned before it was known to be bad
            return
        self.bad[error.sample] = str(error)
        if len(self.bad) > self.limit:
            why = f"{error.why}; with it {len(self.bad)} samples are bad, the limit is {self.limit}"
            raise BadSample(error.path, error.sample, why)
        _LOG.warning("bad sample %d of at most %d: %s", len(self.bad), self.limit, error)

    def clean(self, keys: Keys, split: Any, groups: Array | None = None) -> tuple[Array, Array]:
        """Return ids (B,) that may be read and (B,) which of them are what was chosen.

        groups: (N,) codes of the split's rows; a sample's place goes to one of its own group.
        """
        ids = keys.ids.copy()
        kept = np.ones(len(ids), bool)
        for i in np.flatnonzero([int(sample) in self.bad for sample in ids] if self.bad else []):
            ids[i] = self._other(keys, int(i), split, groups)
            kept[i] = self.on_bad == "replace"
        return ids, kept

    def _other(self, keys: Keys, i: int, split: Any, groups: Array | None) -> int:
        """Return a good sample for one place of the batch."""
        place = slice(i, i + 1)
        # Not the id: a replacement does not depend on which sample was bad.
        one = Keys(keys.seed, keys.epoch, keys.positions[place], np.zeros(1, np.int64), _SLOT)
        if groups is not None:
            rows = self._good_rows(keys.ids[place], split, groups)
            return int(split[rows[one.integers(len(rows), 0)]][0])
        for number in range(_TRIES):
            sample = int(split[one.integers(len(split), number)][0])
            if sample not in self.bad:
                return sample
        raise DataError(split.path, "", f"no good sample in {_TRIES} draws: too many are bad")

    def _good_rows(self, ids: Array, split: Any, groups: Array) -> Array:
        """Return the good rows of a sample's group, so that the batch keeps its one size.

        Where the whole group is bad, and with it each place of the batch, those of another one.
        """
        bad = split.find(np.fromiter(self.bad, np.int64))
        good = np.ones(len(groups), bool)
        good[bad[bad >= 0]] = False
        if not good.any():
            raise DataError(split.path, "", "no good sample is left")
        own = groups == groups[split.find(ids)[0]]
        chosen = own & good if (own & good).any() else good & (groups == groups[good.argmax()])
        return np.flatnonzero(chosen)
