"""The contracts of a set and of a batch, proved on five families in small (tests/toys.py).

Ranks are emulated in one process: a rank is a loader with its own `World`; the strategy's feedback
is given to each, as train.py does after its gather.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from toys import FAMILIES, Brighten, Family, Hardest, N, built

from dataprep.manifest import DataError
from loaders import Batch, Dataset, Loader, Points, World
from loaders.stages import Normalise
from loaders.strategies import Strategy

GLOBAL = 6  # 16 training samples: two full batches and one of 4
EPOCHS = 3


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Dataset]:
    root = tmp_path_factory.mktemp("sets")
    return {name: built(family.source, root / name) for name, family in FAMILIES.items()}


@pytest.fixture(params=FAMILIES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def open_loaders(dataset: Dataset, family: Family, ranks: int, **other: Any) -> list[Loader]:
    settings = {"global_batch_size": GLOBAL, "seed": 7, "threads": 2} | family.settings | other
    return [Loader(dataset, world=World(rank=r, size=ranks), **settings) for r in range(ranks)]


def loss_of(ids: np.ndarray) -> np.ndarray:
    """Return a loss that depends on the sample only."""
    return np.sin(ids * 12.9898) ** 2


def run_steps(loaders: list[Loader], steps: int) -> list[list[Batch]]:
    """Return steps × ranks batches, with feedback as in training."""
    iterators = [iter(loader) for loader in loaders]
    found = []
    for _ in range(steps):
        parts = [next(iterator).clone() for iterator in iterators]
        ids = np.concatenate([part.id.numpy()[part.weight.numpy() > 0] for part in parts])
        for loader in loaders:
            loader.observe(ids, {"loss": loss_of(ids)})
        found.append(parts)
    for iterator in iterators:
        iterator.close()
    return found


def whole(parts: list[Batch]) -> dict[str, Any]:
    """Return what a global step holds, without fillers, as numpy by name."""
    real = np.concatenate([part.weight.numpy() > 0 for part in parts])
    held: dict[str, Any] = {"id": np.concatenate([part.id.numpy() for part in parts])[real]}
    for name, value in parts[0].fields.items():
        if isinstance(value, Points):
            rows = [p.fields[name].rows(p.weight > 0).values.numpy() for p in parts]
            held[name] = np.concatenate(rows)
        else:
            held[name] = np.concatenate([part[name].numpy() for part in parts])[real]
    return held


def assert_same(one: list[list[Batch]], other: list[list[Batch]]) -> None:
    assert len(one) == len(other)
    for a, b in zip(map(whole, one), map(whole, other), strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def test_build_is_read_back_equal(name: str, sets: dict[str, Dataset]) -> None:
    """Any zarr reader opens the pixels; every stored value is the source's."""
    dataset, source = sets[name], FAMILIES[name].source
    assert dataset.samples == N
    for field_name, spec in dataset.fields.items():
        if spec.is_pixels:
            array = zarr.open_array(dataset.folder / f"{field_name}.zarr", mode="r")
            flat = np.asarray(array[:]).reshape(-1)
        for i in range(N):
            want = source.one(i)[field_name]
            if spec.is_pixels:
                columns = (
                    dataset.folder / "index" / f"{field_name}.{c}.npy" for c in ("shard", "offset")
                )
                shard, offset = (int(np.load(path)[i]) for path in columns)
                per_chunk = int(np.prod(array.chunks))
                first = shard * per_chunk + offset // array.dtype.itemsize
                np.testing.assert_array_equal(flat[first : first + want.size], want.reshape(-1))
            elif spec.kind == "points":
                np.testing.assert_array_equal(dataset.points(field_name)[i], want)
            else:
                assert dataset.values(field_name)[i] == want


@pytest.mark.parametrize("engine", ["host", "dali"])
def test_batches_hold_together(name: str, engine: str, sets: dict[str, Dataset]) -> None:
    """Geometry, labels and points of a batch belong together; an epoch brings each sample once."""
    family, dataset = FAMILIES[name], sets[name]
    loaders = open_loaders(dataset, family, 1, engine=engine)
    steps = run_steps(loaders, 2 * loaders[0].steps)
    for parts in steps:
        family.check(parts[0], dataset)
    ids = np.concatenate([whole(parts)["id"] for parts in steps])
    half = len(ids) // 2
    for epoch in (ids[:half], ids[half:]):
        assert sorted(epoch.tolist()) == np.asarray(dataset.split("train")).tolist()


