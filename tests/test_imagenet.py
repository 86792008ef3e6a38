"""models.parts.imagenet: weights from files, from a local hub, from nowhere; what it refuses."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

import models
from dataprep import flags
from models.saliency import Saliency, build

TINY = "test_resnet"  # one of those that timm keeps for tests: 0.5 M weights, batch norm
SMALL = {"backbone": TINY, "pretrained": False, "sigma": 1.0, "grid": 16}


def small(**net: Any) -> Saliency:
    """Return a net that is built fast."""
    return build(**SMALL | net)


@pytest.fixture(scope="module")
def classifier() -> nn.Module:
    torch.manual_seed(3)
    net: nn.Module = timm.create_model(TINY).eval()
    for module in net.modules():  # statistics that a new network does not have
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
    return net


def write(state: dict[str, Tensor], path: Path, wrap: str) -> str:
    if path.suffix == ".safetensors":
        from safetensors.torch import save_file

        save_file(state, path)
    else:
        torch.save({wrap: state, "epoch": 3} if wrap else state, path)
    return str(path)


@pytest.mark.parametrize(
    ("name", "wrap"),
    [("a.pth", ""), ("a.pth", "state_dict"), ("a.pth", "model"), ("a.safetensors", "")],
)
def test_weights_of_a_file(name: str, wrap: str, classifier: nn.Module, tmp_path: Path) -> None:
    net = small(pretrained=write(classifier.state_dict(), tmp_path / name, wrap), downsample=1)
    facts: Any = classifier
    image = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        theirs = facts.forward_intermediates(image, indices=(-2, -1), intermediates_only=True)
    for a, b in zip(net.features(image), theirs, strict=True):
        torch.testing.assert_close(a, b)


class Runs:
    """A pickle that writes a file when it is read."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return Path.touch, (self.target,)


def test_files_that_do_not_do(classifier: nn.Module, tmp_path: Path) -> None:
    state = classifier.state_dict()
    first = next(iter(state))
    short = {k: v for k, v in state.items() if not k.startswith("layer3")}
    bent = state | {first: torch.zeros(1, 2)}
    more = state | {"layer5.weight": torch.zeros(2)}  # as of a deeper network of the family
    other = timm.create_model("test_vit").state_dict()
    torch.save({"state_dict": Runs(tmp_path / "ran")}, tmp_path / "code.pth")
    (tmp_path / "old.pth").write_bytes(pickle.dumps(Runs(tmp_path / "ran")))
    (tmp_path / "text.pth").write_text("hello")
    whole = Path(write(state, tmp_path / "whole.safetensors", ""))
    (tmp_path / "cut.safetensors").write_bytes(whole.read_bytes()[:-100])
    torch.save([1, 2], tmp_path / "list.pth")
    cases = {
        str(tmp_path / "none.pth"): "no file of weights",
        "": "no file of weights",
        write(short, tmp_path / "short.pth", ""): r"test_resnet: layer3\.\S+ is missing",
        write(bent, tmp_path / "bent.pth", ""): rf"{first} is \(1, 2\), not \(",
        write(other, tmp_path / "other.pth", ""): f"{first} is missing",
        write(more, tmp_path / "more.pth", ""): r"which has no layer5\.weight",
        **{
            str(tmp_path / name): "not plain weights"
            for name in ("code.pth", "old.pth", "text.pth", "cut.safetensors", "list.pth")
        },
    }
    for path, message in cases.items():
        with pytest.raises(ValueError, match=message) as error:
            build(**SMALL | {"pretrained": path})
        assert "\n" not in str(error.value) and path in str(error.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("net", "message"),
    [
        ({"backbone": "densenet-201"}, "no network 'densenet-201'; near: .*densenet201"),
        ({"backbone": "hf-hub:timm/resnet18"}, "timm has no network"),
        ({"backbone": "test_resnet.nonsense"}, "Invalid pretrained tag"),
        ({"levels": (5,)}, "test_resnet has feature levels 0 to 4, not"),
        ({"levels": ()}, "feature levels 0 to 4"),
        ({"backbone": "mixer_s32_224"}, "no features of images of any size: Input height"),
        ({"downsample": 0}, "downsample must be above 0, not 0"),
        ({"sigma": -1.0}, "sigma must be above 0"),
    ],
)
def test_bad_arguments(net: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        build(**SMALL | net)
    assert "\n" not in str(error.value)


def test_settings_as_typed() -> None:
    typed = flags.typed(["pretrained=false", "levels=2,-1", "backbone=resnet18"], build)
    assert typed == {"pretrained": False, "levels": (2, -1), "backbone": "resnet18"}
    assert flags.typed(["pretrained=a.pth"], build) == {"pretrained": "a.pth"}


@pytest.mark.parametrize("name", ["efficientnet_b0", "mobilenetv3_small_050", TINY])
def test_every_weight_that_learns_gets_a_gradient(name: str) -> None:
    """Ranks wait for each; some backbones have blocks behind the last level that is read."""
    net = small(backbone=name, levels=(-3, -2), tuned=True, downsample=1)
    nn.init.ones_(net.selection[-1].weight)
    (net(torch.rand(1, 3, 64, 64)) ** 2).mean().backward()
    left = [key for key, weight in net.named_parameters() if weight.requires_grad]
    without = [key for key in left if net.get_parameter(key).grad is None]
    assert not without and any(key.startswith("backbone.") for key in left)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))


