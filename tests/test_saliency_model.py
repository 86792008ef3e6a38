"""models.saliency against torch's, scipy's and timm's own results, on networks of a few weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel

import models
from dataprep import flags
from models.saliency import RECIPES, Blur, FeatureLayer, Saliency, build

TINY = "test_resnet"  # one of those that timm keeps for tests: 0.5 M weights, batch norm
SMALL = {"backbone": TINY, "pretrained": False, "sigma": 1.0, "grid": 16}


def small(**net: Any) -> Saliency:
    """Return a net that runs fast and whose readout says something."""
    torch.manual_seed(0)
    made = build(**SMALL | net)
    nn.init.normal_(made.selection[-1].weight)
    return made


def pictures(count: int = 2, height: int = 97, width: int = 131) -> Tensor:
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(1))


def readout(net: Saliency) -> dict[str, nn.Parameter]:
    return {k: p for k, p in net.named_parameters() if not k.startswith("backbone.")}


@pytest.mark.parametrize(
    "name",
    [
        "test_resnet",
        "test_efficientnet",
        "test_convnext",
        "test_vit",
        "test_nfnet",
        "test_mambaout",
        "resnet18",
        "densenet121",
        "mobilenetv3_small_050",
        "efficientnet_b0",
        "convnext_atto",
        "edgenext_xx_small",
        "vit_tiny_patch16_224",
        "eva02_tiny_patch14_224",  # images padded to patches of 14
        "swin_tiny_patch4_window7_224",  # channels last
    ],
)
def test_any_backbone_gives_a_density(name: str) -> None:
    """Odd sizes, landscape and portrait, with one net."""
    net = small(backbone=name)
    for image in (pictures(), pictures(1, 131, 97)):
        log = net(image)
        assert log.shape == image[:, 0].shape and log.dtype == torch.float32
        torch.testing.assert_close(log.exp().sum((1, 2)), torch.ones(len(image)))
        assert log.std() > 1e-3
    log.max().backward()
    assert all(p.grad is not None for p in readout(net).values())


def test_parameters_of_the_readout() -> None:
    """23.3 k for 2,048 channels, as DeepGaze's, sigma and the centre bias's weight included."""
    net = small(backbone="resnet50", levels=(-1,))
    assert sum(net.backbone.channels) == 2048
    learnt = sum(p.numel() for p in net.parameters() if p.requires_grad)
    assert learnt == 2048 * 10 + 2811 + 2 == 23_293
    norms = [m for m in [*net.saliency, *net.selection] if isinstance(m, nn.GroupNorm)]
    assert [(m.num_groups, m.num_channels, m.eps) for m in norms] == [
        (1, width, 1e-12) for width in (8, 16, 1, 128)
    ]


def test_padding_adds_nothing_but_a_border() -> None:
    """A cropped canvas: the same map as that of the image with its last row and column repeated."""
    net = small()
    whole = net(F.pad(pictures(), (0, 192 - 131, 0, 128 - 97), mode="replicate"))
    difference = (net(pictures()) - whole[:, :97, :131]).flatten(1)
    assert difference.std(1).max() < 1e-5  # a constant: less area shares the mass
    assert difference.min() > 0.01


def test_frozen_backbone() -> None:
    """Gradients only in the readout; batch statistics and modes never change; nothing is kept."""
    net = small().train()
    before = {k: v.clone() for k, v in net.backbone.state_dict().items()}
    optimiser = torch.optim.Adam(net.parameters(), 0.1, weight_decay=0.1)
    for _ in range(2):
        net(pictures()).max().backward()
        optimiser.step()
    assert not any(module.training for module in net.backbone.modules()) and net.training
    assert all(torch.equal(v, before[k]) for k, v in net.backbone.state_dict().items())
    assert all(p.grad is None and not p.requires_grad for p in net.backbone.parameters())
    for name, parameter in readout(net).items():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    assert not any(x.requires_grad for x in net.features(pictures()))
    for a, b in zip(net.features(pictures()), net.eval().features(pictures()), strict=True):
        assert torch.equal(a, b)


def test_gradient_of_the_image_passes_a_frozen_backbone() -> None:
    image = pictures().requires_grad_()
    small()(image).max().backward()
    assert image.grad is not None and image.grad.abs().sum() > 0


def test_tuned_backbone() -> None:
    net = small(tuned=True)
    before = {k: v.clone() for k, v in net.backbone.state_dict().items()}
    net(pictures()).max().backward()
    gradients = [p.grad for p in net.backbone.parameters()]
    assert all(gradient is not None for gradient in gradients)  # DDP wants no unused ones
    assert gradients[0].abs().sum() > 0
    after = net.backbone.state_dict()
    assert any("mean" in k and not torch.equal(v, before[k]) for k, v in after.items())
    assert not net.eval().backbone.training and net.train().backbone.training


def bias(*shape: int) -> Tensor:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    return values.flatten(-2).log_softmax(-1).view(shape)


def test_centre_bias_is_the_first_prediction() -> None:
    """With weight 1 and a readout that says nothing, as it is built; without it, uniform."""
    net, given = build(**SMALL), bias(2, 97, 131)
    torch.testing.assert_close(net(pictures(), given), given, rtol=0, atol=1e-5)
    uniform = -torch.full((2, 97, 131), 97 * 131.0).log()
    torch.testing.assert_close(net(pictures()), uniform)  # until it is filled
    net.fill_centre_bias(bias(16, 16) + 3)
    torch.testing.assert_close(net.centre_bias, bias(16, 16))
    own = net(pictures(1, 16, 16), with_centre_bias=True)[0]
    torch.testing.assert_close(own, bias(16, 16), rtol=0, atol=1e-5)
    torch.testing.assert_close(net(pictures(), given, with_centre_bias=False), uniform)


def test_centre_bias_is_weighted_and_optional() -> None:
    net, given = small(), bias(2, 97, 131)
    alone = net(pictures(), with_centre_bias=False)
    with torch.no_grad():
        net.centre_bias_weight.fill_(0.4)
    want = (alone + 0.4 * given).flatten(1).log_softmax(1).view_as(alone)
    torch.testing.assert_close(net(pictures(), given), want)


@pytest.mark.parametrize("wrong", [torch.zeros(15, 16), torch.full((16, 16), -torch.inf)])
def test_centre_bias_that_does_not_fit(wrong: Tensor) -> None:
    with pytest.raises(ValueError, match=r"finite centre bias of shape \(16, 16\)"):
        small().fill_centre_bias(wrong)


def test_relative_coordinates() -> None:
    """The kept bias covers any image: its left half holds its share of the mass."""
    half = torch.full((16, 16), 1e-6)
    half[:, :8] = 1
    net = build(**SMALL)
    net.fill_centre_bias(half.log())
    for image in (pictures(), pictures(1, 131, 98)):
        density = net(image)[0].exp().detach()
        assert 0.9 < density[:, : density.shape[1] // 2].sum() < 1.001
        assert density.sum(1).max() / density.sum(1).min() < 1.0001
        given = build(**SMALL)(image, half.log()[None].expand(len(image), -1, -1))
        torch.testing.assert_close(given[0].exp(), density)


def test_autocast() -> None:
    """Low precision ends at the features: the density is float32, finite, and sums to 1."""
    net = small()
    with torch.autocast("cpu", torch.bfloat16):
        low = net(pictures(), bias(2, 97, 131))
        assert net.features(pictures())[0].dtype == torch.bfloat16
    assert low.dtype == torch.float32 and low.isfinite().all()
    torch.testing.assert_close(low.exp().sum((1, 2)), torch.ones(2))
    assert (low - net(pictures(), bias(2, 97, 131))).abs().mean() < 0.05


def test_uniform_images() -> None:
    """Grey levels of the entropy term: finite values and gradients, whatever the grey."""
    net = small()
    net(torch.linspace(-2, 2, 16).view(16, 1, 1, 1).expand(16, 3, 64, 64)).max().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in readout(net).values())


def test_feature_layer_equals_its_definition() -> None:
    """Layer norm over all levels on one grid, then the convolution of the resized levels."""
    torch.manual_seed(0)
    layer = FeatureLayer([3, 5], 4).double()
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    fine, coarse = (
        torch.randn(2, c, s, 2 * s, dtype=torch.double) + 2 for c, s in ((3, 8), (5, 4))
    )
    common = torch.cat([fine, coarse.repeat_interleave(2, 2).repeat_interleave(2, 3)], dim=1)
    normed = F.layer_norm(common, common.shape[1:], eps=1e-12)
    levels = normed[:, :3], normed[:, 3:, ::2, ::2]  # each at its own grid again
    resized = [F.interpolate(x, size=(16, 20), mode="bilinear") for x in levels]
    scaled = torch.cat(resized, 1) * layer.scale[:, None, None] + layer.shift[:, None, None]
    torch.testing.assert_close(layer([fine, coarse], (16, 20)), F.softplus(layer.conv(scaled)))


@pytest.mark.parametrize("sigma", [0.6, 2.0, 8.0])
@pytest.mark.parametrize("shape", [(40, 30), (5, 61), (1, 7)])
def test_blur_equals_scipys(sigma: float, shape: tuple[int, int]) -> None:
    values = torch.randn(shape, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    want = ndimage.gaussian_filter(
        values.numpy(), sigma, mode="nearest", radius=int(np.ceil(3 * sigma))
    )
    found = Blur(sigma).double()(values[None, None])[0, 0].detach()
    np.testing.assert_allclose(found, want, atol=1e-6)  # sigma itself is a float32's logarithm


def test_blur_learns_its_width() -> None:
    blur, x = Blur(1.7).double(), torch.randn(1, 1, 9, 11, dtype=torch.double)

    def of(log_sigma: Tensor) -> Tensor:
        return torch.func.functional_call(blur, {"log_sigma": log_sigma}, x)

    for sigma in (0.5, 1.7, 3.1, 6.5):  # up to four times the initial width
        at = torch.tensor(sigma, dtype=torch.double).log().requires_grad_()
        assert torch.autograd.gradcheck(of, at)
        want = ndimage.gaussian_filter(
            x[0, 0].numpy(), sigma, mode="nearest", radius=int(np.ceil(3 * sigma))
        )
        np.testing.assert_allclose(of(at)[0, 0].detach(), want, atol=1e-12)


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])  # of different means
def test_normalised_once(name: str) -> None:
    """By the task's stages with `inputs`, as timm's own transform does; the net adds nothing."""
    pixels = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    net = small(backbone=name, downsample=1, levels=(0, 1))
    facts = timm.data.resolve_model_data_config(net.backbone.net)
    transform = timm.data.create_transform(**facts | {"input_size": (3, 64, 96), "crop_pct": 1.0})
    wants = net.inputs["image"]
    mine = (torch.from_numpy(pixels) / 255 - torch.tensor(wants.mean)) / torch.tensor(wants.std)
    image = mine.permute(2, 0, 1)[None]
    seen: list[Tensor] = []
    net.backbone.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    net(image)
    torch.testing.assert_close(seen[0], image)  # 64×96 is whole strides: nothing is padded
    levels = net.features(image)
    theirs = net.backbone.net(transform(Image.fromarray(pixels))[None])
    for a, b in zip(levels, theirs, strict=True):
        torch.testing.assert_close(a, b.detach(), rtol=1e-4, atol=1e-4)


def test_state_round_trip(tmp_path: Path) -> None:
    """Through a run's facts and checkpoint: weights, batch statistics and centre bias."""
    net = small(levels=(3, -1)).eval()
    net.fill_centre_bias(bias(16, 16))
    torch.save({"model": net.state_dict()}, tmp_path / "last.pt")
    settings = json.loads(json.dumps(SMALL | {"levels": (3, -1), "pretrained": True}))
    again = models.build("saliency", blank=True, **settings).eval()
    models.initialise(again, torch.load(tmp_path / "last.pt", weights_only=True))
    assert torch.equal(net(pictures()), again(pictures()))