def test_engines_agree(name: str, sets: dict[str, Dataset]) -> None:
    """Same ids and boxes on both engines; pixels within DESIGN's tolerance (here: rounding)."""
    host, dali = (
        run_steps(open_loaders(sets[name], FAMILIES[name], 1, engine=engine), 6)
        for engine in ("host", "dali")
    )
    for a, b in zip(map(whole, host), map(whole, dali), strict=True):
        np.testing.assert_array_equal(a["id"], b["id"])
        for field_name in a:
            np.testing.assert_allclose(a[field_name], b[field_name], rtol=1e-5, atol=5e-5)


@pytest.mark.parametrize("engine", ["host", "dali"])
@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_see_the_same_run(
    name: str, ranks: int, engine: str, sets: dict[str, Dataset]
) -> None:
    """Any number of ranks steps equally often through the same global batches."""
    dataset, family = sets[name], FAMILIES[name]
    alone = run_steps(open_loaders(dataset, family, 1, engine=engine), 7)
    together = run_steps(open_loaders(dataset, family, ranks, engine=engine), 7)
    assert_same(alone, together)
    for parts in together:
        assert len({len(part) for part in parts}) == 1
        assert sum(float(part.weight.sum()) for part in parts) == parts[0].total


@pytest.mark.parametrize(("before", "after"), [(1, 1), (1, 3), (2, 1), (2, 3), (3, 2)])
@pytest.mark.parametrize("stop", [2, 4])
def test_stopped_and_resumed(
    name: str, before: int, after: int, stop: int, sets: dict[str, Dataset], tmp_path: Path
) -> None:
    """A state saved at any step, in any epoch, goes on identically on any number of ranks."""
    dataset, family = sets[name], FAMILIES[name]
    uninterrupted = run_steps(open_loaders(dataset, family, 1), 9)
    first = open_loaders(dataset, family, before, prefetch=3)
    head = run_steps(first, stop)
    torch.save(first[0].state(), tmp_path / "state.pt")
    second = open_loaders(dataset, family, after, prefetch=1)
    for loader in second:
        loader.load(torch.load(tmp_path / "state.pt", weights_only=False))
    assert_same(uninterrupted, head + run_steps(second, 9 - stop))


@pytest.mark.parametrize("prefetch", [0, 1, 5])
@pytest.mark.parametrize("threads", [1, 3])
def test_choices_depend_on_neither_prefetch_nor_threads(
    prefetch: int, threads: int, sets: dict[str, Dataset]
) -> None:
    family = FAMILIES["labels"]
    want = run_steps(open_loaders(sets["labels"], family, 1), 8)
    got = run_steps(open_loaders(sets["labels"], family, 1, prefetch=prefetch, threads=threads), 8)
    assert_same(want, got)


def test_lag_is_exact(sets: dict[str, Dataset]) -> None:
    """The choice for step t has seen the scores of exactly the steps up to t − lag."""
    seen: list[int] = []

    class Spy(Hardest):
        count = 0

        def choose(self, epoch: int, step: int) -> Any:
            seen.append(self.count)
            return super().choose(epoch, step)

        def observe(self, rows: Any, scores: Any) -> None:
            self.count += 1
            super().observe(rows, scores)

    for lag in (1, 2, 4):
        seen.clear()
        family = FAMILIES["labels"]
        run_steps(
            open_loaders(sets["labels"], family, 1, strategy=Spy, feedback_lag=lag, prefetch=6), 8
        )
        assert seen[:8] == [max(0, t - lag + 1) for t in range(8)]


def test_feedback_changes_the_choice(sets: dict[str, Dataset]) -> None:
    """From the second epoch on the hardest samples come first."""
    steps = run_steps(open_loaders(sets["labels"], FAMILIES["labels"], 1, feedback_lag=1), 6)
    first = [whole(parts)["id"] for parts in steps[3:]]
    losses = [loss_of(ids).mean() for ids in first]
    assert losses == sorted(losses, reverse=True)


