"""The whole image for the peers that leave it to torchvision: resized, flipped, turned, jittered.

The recipe of a study on HAM10000. Its turn takes the nearest pixel, as torchvision's does unless
told otherwise; the loader interpolates.
"""

from __future__ import annotations

from typing import Any

import torch
from torchvision import transforms
from torchvision.transforms import v2

from photos.work import JITTER, MEAN, STD, TURN


def of_pil(size: int, *last: Any) -> Any:
    """Return transforms of PIL images. last: what follows the jitter, by default to float."""
    return transforms.Compose(
        [
            transforms.Resize((size, size)),
            transforms.RandomHorizontalFlip(),
            transforms.RandomVerticalFlip(),
            transforms.RandomRotation(TURN),
            transforms.ColorJitter(brightness=JITTER, contrast=JITTER),
            *(last or (transforms.ToTensor(), transforms.Normalize(MEAN, STD))),
        ]
    )


def of_tensor(size: int) -> Any:
    """Return transforms v2: all but the last on uint8, then float."""
    return v2.Compose(
        [
            v2.Resize((size, size), antialias=True),
            v2.RandomHorizontalFlip(),
            v2.RandomVerticalFlip(),
            v2.RandomRotation(TURN),
            v2.ColorJitter(brightness=JITTER, contrast=JITTER),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )
