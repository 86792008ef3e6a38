"""Own: a set of the user's with its recipe's stages, as train.py loads it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from files import warm
from torch import Tensor
from workload import Against, Check, Origin, Workload

from dataprep.manifest import DataError
from loaders import Dataset
from own.contestants import CONTESTANTS, loader
from own.feed import suitable, training
from own.work import Work


class Own(Workload):
    """The training batches of a recipe on one built set."""

    kind = Work
    unit = "sample"
    against = (
        Against(
            "dataloader-batches",
            "times_dataloader-batches",
            ("× dataloader-batches wall", "CPU"),
        ),
        Against("dataloader", "times_dataloader", ("× dataloader wall", "CPU")),
        Against("ceiling", "share_of_ceiling", ("% ceiling wall", "CPU"), percent=True),
    )
    contestants = CONTESTANTS

    def prepare(self, work: Work, origin: Origin, names: Sequence[str]) -> Work:
        """Return the work with its set, recipe, batch and shapes; the set is read once."""
        if origin.images:
            raise DataError(origin.images, "", "--images is for w1: build a set, then --data")
        if not origin.data:
            raise DataError("--data", "", "own needs a built set: --data SET, and --model RECIPE")
        folder = Dataset(origin.data).folder
        work = replace(work, data=str(folder.resolve()))
        work = replace(work, model=work.model or suitable(folder))
        wanted = training(work)
        samples = len(wanted.dataset.split(wanted.split))
        work = replace(work, batch=min(wanted.batch, samples))
        warm(folder)
        return replace(work, shapes=shapes(work))

    def epoch_items(self, work: Work) -> int:
        """Return the samples of the training split."""
        wanted = training(work)
        return len(wanted.dataset.split(wanted.split))

    def item_bytes(self, work: Work) -> int:
        """Return the bytes of one sample in 8-bit numbers; 0 where samples differ in size."""
        return sum(
            math.prod(shape) for shape, _ in work.shapes.values() if shape and len(shape) > 1
        )

    def check(self, work: Work, name: str) -> Check:
        """Return a check of samples, shapes and grey levels."""
        from own import check

        return check.Check(work, repeats=name == "ceiling")

    def facts(self, work: Work) -> dict[str, Any]:
        """Return the work, and what the set is."""
        wanted = training(work)
        manifest = wanted.dataset.manifest
        data = {
            "name": manifest.name,
            "fingerprint": manifest.fingerprint,
            "samples": self.epoch_items(work),
            "fields": {name: manifest.fields[name].kind for name in wanted.feed.fields},
        }
        shown = {key: getattr(work, key) for key in ("model", "batch", "threads", "device", "seed")}
        stages = [type(stage).__name__ for stage in wanted.feed.stages]
        return {"set": data, "work": shown | {"stages": stages, "shapes": dict(work.shapes)}}


def shapes(work: Work) -> dict[str, Any]:
    """Return {field: (shape of a sample, dtype)} of one batch; None where sizes differ."""
    ours = loader(work, "host", threads=1)
    batches = iter(ours)
    found: dict[str, Any] = {}
    differ = training(work).feed.groups is not None
    for name, values in next(batches).fields.items():
        found[name] = [None, ""]
        if isinstance(values, Tensor) and not differ:
            found[name] = [list(values.shape[1:]), str(values.dtype)]
    batches.close()
    ours.close()
    return found


def workload(variant: str) -> Workload:
    """Return the workload."""
    return Own()