def test_augmentation_is_keyed_by_place(sets: dict[str, Dataset]) -> None:
    """The same sample is augmented anew each epoch, and the same in another run."""
    family = FAMILIES["views"]
    runs = [run_steps(open_loaders(sets["views"], family, 1), 6) for _ in range(2)]
    assert_same(runs[0], runs[1])
    pixels: dict[int, list[np.ndarray]] = {}
    for parts in runs[0]:
        held = whole(parts)
        for i, sample in enumerate(held["id"].tolist()):
            pixels.setdefault(sample, []).append(held["image.a"][i])
    differ = sum(not np.array_equal(a, b) for a, b in pixels.values())
    assert differ > len(pixels) // 2


@pytest.mark.parametrize("engine", ["host", "dali"])
def test_photometric_stage_has_two_faces(engine: str, sets: dict[str, Dataset]) -> None:
    stages = (Brighten(fields=("image",)), Normalise(field="image"))
    loader = Loader(
        sets["labels"], stages=stages, engine=engine, global_batch_size=8, shuffle=False
    )
    plain = Loader(
        sets["labels"], stages=stages[1:], engine=engine, global_batch_size=8, shuffle=False
    )
    changed, stored = next(iter(loader))["image"] * 255, next(iter(plain))["image"] * 255
    levels = (changed - stored).flatten(1).amax(dim=1).round()
    want = torch.clamp(stored + levels.view(-1, 1, 1, 1), max=255)
    torch.testing.assert_close(changed, want, atol=1e-3, rtol=0)
    assert len(levels.unique()) > 3


def test_geometry_between_pixels_is_refused(sets: dict[str, Dataset]) -> None:
    """RGB as the reference would cut thermal at half pixels: an error by name, not a blur."""
    family = FAMILIES["thermal"]
    loader = open_loaders(sets["thermal"], family, 1, reference="rgb")[0]
    with pytest.raises(DataError, match="'thermal' would be cut between its pixels"):
        for _ in zip(range(5), loader, strict=False):
            pass


def test_mixed_sizes_are_refused(sets: dict[str, Dataset]) -> None:
    loader = open_loaders(sets["points"], FAMILIES["points"], 1, groups=None)[0]
    with pytest.raises(DataError, match="one batch holds several sizes"):
        next(iter(loader))


def test_last_batch_can_be_dropped(sets: dict[str, Dataset]) -> None:
    loader = open_loaders(sets["pairs"], FAMILIES["pairs"], 1, last="drop", epochs=1)[0]
    batches = [batch.clone() for batch in loader]
    assert [float(batch.weight.sum()) for batch in batches] == [GLOBAL, GLOBAL]


def test_state_refuses_other_data(sets: dict[str, Dataset]) -> None:
    state = open_loaders(sets["pairs"], FAMILIES["pairs"], 1)[0].state()
    other = open_loaders(sets["views"], FAMILIES["views"], 1)[0]
    with pytest.raises(ValueError, match="another fingerprint"):
        other.load(state)
    reseeded = open_loaders(sets["pairs"], FAMILIES["pairs"], 1, seed=8)[0]
    with pytest.raises(ValueError, match="another seed"):
        reseeded.load(state)


def test_state_is_a_copy(sets: dict[str, Dataset]) -> None:
    """What the strategy learns while a checkpoint is written does not change the checkpoint."""
    loader = open_loaders(sets["labels"], FAMILIES["labels"], 1, strategy=Careless)[0]
    run_steps([loader], 4)
    state = loader.state()["chooser"]["strategy"]["losses"]
    before = state.copy()
    loader.strategy.observe(np.arange(16), {"loss": np.full(16, 99.0)})
    np.testing.assert_array_equal(state, before)


class Careless(Hardest):
    """Gives its own arrays away."""

    def state(self) -> dict[str, Any]:
        return {"losses": self.losses, "used": self.used}


def test_truncated_shard_is_an_error(tmp_path: Path) -> None:
    """At open, and when the file shrinks under a running loader: never a crash, never zeros."""
    family = FAMILIES["labels"]
    dataset = built(family.source, tmp_path / "set")
    loader = open_loaders(dataset, family, 1, strategy=Strategy, prefetch=0, hold_mb=0)[0]
    batches = iter(loader)
    next(batches)
    for path in (dataset.folder / "image.zarr").glob("c.*"):
        path.write_bytes(path.read_bytes()[:10])
    with pytest.raises(DataError, match=r"cut short|the manifest says"):
        for _ in range(10):
            next(batches)
    with pytest.raises(DataError, match="the manifest says"):
        next(iter(open_loaders(dataset, family, 1)[0]))
