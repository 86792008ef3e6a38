"""Classifiers of timm by their names: each with its own size of image, crop and normalisation.

Their checkpoints bear timm's names of weights: they go into timm and come from there. Shapes:
B batch, C channels, H W pixels of an image, h w cells of the last grid of features.
"""

from __future__ import annotations

import logging
import os
from typing import Any

import torch
from torch import Tensor, nn

from models import Input, Recipe
from models.parts import imagenet

HEAD_STD = 0.01  # of a new head's weights


def _recipe(arch: str) -> Recipe:
    """Return 20 epochs of skin lesions; the best weights by what counts each class the same."""
    return Recipe(
        task="classify",
        data="ham10000",
        net={"arch": arch},
        task_options={"augment": "lesion", "class_weights": "balanced", "positive": "mel"},
        global_batch_size=32,
        epochs=20,
        optimiser="adam",
        lr=1e-4,
        validate_epochs=1,
        best="balanced_accuracy",
        patience=5,
        weights="best",
        seed=42,
    )


RECIPES = {
    "resnet50": _recipe("resnet50"),
    "efficientnet_b3": _recipe("efficientnet_b3"),
    "densenet121": _recipe("densenet121"),
    "vit_b_16": _recipe("vit_base_patch16_224"),
}


def build(
    *,
    arch: str,
    pretrained: bool | str = True,
    classes: int = 7,
    side: int = 0,
    drop: float = 0.0,
) -> nn.Module:
    """Build a network of timm by its name, with or without a tag of its weights.

    pretrained: true fetches timm's weights once, a path names a file of them (.pth, .safetensors),
        false starts from random ones. The file's head is taken where it has `classes` rows, a new
        one where it is the head that timm publishes; any other file is refused.
    side: pixels of the square images; 0: the size that the weights were made for.
    drop: share of the last features that are dropped in training.
    ValueError, in one line, for a network, size or file that does not do.
    """
    if classes < 2 or side < 0 or not 0 <= drop < 1:
        raise ValueError("classes is 2 or more, side 0 or more, drop from 0 to below 1")
    imagenet.known(arch)
    sizes = _sizes(arch, side)
    rows = _rows(pretrained, arch, classes, sizes) if isinstance(pretrained, str) else None
    settings = sizes | ({"drop_rate": drop} if drop else {})
    net = imagenet.make(arch, pretrained, rows, num_classes=classes, **settings)
    theirs = (
        rows if isinstance(pretrained, str) else pretrained and net.pretrained_cfg["num_classes"]
    )
    if theirs != classes:
        _begin_head(net)
    # The methods of both classes, the weights under timm's names.
    net.__class__ = type(type(net).__name__, (Classifier, type(net)), {})
    net.arch, net.classes, net.inputs = arch, classes, {"image": _input(net, side)}
    built: nn.Module = net
    return built


def _begin_head(net: Any) -> None:
    """Let a new head know nothing: every network starts at the loss of a guess, ln C.

    timm's own beginnings differ: of EfficientNet's, made for 1,000 classes, the logits of 7 are so
    large that it starts at two to three times that loss.
    """
    heads = net.get_classifier()
    for head in heads if isinstance(heads, tuple) else (heads,):
        for layer in head.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d):
                nn.init.normal_(layer.weight, std=HEAD_STD)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)


