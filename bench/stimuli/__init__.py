"""W4: saliency, whole stimuli in one of two sizes with their fixations, float32, batches of 8."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from files import size_bytes, warm
from workload import Against, Check, Origin, Workload

from dataprep.manifest import DataError
from stimuli.contestants import CONTESTANTS
from stimuli.work import Work


class Stimuli(Workload):
    """Stimuli of one folder in MIT1003's raw layout, and a set built from it."""

    kind = Work
    unit = "image"
    against = (
        Against("folder", "times_folder", ("× folder wall", "CPU")),
        Against("hdf5", "times_hdf5", ("× hdf5 wall", "CPU")),
        Against("decode", "times_decode", ("× decode wall", "CPU")),
    )
    contestants = CONTESTANTS

    def prepare(self, work: Work, origin: Origin, names: Sequence[str]) -> Work:
        """Return the work with its folders, everything that the contestants read made and warm."""
        from stimuli import corpus, forms, reference  # what no contestant should wait for

        if other := origin.data or origin.images:
            raise DataError(other, "", "w4 makes its own stimuli: leave out --data and --images")
        root, what = Path(work.root), corpus.QUICK if origin.quick else corpus.Stimuli()
        files = corpus.stimuli(root, what)
        data = corpus.built(root, files)
        height, width = (side * what.long // corpus.LONG for side in (work.height, work.width))
        work = replace(work, files=str(files), data=str(data), height=height, width=width)
        work = replace(work, reference=str(reference.reference(root, work)))
        wanted = dict.fromkeys(form for name in names for form in CONTESTANTS[name].forms)
        for folder in (files, data, *(forms.form(work, name) for name in wanted)):
            warm(folder)
        return work

    def item_bytes(self, work: Work) -> int:
        """Return the bytes of one resized image."""
        return 3 * work.height * work.width

    def epoch_items(self, work: Work) -> int:
        """Return the images of the whole batches of an epoch, of both sizes."""
        from stimuli.listing import listed

        wide = sum(one.is_wide for one in listed(work))
        counts = (wide, len(listed(work)) - wide)
        return sum(count // work.batch * work.batch for count in counts)

    def check(self, work: Work, name: str) -> Check:
        """Return a check of pixels and fixations."""
        from stimuli import check

        return check.decoded(work) if name == "decode" else check.Check(work)

    def facts(self, work: Work) -> dict[str, Any]:
        """Return the work, and what the files are."""
        from stimuli.corpus import STIMULI
        from stimuli.listing import listed

        shown = ("height", "width", "batch", "threads", "device", "seed")
        folder = Path(work.files) / STIMULI
        images = len(list(folder.iterdir()))
        data = {
            "files": Path(work.files).name,
            "images": images,
            "train": len(listed(work)),
            "mean_kb": round(size_bytes(folder) / images / 1e3, 1),
        }
        return {"set": data, "work": {key: getattr(work, key) for key in shown}}


def workload(variant: str) -> Workload:
    """Return the workload."""
    return Stimuli()
