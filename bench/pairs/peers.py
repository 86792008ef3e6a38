"""The peers of bench/loader.py: torch DataLoaders over PNG, .npy and zarr, as people write them.

BasicSR's way: a worker process takes one image pair, crops at random, flips, transposes, converts
to float. Kinder than BasicSR in two points: only the crop is converted to float, and the sampler
never ends, so that workers are never started anew.
"""

from __future__ import annotations

import random
from collections.abc import Generator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
import zarr
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler

from dataprep import index
from loaders import Dataset as Set

Array = npt.NDArray[Any]
Pair = tuple[Tensor, Tensor]
Pairs = Generator[Pair, None, None]
ENDLESS = 10**9


class Crops(Dataset[Pair]):
    """Crops of pairs of images; a subclass says how an image is opened."""

    swaps_channels = False  # cv2 decodes to BGR

    def __init__(self, places: list[tuple[Any, Any]], scale: int, patch: int) -> None:
        self.places, self.scale, self.patch = places, scale, patch

    def open(self, place: Any) -> Any:
        """Return an image: something with a shape that gives pixels (h, w, 3) for [y:…, x:…]."""
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Pair:
        lr, hr = (self.open(place) for place in self.places[index])
        y = random.randint(0, lr.shape[0] - self.patch)
        x = random.randint(0, lr.shape[1] - self.patch)
        turn = random.getrandbits(3)
        crops = []
        for image, side in ((lr, 1), (hr, self.scale)):
            size = self.patch * side
            crop = image[y * side : y * side + size, x * side : x * side + size]
            crops.append(self._tensor(np.asarray(crop), turn))
        return crops[0], crops[1]

    def _tensor(self, crop: Array, turn: int) -> Tensor:
        crop = crop[:, ::-1] if turn & 1 else crop
        crop = crop[::-1] if turn & 2 else crop
        crop = crop.transpose(1, 0, 2) if turn & 4 else crop
        crop = crop[..., ::-1] if self.swaps_channels else crop
        return torch.from_numpy(np.ascontiguousarray(crop.transpose(2, 0, 1))).float().div_(255)


class Png(Crops):
    """Whole PNG files, decoded for each crop."""

    swaps_channels = True

    def open(self, place: Any) -> Array:
        return np.asarray(cv2.imread(place))


class Npy(Crops):
    """Memory-mapped .npy files, opened once a process."""

    def __init__(self, places: list[tuple[Any, Any]], scale: int, patch: int) -> None:
        super().__init__(places, scale, patch)
        self._open: dict[str, Any] = {}

    def open(self, place: Any) -> Any:
        if place not in self._open:
            self._open[place] = self._first(place)
        return self._open[place]

    def _first(self, place: str) -> Any:
        return np.load(place, mmap_mode="r")


class Zarr(Npy):
    """One uncompressed, chunked zarr array an image."""

    def _first(self, place: str) -> Any:
        return zarr.open_array(place, mode="r")


class Packed(Npy):
    """The built set itself: zarr arrays that hold all images, one after another."""

    def open(self, place: Any) -> Any:
        return Packed.Image(super().open(place[0]), *place[1:])

    def _first(self, place: str) -> Any:
        return zarr.open_array(place, mode="r")

    class Image:
        """Reads the whole rows of a crop in one slice: a slice for each row is slower by far."""

        def __init__(self, array: Any, start: int, height: int, width: int) -> None:
            self._array, self._start, self.shape = array, start, (height, width, 3)

        def __getitem__(self, box: tuple[slice, slice]) -> Array:
            pitch = self.shape[1] * 3
            first, last = (self._start + y * pitch for y in (box[0].start, box[0].stop))
            rows: Array = np.asarray(self._array[first:last]).reshape(-1, self.shape[1], 3)
            return rows[:, box[1]]


def files(folder: Path) -> list[tuple[Any, Any]]:
    """Return the pairs of a folder `{hr,lr}/*`."""
    lr, hr = (sorted(str(path) for path in (folder / name).iterdir()) for name in ("lr", "hr"))
    return list(zip(lr, hr, strict=True))


def packed(data: Path, scale: int) -> list[tuple[Any, Any]]:
    """Return where the pairs of a built set lie in its zarr arrays; ValueError where not packed."""
    dataset = Set(data)
    ids, places = np.asarray(dataset.split("train")), []
    for name in (f"lr_x{scale}", "hr"):
        path = str(dataset.folder / f"{name}.zarr")
        array = zarr.open_array(path, mode="r")
        if array.ndim != 1:
            raise ValueError(f"{path} has {array.ndim} dimensions, this peer reads packed images")
        shard, offset = (
            index.read(dataset.folder / "index" / f"{name}.{what}.npy")[ids]
            for what in ("shard", "offset")
        )
        starts = shard.astype(np.int64) * array.chunks[0] + offset.astype(np.int64)
        sizes = dataset.pixels(name).sizes(ids)
        places.append(
            [(path, int(at), int(h), int(w)) for at, (h, w) in zip(starts, sizes, strict=True)]
        )
    return list(zip(*places, strict=True))


def batches(crops: Crops, batch: int, workers: int, device: torch.device) -> Pairs:
    """Yield batches (LR, HR) without end from `workers` processes, 0: from this one."""
    loader = DataLoader(
        crops,
        batch,
        sampler=RandomSampler(crops, replacement=True, num_samples=ENDLESS),
        num_workers=workers,
        worker_init_fn=_alone,
        pin_memory=device.type == "cuda",
    )
    _alone(0)
    for lr, hr in loader:
        yield lr.to(device, non_blocking=True), hr.to(device, non_blocking=True)


def _alone(worker: int) -> None:
    """Keep a worker to its own core."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