class Classifier:
    """What timm's networks get beside their own: what they want to see, where they saw it."""

    arch: str
    classes: int
    inputs: dict[str, Input]

    def heat_layer(self) -> nn.Module:
        """Return the last layer on a grid from which the logits follow, for Grad-CAM.

        Of transformers the last but one block: of the last one's output, cells do not reach a logit
        that is read from the class token. What is usual there, the last block's first norm, left 40
        of 147 maps of a small ViT without any heat, and hiding the hottest quarter of the others
        cost 0.58 of the log probability; here none is without, and it costs 0.68 (at random 0.03).
        ValueError where there is no such layer.
        """
        net: Any = self
        if hasattr(net, "conv_head") and hasattr(net, "bn2"):  # EfficientNet's, before the mean
            layer: nn.Module = net.bn2
        elif self._is_transformer() and len(net.blocks) > 1:
            layer = net.blocks[-2]
        elif getattr(net, "feature_info", None):
            try:
                layer = net.get_submodule(net.feature_info[-1]["module"])
            except AttributeError:  # some of timm's name a module that they have not
                raise self._without_grid() from None
        else:
            raise self._without_grid()
        return layer

    def _is_transformer(self) -> bool:
        """Tell it from blocks of convolutions: by a class token, or by how a block is named."""
        net: Any = self
        has_token = getattr(net, "num_prefix_tokens", 0) > 0
        return hasattr(net, "blocks") and (has_token or hasattr(net.blocks[-1], "norm1"))

    def heat_grid(self, features: Tensor) -> Tensor:
        """Return what `heat_layer` gives as (B, C, h, w): without the tokens of no cell."""
        net: Any = self
        if features.ndim == 4:
            last = getattr(net, "output_fmt", "NCHW") == "NHWC"
            return features.permute(0, 3, 1, 2) if last else features
        cells = features[:, getattr(net, "num_prefix_tokens", 0) :]
        grid = getattr(getattr(net, "patch_embed", None), "grid_size", None)
        if features.ndim != 3 or grid is None or cells.shape[1] != grid[0] * grid[1]:
            raise self._without_grid()
        return cells.transpose(1, 2).reshape(len(cells), -1, *grid)

    def _without_grid(self) -> ValueError:
        return ValueError(f"{self.arch} has no grid of features that heat could be drawn from")


def _shaped(arch: str, **options: Any) -> Any:
    """Return a network that has shapes, no values."""
    import timm  # here: it takes seconds, and every command lists the recipes of all families

    with torch.device("meta"):
        return timm.create_model(arch, **options).eval()


def _sizes(arch: str, side: int) -> dict[str, Any]:
    """Return timm's settings of a size; ValueError for one that the network cannot take."""
    try:
        net = _shaped(arch)
        sizes = {"img_size": side} if side and net.pretrained_cfg.get("fixed_input_size") else {}
        patch = getattr(getattr(net, "patch_embed", None), "patch_size", 1)
        longest = max(patch) if isinstance(patch, tuple) else int(patch)
        if sizes and side % longest:  # the rest would be cut off in silence; others overlap
            raise ValueError(f"not a multiple of its patches of {longest} pixels")
        size = (side, side) if side else net.pretrained_cfg["input_size"][1:]
        with torch.no_grad():
            _shaped(arch, **sizes)(torch.empty(1, 3, *size, device="meta"))
    except (*imagenet.MISFITS, ValueError) as error:
        asked = f" for images of {side} pixels" if side else ""
        raise ValueError(f"timm gives no {arch}{asked}: {imagenet.line(error)}") from error
    return sizes


def _rows(path: str, arch: str, classes: int, sizes: dict[str, Any]) -> int:
    """Return the rows of a file's head; ValueError where not all its weights are those wanted."""
    published = _shaped(arch)
    heads, state = imagenet.heads_of(published), imagenet.read(path)
    rows = next((len(v) for k, v in state.items() if k.startswith(heads) and v.ndim), 0)
    rows = rows if heads else classes
    theirs = published.pretrained_cfg["num_classes"]
    wanted = imagenet.shapes(_shaped(arch, num_classes=rows if rows in (classes, theirs) else 0))
    if rows not in (classes, theirs):  # say so where it is all that differs
        state = {key: value for key, value in state.items() if not key.startswith(heads)}
    for key, shape in imagenet.shapes(_shaped(arch, num_classes=1, **sizes)).items():
        if key in state and tuple(state[key].shape) == shape and not key.startswith(heads):
            wanted[key] = shape  # positions of a training at this very size
    imagenet.compare(path, arch, state, wanted)
    if rows not in (classes, theirs):
        have = f"its head has {rows} classes" if rows else "it has no head"
        raise ValueError(f"{path}: {have}, the network {classes}; timm publishes {theirs}")
    if rows != classes and os.environ.get("RANK", "0") == "0":
        said = f"{path}: all of {arch} but its head of {rows} classes; that of {classes} is new"
        logging.getLogger(__name__).warning(said)
    return rows


def _input(net: Any, side: int) -> Input:
    """Return what timm's own transforms for judging would make of a picture."""
    from timm.data import resolve_model_data_config

    facts = resolve_model_data_config(net)
    channels, height, width = facts["input_size"]
    return Input(
        channels=channels,
        size=(side, side) if side else (height, width),
        mean=tuple(facts["mean"]),
        std=tuple(facts["std"]),
        interpolation="linear" if facts["interpolation"] == "bilinear" else "cubic",
        crop=float(facts["crop_pct"]),
    )
