"""Small images in memory, many batches at a time: the same as one by one from files."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from toys import PIXEL, Hardest, Labelled, Toy, built, noise

from dataprep.manifest import DataError, Field
from dataprep.raw import Raw
from dataprep.sources import Entry
from loaders import Batch, Dataset, Loader
from loaders.chooser import Chooser
from loaders.files import BadSample
from loaders.held import Held
from loaders.order import Order
from loaders.stages import Normalise
from loaders.stages.crop import Crop
from loaders.stages.dihedral import Dihedral
from loaders.stages.flip import Flip
from loaders.stages.random_resized_crop import RandomResizedCrop
from loaders.strategies.random import Strategy
from loaders.world import World

STAGES = (Crop(height=8, width=8), Dihedral(), Normalise(field="image"))


@dataclass(frozen=True, kw_only=True)
class Coloured(Toy):
    """Many tiny images of three channels, in many shards."""

    count: ClassVar[int] = 500
    shard_entries: ClassVar[int] = 64

    def classes(self, entries: Any) -> list[str]:
        return ["even", "odd"]

    def entries(self, raw: Raw) -> list[Entry]:
        return [Entry(f"{i:03d}", "train", {}) for i in range(self.count)]

    def fields(self) -> dict[str, Field]:
        return {
            "image": Field(kind="image", dtype="uint8", shape=(12, 10, 3), scale=PIXEL),
            "label": Field(kind="value", dtype="int64"),
        }

    def one(self, i: int) -> dict[str, Any]:
        return {"image": noise(i, 12, 10, 3), "label": i % 2}


@pytest.fixture(scope="module")
def coloured(tmp_path_factory: Any) -> Dataset:
    return built(Coloured(), tmp_path_factory.mktemp("coloured") / "set")


@contextmanager
def loading(dataset: Dataset, together: int = 0, **options: Any) -> Iterator[Loader]:
    """Open a loader; together: so many batches at a time, 0: as many as it wants."""
    settings: dict[str, Any] = {"stages": STAGES, "global_batch_size": 8, "threads": 2, "seed": 3}
    loader = Loader(dataset, **settings | options)
    if together:
        loader._together = together
    try:
        yield loader
    finally:
        loader.close()


def taken(loader: Loader, count: int) -> list[Batch]:
    """Return so many batches, copied, and stop in the middle."""
    batches = iter(loader)
    found = [next(batches).clone() for _ in range(count)]
    batches.close()  # type: ignore[attr-defined]
    return found


def same(first: Batch, second: Batch) -> bool:
    return (
        (first.epoch, first.step, first.total) == (second.epoch, second.step, second.total)
        and all(torch.equal(first[name], second[name]) for name in first.fields)
        and torch.equal(first.id, second.id)
        and torch.equal(first.position, second.position)
        and torch.equal(first.weight, second.weight)
    )


@pytest.mark.parametrize("stages", [STAGES, (), (Normalise(field="image"),), (Flip(),)])
@pytest.mark.parametrize("rank", [0, 2])
def test_held_together_or_alone_is_the_same(coloured: Dataset, stages: Any, rank: int) -> None:
    options = {"stages": stages, "world": World(rank, 3), "threads": 2}
    with loading(coloured, **options) as loader:
        held = taken(loader, 150)  # more than two epochs of 63 steps, the last of which is short
        assert loader.facts()["batches_together"] == 64
    with loading(coloured, hold_mb=0, **options) as loader:
        read = taken(loader, 150)
        assert loader.facts()["batches_together"] == 1
    assert {batch.epoch for batch in held} == {0, 1, 2}
    assert any((batch.weight == 0).any() for batch in held) == (rank == 2)
    assert all(same(*pair) for pair in zip(held, read, strict=True))


def test_images_are_those_that_were_built(coloured: Dataset) -> None:
    with loading(coloured, stages=()) as loader:
        for batch in taken(loader, 63):
            for image, sample in zip(batch["image"], batch.id, strict=True):
                np.testing.assert_array_equal(image.numpy(), noise(int(sample), 12, 10, 3))


def test_stopped_inside_what_was_read_together(coloured: Dataset) -> None:
    with loading(coloured, 16) as loader:
        whole = taken(loader, 90)
    with loading(coloured, 16) as loader:
        first = taken(loader, 21)
        state = loader.state()
        again = taken(loader, 5)  # breaking out and going on
    with loading(coloured, 7) as loader:
        loader.load(state)
        rest = taken(loader, 69)
    assert all(same(*pair) for pair in zip(whole[21:26], again, strict=True))
    assert all(same(*pair) for pair in zip(whole, first + rest, strict=True))


def test_epochs_end_where_they_end(coloured: Dataset) -> None:
    with loading(coloured, 40, epochs=2) as loader:
        batches = [(batch.epoch, batch.step) for batch in loader]
    assert batches == [(epoch, step) for epoch in (0, 1) for step in range(63)]


@pytest.mark.parametrize("lag", [1, 2, 5])
def test_feedback_is_not_waited_for_in_advance(coloured: Dataset, lag: int) -> None:
    def run(together: int) -> list[list[int]]:
        with loading(coloured, together, strategy=Hardest, feedback_lag=lag) as loader:
            chosen = []
            for batch, _ in zip(loader, range(80), strict=False):
                chosen.append(batch.id.tolist())
                scores = batch.id.numpy().astype(np.float64) % 7
                loader.observe(batch.id.numpy(), {"loss": scores})
            return chosen

    assert run(1) == run(30)


def test_chooser_gives_choices_of_one_epoch() -> None:
    chooser = Chooser(Strategy(Order(10, 2)), 2, 2)
    sizes = []
    while choices := chooser.take(3):
        assert len({choice.epoch for choice in choices}) == 1
        sizes.append(len(choices))
    assert sizes == [3, 2, 3, 2]
    chooser.rewind()  # nothing was consumed: all of it again
    assert [len(chooser.take(4)) for _ in range(5)] == [4, 1, 4, 1, 0]


def test_only_what_fits_is_held(coloured: Dataset) -> None:
    assert coloured.pixels("image", 1 << 20).is_held
    assert not coloured.pixels("image", 100_000).is_held  # 180,000 bytes
    assert not coloured.pixels("image").is_held


def test_truncated_or_missing_shards_are_errors_at_open(tmp_path: Path) -> None:
    dataset = built(Labelled(), tmp_path / "set")
    shard = sorted((dataset.folder / "image.zarr").glob("c.*"))[-1]
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1])
    with pytest.raises(DataError, match=shard.name):
        dataset.pixels("image", 1 << 20)
    shard.unlink()
    with pytest.raises(DataError, match="cannot be opened"):
        dataset.pixels("image", 1 << 20)


@pytest.mark.parametrize("column", ["offset", "height", "shard"])
def test_damaged_index_is_a_bad_sample(tmp_path: Path, column: str) -> None:
    dataset = built(Labelled(), tmp_path / "set")
    path = dataset.folder / "index" / f"image.{column}.npy"
    values = np.load(path)
    values[5] = 1000
    np.save(path, values)
    with loading(dataset, stages=(), global_batch_size=4, split="train") as loader:
        with pytest.raises(DataError, match="sample 5"):
            taken(loader, 4)
    options = {"stages": (), "global_batch_size": 4, "on_bad": "replace"}
    with loading(dataset, **options) as loader:
        seen = torch.cat([batch.id for batch in taken(loader, 4)])
    assert 5 not in seen


def test_no_address_outside_of_its_shard(coloured: Dataset) -> None:
    pixels = coloured.pixels("image", 1 << 20)
    held = pixels._held
    assert isinstance(held, Held)
    zero, one = np.zeros(1, np.int64), np.ones(1, np.int64)
    size = held.sizes[:1]
    assert held.addresses(zero, size - 1, size) == held.addresses(zero, zero, one) + size - 1
    for start, end in ((-one, one), (size, size + 1)):
        assert held.addresses(zero, start, end) == -1
    assert held.addresses(one * 2**31, zero, one) == -1
    boxes = np.array([[12 * 64, 0, 12, 10]])  # below the last picture of a shard
    last = np.array([coloured.samples - 1])
    with pytest.raises(BadSample, match=f"sample {coloured.samples - 1}"):
        pixels.locate(last, boxes, zero)


def test_values_alone_come_together(tmp_path: Path) -> None:
    """Values alone, no pixels: many batches at a time too."""
    dataset = built(Labelled(), tmp_path / "set")
    with loading(dataset, stages=(), fields=["label"], global_batch_size=4) as loader:
        labels = [(b["label"] % 2 == b.id % 2).all() for b in taken(loader, 9)]
    assert all(labels)


def test_what_is_held_is_not_asked_for_in_advance(coloured: Dataset) -> None:
    with loading(coloured) as loader:
        assert loader._ahead is None
    with loading(coloured, hold_mb=0) as loader:
        assert loader._ahead is not None


def test_what_is_written_counts_not_what_is_stored(coloured: Dataset) -> None:
    """Enlarged a thousand times, a batch fills what many small ones may."""
    stages = (RandomResizedCrop(height=350, width=350), Normalise(field="image"))
    with loading(coloured, stages=stages) as loader:
        taken(loader, 2)
        assert loader.facts()["batches_together"] == 1


def test_a_second_iteration_ends_the_first(coloured: Dataset) -> None:
    with loading(coloured) as loader:
        want = taken(loader, 6)
    with loading(coloured) as loader:
        first = iter(loader)
        assert all(same(next(first), batch) for batch in want[:2])
        second = iter(loader)
        assert same(next(second), want[2])
        first.close()  # type: ignore[attr-defined]
        assert all(same(next(second), batch) for batch in want[3:])
        second.close()  # type: ignore[attr-defined]


def test_open_loaders_share_what_is_held(coloured: Dataset) -> None:
    """Training and validation hold the pixels of a set once; the last one gives them back."""
    one, other = (coloured.pixels("image", 1 << 20) for _ in range(2))
    assert one.is_held and one._held is other._held
    del one, other
    gc.collect()
    assert not coloured._held