@pytest.mark.usefixtures("offline")
def test_no_network() -> None:
    """One line that says what to do; a net to be filled from a checkpoint needs none."""
    with pytest.raises(ValueError, match=r"weights of test_resnet: .*pretrained=FILE.*=false") as e:
        build(**SMALL | {"pretrained": True})
    assert "\n" not in str(e.value)
    assert models.build("saliency", blank=True, **SMALL | {"pretrained": True}).training
    assert models.build("shufflemixer", blank=True, scale=2, width=16, blocks=1).training


class Hub(BaseHTTPRequestHandler):
    """As much of a model hub as its client asks for: one file of one network."""

    weights: bytes

    def do_HEAD(self) -> None:
        self.answer(b"")

    def do_GET(self) -> None:
        self.answer(self.weights)

    def answer(self, body: bytes) -> None:
        known = "test_resnet" in self.path and self.path.endswith("model.safetensors")
        self.send_response(200 if known else 404)
        self.send_header("Content-Length", str(len(self.weights) if known else 0))
        self.send_header("ETag", '"weights-1"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("X-Error-Code", "EntryNotFound")
        self.end_headers()
        self.wfile.write(body if known else b"")

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def hub(classifier: nn.Module, tmp_path: Path) -> Iterator[str]:
    Hub.weights = Path(write(classifier.state_dict(), tmp_path / "a.safetensors", "")).read_bytes()
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_download(hub: str, classifier: nn.Module, tmp_path: Path) -> None:
    """With timm's and the hub's own code; only the address is another (read at its import)."""
    script = (
        "import torch; from models.saliency import build; from pathlib import Path\n"
        f"net = build(backbone='{TINY}')\n"
        f"torch.save(net.backbone.state_dict(), {str(tmp_path / 'got.pt')!r})\n"
        "try: build(backbone='test_vit')\n"
        "except ValueError as error: print(error)"
    )
    address = {"HF_ENDPOINT": hub, "HF_HOME": str(tmp_path), "NO_PROXY": "*", "no_proxy": "*"}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | address | {"HF_HUB_OFFLINE": "0"},
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    got = torch.load(tmp_path / "got.pt", weights_only=True)
    want = {f"net.{key}": value for key, value in classifier.state_dict().items()}
    assert set(want) - set(got) == {"net.fc.weight", "net.fc.bias"}
    assert all(torch.equal(value, want[key]) for key, value in got.items())
    assert done.stdout.count("\n") == 1 and "cannot get weights of test_vit" in done.stdout
