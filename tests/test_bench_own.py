"""bench/own: a user's set is loaded as train.py does; the check sees other work. No times here."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from toys import ImagePoints

import models
from dataprep.build import build
from dataprep.manifest import DataError
from dataprep.sources import imagefolder, images
from tasks.run import Run
from tasks.run.launch import Launch
from train import Trainer

BENCH = Path(__file__).resolve().parents[1] / "bench"
DEMO = "shufflemixer_demo"
Made = Callable[..., Any]


def smooth(seed: int, height: int, width: int) -> Any:
    """Return an image of few large patches, no two alike."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Photographs with labels, pairs, and what no recipe here is for."""
    root: Path = tmp_path_factory.mktemp("own")
    for i in range(12):
        for path in (root / "pairs" / f"{i}.png", root / f"photos/train/{'ab'[i % 2]}/{i}.png"):
            path.parent.mkdir(parents=True, exist_ok=True)
            smooth(i, 96 + 2 * i, 128).save(path)
    build(images.Source(scales=(2,), val_fraction=0.25), root / "pairs", root / "lr", workers=1)
    build(imagefolder.Source(), root / "photos", root / "labelled", workers=1)
    build(ImagePoints(), None, root / "points", workers=1)
    return {name: root / name for name in ("lr", "labelled", "points")}


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Made:
    """Import a file of bench/ as its siblings do."""
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module


@pytest.fixture
def own(module: Made) -> Any:
    return module("own").workload("")


@pytest.fixture
def work(module: Made, own: Any, sets: dict[str, Path], tmp_path: Path) -> Made:
    origin = module("workload").Origin

    def make(name: str, **more: Any) -> Any:
        asked = own.kind(root=str(tmp_path), data="", threads=1, **more)
        return own.prepare(asked, origin(sets[name]), ["nostall"])

    return make


def drawn(own: Any, work: Any, name: str, setting: dict[str, int], count: int = 4) -> list[Any]:
    """Return copies of the first batches of a contestant."""
    batches = own.contestants[name].start(work, setting)
    kept = [
        ({key: value.clone() for key, value in fields.items()}, ids.clone())
        for fields, ids in islice(batches, count)
    ]
    batches.close()
    return kept


def checked(own: Any, work: Any, batches: list[Any], name: str = "nostall") -> dict[str, Any]:
    check = own.check(work, name)
    for batch in batches:
        check(batch)
    result: dict[str, Any] = check.result()
    return result


RUNS = {
    "nostall": {"threads": 1},
    "nostall-dali": {"threads": 1},
    "dataloader": {"workers": 0},
    "dataloader-batches": {"workers": 0},
    "ceiling": {"threads": 1},
}


@pytest.mark.parametrize("kind", ["lr", "labelled"])
@pytest.mark.parametrize("name", RUNS)
def test_every_contestant_does_the_work(name: str, kind: str, own: Any, work: Made) -> None:
    assert list(own.contestants) == list(RUNS)
    there = work(kind, batch=4)
    seen = checked(own, there, drawn(own, there, name, RUNS[name]), name)
    assert seen["samples"] == 16
    assert seen["ids"] == 4 if name == "ceiling" else seen["ids"] >= 8
    assert len(json.dumps(own.facts(there))) and own.item_bytes(there) > 0


def test_workers_share_the_samples(own: Any, work: Made) -> None:
    """In a process of its own, as the benchmark: a fork of one with threads may stop at a lock."""
    if not os.environ.get("OWN_PROCESS"):
        test = f"{__file__}::test_workers_share_the_samples"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test]
        environment = os.environ | {"OWN_PROCESS": "1"}
        done = subprocess.run(
            command, env=environment, cwd=BENCH.parent, capture_output=True, text=True, timeout=240
        )
        assert done.returncode == 0, done.stdout
        return
    there = work("labelled", batch=3)
    batches = drawn(own, there, "dataloader", {"workers": 2})
    ids = sorted(int(i) for _, some in batches for i in some)
    assert ids == list(range(12))  # an epoch: every sample once, whoever brought it
    assert checked(own, there, batches, "dataloader")["ids"] == 12


