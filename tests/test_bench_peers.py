"""bench/photos: every installed contestant does the promised work and leaves nothing behind."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

ImageFolder: Any = pytest.importorskip("torchvision.datasets").ImageFolder
BENCH = Path(__file__).resolve().parents[1] / "bench"
SCRIPT = Path(__file__).with_name("bench_peer.py")
# What torch, matplotlib and we keep for the next time.
CACHES = ("nostall", "matplotlib", "torchinductor")
# Name, variant, setting, the package that must be there, whether the first epoch must be complete.
PEERS: list[tuple[str, str, dict[str, int], str, bool]] = [
    (
        "torchvision-gpu",
        "native",
        {"workers": 0},
        "torchvision",
        True,
    ),  # its graph runs on a CPU too
    ("timm", "native", {"workers": 1, "prefetcher": 1}, "timm", True),
    ("dali-file", "native", {"threads": 1}, "nvidia.dali", False),
    ("webdataset", "native", {"workers": 0, "v2": 1}, "webdataset", False),
    ("litdata", "native", {"workers": 1}, "litdata", True),
    ("mosaic", "native", {"workers": 1, "v2": 0}, "streaming", True),
    ("spdl", "native", {"threads": 1, "whole": 1}, "spdl", True),
    ("grain", "native", {"workers": 1, "threads": 1}, "grain", True),
    ("memmap", "raw", {"workers": 0}, "torchvision", True),
    ("timm", "whole", {"workers": 0, "prefetcher": 0}, "timm", True),
    ("timm", "whole", {"workers": 1, "prefetcher": 1}, "timm", True),
    ("dali-file", "whole", {"threads": 1}, "nvidia.dali", False),
]


def run(root: Path, job: dict[str, Any], **env: str) -> dict[str, Any]:
    """Run the script on one job and return what it printed."""
    command = [sys.executable, str(SCRIPT), str(root), json.dumps(job)]
    more = {"OMP_NUM_THREADS": "1"} | env
    env = os.environ | more
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1]) if done.stdout else {}
    return found


@pytest.fixture(scope="module")
def root(tmp_path_factory: Any) -> Path:
    """The photographs and their sets."""
    folder: Path = tmp_path_factory.mktemp("peers")
    run(folder, {})
    return folder


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Import a file of bench/ as its siblings do."""
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module


def there(package: str) -> bool:
    """Tell whether a package is installed."""
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def shared() -> set[str]:
    """Return the names of MosaicML's pieces of shared memory on this machine."""
    return {name for name in os.listdir("/dev/shm") if re.match(r"\d{6}_", name)}


