"""W1: JPEG photographs, cropped or whole, augmented, normalised to float32, batches of 64."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from files import each, warm
from workload import Against, Check, Origin, Workload

from dataprep.manifest import DataError
from photos.contestants import CONTESTANTS
from photos.work import FEW, Work


class Photos(Workload):
    """Photographs of one folder: as files, and as a set of one of four variants."""

    kind = Work
    unit = "image"
    against = (
        Against("torchvision", "times_torchvision", ("× torchvision wall", "CPU")),
        Against("dali-file", "times_dali-file"),
        Against("dali-wds", "times_dali-wds"),
        Against("decode", "times_decode", ("× decode wall", "CPU")),
    )

    def __init__(self, variant: str) -> None:
        self.variant, self.contestants = variant, CONTESTANTS[variant]

    def prepare(self, work: Work, origin: Origin, names: Sequence[str]) -> Work:
        """Return the work with its folders, everything that the contestants read made and warm."""
        from photos import check, corpus, sets  # they import what no contestant should wait for

        if origin.data:
            raise DataError(origin.data, "", "this work reads files too: --images FOLDER")
        root = Path(work.root)
        if origin.images:
            files = corpus.copies(root, origin.images, corpus.QUICK.count if origin.quick else 0)
        else:
            size = corpus.QUICK if origin.quick else corpus.Photographs()
            files = corpus.photographs(root, size)
        data = sets.built(root, files, self.variant)
        own = files if self.variant in sets.AS_THEY_CAME else sets.small(root, files)
        reference = check.reference(root, own, work.size, self.variant == "whole")
        work = replace(
            work,
            variant=self.variant,
            data=str(data),
            files=str(files),
            own=str(own),
            reference=str(reference),
        )
        forms = dict.fromkeys(form for name in names for form in self.contestants[name].forms)
        for folder in (files, data, own, *(sets.peer_files(work, form) for form in forms)):
            warm(folder)
        return work

    def item_bytes(self, work: Work) -> int:
        """Return the bytes of one crop."""
        return 3 * work.size**2

    def epoch_items(self, work: Work) -> int:
        """Return the number of photographs."""
        return sum(path.suffix == ".jpg" for path in each(Path(work.files)))

    def check(self, work: Work, name: str) -> Check:
        """Return a check of pixels and labels."""
        from photos import check

        if name == "decode":
            return check.decoded(work.reference)
        if name == "nostall-decode":
            return check.CheckFew(work.reference, work.batch, FEW)
        return check.Check(work.reference, work.batch, work.size)

    def facts(self, work: Work) -> dict[str, Any]:
        """Return the work, and what the files are."""
        shown = ("variant", "size", "batch", "threads", "device", "seed")
        sizes = [path.stat().st_size for path in each(Path(work.files)) if path.suffix == ".jpg"]
        data = {
            "files": Path(work.files).name,
            "images": len(sizes),
            "mean_kb": round(sum(sizes) / len(sizes) / 1e3, 1),
        }
        return {"set": data, "work": {key: getattr(work, key) for key in shown}}


def workload(variant: str) -> Workload:
    """Return the workload of one variant."""
    return Photos(variant)
