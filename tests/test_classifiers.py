"""The small classifiers: their sizes, and the same numbers as those of other libraries."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchvision
from torch import nn

import models
from models import mlp, resnet, simplecnn
from tasks.run.restore import recipe_of

RECIPES = {"mlp": mlp, "simplecnn": simplecnn, "resnet18": resnet}


def weights(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(
    ("family", "settings", "count"),
    [
        ("mlp", {}, 101_770),  # 784-128-10
        ("mlp", {"side": 32, "channels": 3}, 394_634),  # 3072-128-10
        ("mlp", {"side": 32, "channels": 3, "classes": 100}, 406_244),
        ("simplecnn", {}, 421_642),
        ("resnet", {}, 11_173_962),
    ],
)
def test_sizes(family: str, settings: dict[str, Any], count: int) -> None:
    assert weights(models.build(family, **settings)) == count


@pytest.mark.parametrize("family", ["mlp", "simplecnn", "resnet"])
@pytest.mark.parametrize("side", [28, 32, 33])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_input_gives_a_logit_a_class(family: str, side: int, channels: int) -> None:
    net: Any = models.build(family, side=side, channels=channels, classes=7)
    facts = net.inputs["image"]
    assert net(torch.rand(2, channels, side, side)).shape == (2, 7)
    assert net.classes == 7 and facts.size == (side, side) and facts.channels == channels
    assert {len(facts.mean), len(facts.std)} <= {1, channels}  # as the loader broadcasts them


def test_resnet_is_torchvisions_but_for_the_stem() -> None:
    """Names, and in training as in evaluation the same outputs and batch statistics."""
    torch.manual_seed(0)
    own = models.build("resnet", classes=10)
    other = torchvision.models.resnet18(num_classes=10)
    other.conv1, other.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
    other.load_state_dict(own.state_dict())
    images = torch.randn(4, 3, 32, 32)
    for mode in (True, False):
        torch.testing.assert_close(own.train(mode)(images), other.train(mode)(images))
    torch.testing.assert_close(dict(own.named_buffers()), dict(other.named_buffers()))


def test_mlp_is_two_linear_layers() -> None:
    net = models.build("mlp")
    first, second = (list(net.parameters())[i : i + 2] for i in (0, 2))
    images = torch.rand(5, 1, 28, 28)
    hidden = (images.reshape(5, 784) @ first[0].T + first[1]).clamp(min=0)
    torch.testing.assert_close(net(images), hidden @ second[0].T + second[1])


@pytest.mark.parametrize("family", ["mlp", "simplecnn"])
def test_small_ones_know_no_batch(family: str) -> None:
    """A sample's logits depend on no other sample, and training leaves nothing behind but weights.

    So ranks, micro-batches and fillers change nothing.
    """
    net, images = models.build(family).train(), torch.rand(6, 1, 28, 28)
    assert not list(net.buffers())
    torch.testing.assert_close(net(images)[:2], net(images[:2]))


@pytest.mark.parametrize("family", ["mlp", "simplecnn", "resnet"])
@pytest.mark.parametrize("wrong", [{"side": 0}, {"channels": 0}, {"classes": 0}])
def test_impossible_settings_are_refused(family: str, wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        models.build(family, **wrong)


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_fit_their_task(name: str) -> None:
    family, recipe = models.recipes()[name]
    assert models.load(family) is RECIPES[name] and recipe.task == "classify"
    assert recipe_of(name, {}).task_options == recipe.task_options  # each key known and typed


def test_the_mlp_recipe_is_the_published_one() -> None:
    recipe = models.recipes()["mlp"][1]
    facts = (recipe.optimiser, recipe.lr, recipe.global_batch_size, recipe.epochs, recipe.schedule)
    assert facts == ("adam", 1e-3, 64, 5, "constant")
    net: Any = models.build("mlp")
    assert net.inputs["image"].mean == (0.0,) and net.inputs["image"].std == (1.0,)
