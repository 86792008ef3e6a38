"""models.shufflemixer against the published numbers, keys and formula."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import models
from models.shufflemixer import RECIPES, build, shuffle_channels

BASE = {2: 393_939, 3: 414_739, 4: 410_579}
TINY = {2: 108_435, 3: 113_715, 4: 112_659}
# G multiply-adds for 1280x720 out, the skip at 4 a value; from the authors' configs
BASE_COST, TINY_COST = {2: 90.859, 3: 43.404, 4: 27.692}, {2: 25.027, 3: 12.105, 4: 7.806}
CASES = [("base", s, BASE[s], BASE_COST[s]) for s in (2, 3, 4)]
CASES += [("tiny", s, TINY[s], TINY_COST[s]) for s in (2, 3, 4)]
NETS = pytest.mark.parametrize(("size", "scale", "count", "cost"), CASES)


def published_shapes(width: int, kernel: int, scale: int) -> dict[str, tuple[int, ...]]:
    """Return key -> shape as in the published checkpoints."""
    half, more = width // 2, width + 16
    shapes: dict[str, tuple[int, ...]] = {"to_feat.weight": (width, 3, 3, 3)}
    convs: dict[str, tuple[int, ...]] = {"tail": (3, width, 3, 3)}
    for b in range(5):
        for n in range(2):
            layer = f"blocks.{b}.net.{n}"
            convs[f"{layer}.spatial"] = (width, 1, kernel, kernel)
            for m in (1, 2):
                shapes[f"{layer}.norm{m}.body.weight"] = (width,)
                convs[f"{layer}.mlp{m}.fc.0"] = (width, half, 1, 1)
                convs[f"{layer}.mlp{m}.fc.2"] = (half, width, 1, 1)
        convs[f"blocks.{b}.conv.0"] = (more, width, 3, 3)
        convs[f"blocks.{b}.conv.2"] = (width, more, 1, 1)
    for i in (0, 3) if scale == 4 else (0,):
        convs[f"upsapling.{i}"] = (width * (4 if scale == 4 else scale**2), width, 1, 1)
    for name, shape in convs.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return shapes


def small(**net: Any) -> nn.Module:
    """Return a net that runs fast."""
    torch.manual_seed(0)
    return build(**{"width": 16, "kernel_size": 3, "blocks": 2, "scale": 2} | net)


@NETS
def test_parameters_and_keys(
    size: Literal["base", "tiny"], scale: Literal[2, 3, 4], count: int, cost: float
) -> None:
    net = build(size, scale)
    shapes = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    assert shapes == published_shapes(*((64, 7) if size == "base" else (32, 3)), scale)
    assert len(shapes) == (147 if scale == 4 else 145)
    assert sum(p.numel() for p in net.parameters()) == count
    assert net.scale == scale
    assert net.inputs["lr"].channels == 3


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@NETS
def test_cost(
    size: Literal["base", "tiny"], scale: Literal[2, 3, 4], count: int, cost: float
) -> None:
    """The published counts leave out the layer norms; all others grow with the area."""
    from fvcore.nn import FlopCountAnalysis

    flops = FlopCountAnalysis(build(size, scale), torch.rand(1, 3, 12, 20))
    flops.unsupported_ops_warnings(False)
    area = {2: 360 * 640, 3: 240 * 427, 4: 180 * 320}[scale]
    convs = flops.by_operator()["conv"] * area / (12 * 20)
    assert convs + 4 * 3 * scale**2 * area == pytest.approx(cost * 1e9, rel=1e-4)


def plain_layer(x: Tensor, w: dict[str, Tensor]) -> Tensor:
    """Compute one shuffle-mixer layer from its definition with plain tensor operations."""

    def mix(x: Tensor, m: int) -> Tensor:
        mean = x.mean(1, keepdim=True)
        variance = ((x - mean) ** 2).mean(1, keepdim=True)
        y = (x - mean) / (variance + 1e-5).sqrt() * w[f"norm{m}.body.weight"][:, None, None]
        half = y.shape[1] // 2
        up, down = w[f"mlp{m}.fc.0.weight"][..., 0, 0], w[f"mlp{m}.fc.2.weight"][..., 0, 0]
        hidden = torch.einsum("oi,bihw->bohw", up, y[:, :half])
        hidden = hidden + w[f"mlp{m}.fc.0.bias"][:, None, None]
        hidden = hidden / (1 + torch.exp(-hidden))
        first = torch.einsum("oi,bihw->bohw", down, hidden)
        first = first + w[f"mlp{m}.fc.2.bias"][:, None, None]
        mixed = list(first.unbind(1)) + list(y[:, half:].unbind(1))
        per_group = len(mixed) // 8
        order = [g * per_group + d for d in range(per_group) for g in range(8)]
        return torch.stack([mixed[i] for i in order], 1) + x

    x = mix(x, 1)
    kernel = w["spatial.weight"]
    reach = kernel.shape[-1] // 2
    padded = F.pad(x, (reach,) * 4)
    height, width = x.shape[-2:]
    y = torch.zeros_like(x) + w["spatial.bias"][:, None, None]
    for i in range(2 * reach + 1):
        for j in range(2 * reach + 1):
            y = y + kernel[:, :, i, j, None] * padded[:, :, i : i + height, j : j + width]
    return mix(y, 2)


@pytest.mark.parametrize(("width", "kernel"), [(16, 3), (64, 7)])
def test_layer_equals_its_definition(width: int, kernel: int) -> None:
    layer = small(width=width, kernel_size=kernel).double().get_submodule("blocks.0.net.0")
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.3)
    x = torch.randn(2, width, 9, 6, dtype=torch.double)
    torch.testing.assert_close(layer(x), plain_layer(x, layer.state_dict()))


def test_whole_net_equals_its_definition() -> None:
    net = small(scale=4, blocks=1).double()
    w = net.state_dict()
    lr = torch.rand(1, 3, 6, 7, dtype=torch.double)
    z = F.conv2d(lr, w["to_feat.weight"], padding=1)
    x = z
    for n in range(2):
        prefix = f"blocks.0.net.{n}."
        x = plain_layer(x, {k.removeprefix(prefix): v for k, v in w.items() if prefix in k})
    x = x + z
    y = F.conv2d(x, w["blocks.0.conv.0.weight"], w["blocks.0.conv.0.bias"], padding=1)
    x = F.conv2d(F.silu(y), w["blocks.0.conv.2.weight"], w["blocks.0.conv.2.bias"]) + x
    for i in (0, 3):
        x = F.conv2d(x, w[f"upsapling.{i}.weight"], w[f"upsapling.{i}.bias"])
        x = F.silu(F.pixel_shuffle(x, 2))
    x = F.conv2d(x, w["tail.weight"], w["tail.bias"], padding=1)
    skip = F.interpolate(lr, size=(24, 28), mode="bilinear", align_corners=False)
    torch.testing.assert_close(net(lr), x + skip)


@pytest.mark.parametrize("width", [16, 32, 64])
def test_shuffle_has_8_groups(width: int) -> None:
    """With as many groups as channels, or one, nothing would move."""
    channels = torch.arange(width).view(1, width, 1, 1)
    shuffled = shuffle_channels(channels).flatten().tolist()
    assert shuffled == [g * width // 8 + d for d in range(width // 8) for g in range(8)]
    assert sorted(shuffled) == list(range(width)) != shuffled


@pytest.mark.parametrize(
    ("width", "knobs", "count"),
    [
        (32, {"shuffle": False, "fused_mbconv": False}, 16),
        (64, {"shuffle": False, "fused_mbconv": False}, 32),
        (32, {"fused_mbconv": False}, 31),  # 8 groups never move the last channel
        (64, {"fused_mbconv": False}, 48),  # 8 groups of 8: twice is the identity
        (32, {}, 32),
        (64, {}, 64),
    ],
)
def test_channels_that_meet_an_mlp(width: int, knobs: dict[str, Any], count: int) -> None:
    """Without norm, whose mean mixes all, only the shuffle and the fused MBConv mix channels."""
    net = build(width=width, kernel_size=1, blocks=2, layer_norm=False, **knobs)
    seen: list[Tensor] = []
    for name, module in net.named_modules():
        if name.endswith("fc"):
            module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    features = torch.rand(1, width, 1, 1, requires_grad=True)
    net.blocks(features)
    assert len(seen) == 8
    (gradient,) = torch.autograd.grad(torch.stack(seen).square().sum(), features)
    assert gradient.count_nonzero() == count


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_every_parameter_gets_a_gradient(scale: Literal[2, 3, 4]) -> None:
    net = small(scale=scale)
    net(torch.rand(2, 3, 8, 8)).square().mean().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_output_does_not_depend_on_the_crop(scale: Literal[2, 3, 4]) -> None:
    """A pixel sees the net's reach alone: 1 + blocks x (2 x 1 + 1) + 1 LR pixels here."""
    net = small(scale=scale).double()
    lr, reach = torch.rand(1, 3, 40, 44, dtype=torch.double), 8
    whole, part = net(lr), net(lr[:, :, 8:34, 6:38])
    assert whole.shape == (1, 3, 40 * scale, 44 * scale)
    inner = slice(reach * scale, -reach * scale)
    offset = whole[:, :, 8 * scale : 34 * scale, 6 * scale : 38 * scale]
    torch.testing.assert_close(part[:, :, inner, inner], offset[:, :, inner, inner])


