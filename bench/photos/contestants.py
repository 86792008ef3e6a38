"""Who runs in w1, w1-short, w1-raw, w1-whole. `reads`: the work's attribute that names the folder.

To add one, write a function (work, setting) -> endless generator of (images, labels) into a
file of its own, and name it in the tables of those variants in which it makes sense. Peers read
`own`: the photographs as they came in w1, images of short side 256 in w1-short.
"""

from __future__ import annotations

from timing import counts
from workload import Contestant, Setting, Work, late, threads_and_more, workers


def decoders(work: Work) -> list[Setting]:
    """PIL with a worker a core, then decode_jpeg and transforms v2 with 0, 1, 2 … workers."""
    return [{"workers": work.threads, "v2": 0}] + [
        {"workers": count, "v2": 1} for count in counts(work.threads)
    ]


def prefetchers(work: Work) -> list[Setting]:
    """0, 1, 2 … worker processes that normalise, and as many as cores that leave it undone."""
    last = {"workers": work.threads, "prefetcher": 1}
    return [*({"workers": count, "prefetcher": 0} for count in counts(work.threads)), last]


def processes_or_threads(work: Work) -> list[Setting]:
    """A worker process a core, or threads of this process: as many as cores, and one more."""
    return [
        {"workers": work.threads, "threads": 1},
        {"workers": 0, "threads": work.threads + 1},
        {"workers": 0, "threads": work.threads},
    ]


def pipelines(work: Work) -> list[Setting]:
    """A thread an image, or a thread a batch with as many threads as cores, and one more."""
    return [{"threads": work.threads, "whole": 0}] + [
        {"threads": count, "whole": 1} for count in (work.threads + 1, work.threads)
    ]


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
PEERS = {
    "torchvision-v2": Contestant(
        "ImageFolder, decode_jpeg, transforms v2 on uint8, DataLoader",
        late("photos.torch_peers", "tensors", "own"),
        workers,
        needs=("torchvision",),
        reads="own",
    ),
    "timm": Contestant(
        "timm's create_loader: ImageFolder, PIL, its transforms",
        late("photos.timm_peer", "batches", "own"),
        prefetchers,
        needs=("timm",),
        reads="own",
    ),
    "dali-file": Contestant(
        "DALI alone, readers.file",
        late("photos.dali_peers", "file_reader", "own"),
        threads_and_more,
        reads="own",
    ),
    "dali-wds": Contestant(
        "DALI alone, readers.webdataset on the set's shards",
        late("photos.dali_peers", "tar_reader"),
        threads_and_more,
        reads="data",
    ),
    "webdataset": Contestant(
        "webdataset on the set's shards, torchvision transforms",
        late("photos.wds", "batches"),
        decoders,
        needs=("torchvision", "webdataset"),
        reads="data",
    ),
    "litdata": Contestant(
        "litdata on chunks of the files, decode_jpeg, transforms v2",
        late("photos.litdata_peer", "batches"),
        workers,
        forms=("litdata",),
        needs=("torchvision", "litdata"),
        reads="litdata",
    ),
    "mosaic": Contestant(
        "mosaicml-streaming on MDS shards of the files, torchvision transforms",
        late("photos.mosaic_peer", "batches"),
        decoders,
        forms=("mosaic",),
        needs=("torchvision", "streaming"),
        reads="mosaic",
        install="mosaic",
    ),
    "spdl": Contestant(
        "SPDL's pipeline of threads on the files, decode_jpeg, transforms v2",
        late("photos.spdl_peer", "batches"),
        pipelines,
        needs=("torchvision", "spdl"),
        reads="own",
    ),
    "grain": Contestant(
        "grain's MapDataset on the files, decode_jpeg, transforms v2",
        late("photos.grain_peer", "batches"),
        processes_or_threads,
        needs=("torchvision", "grain"),
        reads="own",
    ),
    "torchvision-gpu": Contestant(
        "DataLoader reads files, decode_jpeg with nvJPEG, transforms v2 on the GPU",
        late("photos.gpu_peer", "batches", "own"),
        workers,
        needs=("torchvision",),
        reads="own",
        devices=("cuda",),
    ),
    "spdl-gpu": Contestant(
        "SPDL's pipeline of threads, its nvJPEG decoder, transforms v2 on the GPU",
        late("photos.spdl_peer", "on_gpu"),
        pipelines,
        needs=("torchvision", "spdl"),
        reads="own",
        devices=("cuda",),
    ),
}
MEMMAP = Contestant(
    "numpy maps of the set's raw pixels, transforms v2, DataLoader",
    late("photos.memmap_peer", "batches"),
    workers,
    needs=("torchvision",),
    reads="data",
)
TIMM_NATIVE = Contestant(
    "timm's create_loader on the photographs as they came",
    late("photos.timm_peer", "batches", "files"),
    prefetchers,
    needs=("timm",),
    reads="files",
)
DECODE = Contestant(
    "limit: libjpeg-turbo decodes the whole files from memory, no resize, no batch",
    late("photos.limits", "decode"),
    needs=("simplejpeg",),
    reads="own",
)
OWN_DECODE = Contestant(
    "limit: the Loader reads and decodes the same pixels and keeps 8×8 of them",
    late("photos.ours", "batches", "host", True),
    reads="data",
)
CEILING = Contestant(
    "limit: the kernel of resize and normalise on images decoded before",
    late("photos.limits", "ceiling"),
    needs=("simplejpeg",),
    reads="own",
)
LIMITS = {"decode": DECODE, "nostall-decode": OWN_DECODE, "ceiling": CEILING}


def _ffcv(summary: str, form: str) -> Contestant:
    start = late("photos.ffcv_peer", "batches", form)
    return Contestant(summary, start, forms=(form,), needs=("ffcv",), install="")


def _table(peers: dict[str, Contestant], ffcv: Contestant, *limits: str) -> dict[str, Contestant]:
    shown = {name: LIMITS[name] for name in limits}
    return OURS | {"torchvision": TORCHVISION} | peers | {"ffcv": ffcv} | shown


CONTESTANTS: dict[str, dict[str, Contestant]] = {
    "native": _table(PEERS, _ffcv("FFCV, JPEG encoded again (quality 90)", "ffcv-jpg"), *LIMITS),
    "short": _table(
        PEERS | {"timm-native": TIMM_NATIVE},
        _ffcv("FFCV, longer side 256, half of it raw", "ffcv-256"),
        *LIMITS,
    ),
    "raw": _table(
        {"memmap": MEMMAP, "timm-native": TIMM_NATIVE},
        _ffcv("FFCV, longer side 256, raw", "ffcv-256raw"),
        "ceiling",
    ),
    "whole": OURS
    | {"torchvision": TORCHVISION}
    | {name: PEERS[name] for name in ("torchvision-v2", "timm", "dali-file")}
    | {name: LIMITS[name] for name in ("decode", "nostall-decode")},
}