@pytest.mark.parametrize("name", ["dataloader", "dataloader-batches"])
def test_a_worker_does_not_read_ahead(
    name: str, own: Any, work: Made, module: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What reads ahead are the workers: the loader inside one of them does not."""
    contestants, asked, there = module("own.contestants"), [], work("labelled", batch=3)
    make = contestants.Loader
    monkeypatch.setattr(contestants, "Loader", lambda *a, **k: asked.append(k) or make(*a, **k))
    drawn(own, there, name, {"workers": 0}, 1)
    assert [(one["prefetch"], one["read_ahead"]) for one in asked] == [(0, False)]
    assert "our stages" in own.contestants[name].summary and own.baseline == "dataloader-batches"


def test_the_batches_are_those_of_train(
    own: Any, work: Made, sets: dict[str, Path], tmp_path: Path
) -> None:
    there = work("lr", model=DEMO, batch=4)
    recipe = replace(models.recipes()[DEMO][1], data=str(sets["lr"]), global_batch_size=4)
    launch = Launch(device="cpu", engine="host", threads=1)
    trainer = Trainer(DEMO, recipe, launch, Run(tmp_path / "run"), None, False)
    wanted = next(iter(trainer.loader)).clone()
    trainer.loader.close()
    ((fields, ids),) = drawn(own, there, "nostall", {"threads": 1}, 1)
    assert torch.equal(ids, wanted.id) and fields.keys() == wanted.fields.keys()
    assert all(torch.equal(fields[name], wanted[name]) for name in fields)


def test_other_work_is_seen(own: Any, work: Made) -> None:
    there = work("labelled", batch=4)
    good = drawn(own, there, "nostall", {"threads": 1})
    checked(own, there, good)

    def changed(change: Callable[[dict[str, Any], Any], Any]) -> list[Any]:
        return [change(dict(fields), ids) for fields, ids in good]

    wrong = {
        "is .* not": lambda f, i: (f | {"image": f["image"] + 2}, i),  # not normalised
        "image is .* not": lambda f, i: (f | {"image": f["image"] * 0.1}, i),
        r"not \[3, 224, 224\]": lambda f, i: (f | {"image": f["image"][..., :-1]}, i),
        "float16": lambda f, i: (f | {"image": f["image"].half()}, i),
        "does not go with the ids": lambda f, i: (f | {"label": 1 - f["label"]}, i),
        "samples of": lambda f, i: ({"image": f["image"]}, i),
        "3 samples": lambda f, i: (f, i[:3]),
        "of the training split": lambda f, i: (f | {"label": f["label"] * 0}, i * 0 + 12),
        "samples differ": lambda f, i: (
            {k: v[:1].expand_as(v) for k, v in f.items()},
            i * 0 + i[0],
        ),
    }
    for why, change in wrong.items():
        with pytest.raises((ValueError, DataError, IndexError), match=why):
            checked(own, there, changed(change))
    same = good[0][0]["image"][:1].expand_as(good[0][0]["image"])
    with pytest.raises(ValueError, match=r"crops|not"):
        checked(own, there, changed(lambda f, i: (f | {"image": same}, i)))


def test_the_work_is_chosen_by_the_set(work: Made, sets: dict[str, Path], module: Made) -> None:
    pairs, photos = work("lr"), work("labelled")
    assert pairs.model == DEMO  # the only recipe of scale 2
    assert pairs.shapes == {
        "hr": [[3, 64, 64], "torch.float32"],
        "lr_x2": [[3, 32, 32], "torch.float32"],
    }
    assert pairs.batch == 9  # the recipe's 11 are more than there are
    assert photos.model == "" and photos.shapes["image"] == [[3, 224, 224], "torch.float32"]
    with pytest.raises(DataError, match=r"image, points; without --model .* image and label"):
        work("points")
    with pytest.raises(DataError, match=f"no such recipe; there are: .*{DEMO}"):
        work("lr", model="resnet9000")
    with pytest.raises(DataError, match="lr_x4"):
        work("lr", model="shufflemixer")
    kind, origin = module("own.work").Work, module("workload").Origin
    with pytest.raises(DataError, match="--data SET"):
        module("own").workload("").prepare(kind(root="", data=""), origin(), [])
    with pytest.raises(DataError, match="build a set"):
        module("own").workload("").prepare(kind(root="", data=""), origin(None, Path(".")), [])


def test_the_command_runs_a_recipe_on_a_set(sets: dict[str, Path], tmp_path: Path) -> None:
    target = tmp_path / "result.json"
    command = [sys.executable, str(BENCH / "loader.py"), "--work", "own", "--quick", "--batch", "4"]
    command += ["--data", str(sets["lr"]), "--model", DEMO, "--peers"]
    command += ["nostall,dataloader,dataloader-batches"]
    command += ["--threads", "1", "--root", str(tmp_path), "--json", str(target), "--no-save"]
    env = os.environ | {"PYTHONPATH": str(BENCH.parent)}
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    facts = json.loads(target.read_text())
    assert facts["work"]["model"] == DEMO and facts["set"]["samples"] == 9
    assert facts["work"]["stages"] == ["Crop", "Dihedral", "Normalise", "Normalise"]
    for name in ("nostall", "dataloader", "dataloader-batches"):
        found = facts["contestants"][name]
        assert found["samples_per_s"]["median"] > 0 and found["check"]["hr_crops"] > 0
    ours = facts["contestants"]["nostall"]
    assert ours["times_dataloader"]["wall"]["median"] > 0
    # The baseline: what the figures of the check stand beside, and the first of the table's ratios.
    assert ours["times_dataloader-batches"]["wall"]["median"] > 0
    assert done.stdout.index("× dataloader-batches wall") < done.stdout.index("× dataloader wall")
