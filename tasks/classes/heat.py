"""Where a network saw its class: Grad-CAM (Selvaraju et al., ICCV 2017, equations 1 and 2).

The maps are those of the library grad-cam, whose hooks live as long as one call. The gradient goes
from the logits to the network's `heat_layer` and no further. Shapes: B batch, C classes, H W pixels
of an image, K h w features of the layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tasks import judging

Array = npt.NDArray[Any]


class Heat:
    """Maps of a network with a `heat_layer`, in evaluation mode between `with` and its end.

    ValueError, naming the network, where it keeps no grid of features.
    """

    def __init__(self, net: torch.nn.Module) -> None:
        if not hasattr(net, "heat_layer"):
            raise ValueError(f"{type(net).__name__} names no layer that heat could be drawn from")
        self.net = named = cast(Any, net)
        self._layer: torch.nn.Module = named.heat_layer()
        self._open = ExitStack()

    def __enter__(self) -> Heat:
        self._open.enter_context(judging(self.net))
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def maps(self, images: Tensor, classes: Sequence[int] | Tensor | None = None) -> Array:
        """Return what spoke for these classes (B,), by default the likeliest: see `explain`."""
        return self.explain(images, classes)[1]

    def explain(
        self, images: Tensor, classes: Sequence[int] | Tensor | None = None
    ) -> tuple[Tensor, Array]:
        """Return logits (B, C) and maps (B, H, W) float32, 0 to 1, of normalised (B, 3, H, W).

        A map is 0 all over where nothing spoke for its class. Weights and their gradients are left
        as they were, also inside `no_grad` and `inference_mode`.
        """
        from pytorch_grad_cam import GradCAM  # slow to import: for explanations alone

        chosen = [None] * len(images) if classes is None else [int(c) for c in classes]
        if len(chosen) != len(images):
            raise ValueError(f"{len(chosen)} classes for {len(images)} images")
        targets = [_logit(one) for one in chosen]
        with ExitStack() as open_, torch.inference_mode(False), torch.enable_grad():
            open_.enter_context(_frozen(self.net))
            # Before the library's hooks, which then see what it returns.
            open_.callback(self._layer.register_forward_hook(_cut).remove)
            cam = GradCAM(self.net, [self._layer], self._grid)
            open_.callback(cam.activations_and_grads.release)
            maps = cam(images.clone(), targets)
            return cam.outputs.detach(), np.asarray(maps, np.float32)

    def _grid(self, features: Tensor) -> Tensor:
        # A copy: what follows the layer may write into its output (an in-place ReLU).
        grid: Tensor = self.net.heat_grid(features.detach()).float().clone()
        return grid


def _cut(layer: torch.nn.Module, inputs: object, output: object) -> Tensor:
    """Let the graph begin here: it is no longer than it must be, and weights need no gradient."""
    if not isinstance(output, Tensor):
        raise ValueError(f"{type(layer).__name__} gives no grid of features to draw heat from")
    return output.detach().requires_grad_().clone()


def _logit(chosen: int | None) -> Callable[[Tensor], Tensor]:
    """Return what picks the logit of one image that is explained; None: the largest."""

    def pick(logits: Tensor) -> Tensor:
        if not logits.requires_grad:
            raise ValueError("the logits do not follow from this network's grid of features")
        return logits.max() if chosen is None else logits[chosen]

    return pick


@contextmanager
def _frozen(net: torch.nn.Module) -> Iterator[None]:
    """Keep the weights and their gradients from the library, which clears them."""
    kept = [(weight, weight.requires_grad, weight.grad) for weight in net.parameters()]
    for weight, _, _ in kept:
        weight.requires_grad_(False)
        weight.grad = None
    try:
        yield
    finally:
        for weight, wanted, gradient in kept:
            weight.requires_grad_(wanted)
            weight.grad = gradient


def share_inside(maps: Array, masks: Array) -> Array:
    """Return the share of the heat of maps (B, H, W) that lies inside masks (B, H, W) of bools.

    NaN where a map is 0 all over. By chance it is the share of the area that lies inside.
    """
    heat = maps.sum(axis=(1, 2), dtype=np.float64)
    inside = np.where(masks, maps, 0).sum(axis=(1, 2), dtype=np.float64)
    shares: Array = np.divide(inside, heat, out=np.full(len(maps), np.nan), where=heat > 0)
    return shares
