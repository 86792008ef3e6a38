"""A small plain CNN: two blocks of 3×3 convolution, ReLU and pooling, then two linear layers.

Without batch statistics, so that neither ranks nor micro-batches nor fillers change what it learns.
Shapes: B batch, C channels, H W pixels.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from models import Input, Recipe

SHRINK = 4  # both poolings together

RECIPES = {
    "simplecnn": Recipe(
        task="classify",
        data="mnist",
        global_batch_size=64,
        feedback_lag=32,  # batches are chosen and read in bunches of half as many
        epochs=5,
        optimiser="adam",
        lr=1e-3,
        schedule="cosine",
        validate_every=844,  # an epoch of 54,000
    ),
}


def build(
    *, side: int = 28, channels: int = 1, width: int = 32, hidden: int = 128, classes: int = 10
) -> nn.Module:
    """Build the network for square images of `side` pixels; width: channels of the first block."""
    if min(channels, width, hidden, classes) < 1 or side < SHRINK:
        raise ValueError(f"side is {SHRINK} or more; channels, width, hidden, classes 1 or more")
    return SimpleCnn(side, channels, width, hidden, classes)


class SimpleCnn(nn.Module):
    """Images in, a logit a class out."""

    def __init__(self, side: int, channels: int, width: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.inputs = {
            "image": Input(channels=channels, size=(side, side), mean=(0.0,), std=(1.0,))
        }
        self.classes = classes
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, 2 * width, 3, padding=1)
        self.hidden = nn.Linear(2 * width * (side // SHRINK) ** 2, hidden)
        self.out = nn.Linear(hidden, classes)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) to (B, classes)."""
        x = F.max_pool2d(self.conv1(image).relu(), 2)
        x = F.max_pool2d(self.conv2(x).relu(), 2)
        logits: Tensor = self.out(self.hidden(x.flatten(1)).relu())
        return logits
