"""Who runs in w3. `reads`: the attribute of the work that names the folder.

To add one, write a function (work, setting) -> endless generator of (images, labels) into a file of
its own, and name it here.
"""

from __future__ import annotations

from timing import counts
from workload import Contestant, Setting, late, threads, workers

from digits.work import Work


def _one_or_all(work: Work) -> list[Setting]:
    """One thread, and as many as there are cores: a small batch is hardly worth a second one."""
    return [{"threads": count} for count in sorted({1, work.threads})]


def _none_to_all(work: Work) -> list[Setting]:
    return [{"threads": count} for count in counts(work.threads)]


def _torch(summary: str, name: str, *needs: str) -> Contestant:
    start = late("digits.torch_peers", name)
    return Contestant(summary, start, workers, needs=needs, reads="files")


def _limit(summary: str, name: str) -> Contestant:
    return Contestant(summary, late("digits.limits", name), _one_or_all, reads="files")


CONTESTANTS: dict[str, Contestant] = {
    "nostall": Contestant(
        "the Loader, host engine", late("digits.ours", "batches", "host"), threads, reads="data"
    ),
    "nostall-dali": Contestant(
        "the Loader, DALI engine", late("digits.ours", "batches", "dali"), threads, reads="data"
    ),
    "torchvision": _torch(
        "datasets.MNIST, ToTensor, Normalize, DataLoader", "torchvision", "torchvision"
    ),
    "tensordataset": _torch(
        "TensorDataset of tensors normalised before, DataLoader", "tensordataset"
    ),
    "getitems": _torch("the same tensors by __getitems__, a batch at a time", "getitems"),
    "grain": Contestant(
        "grain.MapDataset over the arrays: shuffle, batch, map",
        late("digits.grain_peer", "batches"),
        _none_to_all,
        needs=("grain",),
        reads="files",
    ),
    "dali": Contestant(
        "DALI alone, external_source of gathered batches",
        late("digits.dali_peer", "batches"),
        _one_or_all,
        needs=("nvidia.dali",),
        reads="files",
    ),
    "index": _limit("limit: one tensor indexed by slices of a permutation", "index"),
    "ceiling": _limit(
        "limit: sixteen batches gathered at once, each converted, all in reused memory", "ceiling"
    ),
}
