"""Who runs in w4. `reads`: the attribute of the work that names the folder.

To add one, write a function (work, setting) -> endless generator of (images, points, starts) into a
file of its own, and name it here.
"""

from __future__ import annotations

from workload import Contestant, Setting, late, threads, workers

from stimuli.work import Work

POINTS = ("fixations",)


def _workers_and_late(work: Work) -> list[Setting]:
    """0, 1, 2 … worker processes, which normalise, or leave that to this one."""
    return [setting | {"late": late} for late in (0, 1) for setting in workers(work)]


def _torch(summary: str, kind: str, reads: str, *needs: str, form: str = "") -> Contestant:
    return Contestant(
        summary,
        late("stimuli.torch_peers", "points", kind),
        _workers_and_late,
        forms=(*POINTS, form) if form else POINTS,
        needs=("torchvision", *needs),
        reads=reads,
    )


CONTESTANTS: dict[str, Contestant] = {
    "nostall": Contestant(
        "the Loader, host engine", late("stimuli.ours", "batches", "host"), threads, reads="data"
    ),
    "nostall-dali": Contestant(
        "the Loader, DALI engine", late("stimuli.ours", "batches", "dali"), threads, reads="data"
    ),
    "folder": Contestant(
        "PIL opens stimulus and blurred map, torchvision transforms, DataLoader",
        late("stimuli.torch_peers", "maps"),
        workers,
        needs=("torchvision",),
        reads="files",
    ),
    "folder-points": _torch("the same with points from memory, no map", "pil", "files"),
    "tensors": _torch(
        "decode_jpeg, transforms v2 on uint8, points, DataLoader", "tensors", "files"
    ),
    "opencv": _torch("cv2 decodes and resizes, points, DataLoader", "opencv", "files"),
    "hdf5": _torch(
        "pysaliency's HDF5 arrays, cv2 resizes, points, DataLoader", "hdf5", "arrays", form="arrays"
    ),
    "lmdb": _torch(
        "LMDB of JPEGs of the two sizes (DeepGaze), PIL, points, DataLoader",
        "lmdb",
        "database",
        "lmdb",
        form="database",
    ),
    "decode": Contestant(
        "limit: libjpeg-turbo decodes the whole files from memory, no resize, no batch",
        late("stimuli.limits", "decode"),
        needs=("simplejpeg",),
        reads="files",
    ),
    "ceiling": Contestant(
        "limit: the kernel of resize and normalise on images decoded before",
        late("stimuli.limits", "ceiling"),
        needs=("simplejpeg",),
        reads="files",
    ),
}
