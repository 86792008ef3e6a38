"""bench/digits: every contestant does the promised work; the check refuses any other."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
BENCH = ROOT / "bench"
CONTESTANTS = (
    *("nostall", "nostall-dali", "torchvision", "tensordataset", "getitems"),
    *("grain", "dali", "index", "ceiling"),
)
FORKING = ("torchvision", "tensordataset", "getitems")
BATCH = 64


@pytest.fixture(scope="module")
def module() -> Any:
    """Import a file of bench/ as its siblings do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCH))
        yield importlib.import_module


@pytest.fixture(scope="module")
def workload(module: Callable[[str], Any]) -> Any:
    return module("digits").workload("")


@pytest.fixture(scope="module")
def work(module: Callable[[str], Any], workload: Any, tmp_path_factory: Any) -> Any:
    """A small corpus and its set, made once."""
    root = str(tmp_path_factory.mktemp("bench"))
    quick = module("workload").Origin(quick=True)
    return workload.prepare(workload.kind(root=root, data="", batch=BATCH), quick, CONTESTANTS)


RUN = """
import contextlib, itertools, json, sys, traceback
import digits
names, work = json.loads(sys.argv[1])
workload = digits.workload("")
work = workload.kind(**work)
for name in names:
    contestant, seen = workload.contestants[name], []
    try:
        for setting in contestant.settings(work)[:2]:
            check = workload.check(work, name)
            with contextlib.closing(contestant.start(work, setting)) as batches:
                for batch in itertools.islice(batches, 40):
                    check(batch)
            seen.append(check.result())
    except Exception:
        seen = traceback.format_exc()
    print(json.dumps([name, seen]), flush=True)
"""


@pytest.fixture(scope="module")
def seen(work: Any, workload: Any) -> dict[str, Any]:
    """What the check says of an epoch and more of each contestant, with its first two settings.

    Those with worker processes run first: a fork wants no threads around.
    """
    installed = [name for name in CONTESTANTS if not workload.contestants[name].missing]
    names = sorted(installed, key=lambda name: name not in FORKING)
    env = os.environ | {"PYTHONPATH": f"{BENCH}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-c", RUN, json.dumps([names, asdict(work)])]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(line) for line in done.stdout.strip().splitlines())


@pytest.mark.parametrize("name", CONTESTANTS)
def test_every_contestant_does_the_work(name: str, workload: Any, seen: dict[str, Any]) -> None:
    if missing := workload.contestants[name].missing:
        pytest.skip(f"{', '.join(missing)} is not installed")
    assert isinstance(seen[name], list), seen[name]
    assert {one["samples"] for one in seen[name]} == {2000 // BATCH * BATCH}


def test_all_contestants_are_known_here(workload: Any) -> None:
    assert tuple(workload.contestants) == CONTESTANTS


def test_what_a_workload_tells(work: Any, workload: Any) -> None:
    assert workload.epoch_items(work) == 0  # all is read before the first batch: never cold
    assert workload.item_bytes(work) == 784
    assert workload.facts(work)["set"] == {"files": "digits-2000", "images": 2000}
    assert workload.baseline == "torchvision"


def test_a_set_of_ones_own_is_refused(module: Callable[[str], Any], workload: Any) -> None:
    error = module("dataprep.manifest").DataError
    own = module("workload").Origin(data=Path("mine"))
    with pytest.raises(error, match="mine: w3 makes its own digits"):
        workload.prepare(workload.kind(root="", data=""), own, CONTESTANTS)


def test_digits_differ_and_come_again_the_same(
    module: Callable[[str], Any], work: Any, tmp_path: Path
) -> None:
    corpus = module("digits.corpus")
    images, labels = corpus.pixels(Path(work.files))
    assert len(np.unique(images.reshape(len(images), -1), axis=0)) == 2000
    assert np.bincount(labels).min() > 150
    again = corpus.pixels(corpus.digits(tmp_path, corpus.QUICK))[0]
    assert (again == images).all()


@pytest.fixture
def epoch(module: Callable[[str], Any], work: Any) -> Any:
    """Right batches of the corpus, normalised, shuffled."""
    images, labels = module("digits.torch_peers").normalised(work)
    torch.manual_seed(0)
    rows = torch.randperm(len(labels))
    return [(images[some], labels[some]) for some in torch.split(rows, BATCH)][:-1]


def judge(workload: Any, work: Any, batches: list[tuple[Tensor, Tensor]]) -> dict[str, Any]:
    """Return what the check says of batches."""
    check = workload.check(work, "nostall")
    for batch in batches:
        check(batch)
    result: dict[str, Any] = check.result()
    return result


def test_right_batches_pass(workload: Any, work: Any, epoch: Any) -> None:
    seen = judge(workload, work, epoch + epoch)  # the second epoch may repeat the first
    whole = torch.cat([images for images, _ in epoch])
    assert seen["samples"] == 31 * BATCH
    assert seen["mean"] == pytest.approx(float(whole.mean()), abs=1e-3)
    assert seen["std"] == pytest.approx(float(whole.std()), abs=1e-3)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda images, labels: (images, labels.roll(1)), "labels do not go"),
        (lambda images, labels: (images.roll(1, 0), labels), "labels do not go"),
        (lambda images, labels: (torch.full_like(images, -0.4242), labels), "none of the corpus"),
        (lambda images, labels: (images * 0.3081 + 0.1307, labels), "pixels are not bytes"),
        (lambda images, labels: (images * 255, labels), "pixels are not bytes"),
        (lambda images, labels: (images * float("nan"), labels), "pixels are not bytes"),
        (lambda images, labels: (images.flip(3).contiguous(), labels), "none of the corpus"),
        (lambda images, labels: (images.half(), labels), "images are"),
        (lambda images, labels: (images[:, 0], labels), "images are"),
        (lambda images, labels: (images[:-1], labels[:-1]), "images are"),
        (lambda images, labels: (images.transpose(2, 3), labels), "are a view"),
        (lambda images, labels: (images, labels.int()), "labels are"),
        (lambda images, labels: (images, labels[:-1]), "labels are"),
    ],
)
def test_other_batches_are_refused(
    spoil: Any, why: str, workload: Any, work: Any, epoch: Any
) -> None:
    with pytest.raises(ValueError, match=why):
        judge(workload, work, [spoil(*epoch[0])])


def test_one_image_again_and_again_is_refused(workload: Any, work: Any, epoch: Any) -> None:
    images, labels = epoch[0]
    same = (images[:1].repeat(BATCH, 1, 1, 1), labels[:1].repeat(BATCH))
    with pytest.raises(ValueError, match="only 1 of 64 images differ"):
        judge(workload, work, [same])


def test_one_batch_twice_in_an_epoch_is_refused(workload: Any, work: Any, epoch: Any) -> None:
    with pytest.raises(ValueError, match="only 192 of 256"):
        judge(workload, work, [*epoch[:3], epoch[1]])


def test_the_order_of_the_files_is_refused(
    module: Callable[[str], Any], workload: Any, work: Any
) -> None:
    images, labels = module("digits.torch_peers").normalised(work)
    batches = list(zip(torch.split(images, BATCH), torch.split(labels, BATCH), strict=True))[:8]
    with pytest.raises(ValueError, match="not shuffled"):
        judge(workload, work, batches)
