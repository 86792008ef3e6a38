"""models.timm_nets: shapes and pictures as timm makes them, weights of files, what is refused."""

from __future__ import annotations

import copy
import logging
import math
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.data import create_transform, resolve_model_data_config
from torch import Tensor, nn
from torchvision import transforms

import models
from models.timm_nets import RECIPES, build

# Weights of each with seven classes, by its papers' or timm's count of the rest.
WEIGHTS = {
    "resnet50": 25_557_032 - 1000 * 2049 + 7 * 2049,
    "efficientnet_b3": 12_233_232 - 1000 * 1537 + 7 * 1537,
    "densenet121": 7_978_856 - 1000 * 1025 + 7 * 1025,
    "vit_b_16": 86_567_656 - 1000 * 769 + 7 * 769,
}
SMALL = ("test_resnet", "test_vit", "test_efficientnet")  # which timm keeps for tests


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipes(recipe: str) -> None:
    arch = RECIPES[recipe].net["arch"]
    with torch.device("meta"):
        net: Any = models.build("timm_nets", blank=True, **RECIPES[recipe].net)
        theirs = timm.create_model(arch, num_classes=7)
        assert net.eval()(torch.empty(2, 3, *net.inputs["image"].size)).shape == (2, 7)
    assert sum(weight.numel() for weight in net.parameters()) == WEIGHTS[recipe]
    # So that a checkpoint goes into timm, and into libraries that know timm.
    assert list(net.state_dict()) == list(theirs.state_dict())


@pytest.mark.parametrize("arch", [*(r.net["arch"] for r in RECIPES.values()), "test_resnet"])
def test_pictures_are_prepared_as_timm_does(arch: str) -> None:
    with torch.device("meta"):
        wanted = models.build("timm_nets", arch=arch, pretrained=False).inputs["image"]
        facts = resolve_model_data_config(timm.create_model(arch))
    theirs = create_transform(**facts)
    resize, crop, normalise = (theirs.transforms[i] for i in (0, 1, -1))
    assert isinstance(resize, transforms.Resize) and isinstance(crop, transforms.CenterCrop)
    assert wanted.size == tuple(crop.size)
    assert math.floor(wanted.size[0] / wanted.crop) == resize.size
    kinds = {"bicubic": "cubic", "bilinear": "linear"}
    assert wanted.interpolation == kinds[resize.interpolation.value]
    torch.testing.assert_close(torch.tensor(wanted.mean), normalise.mean)
    torch.testing.assert_close(torch.tensor(wanted.std), normalise.std)


def test_the_logits_are_timms() -> None:
    torch.manual_seed(0)
    net: Any = build(arch="test_vit", pretrained=False, classes=3, drop=0.5)
    theirs = timm.create_model("test_vit", num_classes=3)
    theirs.load_state_dict(net.state_dict())
    image = torch.randn(2, 3, 160, 160)
    torch.testing.assert_close(net.eval()(image), theirs.eval()(image))
    assert not torch.equal(net.train()(image), net(image))  # drops
    averaged = torch.optim.swa_utils.AveragedModel(net)  # copies it, as --ema does
    assert type(averaged.module) is type(net)
    assert averaged.module.heat_layer() is not net.heat_layer()
    models.initialise(copy.deepcopy(net), {"model": net.state_dict()})


@pytest.fixture(scope="module")
def published() -> dict[str, nn.Module]:
    torch.manual_seed(3)
    nets = {name: timm.create_model(name).eval() for name in SMALL}
    for net in nets.values():
        for module in net.modules():  # statistics that a new network does not have
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.running_mean)
    return nets


def write(state: dict[str, Tensor], path: Path, wrap: str = "") -> str:
    if path.suffix == ".safetensors":
        from safetensors.torch import save_file

        save_file(state, path)
    else:
        torch.save({wrap: state, "epoch": 3} if wrap else state, path)
    return str(path)


@pytest.mark.parametrize("arch", SMALL)
@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
def test_a_new_head_is_told(
    arch: str, name: str, published: dict[str, Any], tmp_path: Path, caplog: Any
) -> None:
    file = write(published[arch].state_dict(), tmp_path / name)
    net = build(arch=arch, pretrained=file, classes=5)
    assert f"{file}: all of {arch} but its head of 1000 classes; that of 5 is new" in caplog.text
    head, own = published[arch].pretrained_cfg["classifier"], net.state_dict()
    kept = {k: v for k, v in published[arch].state_dict().items() if not k.startswith(head)}
    assert own.keys() - kept.keys() == {f"{head}.weight", f"{head}.bias"}
    assert all(torch.equal(own[key], value) for key, value in kept.items())


@pytest.mark.parametrize("wrap", ["", "state_dict", "model"])
def test_a_whole_network(wrap: str, published: dict[str, Any], tmp_path: Path, caplog: Any) -> None:
    theirs = timm.create_model("test_resnet", num_classes=5)
    net = build(
        arch="test_resnet",
        pretrained=write(theirs.state_dict(), tmp_path / "a.pth", wrap),
        classes=5,
    )
    assert not caplog.records
    assert all(torch.equal(net.state_dict()[k], v) for k, v in theirs.state_dict().items())


