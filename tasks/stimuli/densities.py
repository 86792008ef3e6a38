"""Densities as tensors, with gradients. Shapes: B batch, H W pixels, n fixations."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from tasks import Net, judging


def soft_map(points: Tensor, height: int, width: int, sigma: tuple[float, float]) -> Tensor:
    """Return the blurred map (H, W) of fixations (n, 2), sum 1: Gaussians at their pixels."""
    axes = []
    for places, length, spread in zip(points.T, (width, height), sigma, strict=True):
        distance = torch.arange(length, device=points.device) - places.floor()[:, None]
        axes.append(torch.exp(-0.5 * (distance / spread) ** 2))
    blurred = axes[1].T @ axes[0]
    return blurred / blurred.sum()


def bias_entropy(net: Net, images: Tensor, with_centre_bias: bool = True) -> Tensor:
    """Return the entropy in nats of the mean density over images that show nothing.

    The densities are averaged, not their logarithms: what an observer of any of them would see.
    The network judges as in evaluation and keeps its mode; gradients flow to its weights.
    """
    module: Any = net
    with judging(module):
        log_density = net(images, None, with_centre_bias)
    mean = torch.logsumexp(log_density.float(), dim=0) - math.log(len(images))
    return -(mean.exp() * mean).sum()