@pytest.mark.parametrize(
    ("name", "variant", "setting", "package", "complete"),
    PEERS,
    ids=["-".join(map(str, (*peer[:2], *peer[2].values()))) for peer in PEERS],
)
def test_a_contestant_does_the_work_and_leaves_nothing(
    name: str,
    variant: str,
    setting: dict[str, int],
    package: str,
    complete: bool,
    root: Path,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    if not there(package):
        pytest.skip(f"{package} is not installed")
    home = tmp_path / "home"
    home.mkdir()
    # Short: workers open sockets in it, whose paths may not have more than 107 characters.
    temporary = Path(tempfile.mkdtemp(prefix="peer-"))
    request.addfinalizer(lambda: shutil.rmtree(temporary))
    before = shared()
    places = {"HOME": str(home), "TMPDIR": str(temporary), "XDG_CACHE_HOME": str(temporary)}
    found = run(root, {"variant": variant, "name": name, "setting": setting}, **places)
    assert found["seen"]["samples"] == 160
    if complete:
        assert Counter(found["labels"]) == of_each_class(root / "renamed" / "train")
    assert shared() <= before
    left = [path.name for folder in (home, temporary) for path in folder.iterdir()]
    assert not [name for name in left if not name.startswith(CACHES)]
    assert not list(root.glob("tmp*"))


def of_each_class(folder: Path) -> Counter[int]:
    """Return how many images a class has, classes numbered by name as ImageFolder does."""
    return Counter(k for _, k in ImageFolder(str(folder)).samples)


@pytest.mark.parametrize("name", ["w1", "w1-short", "w1-raw", "w1-whole"])
@pytest.mark.parametrize("threads", [1, 2, 6])
def test_settings_differ(name: str, threads: int, module: Callable[[str], Any]) -> None:
    workload = module("workload").load(name)
    for contestant in workload.contestants.values():
        settings = contestant.settings(workload.kind(root="", data="", threads=threads))
        assert settings and max(max(one.values()) for one in settings) >= threads
        assert len({tuple(one.items()) for one in settings}) == len(settings)


def test_who_cannot_run_is_named(module: Callable[[str], Any], capsys: Any) -> None:
    suite, workload = module("suite"), module("workload").load("w1")
    table = workload.contestants
    workload.contestants = {"timm": replace(table["timm"], needs=("no_such_package",))}
    workload.contestants["spdl-gpu"] = replace(table["spdl-gpu"], needs=())
    assert suite.contestants(workload, ["timm", "spdl-gpu"]) == []
    said = capsys.readouterr().err
    assert "timm does not run: no_such_package is not installed" in said
    assert "spdl-gpu does not run: only with --device cuda" in said
    assert suite.contestants(workload, [], "cuda") == ["spdl-gpu"]


def test_crops_are_drawn_as_torchvision_draws_them(module: Callable[[str], Any]) -> None:
    augment = module("photos.augment")
    y, x = torch.meshgrid(torch.arange(240), torch.arange(200), indexing="ij")
    image = torch.stack([y, x, y]).to(torch.uint8)
    rng = np.random.default_rng(0)
    crops = torch.stack([augment.cut(image, 48, rng) for _ in range(400)]).float()
    height, width = (crops[:, c].amax((1, 2)) - crops[:, c].amin((1, 2)) for c in (0, 1))
    share, ratio = height * width / (240 * 200), width / height
    assert 0.04 < share.min() < 0.12 and share.max() > 0.85
    assert ratio.min() > 0.65 and ratio.max() < 1.5 and abs(ratio.log().mean()) < 0.1
    flipped = (crops[:, 1, 0, 0] > crops[:, 1, 0, -1]).float().mean()
    assert 0.4 < flipped < 0.6
    drawn = [augment.of_tensor(48)(image) for _ in range(400)]
    span = torch.stack([c[0].max() - c[0].min() for c in drawn]).mean() * augment.STD[0] * 255
    assert abs(float(span) / float(height.mean()) - 1) < 0.08


@pytest.mark.parametrize("kind", ["pil", "tensor", "nostall"])
def test_a_whole_image_is_squashed_flipped_turned_and_jittered(
    kind: str, module: Callable[[str], Any], tmp_path: Path
) -> None:
    """Brightness rises to the right in red, downwards in green: both say how an image lies."""
    y, x = np.mgrid[:90, :120].astype(np.float32)
    pixels = np.stack([50 + 150 * x / 120, 50 + 150 * y / 90, np.full_like(x, 125)], 2).round()
    found = turned(kind, pixels.astype(np.uint8), module, tmp_path)
    assert found.shape == (200, 3, 48, 48)
    middle = found[:, :, 12:36, 12:36]
    right = middle[..., 12:].mean((2, 3)) - middle[..., :12].mean((2, 3))
    down = middle[:, :, 12:].mean((2, 3)) - middle[:, :, :12].mean((2, 3))
    slope = 150 * 12 / 48  # from half to half, of the whole side: nothing is cut off
    assert abs(right[:, 0].abs().mean() - slope) < 4 and abs(down[:, 1].abs().mean() - slope) < 4
    for along in (right[:, 0], down[:, 1]):  # flipped every second time
        assert 0.35 < (along > 0).float().mean() < 0.65
    angle = torch.rad2deg(torch.atan(down[:, 0] / right[:, 0]))
    assert 17 < angle.abs().max() < 21 and abs(angle.abs().mean() - 10) < 2
    level, spread = middle.mean((1, 2, 3)), right[:, 0].abs() / torch.cos(torch.deg2rad(angle))
    assert 18 < level.max() - 125 < 45 and 18 < 125 - level.min() < 45
    assert 1.1 < spread.max() / slope < 1.45 and 0.62 < spread.min() / slope < 0.9


def turned(kind: str, pixels: Any, module: Callable[[str], Any], tmp_path: Path) -> torch.Tensor:
    """Return what one way makes of an image (H, W, 3), 200 times, as grey levels."""
    work, whole = module("photos.work"), module("photos.whole")
    if kind == "nostall":
        found = by_loader(work, pixels, module, tmp_path)
    else:
        torch.manual_seed(0)
        tensor = torch.from_numpy(pixels).permute(2, 0, 1)
        image = Image.fromarray(pixels) if kind == "pil" else tensor
        change = whole.of_pil(48) if kind == "pil" else whole.of_tensor(48)
        found = torch.stack([change(image) for _ in range(200)])
    mean, std = (torch.tensor(value).view(-1, 1, 1) for value in (work.MEAN, work.STD))
    return 255 * (found * std + mean)


def by_loader(
    work: ModuleType, pixels: Any, module: Callable[[str], Any], tmp_path: Path
) -> torch.Tensor:
    """Return 200 samples of a set that holds this image 20 times."""
    sets = module("photos.sets")
    for i in range(20):
        path = tmp_path / "files" / "train" / f"{i % 2}" / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, quality=100, subsampling=0)
    data = sets.built(tmp_path, tmp_path / "files", "whole")
    asked = work.Work(root="", data=str(data), variant="whole", size=48, batch=20)
    batches = module("photos.ours").batches(asked, {"threads": 1}, "host")
    with closing(batches):
        return torch.cat([next(batches)[0].clone() for _ in range(10)])


