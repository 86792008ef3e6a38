"""Batches of one size where images differ: by the size that leaves the stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toys import ImagePoints, N, built

from dataprep.manifest import DataError, Field
from loaders import Dataset, Loader, World
from loaders.draw import Keys
from loaders.files import BadSample
from loaders.program import Program
from loaders.quarantine import Quarantine
from loaders.stages import Geometric, Normalise
from loaders.stages.centre_crop import CentreCrop
from loaders.stages.crop import Crop
from loaders.stages.dihedral import Dihedral
from loaders.stages.flip import Flip
from loaders.stages.random_resized_crop import RandomResizedCrop
from loaders.stages.resize import Resize
from loaders.stages.rotate import Rotate

# The toy's sizes are 24×32, 32×24 and 28×28: a square image is not wider than high.
TWO_SIZES = (Resize(height=48, width=64, oriented=True), Normalise(field="image", std=(1.0,)))
SIZES = np.array([[24, 32], [32, 24], [28, 28]])


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return built(ImagePoints(), tmp_path_factory.mktemp("sets") / "points")


def loaders(dataset: Dataset, ranks: int, **other: Any) -> list[Loader]:
    settings: dict[str, Any] = {"global_batch_size": 4, "groups": "size", "epochs": 1, "seed": 3}
    settings |= {"stages": TWO_SIZES, "threads": 1} | other
    return [Loader(dataset, world=World(rank=r, size=ranks), **settings) for r in range(ranks)]


@pytest.mark.parametrize("engine", ["host", "dali"])
@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_two_sizes_hold_every_sample_once(dataset: Dataset, ranks: int, engine: str) -> None:
    """Equal steps on every rank, one size a step, weights that count each sample once."""
    found: list[int] = []
    sizes = set()
    for parts in zip(*loaders(dataset, ranks, engine=engine), strict=True):
        (size,) = {tuple(part["image"].shape[-2:]) for part in parts}
        sizes.add(size)
        ids = np.concatenate([part.id.numpy()[part.weight.numpy() > 0] for part in parts])
        wide = SIZES[ids % 3][:, 1] > SIZES[ids % 3][:, 0]
        assert (wide == (size == (48, 64))).all()
        assert sum(float(part.weight.sum()) for part in parts) == parts[0].total == len(ids)
        found += ids.tolist()
    assert sizes == {(48, 64), (64, 48)}
    assert sorted(found) == np.asarray(dataset.split("train")).tolist()


@pytest.mark.parametrize("engine", ["host", "dali"])
def test_points_are_scaled_with_their_image(dataset: Dataset, engine: str) -> None:
    """Each axis by its own factor; further columns are left alone."""
    seen = 0
    for batch in loaders(dataset, 1, engine=engine)[0]:
        points: Any = batch.fields["points"]
        out = np.array(batch["image"].shape[-2:])
        for i, sample in enumerate(batch.id.tolist()):
            want = dataset.points("points")[sample].copy()
            want[:, :2] *= (out / SIZES[sample % 3])[::-1]
            got = points.values[points.starts[i] : points.starts[i + 1]].numpy()
            np.testing.assert_allclose(got, want, rtol=1e-6)
            seen += len(got)
            for x, y in got[:, :2]:  # the point's own white pixel, two pixels or more wide now
                assert batch["image"][i, 0, int(y), int(x)] > 0
    assert seen > N


def test_points_stay_inside_in_single_precision(tmp_path: Path) -> None:
    """A point next to the right border is not rounded onto it: int() must be a pixel."""

    class Edge(ImagePoints):
        def one(self, i: int) -> dict[str, Any]:
            sample = super().one(i)
            height, width = sample["image"].shape[:2]
            last = np.nextafter([width, height], 0)
            return sample | {"points": np.array([[*last, 0.0]])}

    for batch in loaders(built(Edge(), tmp_path / "edge"), 1)[0]:
        points: Any = batch.fields["points"]
        assert len(points.values) == len(batch)
        assert (points.values[:, :2].numpy() < np.array(batch["image"].shape[:1:-1])).all()


@pytest.mark.parametrize("engine", ["host", "dali"])
def test_image_points_and_map_move_together(tmp_path: Path, engine: str) -> None:
    """A map of half the size has its marks where the points are, mirrored and stretched alike."""

    class Mapped(ImagePoints):
        def fields(self) -> dict[str, Field]:
            marks = Field(kind="map", dtype="uint8", shape=(None, None, 1), scale=1 / 255)
            return {**super().fields(), "map": marks}

        def one(self, i: int) -> dict[str, Any]:
            sample = super().one(i)
            height, width = sample["image"].shape[:2]
            marks = sample["image"][..., :1].reshape(height // 2, 2, width // 2, 2, 1).max((1, 3))
            return sample | {"map": marks}

    stages = (Flip(horizontal=0.5, vertical=0.5), *TWO_SIZES, Normalise(field="map"))
    dataset = built(Mapped(), tmp_path / "mapped")
    seen = 0
    for batch in loaders(dataset, 1, engine=engine, stages=stages, epochs=4)[0]:
        points: Any = batch.fields["points"]
        assert batch["map"].shape[-2:] == tuple(side // 2 for side in batch["image"].shape[-2:])
        for i in range(len(batch)):
            for x, y in points.values[points.starts[i] : points.starts[i + 1], :2].tolist():
                assert batch["image"][i, 0, int(y), int(x)] > 0.2
                assert batch["map"][i, 0, int(y / 2), int(x / 2)] > 0.2
                seen += 1
    assert seen > 2 * N


def test_codes_are_of_all_outputs() -> None:
    """Of two fields each may set samples apart; a pitch counts, not the stored size alone."""
    image: dict[str, Any] = {"kind": "image", "dtype": "uint8", "shape": (None, None, 3)}
    fields = {"image": Field(**image), "map": Field(**image)}
    sizes = {"image": np.array([[8, 8]] * 3), "map": np.array([[4, 4], [4, 4], [2, 2]])}
    program = Program(fields, (), "image")
    codes = program.size_codes(sizes)
    assert codes[0] == codes[1] != codes[2]
    resized = Program(fields, (Resize(height=16, width=16),), "image")
    assert resized.size_codes(sizes)[0] != resized.size_codes(sizes)[2]


@pytest.mark.parametrize(
    "stage",
    [
        Crop(height=20, width=10),
        CentreCrop(height=9, width=20),
        RandomResizedCrop(height=32, width=24),
        Resize(height=32, width=24),
        Resize(height=24, width=32, oriented=True),
        Resize(short=25),
        Flip(),
        Rotate(degrees=10.0),
        Dihedral(transpose=False),
    ],
    ids=lambda stage: f"{type(stage).__name__}",
)
def test_resized_foretells_the_draw(stage: Geometric) -> None:
    keys = Keys(0, 0, np.arange(30), np.arange(30))
    sizes = np.tile(SIZES, (10, 1))
    np.testing.assert_array_equal(stage.resized(sizes), stage.draw(keys, sizes)[1])


def test_epochs_differ(dataset: Dataset) -> None:
    """Which images meet in a batch, and in which order the sizes come, is drawn anew."""
    batches = list(loaders(dataset, 1, epochs=2)[0])
    halves = batches[: len(batches) // 2], batches[len(batches) // 2 :]
    first, second = ([sorted(batch.id.tolist()) for batch in half] for half in halves)
    assert first != second and sorted(first) != sorted(second)


def test_dropping_groups_that_fill_no_batch_is_refused(dataset: Dataset) -> None:
    with pytest.raises(ValueError, match=r"\d+ of 16 samples would never come.*choose last=fill"):
        loaders(dataset, 1, last="drop", global_batch_size=8)
    assert loaders(dataset, 1, last="drop", global_batch_size=3)[0].steps > 1


def test_a_drawn_size_is_refused(dataset: Dataset) -> None:
    with pytest.raises(ValueError, match="which side is the longer"):
        loaders(dataset, 1, stages=(Dihedral(), Normalise(field="image")))
    with pytest.raises(ValueError, match="oriented"):
        Resize(short=10, oriented=True)


def test_a_replacement_has_the_size_of_its_batch(dataset: Dataset) -> None:
    split = dataset.split("train")
    groups = np.asarray(split) % 3
    bad = int(split[4])
    quarantine = Quarantine("replace", 100)
    quarantine.add(BadSample(Path("x"), bad, "bad"))
    taken = quarantine.clean(Keys(0, 0, np.arange(50), np.full(50, bad)), split, groups)[0]
    assert (taken % 3 == bad % 3).all() and bad not in taken and len(set(taken.tolist())) > 2


def test_where_a_whole_size_is_bad_another_one_comes(dataset: Dataset) -> None:
    """All places of such a batch go to images of one size; in evaluation they have no weight."""
    split = dataset.split("train")
    ids = np.asarray(split)
    groups = ids % 3
    gone = ids[groups == 1]
    keys = Keys(0, 0, np.arange(50), np.resize(gone, 50))
    for on_bad, kept in (("replace", True), ("skip", False)):
        quarantine = Quarantine(on_bad, 100)  # type: ignore[arg-type]
        quarantine.bad = dict.fromkeys(gone.tolist(), "bad")
        taken, counted = quarantine.clean(keys, split, groups)
        assert len(set((taken % 3).tolist())) == 1 and not np.isin(taken, gone).any()
        assert (counted == kept).all()
    quarantine.bad = dict.fromkeys(ids.tolist(), "bad")
    with pytest.raises(DataError, match="no good sample is left"):
        quarantine.clean(keys, split, groups)