def test_averaged_weights() -> None:
    """Batch norms bring counts, which are whole numbers: copied, not averaged."""
    net = small(tuned=True)
    averaged = AveragedModel(net, multi_avg_fn=models.averaging(0.5), use_buffers=True)
    for _ in range(3):
        net(pictures())
        averaged.update_parameters(net)
    key = "backbone.net.layer1.0.bn1"
    assert averaged.module.get_buffer(f"{key}.num_batches_tracked") == 3
    mean = averaged.module.get_buffer(f"{key}.running_mean")
    assert mean.any() and not torch.equal(mean, net.get_buffer(f"{key}.running_mean"))


@pytest.mark.parametrize("name", RECIPES)
def test_recipes(name: str) -> None:
    recipe = RECIPES[name]
    net = models.build("saliency", blank=True, **recipe.net)
    assert isinstance(net, Saliency) and (recipe.task, recipe.seed) == ("saliency", 42)
    assert set(recipe.task_options) <= {"size", "entropy_weight", "entropy_every"}
    assert flags.typed(recipe.net, build) == dict(recipe.net)


@pytest.mark.parametrize("name", ["saliency", "saliency_entropy"])
def test_rate_ends_where_promised(name: str) -> None:
    """0.001585 to 1.5e-7 takes four drops by 10; the last epochs really run at the last rate."""
    recipe, steps = RECIPES[name], 25 * 29
    rates = [recipe.learning_rate(step / steps) for step in range(steps)]
    assert rates[0] == 0.001585 and rates[-1] == pytest.approx(1.585e-7)
    assert [round(np.log10(0.001585 / rate)) for rate in rates[:: 29 * 6]] == [0, 0, 1, 2, 4]
    assert rates[-29] == rates[-1]


def test_entropy_term_acts_often() -> None:
    options = RECIPES["saliency_entropy"].task_options
    assert options["entropy_weight"] == 1.0 and 25 * 29 // options["entropy_every"] > 100
