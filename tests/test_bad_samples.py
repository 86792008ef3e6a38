"""Damaged images while a run is going: named, replaced or skipped, alike on any ranks and engines.

Bytes of some files inside the tars are overwritten; sizes stay, so that opening finds nothing.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
from raw.imagefolder import jpeg
from toys import FAMILIES, built

from dataprep import index
from dataprep.build import build
from dataprep.manifest import DataError
from dataprep.sources.imagefolder import Source
from loaders import Batch, Dataset, Loader, World
from loaders.draw import Keys
from loaders.files import BadSample
from loaders.quarantine import Quarantine
from loaders.stages import Normalise
from loaders.stages.random_resized_crop import RandomResizedCrop
from loaders.stages.resize import Resize

ENGINES = ("host", "dali")
STAGES = (RandomResizedCrop(height=64, width=64, scale=(0.5, 1)), Normalise(field="image"))
TRAIN, VAL = 16, 7
WHOLE = (3, 8)  # of the train split, stored whole: progressive


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    root = tmp_path_factory.mktemp("photographs")
    picture = skimage.data.astronaut()
    for split, count in (("train", TRAIN), ("val", VAL)):
        for i in range(count):
            folder = root / "raw" / split / "ab"[i % 2]
            folder.mkdir(parents=True, exist_ok=True)
            part = np.ascontiguousarray(picture[9 * i : 9 * i + 150, 5 * i : 5 * i + 170])
            options = {"progressive": True} if split == "train" and i in WHOLE else {}
            (folder / f"{i:02d}.jpg").write_bytes(jpeg(part, **options))
    build(Source(), root / "raw", root / "set", workers=1)
    return Dataset(root / "set")


def whole_ones(dataset: Dataset) -> list[int]:
    """Return the ids of the files without a row index."""
    starts = np.load(dataset.folder / "index" / "image.rows.starts.npy")
    return np.flatnonzero(np.diff(starts) == 0).tolist()


def overwrite(dataset: Dataset, sample: int, how: str) -> None:
    """Damage one file where it lies in its tar."""
    shard, offset, size = (
        int(np.load(dataset.folder / "index" / f"image.{what}.npy")[sample])
        for what in ("shard", "offset", "size")
    )
    first, count = {"header": (0, 300), "entropy": (size // 2, size // 2)}[how]
    with open(dataset.folder / "shards" / f"{shard:06d}.tar", "r+b") as file:
        file.seek(offset + first)
        file.write(bytes(count))


def damaged(sound: Dataset, folder: Path, samples: dict[int, str]) -> Dataset:
    shutil.copytree(sound.folder, folder)
    dataset = Dataset(folder)
    for sample, how in samples.items():
        overwrite(dataset, sample, how)
    return dataset


def open_loaders(dataset: Dataset, ranks: int, **other: Any) -> list[Loader]:
    settings: dict[str, Any] = {"stages": STAGES, "global_batch_size": 6, "seed": 11, "threads": 2}
    settings |= {"on_bad": "replace"} | other
    return [Loader(dataset, world=World(rank=r, size=ranks), **settings) for r in range(ranks)]


def run(loaders: Sequence[Loader], steps: int) -> list[dict[str, Any]]:
    """Return what the global steps hold, all ranks together, without fillers."""
    iterators = [iter(loader) for loader in loaders]
    found = []
    for _ in range(steps):
        parts = [next(iterator).clone() for iterator in iterators]
        real = np.concatenate([part.weight.numpy() > 0 for part in parts])
        names = ("id", "position", "image", "label")
        values = [[part.fields.get(n, getattr(part, n, None)) for part in parts] for n in names]
        found.append(
            {
                name: np.concatenate([np.asarray(v) for v in value])[real]
                for name, value in zip(names, values, strict=True)
            }
        )
    for iterator in iterators:
        iterator.close()
    return found


def close(loaders: Sequence[Loader]) -> None:
    for loader in loaders:
        loader.close()


def ran(dataset: Dataset, ranks: int, steps: int, **other: Any) -> list[dict[str, Any]]:
    loaders = open_loaders(dataset, ranks, **other)
    found = run(loaders, steps)
    close(loaders)
    return found


def assert_same(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> None:
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        for name in a:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("how", ["header", "entropy"])
@pytest.mark.parametrize("whole", [False, True])
def test_stop_names_shard_and_sample(
    whole: bool, how: str, engine: str, sound: Dataset, tmp_path: Path
) -> None:
    sample = whole_ones(sound)[0] if whole else 5
    dataset = damaged(sound, tmp_path / "set", {sample: how})
    shard = int(np.load(dataset.folder / "index" / "image.shard.npy")[sample])
    (loader,) = open_loaders(dataset, 1, on_bad="stop", engine=engine)
    with pytest.raises(DataError, match=rf"shards/{shard:06d}\.tar: sample {sample}: \w"):
        run([loader], 3)
    loader.close()


@pytest.mark.parametrize("engine", ENGINES)
def test_replaced_alike_on_any_ranks_and_after_a_resume(
    engine: str, sound: Dataset, tmp_path: Path
) -> None:
    bad = {2: "entropy", 9: "header", whole_ones(sound)[0]: "entropy"}
    dataset = damaged(sound, tmp_path / "set", bad)
    want, clean = ran(dataset, 1, 9, engine=engine), ran(sound, 1, 9, engine=engine)
    replaced = 0
    for step, plain in zip(want, clean, strict=True):
        assert not set(step["id"].tolist()) & set(bad)
        np.testing.assert_array_equal(step["position"], plain["position"])
        kept = step["id"] == plain["id"]
        assert set(plain["id"][~kept].tolist()) <= set(bad)
        np.testing.assert_array_equal(step["image"][kept], plain["image"][kept])
        replaced += int((~kept).sum())
        for sample, label in zip(step["id"], step["label"], strict=True):
            assert label == np.load(dataset.folder / "index" / "label.npy")[sample]
    assert replaced == 3 * len(bad)
    for ranks in (2, 3):
        assert_same(want, ran(dataset, ranks, 9, engine=engine))
    first = open_loaders(dataset, 1, engine=engine, prefetch=3)
    head = run(first, 4)
    state = first[0].state()
    second = open_loaders(dataset, 2, engine=engine)
    for loader in second:
        loader.load(state)
    assert_same(want, head + run(second, 5))
    close([*first, *second])


def test_a_replacement_is_a_function_of_its_place(sound: Dataset, tmp_path: Path) -> None:
    """Not of what else is bad, when that was met, or of the bad sample; another epoch, another."""
    one = damaged(sound, tmp_path / "one", {2: "entropy"})
    two = damaged(sound, tmp_path / "two", {2: "entropy", 4: "header", 12: "header"})
    steps = 24
    plain, first, second = (
        np.concatenate([step["id"] for step in ran(dataset, 1, steps)])
        for dataset in (sound, one, two)
    )
    places = plain == 2
    assert len(set(first[places].tolist())) > 3
    same = ~np.isin(first, [4, 12])
    np.testing.assert_array_equal(first[same], second[same])
    assert not np.isin(second, [2, 4, 12]).any()
    late = open_loaders(two, 1)[0]
    for sample in (4, 2):
        late.quarantine.bad[sample] = "known from the start"
    np.testing.assert_array_equal(np.concatenate([s["id"] for s in run([late], steps)]), second)
    other = np.concatenate([step["id"] for step in ran(one, 1, steps, seed=12)])
    assert (other[np.isin(plain, [2])] != first[places]).any()


def test_two_bad_samples_at_one_place_give_it_to_the_same(sound: Dataset) -> None:
    """And two places, epochs or seeds mostly to others."""
    split, places = sound.split("train"), np.arange(40)
    quarantine = Quarantine("replace", 100)
    quarantine.bad |= {2: "bad", 5: "bad"}

    def taken(sample: int, seed: int = 0, epoch: int = 0) -> Any:
        keys = Keys(seed, epoch, places, np.full(40, sample))
        ids, kept = quarantine.clean(keys, split)
        assert kept.all() and not np.isin(ids, [2, 5]).any()
        return ids

    np.testing.assert_array_equal(taken(2), taken(5))
    assert len(set(taken(2).tolist())) > 8
    for other in (taken(2, seed=1), taken(2, epoch=1)):
        assert (other != taken(2)).mean() > 0.6
    keys = Keys(0, 0, places, np.full(40, 3))
    assert (quarantine.clean(keys, split)[0] == 3).all()


@pytest.mark.parametrize("engine", ENGINES)
def test_batches_planned_before_it_was_known(engine: str, sound: Dataset, tmp_path: Path) -> None:
    """A batch of the whole split: every plan that waits holds the bad sample, too."""
    dataset = damaged(sound, tmp_path / "set", {6: "header"})
    for prefetch in (0, 4):
        options: Any = {"global_batch_size": TRAIN, "prefetch": prefetch, "engine": engine}
        loader = open_loaders(dataset, 1, **options)[0]
        for step in run([loader], 6):
            assert len(step["id"]) == TRAIN and 6 not in step["id"]
        assert list(loader.quarantine.bad) == [6]
        loader.close()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("ranks", [1, 3])
def test_evaluation_counts_good_samples_once(
    ranks: int, engine: str, sound: Dataset, tmp_path: Path
) -> None:
    """The loop of tasks.evaluate: what has weight 0 is left out, and the loader says how many."""
    ids = np.asarray(sound.split("val"))
    bad = {int(ids[0]): "header", int(ids[4]): "entropy"}
    dataset = damaged(sound, tmp_path / "set", bad)
    options: Any = {"split": "val", "shuffle": False, "epochs": 1, "on_bad": "skip"}
    stages = (Resize(height=64, width=64), Normalise(field="image"))
    loaders = open_loaders(
        dataset, ranks, **options, stages=stages, engine=engine, global_batch_size=3
    )
    found, pixels = [], {}
    for loader in loaders:
        for batch in loader:
            real = batch.weight.numpy() > 0
            found += batch.id.numpy()[real].tolist()
            pixels |= dict(zip(batch.id.tolist(), batch["image"].numpy().copy(), strict=True))
    assert sorted(found) == sorted(set(ids.tolist()) - set(bad))
    met = [sample for loader in loaders for sample in loader.quarantine.bad]
    assert sorted(set(met)) == sorted(bad)
    assert sum(loader.facts()["bad_samples"] for loader in loaders) == len(met) >= 2
    close(loaders)
    (loader,) = open_loaders(sound, 1, **options, stages=stages, engine=engine)
    for batch in loader:
        for i, sample in enumerate(batch.id.tolist()):
            if sample in found:
                np.testing.assert_array_equal(batch["image"][i].numpy(), pixels[sample])
    loader.close()


@pytest.mark.parametrize("on_bad", ["skip", "replace"])
def test_a_limit_ends_the_run(on_bad: Any, sound: Dataset, tmp_path: Path) -> None:
    dataset = damaged(sound, tmp_path / "set", dict.fromkeys((1, 2, 9, 14), "header"))
    (loader,) = open_loaders(dataset, 1, on_bad=on_bad, bad_limit=3)
    with pytest.raises(DataError, match=r"sample \d+: .*4 samples are bad, the limit is 3"):
        run([loader], 3)
    loader.close()
    (loader,) = open_loaders(dataset, 1, on_bad=on_bad, bad_limit=4)
    run([loader], 3)
    assert sorted(loader.quarantine.bad) == [1, 2, 9, 14]
    loader.close()


def test_nothing_good_is_left(sound: Dataset, tmp_path: Path) -> None:
    dataset = damaged(sound, tmp_path / "set", dict.fromkeys(range(TRAIN + VAL), "header"))
    (loader,) = open_loaders(dataset, 1)
    with pytest.raises(DataError, match="too many are bad"):
        run([loader], 1)
    loader.close()


def test_dali_goes_on_after_an_error(sound: Dataset, tmp_path: Path) -> None:
    """The graph is built anew; what it gives then is what it would have given."""
    sample = whole_ones(sound)[1]
    dataset = damaged(sound, tmp_path / "set", {sample: "entropy"})
    (loader,) = open_loaders(dataset, 1, engine="dali")
    before = loader.engine._pipeline  # type: ignore[attr-defined]
    found = run([loader], 6)
    assert loader.engine._pipeline is not before  # type: ignore[attr-defined]
    assert list(loader.quarantine.bad) == [sample]
    loader.close()
    for step, host in zip(found, ran(dataset, 1, 6, engine="host"), strict=True):
        np.testing.assert_array_equal(step["id"], host["id"])
        differences = np.abs(step["image"] - host["image"]) * 255
        assert differences.mean() <= 0.5 and np.percentile(differences, 99) <= 4


def test_what_only_dali_refuses_is_not_passed_over(
    sound: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own decoder can read the file, so nobody knows which sample to leave out."""
    import loaders.dali

    dataset = damaged(sound, tmp_path / "set", {whole_ones(sound)[0]: "entropy"})
    monkeypatch.setattr(loaders.dali, "decode", lambda *_: np.zeros(0, np.uint8))
    (loader,) = open_loaders(dataset, 1, engine="dali")
    with pytest.raises(RuntimeError, match=r"Premature end|decod"):
        run([loader], 3)
    assert not loader.quarantine.bad
    loader.close()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_shard_cut_short_while_it_is_read(engine: str, sound: Dataset, tmp_path: Path) -> None:
    """Named, no signal, no zeros; with replacements the run goes on until the limit."""
    dataset = damaged(sound, tmp_path / "set", {})
    options: Any = {"engine": engine, "prefetch": 0, "global_batch_size": TRAIN}
    stop, more = (open_loaders(dataset, 1, **options, on_bad=how)[0] for how in ("stop", "replace"))
    one, two = iter(stop), iter(more)
    next(one), next(two)
    path = dataset.folder / "shards" / "000002.tar"
    with open(path, "r+b") as file:
        file.truncate(700)
    with pytest.raises(DataError, match=r"shards/000002\.tar: sample \d+: the shard file is cut"):
        for _ in range(3):
            next(one)
    shards = np.load(dataset.folder / "index" / "image.shard.npy")
    for _ in range(3):
        batch = next(two).clone()
    assert (shards[batch.id.numpy()] != 2).all() and len(more.quarantine.bad) >= 1
    for iterator, loader in ((one, stop), (two, more)):
        iterator.close()
        loader.close()


