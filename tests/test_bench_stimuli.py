"""bench/stimuli: every contestant does the promised work; the check refuses any other."""

from __future__ import annotations

import csv
import importlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pytest
import torch
from shared import folder
from torch import Tensor
from torch.nn.functional import interpolate

from dataprep import pysaliency
from loaders import Dataset

ROOT = Path(__file__).resolve().parents[1]
BENCH = ROOT / "bench"
CONTESTANTS = (
    *("nostall", "nostall-dali", "folder", "folder-points", "tensors", "opencv"),
    *("hdf5", "lmdb", "decode", "ceiling"),
)
FORKING = ("folder", "folder-points", "tensors", "opencv", "hdf5", "lmdb")
BATCH, LOOKS = 4, 6


@pytest.fixture(scope="module")
def module() -> Any:
    """Import a file of bench/ as its siblings do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCH))
        yield importlib.import_module


@pytest.fixture(scope="module")
def workload(module: Callable[[str], Any]) -> Any:
    return module("stimuli").workload("")


@pytest.fixture(scope="module")
def root(tmp_path_factory: Any) -> Path:
    """One folder for all that is made."""
    made: Path = tmp_path_factory.mktemp("bench")
    return made


@pytest.fixture(scope="module")
def work(module: Callable[[str], Any], workload: Any, root: Path) -> Any:
    """A small corpus, its set and the peers' forms, made once."""
    quick = module("workload").Origin(quick=True)
    names = [name for name in CONTESTANTS if not workload.contestants[name].missing]
    asked = workload.kind(root=str(root), data="", batch=BATCH)
    return workload.prepare(asked, quick, names)


RUN = """
import contextlib, itertools, json, sys, traceback
import stimuli
names, work, looks = json.loads(sys.argv[1])
workload = stimuli.workload("")
work = workload.kind(**work)
for name in names:
    contestant, seen = workload.contestants[name], []
    settings = contestant.settings(work)
    try:
        for setting in settings[:1] + settings[1:][-1:]:
            check = workload.check(work, name)
            with contextlib.closing(contestant.start(work, setting)) as batches:
                for batch in itertools.islice(batches, looks):
                    check(batch)
            seen.append(check.result())
    except Exception:
        seen = traceback.format_exc()
    print(json.dumps([name, seen]), flush=True)
"""