def test_positions_of_another_size(published: dict[str, Any], tmp_path: Path) -> None:
    """Resampled from a published file as timm does; taken from a training at that size."""
    file = write(published["test_vit"].state_dict(), tmp_path / "a.pth")
    small = build(arch="test_vit", pretrained=file, classes=5, side=96)
    theirs = timm.create_model(
        "test_vit",
        pretrained=True,
        pretrained_cfg_overlay={"file": file, "custom_load": False},
        img_size=96,
    )
    torch.testing.assert_close(small.get_parameter("pos_embed"), theirs.pos_embed)
    assert small.get_parameter("pos_embed").shape[1] < 80
    own = write(small.state_dict(), tmp_path / "own.pth", "model")
    again = build(arch="test_vit", pretrained=own, classes=5, side=96)
    assert all(torch.equal(again.state_dict()[k], v) for k, v in small.state_dict().items())
    with pytest.raises(ValueError, match="pos_embed is"):
        build(arch="test_vit", pretrained=own, classes=5, side=64)


def test_files_that_do_not_do(
    published: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each would otherwise leave a random head, or a random part, in silence."""
    state = published["test_resnet"].state_dict()
    first = next(iter(state))
    deeper = timm.create_model("resnet14t").state_dict()  # has all that resnet10t has, and more
    cases = {
        "none.pth": (None, "no file of weights"),
        "short.pth": ({k: v for k, v in state.items() if "layer3" not in k}, "is missing"),
        "bent.pth": (state | {first: torch.zeros(1, 2)}, rf"{first} is \(1, 2\), not"),
        "other.pth": (published["test_vit"].state_dict(), f"{first} is missing"),
        "prefixed.pth": ({f"net.{k}": v for k, v in state.items()}, f"{first} is missing"),
        "more.pth": (state | {"extra.weight": torch.zeros(1)}, "has no extra.weight"),
        "biased.pth": ({k: v for k, v in state.items() if k != "fc.bias"}, "fc.bias is missing"),
        "nine.pth": (
            state | {"fc.weight": torch.zeros(9, 128), "fc.bias": torch.zeros(9)},
            "its head has 9 classes, the network 5; timm publishes 1000",
        ),
        "headless.pth": ({k: v for k, v in state.items() if "fc." not in k}, "it has no head"),
        "nested.pth": ({"model_state": state}, "not plain weights"),
        "nan.pth": (state | {first: state[first] * float("nan")}, f"{first} is not finite"),
    }
    for name, (content, message) in cases.items():
        if content is not None:
            torch.save(content, tmp_path / name)
        with pytest.raises(ValueError, match=message) as error:
            build(arch="test_resnet", pretrained=str(tmp_path / name), classes=5)
        assert "\n" not in str(error.value) and name in str(error.value)
    with pytest.raises(ValueError, match="not the weights of resnet10t"):
        build(arch="resnet10t", pretrained=write(deeper, tmp_path / "deeper.pth"))
    assert not caplog.records


@pytest.mark.parametrize(
    ("net", "message"),
    [
        ({"arch": "resnet-50"}, "no network 'resnet-50'; near: .*resnet50"),
        ({"arch": "hf-hub:timm/resnet18"}, "timm has no network"),
        ({"arch": "test_resnet.nonsense"}, "Invalid pretrained tag"),
        ({"arch": "test_vit", "side": 100}, "100 pixels: not a multiple of its patches of 16"),
        ({"arch": "inception_v3", "side": 40}, "no inception_v3 for images of 40 pixels"),
        ({"classes": 1}, "classes is 2 or more"),
        ({"drop": 1.0}, "drop from 0 to below 1"),
        ({"side": -1}, "side 0 or more"),
    ],
)
def test_bad_arguments(net: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        build(**{"arch": "test_resnet", "pretrained": False} | net)
    assert "\n" not in str(error.value)


def test_sizes() -> None:
    for arch, side in (
        ("test_vit", 96),
        ("test_resnet", 72),
        ("swin_s3_tiny_224", 96),
        ("pvt_v2_b0", 64),
    ):
        net: Any = build(arch=arch, pretrained=False, side=side)
        assert net.inputs["image"].size == (side, side)
        assert net.eval()(torch.rand(1, 3, side, side)).shape == (1, 7)


def test_no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One line that says what to do; a tag is asked for, and nothing where a checkpoint fills."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    logging.getLogger("timm").setLevel(logging.CRITICAL)
    with pytest.raises(ValueError, match=r"weights of resnet10t\.c3_in1k: .*pretrained=FILE") as e:
        build(arch="resnet10t.c3_in1k")
    assert "\n" not in str(e.value)
    models.build("timm_nets", blank=True, arch="resnet10t.c3_in1k")


@pytest.mark.parametrize("arch", ["test_efficientnet", "test_resnet", "test_vit"])
def test_a_new_head_starts_at_the_loss_of_a_guess(arch: str) -> None:
    """ln C, whatever the network: timm's own EfficientNet starts far above."""
    torch.manual_seed(0)
    net = models.build("timm_nets", arch=arch, pretrained=False, classes=7).eval()
    image = torch.randn(14, 3, *net.inputs["image"].size)  # type: ignore[index]
    with torch.no_grad():
        loss = torch.nn.functional.cross_entropy(net(image), torch.arange(14) % 7)
    assert float(loss) == pytest.approx(math.log(7), abs=0.1)
