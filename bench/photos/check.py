"""Are these batches of the promised work? So that no contestant wins by skipping some of it.

Legend: B batch, N images, K classes, H W pixels of the output.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from files import written
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from photos.corpus import labelled, origin
from photos.work import AREA, JITTER, MEAN, RATIO, STD, TURN

# So far a figure of some hundred crops may lie from the reference, in units of the norm.
NEAR_MEAN, NEAR_STD = 0.3, 0.2
# Sharpness may be so many times the reference's; nearest-neighbour or blur lies outside.
SHARPNESS = (0.7, 1.4)
# Own class's mean colour is nearer than that of all classes, by this factor at least.
NEARER = 0.8
# So far the corners may lie from those of the reference, which are black where images are turned.
NEAR_CORNERS = 0.4


FIGURES = 4
BILINEAR = Image.Resampling.BILINEAR
Make = Callable[[Image.Image, int, random.Random], Image.Image]


def figures(images: Tensor) -> Tensor:
    """Return four figures of (B, 3, H, W): mean, mean square, mean step along rows, corners' mean.

    A step is from pixel to pixel; a corner has a sixteenth of each side.
    """
    steps = (images[..., 1:] - images[..., :-1]).abs()
    far = max(1, images.shape[-1] // 16)
    ends = images[..., [*range(far), *range(-far, 0)]]
    corners = ends[..., [*range(far), *range(-far, 0)], :]
    return torch.stack([images.mean(), images.square().mean(), steps.mean(), corners.mean()])


def reference(root: Path, folder: Path, size: int, whole: bool = False, count: int = 512) -> Path:
    """Write the figures of some files as Pillow cuts or turns them, once; return the JSON file.

    whole: the whole image as in w1-whole, not RandomResizedCrop.
    """
    make = _whole if whole else _crop

    def write(to: Path) -> None:
        (to / "reference.json").write_text(json.dumps(_reference(folder, size, count, make)))

    name = f"reference-{folder.name}-{size}" + ("-whole" if whole else "")
    facts = origin(folder) | {"count": count, "figures": FIGURES}
    return written(root / name, write, facts) / "reference.json"


def _reference(folder: Path, size: int, count: int, make: Make) -> dict[str, Any]:
    rng = random.Random(0)
    places = labelled(folder)
    classes = places[-1][1] + 1
    if len(places) < count:
        places = places * (count // len(places) + 1)
    chosen = rng.sample(places, count)
    made, means = [], []
    for path, _ in chosen:
        image = _opened(path)
        means.append(float(_floats(image).mean()))
        made.append(_floats(make(image, size, rng)))
    crops = torch.stack(made)
    labels = torch.tensor([k for _, k in chosen])
    kinds = [crops[labels == k] if (labels == k).any() else crops for k in range(classes)]
    return {
        "mean": float(np.mean(means)),  # of whole images
        "figures": torch.stack([figures(some) for some in kinds]).tolist(),  # (K, FIGURES)
        "colours": torch.stack([some.mean(dim=(0, 2, 3)) for some in kinds]).tolist(),  # (K, 3)
    }


def _opened(path: str) -> Image.Image:
    with Image.open(path) as file:
        return file.convert("RGB")


def _floats(image: Image.Image) -> Tensor:
    pixels = (np.asarray(image, np.float32) / 255 - MEAN) / STD
    return torch.from_numpy(pixels.astype(np.float32).transpose(2, 0, 1).copy())


def _whole(image: Image.Image, size: int, rng: random.Random) -> Image.Image:
    image = image.resize((size, size), BILINEAR)
    for mirrored in (ImageOps.mirror, ImageOps.flip):
        image = mirrored(image) if rng.random() < 0.5 else image
    image = image.rotate(rng.uniform(-TURN, TURN), BILINEAR)
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast):
        image = enhance(image).enhance(rng.uniform(1 - JITTER, 1 + JITTER))
    return image


def _crop(image: Image.Image, size: int, rng: random.Random) -> Image.Image:
    while True:
        area = image.width * image.height * rng.uniform(*AREA)
        ratio = np.exp(rng.uniform(*np.log(RATIO)))
        w, h = round((area * ratio) ** 0.5), round((area / ratio) ** 0.5)
        if w <= image.width and h <= image.height:
            break
    x, y = rng.randint(0, image.width - w), rng.randint(0, image.height - h)
    return image.crop((x, y, x + w, y + h)).resize((size, size), BILINEAR)


class Check:
    """Looks at the first batches of a contestant; ValueError says what is wrong with them.

    What is expected of a batch follows from its labels: a peer that mixes little may begin with few
    classes.
    """

    # So large a share of the samples must differ from all others.
    differ: ClassVar[float] = 0.9

    def __init__(self, path: str, batch: int, size: int, look_at: int = 4) -> None:
        reference = json.loads(Path(path).read_text())
        self.colours = torch.tensor(reference["colours"])
        self.expected = torch.tensor(reference["figures"])
        self.whole_mean: float = reference["mean"]
        self.shape, self.look_at = (batch, 3, size, size), look_at
        self._figures: list[Tensor] = []  # (2, FIGURES): seen and expected
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
        seen = self._compared()
        if len(self._seen) < self.differ * self._samples:
            raise ValueError(f"only {len(self._seen)} of {self._samples} crops differ")
        own, every = np.mean(self._apart, axis=0)
        if own > NEARER * every:
            raise ValueError("labels do not go with the images")
        seen["label_distance"] = own / every
        return {"samples": self._samples} | {key: round(x, 4) for key, x in seen.items()}

    def _compared(self) -> dict[str, float]:
        """Return the figures; ValueError where they are not near those of the reference."""
        (mean, square, sharp, corners), expected = torch.stack(self._figures).mean(0).tolist()
        std, wanted = (square - mean**2) ** 0.5, (expected[1] - expected[0] ** 2) ** 0.5
        if abs(mean - expected[0]) > NEAR_MEAN or abs(std / wanted - 1) > NEAR_STD:
            why = f"expected is {expected[0]:.2f} ± {wanted:.2f}"
            raise ValueError(f"pixels are {mean:.2f} ± {std:.2f}, {why}")
        if not SHARPNESS[0] < sharp / expected[2] < SHARPNESS[1]:
            raise ValueError(f"sharpness is {sharp / expected[2]:.2f} of what is expected")
        if abs(corners - expected[3]) > NEAR_CORNERS:
            raise ValueError(f"corners are {corners:.2f}, expected is {expected[3]:.2f}")
        seen = {"mean": mean, "std": std, "sharpness": sharp / expected[2], "corners": corners}
        return seen | {"mean_expected": expected[0]}


class CheckFew(Check):
    """Looks at a few pixels of each image, not augmented: at their mean, and whose label it is.

    Whole images come again, unchanged, with the next epoch.
    """

    differ: ClassVar[float] = 0.0

    def _compared(self) -> dict[str, float]:
        mean = float(torch.stack(self._figures).mean(0)[0, 0])
        if abs(mean - self.whole_mean) > NEAR_MEAN:
            raise ValueError(f"pixels are {mean:.2f}, expected is {self.whole_mean:.2f}")
        return {"mean": mean, "mean_expected": self.whole_mean}


def decoded(path: str) -> CheckDecoded:
    """Return the check of whole decoded photographs, by the reference's figures."""
    return CheckDecoded(json.loads(Path(path).read_text())["mean"], 2 * NEAR_MEAN)


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