@pytest.fixture(scope="module")
def seen(work: Any, workload: Any) -> dict[str, Any]:
    """What the check says of each contestant, with its first and its last setting.

    Those with worker processes run first: a fork wants no threads around.
    """
    installed = [name for name in CONTESTANTS if not workload.contestants[name].missing]
    names = sorted(installed, key=lambda name: name not in FORKING)
    paths = [str(BENCH), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-c", RUN, json.dumps([names, asdict(work), LOOKS])]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(line) for line in done.stdout.strip().splitlines())


@pytest.mark.parametrize("name", CONTESTANTS)
def test_every_contestant_does_the_work(name: str, workload: Any, seen: dict[str, Any]) -> None:
    if missing := workload.contestants[name].missing:
        pytest.skip(f"{', '.join(missing)} is not installed")
    assert isinstance(seen[name], list), seen[name]
    for one in seen[name]:
        assert one["samples"] == (LOOKS if name == "decode" else LOOKS * BATCH)
        if name not in ("decode", "folder"):
            assert 38 <= one["points"] <= 176 and one["points_off_px"] < 1e-3


def test_all_contestants_are_known_here(workload: Any) -> None:
    assert tuple(workload.contestants) == CONTESTANTS


def test_what_a_workload_tells(work: Any, workload: Any, module: Callable[[str], Any]) -> None:
    sizes = Dataset(work.data).open("image").sizes(np.asarray(Dataset(work.data).split("train")))
    wide = int((sizes[:, 1] > sizes[:, 0]).sum())
    assert workload.epoch_items(work) == wide // 4 * 4 + (len(sizes) - wide) // 4 * 4
    assert workload.item_bytes(work) == 3 * 192 * 256
    facts = workload.facts(work)
    assert facts["set"]["images"] == 48 and facts["set"]["train"] == len(sizes) == 43
    assert facts["work"]["height"] == 192 and str(work.root) not in json.dumps(facts)
    assert workload.baseline == "folder"
    assert module("workload").NAMES["w4"] == ("stimuli", "")


def test_a_set_of_ones_own_is_refused(module: Callable[[str], Any], workload: Any) -> None:
    error = module("dataprep.manifest").DataError
    own = module("workload").Origin(data=Path("mine"))
    with pytest.raises(error, match="mine: w4 makes its own stimuli"):
        workload.prepare(workload.kind(root="", data=""), own, CONTESTANTS)


def test_the_quick_form_runs(work: Any, root: Path) -> None:
    target = root / "result.json"
    options = ["--work", "w4", "--quick", "--peers", "nostall,folder", "--json", str(target)]
    command = [sys.executable, str(BENCH / "loader.py"), *options, "--root", str(root)]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    facts = json.loads(target.read_text())
    assert not facts["failed"] and set(facts["contestants"]) == {"nostall", "folder"}
    for one in facts["contestants"].values():
        assert one["images_per_s"]["median"] > 0 and one["times_folder"]["cpu"]["median"] > 0
        assert one["check"]["sharpness"] == pytest.approx(1, abs=0.02)


def test_sizes_and_fixations_are_those_of_mit1003(module: Callable[[str], Any]) -> None:
    with open(folder("saliency") / "mit1003_names_sizes.csv") as file:
        rows = [
            {key: int(value) for key, value in row.items() if key != "stem"}
            for row in csv.DictReader(file)
        ]
    corpus, most = module("stimuli.corpus"), len(rows)
    drawn, counts = [], []
    for i in range(most):
        rng = np.random.default_rng(i)
        drawn.append(corpus._size(i * corpus.GOLDEN % 1, 1024, rng))
        counts.append(len(corpus._fixations(*drawn[-1], rng)))
    real = Counter((row["height"], row["width"]) for row in rows)
    made = Counter(drawn)
    for size, count in real.most_common(5):
        assert made[size] == pytest.approx(count, abs=0.02 * most), size
    pixels = [np.mean([h * w for h, w in sizes.elements()]) for sizes in (made, real)]
    assert pixels[0] == pytest.approx(pixels[1], rel=0.03)
    real_counts = [row["fixations_in_image_without_first"] for row in rows]
    assert np.mean(counts) == pytest.approx(np.mean(real_counts), rel=0.1)
    assert min(counts) >= 38 and max(counts) <= 176


def test_the_set_has_the_points_that_were_drawn(work: Any, module: Callable[[str], Any]) -> None:
    dataset, corpus = Dataset(work.data), module("stimuli.corpus")
    keys, points = dataset.keys(), dataset.points("fixations")
    with np.load(Path(work.files) / corpus.POINTS) as drawn:
        for i in range(dataset.samples):
            assert (np.asarray(points[i])[:, :2] == drawn[keys[i]]).all()


def test_the_corpus_comes_again_the_same(
    work: Any, module: Callable[[str], Any], tmp_path: Path
) -> None:
    corpus = module("stimuli.corpus")
    few = corpus.stimuli(tmp_path, replace(corpus.QUICK, count=3))
    paths = sorted((few / corpus.STIMULI).iterdir())
    assert len({path.read_bytes() for path in paths}) == 3
    for path in paths:
        assert path.read_bytes() == (Path(work.files) / corpus.STIMULI / path.name).read_bytes()


def test_hdf5_is_what_our_reader_of_pysaliency_reads(
    work: Any, module: Callable[[str], Any]
) -> None:
    corpus = module("stimuli.corpus")
    names = corpus.names(Path(work.files))
    path = Path(work.arrays) / "stimuli.hdf5"
    with h5py.File(path) as file:
        stimuli = pysaliency.read_stimuli(file, path)
        assert len(stimuli) == len(names) == 48
        first = cv2.imread(str(Path(work.files, corpus.STIMULI, f"{names[0]}.jpeg")))
        assert np.abs(stimuli.pixels(0)[..., ::-1].astype(int) - first).mean() < 1
    path = Path(work.fixations) / "fixations.hdf5"
    with h5py.File(path) as file, np.load(Path(work.files) / corpus.POINTS) as drawn:
        found = pysaliency.read_fixations(file, path, len(names))
        own = found.stimulus == 7
        assert (np.stack([found.x_px[own], found.y_px[own]], 1) == drawn[names[7]]).all()


def test_buckets_hold_one_size_and_all_come(module: Callable[[str], Any]) -> None:
    groups = [0, 1, 1, 0, 0, 1, 1, 1, 0, 0, 0, 1, 1]  # 6 and 7: two and two batches of 3
    torch.manual_seed(0)
    epochs = islice(module("stimuli.buckets").Buckets(groups, 3), 40)
    batches = list(epochs)
    assert all(len({groups[row] for row in batch}) == 1 for batch in batches)
    for first in range(0, 40, 4):
        rows = [row for batch in batches[first : first + 4] for row in batch]
        assert len(rows) == len(set(rows)) == 12
    assert {row for batch in batches for row in batch} == set(range(13))
    assert batches[:4] != batches[4:8]


Batch = tuple[Tensor, ...]


@pytest.fixture(scope="module")
def right(work: Any, module: Callable[[str], Any]) -> list[Batch]:
    """Right batches with points, all of an epoch."""
    peers = module("stimuli.torch_peers")
    drawn = peers.points(work, {"workers": 0, "late": 0}, "pil")
    return [tuple(batch) for batch in islice(drawn, 10)]


@pytest.fixture(scope="module")
def wide(right: list[Batch]) -> Batch:
    """A right batch of the wide size."""
    return next(batch for batch in right if batch[0].shape[3] > batch[0].shape[2])


def judge(workload: Any, work: Any, *batches: Batch) -> dict[str, Any]:
    """Return what the check says of batches."""
    check = workload.check(work, "nostall")
    for batch in batches:
        check(batch)
    result: dict[str, Any] = check.result()
    return result


def test_right_batches_pass(workload: Any, work: Any, right: list[Batch]) -> None:
    seen = judge(workload, work, *right)
    assert seen["samples"] == LOOKS * BATCH and seen["mean_off"] < 1e-3
    counts = [len(batch[1]) for batch in right[:LOOKS]]
    assert seen["points"] == pytest.approx(sum(counts) / seen["samples"], abs=1e-3)


def cropped(images: Tensor) -> Tensor:
    """Return the middle, as large as the whole."""
    height, width = images.shape[2:]
    middle = images[..., height // 8 : -height // 8, width // 8 : -width // 8]
    return interpolate(middle, (height, width), mode="bilinear")


def smooth(images: Tensor) -> Tensor:
    """Return images of half the size, enlarged again."""
    half = interpolate(images, scale_factor=0.5, mode="area")
    return interpolate(half, scale_factor=2, mode="bilinear")


SPOILED: dict[str, tuple[Callable[..., Any], str]] = {
    "mixed points": (
        lambda i, p, s: (i, p.roll(-int(s[1]), 0), s),
        r"an image has \d+ points|a point is",
    ),
    "points not scaled": (lambda i, p, s: (i, p * 1.1, s), "a point is"),
    "points turned": (lambda i, p, s: (i, p.flip(1), s), "a point is"),
    "no points": (lambda i, p, s: (i, p[:0], s * 0), "an image has 0 points"),
    "a point less": (lambda i, p, s: (i, p[:-1], s.clamp(max=len(p) - 1)), "points, not"),
    "wrong starts": (lambda i, p, s: (i, p, s[:-1]), "but they begin at"),
    "mixed images": (lambda i, p, s: (i.roll(1, 0), p, s), r"an image has \d+|a point is"),
    "flipped": (lambda i, p, s: (i.flip(3).contiguous(), p, s), "from all of the training"),
    "BGR": (lambda i, p, s: (i.flip(1).contiguous(), p, s), "from all of the training"),
    "not normalised": (lambda i, p, s: (i * 0.226 + 0.449, p, s), "from all of the training"),
    "cropped": (lambda i, p, s: (cropped(i), p, s), "from all of the training"),
    "NaN": (lambda i, p, s: (i * float("nan"), p, s), "from all of the training"),
    "half": (lambda i, p, s: (i.half(), p, s), "images are"),
    "bytes": (lambda i, p, s: (i.byte(), p, s), "images are"),
    "smaller": (lambda i, p, s: (i[..., ::2], p, s), "images are"),
    "fewer": (lambda i, p, s: (i[:-1], p, s[:-1]), "images are"),
    "a view": (lambda i, p, s: (i.to(memory_format=torch.channels_last), p, s), "are a view"),
    "other size": (
        lambda i, p, s: (interpolate(i, (256, 192), mode="bilinear"), p, s),
        "lies on its side",
    ),
    "smooth": (lambda i, p, s: (smooth(i), p, s), "sharpness|pixels are off"),
    "duller": (lambda i, p, s: (i - 0.03, p, s), "pixels are off"),
}


@pytest.mark.parametrize("name", SPOILED)
def test_other_batches_are_refused(name: str, workload: Any, work: Any, wide: Batch) -> None:
    spoil, why = SPOILED[name]
    with pytest.raises(ValueError, match=why):
        judge(workload, work, spoil(*wide))


def test_one_image_again_and_again_is_refused(workload: Any, work: Any, wide: Batch) -> None:
    images, points, starts = wide
    first = points[: starts[1]]
    same = (images[:1].repeat(4, 1, 1, 1), first.repeat(4, 1), torch.arange(5) * len(first))
    with pytest.raises(ValueError, match="only 1 of 4 images differ"):
        judge(workload, work, same)


def test_the_order_of_the_files_is_refused(
    workload: Any, work: Any, module: Callable[[str], Any]
) -> None:
    peers = module("stimuli.torch_peers")
    pil = peers.Pil(work, late=False)
    rows = [i for i, one in enumerate(pil.every) if one.is_wide]
    batches = [peers.collate([pil[i] for i in rows[n : n + 4]]) for n in (0, 4)]
    with pytest.raises(ValueError, match="not shuffled"):
        judge(workload, work, *batches)


def test_maps_of_other_images_are_refused(
    workload: Any, work: Any, module: Callable[[str], Any]
) -> None:
    images, maps = next(iter(module("stimuli.torch_peers").maps(work, {"workers": 0})))
    assert judge(workload, work, (images, maps))["samples"] == BATCH
    for wrong in (maps.roll(1, 0), maps * 0, maps.flip(2)):
        with pytest.raises(ValueError, match=r"a map is .* from that of its image"):
            judge(workload, work, (images, wrong))
    with pytest.raises(ValueError, match="maps are"):
        judge(workload, work, (images, maps[:, 0]))


@pytest.mark.parametrize("spoil", [lambda one: one.astype(np.float32), lambda one: one[..., 0]])
def test_other_decoded_images_are_refused(spoil: Any, workload: Any, work: Any) -> None:
    check = workload.check(work, "decode")
    with pytest.raises(ValueError, match="an image is"):
        check([spoil(np.zeros((4, 4, 3), np.uint8))])
    check([np.full((4, 4, 3), 255, np.uint8)])
    with pytest.raises(ValueError, match="pixels are"):
        check.result()