@pytest.mark.parametrize(
    ("knob", "gone", "more"),  # counted by hand for `small`: 2 blocks, 4 layers, 8 MLPs
    [
        ({"shuffle": False}, "nothing", 0),
        ({"fused_mbconv": False}, ".conv.", -2 * (16 * 32 * 9 + 32 + 32 * 16 + 16)),
        ({"layer_norm": False}, ".norm", -8 * 16),
        ({"split_mlp": False}, "nothing", 8 * ((16 * 32 * 2 + 48) - (8 * 16 * 2 + 24))),
        ({"kernel_size": 7}, "nothing", 4 * 16 * (49 - 9)),
    ],
)
def test_ablations(knob: dict[str, Any], gone: str, more: int) -> None:
    full, net = small(), small(**knob)
    want, have = full.state_dict(), net.state_dict()
    assert set(have) == {key for key in want if gone not in key}
    assert sum(v.numel() for v in have.values()) - sum(v.numel() for v in want.values()) == more
    lr = torch.rand(1, 3, 8, 8)
    net(lr).square().mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in net.parameters())
    if not more:
        net.load_state_dict(want)
        assert (net(lr) - full(lr)).abs().max() > 1e-3


@pytest.mark.parametrize(
    "net", [{"size": "huge"}, {"scale": 5}, {"width": 12}, {"width": 8}, {"kernel_size": 4}]
)
def test_bad_arguments(net: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        build(**net)


@pytest.mark.parametrize("wrap", ["params", "params_ema", None])
def test_loads_published_checkpoints(wrap: str | None) -> None:
    source, target = small(), small()
    nn.init.ones_(source.get_parameter("tail.bias"))
    state = source.state_dict()
    models.initialise(target, {wrap: state} if wrap else state)
    assert all(torch.equal(value, state[key]) for key, value in target.state_dict().items())


def test_params_come_before_params_ema() -> None:
    """The published scores are those of `params`."""
    raw, averaged, net = small(), small(), small()
    nn.init.ones_(averaged.get_parameter("tail.bias"))
    models.initialise(net, {"params_ema": averaged.state_dict(), "params": raw.state_dict()})
    assert not net.get_parameter("tail.bias").eq(1).any()


@pytest.mark.parametrize(
    ("net", "message"),
    [
        ({"scale": 4}, "2 unexpected, first upsapling.3.bias"),
        ({"scale": 3}, r"upsapling.0.weight has shape \(144, 16, 1, 1\), the network wants \(64,"),
        ({"kernel_size": 5}, r"spatial.weight has shape \(16, 1, 5, 5\)"),
        ({"blocks": 1}, "28 missing, first blocks.1.conv.0.bias"),
        ({"split_mlp": False}, r"mlp1.fc.0.weight has shape \(32, 16, 1, 1\)"),
    ],
)
def test_names_how_a_checkpoint_differs(net: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"weights of another network: .*{message}") as error:
        models.initialise(small(), small(**net).state_dict())
    assert "\n" not in str(error.value)


def test_recipes_build() -> None:
    for recipe in RECIPES.values():
        net = build(**recipe.net)
        assert recipe.task == "superres" and set(recipe.task_options) == {"patch", "fft_weight"}
        assert net.scale == recipe.net["scale"]
