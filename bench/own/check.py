"""Are these the samples of the set, in the shapes of the recipe? Legend: B samples of a batch.

The grey levels are compared with those of the same samples, read whole by plain code: a crop's
mean differs, that of many crops little.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dataprep import preview
from loaders import Dataset
from loaders.stages import Normalise
from own.feed import training
from own.work import Work

Array = npt.NDArray[Any]
# Mean of the crops, in units of the standard deviation; 1/√samples more is chance.
NEAR_MEAN = 0.25
# Their standard deviation over that of the whole images: smoothing and zooming change it.
NEAR_STD = (0.5, 1.5)
# Of the samples that differ so many crops must differ, and of those that could be seen so many ids.
CROPS, IDS = 0.9, 0.5


class Check:
    """Looks at the first batches of a contestant; ValueError says what is wrong with them."""

    def __init__(self, work: Work, repeats: bool, look_at: int = 4) -> None:
        self.work, self.repeats, self.look_at = work, repeats, look_at
        self.wanted = training(work)
        self._split = self.wanted.dataset.split(self.wanted.split)
        self._ids: list[int] = []
        self._sums: dict[str, list[tuple[float, float, int]]] = {}  # sum, sum of squares, numbers
        self._seen: dict[str, set[str]] = {}
        self._batches = 0

    def __call__(self, batch: tuple[Mapping[str, Any], Tensor]) -> None:
        """Take in one batch: fields by name, and ids (B,)."""
        if self._batches == self.look_at:
            return
        self._batches += 1
        fields, ids = batch
        if len(ids) != self.work.batch or len(fields) != len(self.work.shapes):
            raise ValueError(f"{len(ids)} samples of {', '.join(fields)}")
        if (self._split.find(ids.numpy()) < 0).any():
            raise ValueError("some samples are not of the training split")
        self._ids += ids.tolist()
        for name, (shape, dtype) in self.work.shapes.items():
            values = fields[name]
            if shape is not None and (
                list(values.shape[1:]) != shape or str(values.dtype) != dtype
            ):
                raise ValueError(f"{name} is {tuple(values.shape)} {values.dtype}, not {shape}")
            if _stored(self.wanted.dataset, name).is_pixels:
                self._look(name, values)
            elif isinstance(values, Tensor):
                self._compare(name, values.cpu().numpy(), ids.numpy())

    def _look(self, name: str, values: Any) -> None:
        """Take in the pixels of one field: (B, …), or a list of images of several sizes."""
        for value in values:
            one = value.detach().cpu()
            numbers = one.double()
            self._sums.setdefault(name, []).append(
                (float(numbers.nansum()), float((numbers**2).nansum()), numbers.numel())
            )
            flat = one.contiguous().reshape(-1).view(torch.uint8)
            digest = hashlib.sha256(flat.numpy().tobytes()).hexdigest()
            self._seen.setdefault(name, set()).add(digest)

    def _compare(self, name: str, values: Array, ids: Array) -> None:
        """Compare a value field with its column."""
        expected = np.asarray(self.wanted.dataset.values(name)[ids])
        if not np.array_equal(values, expected, equal_nan=values.dtype.kind == "f"):
            raise ValueError(f"{name} does not go with the ids")

    def result(self) -> dict[str, Any]:
        """Return what was seen; ValueError where it is another work."""
        different = set(self._ids)
        if not self.repeats and len(different) < IDS * min(len(self._split), len(self._ids)):
            raise ValueError(f"only {len(different)} of {len(self._ids)} samples differ")
        seen: dict[str, Any] = {"samples": len(self._ids), "ids": len(different)}
        for name, sums in self._sums.items():
            crops = len(self._seen[name])
            if crops < CROPS * len(different):
                raise ValueError(f"{name}: {crops} crops of {len(different)} samples")
            seen |= {f"{name}_crops": crops} | self._near(name, sums)
        return seen

    def _near(self, name: str, sums: list[tuple[float, float, int]]) -> dict[str, float]:
        """Return how far the mean is off and how many times as large the deviation is.

        ValueError where they are not those of the whole images.
        """
        mean, std = _moments(*(float(sum(column)) for column in zip(*sums, strict=True)))
        own_mean, own_std = _moments(*self._whole(name))
        off, times = (mean - own_mean) / max(own_std, 1e-9), std / max(own_std, 1e-9)
        is_flat = own_std == std == 0
        if abs(off) > NEAR_MEAN + len(sums) ** -0.5 or not (
            is_flat or NEAR_STD[0] < times < NEAR_STD[1]
        ):
            raise ValueError(
                f"{name} is {mean:.3g} ± {std:.3g}, not {own_mean:.3g} ± {own_std:.3g}"
            )
        return {f"{name}_mean_off": round(off, 4), f"{name}_std_times": round(times, 4)}

    def _whole(self, name: str) -> tuple[float, float, int]:
        """Return sum, sum of squares and numbers of the same samples, whole, and normalised."""
        dataset = self.wanted.dataset
        stored = _name(dataset, name)
        total, squares, numbers = 0.0, 0.0, 0
        for sample in dict.fromkeys(self._ids):
            pixels = preview.read(dataset.folder, dataset.manifest, stored, sample)
            values = self._normalised(name, stored, np.asarray(pixels, np.float64))
            many = self._ids.count(sample) / values.size  # each image weighs as its crops do
            total += many * float(np.nansum(values))
            squares += many * float(np.nansum(values**2))
            numbers += self._ids.count(sample)
        return total, squares, numbers

    def _normalised(self, name: str, stored: str, pixels: Array) -> Array:
        """Return pixels (H, W) or (H, W, C) as the recipe's `Normalise` makes them."""
        field = self.wanted.dataset.fields[stored]
        for stage in self.wanted.feed.stages:
            if isinstance(stage, Normalise) and stage.field in (name, stored):
                channels = pixels.shape[2] if pixels.ndim == 3 else 1
                factors, terms = stage.affine(field.scale, field.offset, channels)
                return np.asarray(pixels.reshape(*pixels.shape[:2], -1) * factors + terms)
        return pixels


def _moments(total: float, squares: float, numbers: float) -> tuple[float, float]:
    mean = total / numbers
    return mean, max(squares / numbers - mean**2, 0.0) ** 0.5


def _name(dataset: Dataset, name: str) -> str:
    """Return the stored field of an output, which for a view is called `<field>.<view>`."""
    return name if name in dataset.fields else name.rpartition(".")[0]


def _stored(dataset: Dataset, name: str) -> Any:
    return dataset.fields[_name(dataset, name)]
