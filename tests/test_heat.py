"""tasks.classes.heat: maps equal to Grad-CAM by hand; what it leaves behind: nothing."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import models
from models.timm_nets import RECIPES, build
from tasks.classes.heat import Heat, share_inside

SIDE = 64


def net_of(arch: str = "test_resnet", side: int = SIDE, classes: int = 5) -> Any:
    torch.manual_seed(2)
    net = build(arch=arch, pretrained=False, side=side, classes=classes)
    for module in net.modules():  # statistics that a new network does not have
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
    for module in net.modules():
        if isinstance(module, nn.Linear) and len(module.weight) == classes:
            nn.init.normal_(module.weight)  # so that something speaks for the class said
    return net.eval()


def images_of(count: int = 3, side: int = SIDE) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(5))


def drawn(features: Tensor, gradients: Tensor, side: int) -> Any:
    """Return equations 1 and 2 of (B, K, h, w), enlarged, each map from 0 to 1."""
    maps = (gradients.mean(dim=(2, 3), keepdim=True) * features).sum(dim=1).clamp(min=0)
    for size in (None, (side, side)):
        if size:
            maps = F.interpolate(maps[:, None], size, mode="bilinear")[:, 0]
        maps = maps - maps.amin(dim=(1, 2), keepdim=True)
        maps = maps / (maps.amax(dim=(1, 2), keepdim=True) + 1e-7)
    return maps.numpy()


def of_convolutions(net: Any, images: Tensor, pick: Callable[[Tensor], Tensor]) -> Any:
    """Grad-CAM where timm itself parts a network: before and behind the mean over cells."""
    features = net.forward_features(images).detach().requires_grad_()
    (gradients,) = torch.autograd.grad(pick(net.forward_head(features)), features)
    return drawn(features.detach(), gradients, images.shape[-1])


def of_tokens(net: Any, images: Tensor, pick: Callable[[Tensor], Tensor]) -> Any:
    """Grad-CAM at what goes into the last block, which is written out here."""
    tokens = net._pos_embed(net.patch_embed(images))
    for block in net.blocks[:-1]:
        tokens = block(tokens)
    last, tokens = net.blocks[-1], tokens.detach().requires_grad_()
    x = tokens + last.ls1(last.attn(last.norm1(tokens)))
    x = x + last.ls2(last.mlp(last.norm2(x)))
    (gradients,) = torch.autograd.grad(pick(net.forward_head(net.norm(x))), tokens)
    cells = images.shape[-1] // 16
    first = tokens.shape[1] - cells**2  # the class token, and registers
    assert first > 0

    def grid(tokens: Tensor) -> Tensor:
        shape = (len(tokens), cells, cells, -1)
        return tokens[:, first:].reshape(shape).permute(0, 3, 1, 2)

    return drawn(grid(tokens.detach()), grid(gradients), images.shape[-1])


BY_HAND = {
    "resnet50": of_convolutions,
    "efficientnet_b3": of_convolutions,
    "densenet121": of_convolutions,
    "vit_base_patch16_224": of_tokens,
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_maps_are_grad_cam(recipe: str) -> None:
    """Of all four, of the class said and of others; of other sizes than they were trained with."""
    arch = str(RECIPES[recipe].net["arch"])
    net, images = net_of(arch), images_of(2)
    with torch.no_grad(), Heat(net) as heat:
        logits, maps = heat.explain(images)
        others = heat.maps(images, [3, 0])
        torch.testing.assert_close(logits, net(images))
    assert maps.shape == (2, SIDE, SIDE) and maps.dtype == np.float32
    by_hand = BY_HAND[arch]
    wanted = by_hand(net, images, lambda logits: logits.max(dim=1).values.sum())
    np.testing.assert_allclose(maps, wanted, atol=1e-4)
    wanted = by_hand(net, images, lambda logits: logits[0, 3] + logits[1, 0])
    np.testing.assert_allclose(others, wanted, atol=1e-4)
    assert (maps.max(axis=(1, 2)) > 0.99).all() and (maps.min(axis=(1, 2)) == 0).all()


@pytest.mark.parametrize("seed", range(2))
def test_no_map_of_a_transformer_is_blank(seed: int) -> None:
    """Smooth pictures, random weights: at the last block's first norm most are, of seed 0."""
    torch.manual_seed(seed)
    net = build(arch="vit_tiny_patch16_224", pretrained=False).eval()
    images = F.interpolate(images_of(20, 4), (224, 224), mode="bicubic") + 1
    with Heat(net) as heat:
        maps = heat.maps(images)
    assert (maps.max(axis=(1, 2)) > 0.99).all()


