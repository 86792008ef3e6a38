"""W2: super-resolution pairs, aligned random crops turned eight ways, float32 in [0, 1]."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from files import warm
from workload import Against, Origin, Workload

from dataprep.manifest import DataError
from loaders import Dataset
from pairs import corpus
from pairs.check import Check
from pairs.contestants import CONTESTANTS
from pairs.work import Work


class Pairs(Workload):
    """Pairs (LR, HR) of one built set; the peers read copies of its pixels in their own forms."""

    kind = Work
    unit = "pair"
    against = (
        Against("ceiling", "share_of_ceiling", ("% ceiling wall", "CPU"), percent=True),
        Against("ceiling-memory", "share_of_ceiling-memory"),
    )
    contestants = CONTESTANTS

    def prepare(self, work: Work, origin: Origin, names: Sequence[str]) -> Work:
        """Return the work with its set, everything that the contestants read made and warm."""
        if origin.images:
            raise DataError(origin.images, "", "--images is for w1: build a set, then --data")
        size = corpus.Photographs()
        if origin.quick:
            size = corpus.Photographs(count=16, height=264, width=320)
        root = Path(work.root)
        folder = (
            Dataset(origin.data).folder if origin.data else corpus.built(root, size, work.scale)
        )
        warm(folder)
        for form in dict.fromkeys(form for name in names for form in CONTESTANTS[name].forms):
            warm(corpus.peer_files(root, folder, form, work.scale))
        return replace(work, data=str(folder))

    def epoch_items(self, work: Work) -> int:
        """Return the crops of an epoch: one of each image."""
        return len(Dataset(work.data).split("train"))

    def item_bytes(self, work: Work) -> int:
        """Return the bytes of one pair."""
        return 3 * work.patch**2 * (1 + work.scale**2)

    def check(self, work: Work, name: str) -> Check:
        """Return a check of alignment."""
        return Check(work.scale, work.patch, work.batch)

    def facts(self, work: Work) -> dict[str, Any]:
        """Return the work and the number of photographs."""
        shown = ("scale", "patch", "batch", "threads", "device", "seed")
        return {
            "set": {"samples": Dataset(work.data).samples},
            "work": {key: getattr(work, key) for key in shown},
        }


def workload(variant: str) -> Workload:
    """Return the workload."""
    return Pairs()
