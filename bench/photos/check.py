"""Are these batches of the promised work? So that no contestant wins by skipping some of it.

Legend: B batch, N images, K classes, H W pixels of the output.
"""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from files import written
from PIL import Image
from torch import Tensor

from photos.corpus import labelled, origin
from photos.work import AREA, MEAN, RATIO, STD

# So far a figure of some hundred crops may lie from the reference, in units of the norm.
NEAR_MEAN, NEAR_STD = 0.3, 0.2
# Sharpness may be so many times the reference's; nearest-neighbour or blur lies outside.
SHARPNESS = (0.7, 1.4)
# Own class's mean colour is nearer than that of all classes, by this factor at least.
NEARER = 0.8


def figures(images: Tensor) -> Tensor:
    """Return mean, mean square, and mean step from pixel to pixel along rows, of (B, 3, H, W)."""
    steps = (images[..., 1:] - images[..., :-1]).abs()
    return torch.stack([images.mean(), images.square().mean(), steps.mean()])


def reference(root: Path, folder: Path, size: int, count: int = 512) -> Path:
    """Write the figures of Pillow's RandomResizedCrop of some files, once; return the JSON file."""

    def write(to: Path) -> None:
        (to / "reference.json").write_text(json.dumps(_reference(folder, size, count)))

    to = written(root / f"reference-{folder.name}-{size}", write, origin(folder) | {"count": count})
    return to / "reference.json"


def _reference(folder: Path, size: int, count: int) -> dict[str, Any]:
    rng = random.Random(0)
    places = labelled(folder)
    classes = places[-1][1] + 1
    if len(places) < count:
        places = places * (count // len(places) + 1)
    chosen = rng.sample(places, count)
    crops = torch.stack([_crop(path, size, rng) for path, _ in chosen])
    labels = torch.tensor([k for _, k in chosen])
    kinds = [crops[labels == k] if (labels == k).any() else crops for k in range(classes)]
    return {
        "figures": torch.stack([figures(some) for some in kinds]).tolist(),  # (K, 3)
        "colours": torch.stack([some.mean(dim=(0, 2, 3)) for some in kinds]).tolist(),  # (K, 3)
    }


def _crop(path: str, size: int, rng: random.Random) -> Tensor:
    with Image.open(path) as file:
        image = file.convert("RGB")
    while True:
        area = image.width * image.height * rng.uniform(*AREA)
        ratio = np.exp(rng.uniform(*np.log(RATIO)))
        w, h = round((area * ratio) ** 0.5), round((area / ratio) ** 0.5)
        if w <= image.width and h <= image.height:
            break
    x, y = rng.randint(0, image.width - w), rng.randint(0, image.height - h)
    crop = image.crop((x, y, x + w, y + h)).resize((size, size), Image.Resampling.BILINEAR)
    pixels = (np.asarray(crop, np.float32) / 255 - MEAN) / STD
    return torch.from_numpy(pixels.astype(np.float32).transpose(2, 0, 1).copy())


class Check:
    """Looks at the first batches of a contestant; ValueError says what is wrong with them.

    What is expected of a batch follows from its labels: a peer that mixes little may begin with few
    classes.
    """

    def __init__(self, path: str, batch: int, size: int, look_at: int = 4) -> None:
        reference = json.loads(Path(path).read_text())
        self.colours = torch.tensor(reference["colours"])
        self.expected = torch.tensor(reference["figures"])
        self.shape, self.look_at = (batch, 3, size, size), look_at
        self._figures: list[Tensor] = []  # (2, 3): seen and expected
        self._apart: list[tuple[float, float]] = []  # squared distance: own class, all classes
        self._seen: set[str] = set()
        self._samples = 0

    def __call__(self, batch: tuple[Tensor, Tensor]) -> None:
        """Take in one batch: images (B, 3, H, W), labels (B,)."""
        if len(self._figures) == self.look_at:
            return
        images, labels = batch[0], batch[1].cpu().long().reshape(-1)
        if images.shape != self.shape or images.dtype != torch.float32:
            raise ValueError(f"images are {tuple(images.shape)} {images.dtype}, not {self.shape}")
        last = images.is_contiguous(memory_format=torch.channels_last)  # FFCV gives no other
        if not (images.is_contiguous() or last):
            raise ValueError("images are a view: their pixels are not in order")
        if len(labels) != len(images) or labels.min() < 0 or labels.max() >= len(self.colours):
            raise ValueError(f"{len(labels)} labels from {labels.min()} to {labels.max()}")
        images = images.cpu()
        self._figures.append(torch.stack([figures(images), self.expected[labels].mean(0)]))
        self._seen |= {hashlib.sha256(one.numpy().tobytes()).hexdigest() for one in images}
        self._samples += len(images)
        apart = torch.cdist(images.mean(dim=(2, 3)), self.colours).square()  # (B, K)
        own = apart.gather(1, labels[:, None])
        self._apart.append((float(own.mean()), float(apart.mean())))

    def result(self) -> dict[str, Any]:
        """Return what was seen; ValueError where it is another work."""
        (mean, square, sharp), expected = torch.stack(self._figures).mean(0).tolist()
        std, wanted = (square - mean**2) ** 0.5, (expected[1] - expected[0] ** 2) ** 0.5
        if abs(mean - expected[0]) > NEAR_MEAN or abs(std / wanted - 1) > NEAR_STD:
            why = f"expected is {expected[0]:.2f} ± {wanted:.2f}"
            raise ValueError(f"pixels are {mean:.2f} ± {std:.2f}, {why}")
        if not SHARPNESS[0] < sharp / expected[2] < SHARPNESS[1]:
            raise ValueError(f"sharpness is {sharp / expected[2]:.2f} of what is expected")
        if len(self._seen) < 0.9 * self._samples:
            raise ValueError(f"only {len(self._seen)} of {self._samples} crops differ")
        own, every = np.mean(self._apart, axis=0)
        if own > NEARER * every:
            raise ValueError("labels do not go with the images")
        seen = {"mean": mean, "std": std, "sharpness": sharp / expected[2]}
        seen |= {"mean_expected": expected[0], "label_distance": own / every}
        return {"samples": self._samples} | {key: round(x, 4) for key, x in seen.items()}


def decoded(path: str) -> CheckDecoded:
    """Return the check of whole decoded photographs, by the reference's figures."""
    figures = json.loads(Path(path).read_text())["figures"]
    return CheckDecoded(float(np.mean(figures, axis=0)[0]), 2 * NEAR_MEAN)


class CheckDecoded:
    """Looks at whole decoded images, uint8 (H, W, 3): their mean must be near what is expected."""

    def __init__(self, expected: float, near: float) -> None:
        self.expected, self.near = expected, near
        self._means: list[float] = []

    def __call__(self, images: list[Any]) -> None:
        """Take in the images of one thread's buffer."""
        for image in images:
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
                raise ValueError(f"an image is {image.shape} {image.dtype}")
            self._means.append(float(((image / 255 - MEAN) / STD).mean()))

    def result(self) -> dict[str, Any]:
        """Return what was seen; ValueError where these are not the images."""
        mean = float(np.mean(self._means))
        if abs(mean - self.expected) > self.near:
            raise ValueError(f"pixels are {mean:.2f}, expected is {self.expected:.2f}")
        return {"samples": len(self._means), "mean": round(mean, 4)}