@pytest.mark.parametrize(
    ("arch", "side"),
    [
        ("test_vit", 96),
        ("swin_s3_tiny_224", 96),
        ("mobilenetv3_small_050", 64),
        ("convnext_atto", 64),
        ("deit_tiny_distilled_patch16_224", 64),
        ("vit_small_patch16_18x2_224", 64),  # blocks in parallel
    ],
)
def test_other_networks_of_timm(arch: str, side: int) -> None:
    """Right way up: where one corner alone differs, that is where the map changes most."""
    net, images = net_of(arch, side), images_of(1, side)
    shown = images.clone()
    shown[..., : side // 4, -side // 4 :] += 3
    features: list[Tensor] = []
    net.heat_layer().register_forward_hook(lambda *seen: features.append(seen[2]))
    with torch.no_grad(), Heat(net) as heat:
        maps = heat.maps(torch.cat([images, shown]))
    before, after = net.heat_grid(features[0]).detach()
    changed = (after - before).norm(dim=0)
    corner = changed[: max(1, len(changed) // 4), -max(1, len(changed) // 4) :].mean()
    assert corner > changed.mean()
    assert maps.shape == (2, side, side) and maps.any()


class Rectified(nn.Module):
    """A layer whose output is written over by what follows it, as DenseNet's in torchvision."""

    def __init__(self, inplace: bool) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.conv, self.relu = nn.Conv2d(3, 8, 8, 8), nn.ReLU(inplace)
        self.head = nn.Linear(8, 5)

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.head(self.relu(self.conv(image)).mean(dim=(2, 3)))
        return logits

    def heat_layer(self) -> nn.Module:
        return self.conv

    def heat_grid(self, features: Tensor) -> Tensor:
        return features


def test_a_rectifier_in_place_changes_nothing() -> None:
    one, other = Heat(Rectified(True)), Heat(Rectified(False))
    np.testing.assert_array_equal(one.maps(images_of()), other.maps(images_of()))
    assert one.maps(images_of()).any()


def test_nothing_is_left_behind() -> None:
    net, images = net_of().train(), images_of()
    net.layer1.eval()
    frozen, learning = net.conv1[0].weight, net.fc.weight
    frozen.requires_grad_(False)
    learning.grad = torch.ones_like(learning)
    kept, state = learning.grad, {k: v.clone() for k, v in net.state_dict().items()}
    with Heat(net) as heat:
        heat.maps(images)
        with pytest.raises(IndexError):  # which the library itself would swallow
            heat.maps(images, [5, 0, 0])
    assert net.training and not net.layer1.training and net.layer2.training
    assert not frozen.requires_grad and learning.requires_grad
    assert learning.grad is kept and frozen.grad is None
    assert all(w.grad is None for k, w in net.named_parameters() if not k.startswith("fc.weight"))
    assert all(torch.equal(state[k], v) for k, v in net.state_dict().items())
    assert not any(module._forward_hooks for module in net.modules())


@pytest.mark.parametrize("arch", ["test_resnet", "test_vit"])
def test_memory_does_not_grow(arch: str) -> None:
    """Nothing lives on, with the garbage collector off: there are no cycles either."""
    net, images = net_of(arch), images_of(8)
    with Heat(net) as heat:
        heat.maps(images)
        gc.collect()
        gc.disable()
        try:
            before, tensors = len(gc.get_objects()), alive()
            for _ in range(60):
                logits, maps = heat.explain(images)
            assert alive() == tensors + 1  # the logits
            assert len(gc.get_objects()) - before < 20
        finally:
            gc.enable()
    gone = weakref.ref(net)
    del heat, net
    gc.collect()  # a module is in a cycle with its own hooks' tables
    assert gone() is None and len(maps) == len(logits) == 8


def alive() -> int:
    return sum(issubclass(type(one), Tensor) for one in gc.get_objects())


def test_wherever_it_is_called() -> None:
    net, images = net_of("test_vit"), images_of()
    with Heat(net) as heat:
        wanted = heat.maps(images)
        for context in (torch.no_grad, torch.inference_mode):
            with context():
                np.testing.assert_array_equal(heat.maps(images), wanted)
                inner = images + 0  # made in here
                np.testing.assert_array_equal(heat.maps(inner), wanted)
        with torch.autocast("cpu", torch.bfloat16):
            rough = heat.maps(images)
        assert rough.dtype == np.float32 and np.corrcoef(rough.ravel(), wanted.ravel())[0, 1] > 0.9
        net.requires_grad_(False)
        np.testing.assert_array_equal(heat.maps(images), wanted)
        with pytest.raises(ValueError, match="2 classes for 3 images"):
            heat.maps(images, [1, 2])


@pytest.mark.parametrize("arch", ["cait_xxs24_224", "pit_ti_224", "coat_tiny"])
def test_networks_without_a_grid(arch: str) -> None:
    net = net_of(arch, 224)
    with Heat(net) as heat, pytest.raises(ValueError, match="grid of features") as error:
        heat.maps(images_of(1, 224))
    assert "\n" not in str(error.value)
    assert not any(module._forward_hooks for module in net.modules())


@pytest.mark.parametrize("arch", ["mvitv2_tiny", "twins_pcpvt_small"])
def test_networks_that_name_a_layer_they_lack(arch: str) -> None:
    with pytest.raises(ValueError, match=f"{arch} has no grid of features"):
        Heat(net_of(arch, 224))


def test_networks_that_name_no_layer() -> None:
    with pytest.raises(ValueError, match="Mlp names no layer that heat could be drawn from"):
        Heat(models.build("mlp", side=8, channels=3))


def test_share_inside() -> None:
    maps = np.array([[[1, 0.5], [0.25, 0.25]], [[0, 0], [0, 0]]], np.float32)
    masks = np.array([[[True, False], [True, False]]] * 2)
    np.testing.assert_allclose(share_inside(maps, masks), [0.625, np.nan])
