"""Who runs in w1, w1-short and w1-raw. `reads`: the attribute of the work that names the folder.

To add one, write a function (work, setting) -> endless generator of (images, labels) into a
file of its own, and name it in the tables of those variants in which it makes sense.
"""

from __future__ import annotations

from workload import Contestant, late, threads_and_more, workers

# The baseline of all variants: the photographs as they came, whatever the set was made of.
TORCHVISION = Contestant(
    "ImageFolder, PIL, torchvision transforms, DataLoader",
    late("photos.torch_peers", "pil", "files"),
    workers,
    needs=("torchvision",),
    reads="files",
)
OURS = {
    "nostall": Contestant(
        "the Loader, host engine", late("photos.ours", "batches", "host"), reads="data"
    ),
    "nostall-dali": Contestant(
        "the Loader, DALI engine", late("photos.ours", "batches", "dali"), reads="data"
    ),
}
DALI_WDS = Contestant(
    "DALI alone, readers.webdataset on the set's shards",
    late("photos.dali_peers", "tar_reader"),
    threads_and_more,
    reads="data",
)
WEBDATASET = Contestant(
    "webdataset on the set's shards, PIL, torchvision transforms",
    late("photos.wds", "batches"),
    workers,
    needs=("torchvision", "webdataset"),
    reads="data",
)
DECODE = Contestant(
    "limit: libjpeg-turbo decodes the whole files from memory, no resize, no batch",
    late("photos.limits", "decode"),
    needs=("simplejpeg",),
    reads="own",
)
CEILING = Contestant(
    "limit: the kernel of resize and normalise on images decoded before",
    late("photos.limits", "ceiling"),
    needs=("simplejpeg",),
    reads="own",
)


def _dali_file(folder: str) -> Contestant:
    return Contestant(
        "DALI alone, readers.file",
        late("photos.dali_peers", "file_reader", folder),
        threads_and_more,
        reads=folder,
    )


def _torchvision_v2(folder: str) -> Contestant:
    return Contestant(
        "ImageFolder, decode_jpeg, transforms v2 on uint8, DataLoader",
        late("photos.torch_peers", "tensors", folder),
        workers,
        needs=("torchvision",),
        reads=folder,
    )


def _ffcv(summary: str, form: str) -> Contestant:
    start = late("photos.ffcv_peer", "batches", form)
    return Contestant(summary, start, forms=(form,), needs=("ffcv",))


CONTESTANTS: dict[str, dict[str, Contestant]] = {
    "native": OURS
    | {
        "torchvision": TORCHVISION,
        "torchvision-v2": _torchvision_v2("files"),
        "dali-file": _dali_file("files"),
        "dali-wds": DALI_WDS,
        "webdataset": WEBDATASET,
        "ffcv": _ffcv("FFCV, JPEG as it came", "ffcv-jpg"),
        "decode": DECODE,
        "ceiling": CEILING,
    },
    "short": OURS
    | {
        "torchvision": TORCHVISION,
        "torchvision-v2": _torchvision_v2("own"),
        "dali-file": _dali_file("own"),
        "dali-wds": DALI_WDS,
        "webdataset": WEBDATASET,
        "ffcv": _ffcv("FFCV, longer side 256, half of it raw", "ffcv-256"),
        "decode": DECODE,
        "ceiling": CEILING,
    },
    "raw": OURS
    | {
        "torchvision": TORCHVISION,
        "ffcv": _ffcv("FFCV, longer side 256, raw", "ffcv-256raw"),
        "ceiling": CEILING,
    },
}
