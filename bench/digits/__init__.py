"""W3: digits in memory, 28×28 grey, shuffled, normalised to float32, batches of 256."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from files import warm
from workload import Against, Check, Origin, Workload

from dataprep import manifest
from dataprep.manifest import DataError
from digits.contestants import CONTESTANTS
from digits.work import SIDE, Work

SPLIT = "train"


class Digits(Workload):
    """Digits of one folder: as IDX files, and as a set built from them."""

    kind = Work
    unit = "image"
    against = (
        Against("torchvision", "times_torchvision", ("× torchvision wall", "CPU")),
        Against("tensordataset", "times_tensordataset", ("× TensorDataset wall", "CPU")),
        Against("ceiling", "share_of_ceiling", ("% ceiling wall", "CPU"), percent=True),
    )
    contestants = CONTESTANTS

    def prepare(self, work: Work, origin: Origin, names: Sequence[str]) -> Work:
        """Return the work with its folders, everything that the contestants read made and warm."""
        from digits import corpus  # it imports what no contestant should wait for

        if other := origin.data or origin.images:
            raise DataError(other, "", "w3 makes its own digits: leave out --data and --images")
        root = Path(work.root)
        files = corpus.digits(root, corpus.QUICK if origin.quick else corpus.Digits())
        data = corpus.built(root, files)
        for folder in (files, data):
            warm(folder)
        return replace(work, data=str(data), files=str(files))

    def epoch_items(self, work: Work) -> int:
        """Return 0: every contestant reads all digits before its first batch."""
        return 0

    def item_bytes(self, work: Work) -> int:
        """Return the bytes of one image."""
        return SIDE * SIDE

    def check(self, work: Work, name: str) -> Check:
        """Return a check of every pixel and label."""
        from digits import check

        return check.Check(work.files, work.batch)

    def facts(self, work: Work) -> dict[str, Any]:
        """Return the work, and what the files are."""
        shown = ("batch", "threads", "device", "seed")
        images = manifest.load(work.data).splits[SPLIT]
        data = {"files": Path(work.files).name, "images": images}
        return {"set": data, "work": {key: getattr(work, key) for key in shown}}


def workload(variant: str) -> Workload:
    """Return the workload."""
    return Digits()