def test_an_index_found_wrong_while_planning(tmp_path: Path) -> None:
    """Raw fields are checked before they are read: such samples are replaced as well."""
    family = FAMILIES["pairs"]
    dataset = built(family.source, tmp_path / "set")
    path = dataset.folder / "index" / "hr.offset.npy"
    offsets = np.load(path)
    offsets[3] = 1 << 60
    index.write(path, offsets)
    settings: Any = family.settings | {"global_batch_size": 5, "threads": 1, "seed": 1}
    found: dict[str, list[Batch]] = {}
    for ranks in (1, 2):
        loaders = [
            Loader(
                Dataset(dataset.folder),
                world=World(rank=r, size=ranks),
                on_bad="replace",
                **settings,
            )
            for r in range(ranks)
        ]
        iterators = [iter(loader) for loader in loaders]
        steps = [[next(iterator).clone() for iterator in iterators] for _ in range(8)]
        found[str(ranks)] = [part for parts in steps for part in parts]
        met = [sample for loader in loaders for sample in loader.quarantine.bad]
        assert set(met) == {3}
        for iterator, loader in zip(iterators, loaders, strict=True):
            iterator.close()
            loader.close()
    ids = [
        np.concatenate(
            [np.stack([b.position, b.id], axis=1)[b.weight.numpy() > 0] for b in run]
        ).tolist()
        for run in found.values()
    ]
    assert sorted(ids[0]) == sorted(ids[1]) and 3 not in [i for _, i in ids[0]]
    with pytest.raises(BadSample, match=r"sample 3: .*damaged"):
        for _ in zip(range(8), Loader(Dataset(dataset.folder), **settings), strict=False):
            pass


def test_a_bad_sample_reads_as_one_line(sound: Dataset, tmp_path: Path) -> None:
    dataset = damaged(sound, tmp_path / "set", {2: "header"})
    (loader,) = open_loaders(dataset, 1)
    run([loader], 3)
    (text,) = loader.quarantine.bad.values()
    assert re.fullmatch(r"[^\n]+: sample 2: [^\n]+", text)
    loader.close()
