"""A perceptron with one hidden layer: Linear → ReLU → Linear on all pixels.

784-128-10 has 101,770 weights, 3072-128-10 has 394,634. Shapes: B batch, C channels, H W pixels.
"""

from __future__ import annotations

from torch import Tensor, nn

from models import Input, Recipe

RECIPES = {
    # Plain pixels from 0 to 1: no mean and std.
    "mlp": Recipe(
        task="classify",
        data="mnist",
        global_batch_size=64,
        feedback_lag=32,  # batches are chosen and read in bunches of half as many
        epochs=5,
        optimiser="adam",
        lr=1e-3,
        validate_every=844,  # an epoch of 54,000
    ),
}


def build(*, side: int = 28, channels: int = 1, hidden: int = 128, classes: int = 10) -> nn.Module:
    """Build the network for square images of `side` pixels."""
    if min(side, channels, hidden, classes) < 1:
        raise ValueError("side, channels, hidden and classes are 1 or more")
    return Mlp(side, channels, hidden, classes)


class Mlp(nn.Module):
    """Images in, a logit a class out."""

    def __init__(self, side: int, channels: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.inputs = {
            "image": Input(channels=channels, size=(side, side), mean=(0.0,), std=(1.0,))
        }
        self.classes = classes
        self.hidden = nn.Linear(channels * side * side, hidden)
        self.out = nn.Linear(hidden, classes)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) to (B, classes)."""
        logits: Tensor = self.out(self.hidden(image.flatten(1)).relu())
        return logits