def stored(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Return what lies in a folder, and when it was written."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def test_what_is_made_of_photographs_is_made_anew_with_them(
    module: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus, sets, check = (module(f"photos.{name}") for name in ("corpus", "sets", "check"))
    peer: Any = ModuleType("toy_peer")
    peer.write = lambda form, files, to: shutil.copy(min(files.rglob("*.jpg")), to / "one.jpg")
    monkeypatch.setitem(sys.modules, "toy_peer", peer)
    monkeypatch.setitem(sets.FORMS, "toy", ("toy_peer", "own"))

    def made(noise: float) -> list[dict[str, tuple[bytes, int]]]:
        what = corpus.Photographs(count=20, long=80, short=60, noise=noise)
        own = sets.small(tmp_path, corpus.photographs(tmp_path, what))
        work = module("photos.work").Work(root=str(tmp_path), data="", own=str(own))
        reference = check.reference(tmp_path, own, 32, count=16)
        return [stored(folder) for folder in (own, sets.peer_files(work, "toy"), reference.parent)]

    first = made(0)
    assert made(0) == first  # nothing was written a second time
    for before, after in zip(first, made(60), strict=True):
        assert all(after[name][0] != before[name][0] for name in before.keys() & after.keys())


def test_folders_of_one_name_are_not_mixed_up(module: Callable[[str], Any], tmp_path: Path) -> None:
    """Not even where names and sizes are the same."""
    for name in ("a", "b"):
        path = tmp_path / name / "flowers" / "1.jpg"
        path.parent.mkdir(parents=True)
        cv2.imwrite(str(path), np.full((16, 16, 3), 9, np.uint8))
    copies = module("photos.corpus").copies
    for name in ("a", "b"):
        folder = copies(tmp_path, tmp_path / name / "flowers", 3)
        paths = sorted(folder.rglob("*.jpg"))
        assert len(paths) == 3
        assert all(path.samefile(tmp_path / name / "flowers" / "1.jpg") for path in paths)
