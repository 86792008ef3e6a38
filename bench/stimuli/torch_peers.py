"""torch DataLoaders of worker processes over files, HDF5 and LMDB, as saliency projects have them.

Kinder than the projects in these points: the sampler never ends, so that workers are never started
anew; images of two sizes share a DataLoader; and with late=1 pixels travel from worker processes
as bytes, a quarter of the floats, and whole batches are normalised here.

Legend: B batch, H W pixels, n points of an image.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.io import ImageReadMode, decode_jpeg, read_file
from torchvision.transforms import v2
from workload import Batches, Setting

from stimuli.buckets import Buckets
from stimuli.forms import FIXATIONS, STIMULI
from stimuli.listing import One, listed
from stimuli.work import MEAN, STD, Work

Array = npt.NDArray[Any]


class Mapped(Dataset[tuple[Tensor, Tensor]]):
    """The stimulus and its blurred map, both by PIL: what the origin's project trains on."""

    def __init__(self, work: Work) -> None:
        self.work, self.every = work, listed(work)
        self._tensor = transforms.ToTensor()
        self._normalise = transforms.Normalize(MEAN, STD)

    def __len__(self) -> int:
        return len(self.every)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        one = self.every[index]
        image, target = (_resized(path, self.work, one) for path in (one.path, one.map))
        return self._normalise(self._tensor(image.convert("RGB"))), self._tensor(target)


def _resized(path: str, work: Work, one: One) -> Image.Image:
    height, width = work.size(one.height, one.width)
    with Image.open(path) as image:
        return image.resize((width, height), Image.Resampling.BILINEAR)


class Pointed(Dataset[tuple[Tensor, Tensor]]):
    """The stimulus and its fixations (n, 2), scaled with it; a subclass reads the pixels.

    late: leave the pixels uint8.
    """

    def __init__(self, work: Work, late: bool) -> None:
        self.work, self.late, self.every = work, late, listed(work)
        with h5py.File(Path(work.fixations) / FIXATIONS) as file:
            points, owners = np.stack([file["x"], file["y"]], axis=1), file["n"][:]
        self.points = [self._scaled(points[owners == one.row], one) for one in self.every]

    def _scaled(self, points: Array, one: One) -> Tensor:
        height, width = self.work.size(one.height, one.width)
        return torch.from_numpy(points * [width / one.width, height / one.height])

    def pixels(self, one: One) -> Tensor:
        """Return the resized stimulus, uint8 (3, H, W)."""
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.every)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        pixels = self.pixels(self.every[index])
        return pixels if self.late else normalised(pixels), self.points[index]


class Pil(Pointed):
    """PIL decodes the file and resizes."""

    def pixels(self, one: One) -> Tensor:
        return _tensor(_resized(one.path, self.work, one))


class Tensors(Pointed):
    """decode_jpeg, and resize of transforms v2 on uint8."""

    def pixels(self, one: One) -> Tensor:
        image = decode_jpeg(read_file(one.path), mode=ImageReadMode.RGB)
        size = list(self.work.size(one.height, one.width))
        resized: Tensor = v2.functional.resize(image, size, antialias=True)
        return resized


class OpenCv(Pointed):
    """cv2 decodes the file and resizes."""

    def pixels(self, one: One) -> Tensor:
        image = cv2.imread(one.path, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
        return fitted(np.asarray(image), *self.work.size(one.height, one.width))


class Hdf5(Pointed):
    """An array of pysaliency's HDF5 file, opened once a process; cv2 resizes."""

    _file: h5py.File | None = None

    def pixels(self, one: One) -> Tensor:
        if self._file is None:
            self._file = h5py.File(Path(self.work.arrays) / STIMULI)
        return fitted(self._file[f"{one.row}"][:], *self.work.size(one.height, one.width))


class Lmdb(Pointed):
    """A JPEG of the right size out of an LMDB, opened once a process; PIL decodes."""

    _database: Any = None

    def pixels(self, one: One) -> Tensor:
        if self._database is None:
            self._database = import_module("lmdb").open(
                self.work.database, readonly=True, lock=False, readahead=False
            )
        with self._database.begin() as transaction:
            data = transaction.get(str(one.row).encode())
        return _tensor(Image.open(io.BytesIO(data)))


def fitted(pixels: Array, height: int, width: int) -> Tensor:
    """Return pixels (h, w, 3) resized, bilinear where they grow, as (3, H, W)."""
    if pixels.shape[:2] != (height, width):
        shrinks = height < pixels.shape[0] or width < pixels.shape[1]
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        pixels = cv2.resize(pixels, (width, height), interpolation=how)
    return torch.from_numpy(pixels).permute(2, 0, 1)


def normalised(pixels: Tensor) -> Tensor:
    """Return uint8 (…, 3, H, W) as normalised float32 in order."""
    scaled = v2.functional.to_dtype(pixels.contiguous(), torch.float32, scale=True)
    images: Tensor = v2.functional.normalize(scaled, list(MEAN), list(STD), inplace=True)
    return images


def _tensor(image: Image.Image) -> Tensor:
    pixels: Tensor = transforms.functional.pil_to_tensor(image)
    return pixels


KINDS: dict[str, Callable[[Work, bool], Pointed]] = {
    "pil": Pil,
    "tensors": Tensors,
    "opencv": OpenCv,
    "hdf5": Hdf5,
    "lmdb": Lmdb,
}


def maps(work: Work, setting: Setting) -> Batches:
    """Yield images and blurred maps (B, 1, H, W) without end."""
    for images, targets in _batches(Mapped(work), work, setting, None):
        yield images.to(work.device, non_blocking=True), targets.to(work.device)


def points(work: Work, setting: Setting, kind: str) -> Batches:
    """Yield images, points and where each image's begin, without end."""
    late = bool(setting["late"])
    for images, values, starts in _batches(KINDS[kind](work, late), work, setting, collate):
        sent = images.to(work.device, non_blocking=True)
        yield normalised(sent) if late else sent, values, starts


def collate(samples: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
    """Return images, all points, and where each image's begin (B + 1,)."""
    images, found = zip(*samples, strict=True)
    counts = torch.tensor([0] + [len(points) for points in found])
    return torch.utils.data.default_collate(list(images)), torch.cat(found), counts.cumsum(0)


def _batches(dataset: Any, work: Work, setting: Setting, collate: Any) -> Any:
    torch.manual_seed(work.seed)
    alone(0)
    return DataLoader(
        dataset,
        batch_sampler=Buckets([int(one.is_wide) for one in dataset.every], work.batch),
        num_workers=setting["workers"],
        collate_fn=collate,
        worker_init_fn=alone,
        pin_memory=work.device == "cuda",
    )


def alone(worker: int) -> None:
    """Keep a process to its own core."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
