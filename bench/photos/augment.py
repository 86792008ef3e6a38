"""What is done to one photograph, for the peers that leave it to torchvision.

Legend: B batch, H W pixels.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision import io, transforms
from torchvision.transforms import v2

from photos.work import AREA, MEAN, RATIO, STD


def of_pil(size: int) -> Any:
    """Return the transforms of torchvision's own recipe: PIL in, float out."""
    return transforms.Compose(
        [
            transforms.RandomResizedCrop(size, AREA, RATIO),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )


def of_tensor(size: int) -> Any:
    """Return transforms v2: geometry on uint8, then float."""
    return v2.Compose(
        [
            v2.RandomResizedCrop(size, AREA, RATIO, antialias=True),
            v2.RandomHorizontalFlip(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )


def decoded(data: bytes) -> Tensor:
    """Return one image, uint8 (3, H, W)."""
    held = torch.frombuffer(bytearray(data), dtype=torch.uint8)  # torch wants to own what it reads
    image: Tensor = io.decode_jpeg(held, mode=io.ImageReadMode.RGB)
    return image


class FromBytes:
    """Turns the bytes of a file into the sample: with decode_jpeg and v2, or with PIL."""

    def __init__(self, size: int, tensors: bool) -> None:
        self._tensors = tensors
        self._change = of_tensor(size) if tensors else of_pil(size)

    def __call__(self, data: bytes) -> Tensor:
        image = decoded(data) if self._tensors else Image.open(BytesIO(data)).convert("RGB")
        sample: Tensor = self._change(image)
        return sample


def cut(image: Tensor, size: int, rng: np.random.Generator) -> Tensor:
    """Return a random crop, resized, maybe flipped, uint8: for threads, which share torch's own.

    The same draw as RandomResizedCrop's; after ten tries in vain the largest crop of the middle.
    """
    height, width = image.shape[-2:]
    for _ in range(10):
        area = height * width * rng.uniform(*AREA)
        ratio = np.exp(rng.uniform(*np.log(RATIO)))
        h, w = round((area / ratio) ** 0.5), round((area * ratio) ** 0.5)
        if 0 < h <= height and 0 < w <= width:
            y, x = rng.integers(height - h + 1), rng.integers(width - w + 1)
            break
    else:
        h, w = min(height, round(width / RATIO[0])), min(width, round(height * RATIO[1]))
        y, x = (height - h) // 2, (width - w) // 2
    box = (int(y), int(x), h, w)
    crop: Tensor = v2.functional.resized_crop(image, *box, [size, size], antialias=True)
    return crop.flip(-1) if rng.random() < 0.5 else crop


def normalised(crops: Tensor) -> Tensor:
    """Return uint8 (B, 3, H, W) as normalised float32."""
    scaled = v2.functional.to_dtype(crops, torch.float32, scale=True)
    images: Tensor = v2.functional.normalize(scaled, list(MEAN), list(STD), inplace=True)
    return images
