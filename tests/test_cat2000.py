"""CAT2000 in every layout: the mock of the train set, archives, damaged and wrongly named files."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from raw import cat2000 as small
from raw.imagefolder import picture
from saliency_sets import Set as AnySet
from saliency_sets import zip_folder
from scipy.io import loadmat
from shared import folder

from dataprep.build import build
from dataprep.manifest import DataError
from dataprep.raw import Raw
from dataprep.sources.cat2000 import CATEGORIES, Source


def train_set() -> Path:
    """Return the layout mock's; skips the test without sample data."""
    return folder("saliency") / "cat2000_layout_mock" / "trainSet"


class Set(AnySet):
    """A built set of this source."""

    source = Source


@pytest.fixture(scope="module")
def mock(tmp_path_factory: pytest.TempPathFactory) -> Set:
    return Set(train_set().parent, tmp_path_factory.mktemp("mock") / "set")


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    small.write(tmp_path / "raw")
    return tmp_path / "raw"


def test_the_layout_mock(mock: Set) -> None:
    """Mistake 11: names by guess; the numbers have gaps, and outputs of a model are no stimuli."""
    assert list(mock.rows) == ["Action_001", "Action_003", "Satelite_001", "Satelite_005"]
    assert mock.facts.classes == list(CATEGORIES) and len(CATEGORIES) == 20
    assert sorted(CATEGORIES) == list(CATEGORIES) and CATEGORIES[17] == "Satelite"
    assert mock.column("category").tolist() == [0, 0, 17, 17]
    for key in mock.rows:
        name = key.replace("_", "/")
        assert mock.file(key) == (train_set() / f"Stimuli/{name}.jpg").read_bytes()
        marks = loadmat(train_set() / f"FIXATIONLOCS/{name}.mat")["fixLocs"]
        assert marks.shape == (1080, 1920) and marks.any()
        points = mock.points(key)
        seen = np.zeros_like(marks)
        seen[points[:, 1].astype(int), points[:, 0].astype(int)] = 1
        assert (seen == (marks > 0)).all() and len(points) == (marks > 0).sum()
    assert mock.facts.options["sigma_px"] == 40.0
    assert mock.facts.splits == {"train": 2, "val": 2}
    assert mock.said == [
        "layout: raw (trainSet/Stimuli, trainSet/FIXATIONLOCS), 4 stimuli, fixations as pixels:"
        " no subjects, order or times",
        "4 stimuli of 2 categories are not all of CAT2000 (2,000 of 20)",
    ]


def test_archives_give_the_same(mock: Set, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    zip_folder(train_set(), tmp_path / "in" / "trainSet.zip")
    places = [tmp_path / "in", tmp_path / "in" / "trainSet.zip", train_set()]
    for i, place in enumerate(places):
        built = Set(place, tmp_path / "sets" / str(i))
        assert built.rows == mock.rows
        for column in ("fixations.values", "sha256", "category"):
            assert np.array_equal(built.column(column), mock.column(column), equal_nan=True)


def test_every_kind_of_mat(raw: Path, tmp_path: Path) -> None:
    built = Set(raw, tmp_path / "set", folds=3)
    for name in small.NAMES:
        points = built.points(name.replace("/", "_"))
        rows, columns = np.nonzero(small.marks(name))
        assert (points[:, :2] == np.stack([columns, rows], axis=1) + 0.5).all()
    for fold in range(3):
        tests = built.keys(f"fold{fold}_test")
        assert sorted(key.split("_")[0] for key in tests) == ["Action", "Satelite"]
        assert built.keys(f"fold{fold}_val") == built.keys(f"fold{(fold - 1) % 3}_test")
        assert len(built.keys(f"fold{fold}_train")) == 2


def test_splits_of_the_whole_set() -> None:
    stems = [f"{category}/{2 * n + 1:03d}" for category in CATEGORIES for n in range(100)]
    splits = Source(folds=10).split(stems)
    per = [[s for s in stems if s.startswith(c + "/")] for c in CATEGORIES]
    for own in per:
        assert sum(splits[stem][0] == "val" for stem in own) == 20
        for fold in range(10):
            assert sum(f"fold{fold}_test" in splits[stem] for stem in own) == 10
    chosen = [tuple(i for i, stem in enumerate(own) if splits[stem][0] == "val") for own in per]
    assert len(set(chosen)) == 20  # each category is drawn by itself
    assert Source(seed=1).split(stems) != Source().split(stems)
    alone = Source(folds=10).split(per[3])
    assert alone == {stem: splits[stem] for stem in per[3]}


def hdf5(raw: Path, start: str = "Stimuli/", shift_px: float = 0.0) -> Path:
    """Write the small set as pysaliency leaves it, beside nothing else."""
    shutil.copytree(raw / "trainSet" / "Stimuli", raw / "pysaliency" / "Stimuli")
    names = [f"{start}{name}.jpg" for name in small.NAMES]
    small.write_hdf5(raw / "pysaliency", names, shift_px)
    return raw / "pysaliency"


@pytest.mark.parametrize("start", ["Stimuli/", "/elsewhere/CAT2000_train/Stimuli/"])
def test_pysaliency_of_the_same(start: str, raw: Path, tmp_path: Path) -> None:
    single = Set(raw / "trainSet", tmp_path / "single")
    built = Set(hdf5(raw, start), tmp_path / "hdf5")
    assert built.rows == single.rows
    for column in ("sha256", "category"):
        assert (built.column(column) == single.column(column)).all()
    for name in small.NAMES:
        points = built.points(name.replace("/", "_"))
        want = small.points(name)
        assert sorted(map(tuple, points[:, :2].tolist())) == sorted(map(tuple, want.tolist()))
        # Subjects took turns; the file counts fixations where others have seconds.
        assert (points[:, :2] == np.concatenate([want[0::2], want[1::2]])).all()
        assert set(points[:, 2]) <= {0.0, 1.0} and points[0, 3] == 0
        assert np.isnan(points[:, 4:]).all()
    assert "its times only count the fixations of a scanpath: start_s is unknown" in built.said
    assert "fixations of 2 subjects, 6 empty scanpaths" in built.said[0]


def starts(found: np.ndarray, place: Path, tmp_path: Path) -> Set:
    """Write the starts of all fixations anew, row by row, and build."""
    with h5py.File(place / "fixations.hdf5", "r+") as file:
        times = file["train_ts"][()]
        times[~np.isnan(times)] = found
        file["train_ts"][...] = times
    return Set(place, tmp_path / "set")


def test_an_index_is_no_time(raw: Path, tmp_path: Path) -> None:
    place = hdf5(raw)
    with h5py.File(place / "fixations.hdf5") as file:
        index = file["train_ts"][()]
    index = index[~np.isnan(index)]
    for number, found in enumerate((index, index - 1, index + (index > 12))):  # a repeat left out
        built = starts(found, place, tmp_path / str(number))
        assert np.isnan(built.column("fixations.values")[:, 4]).all(), number
        assert any("start_s is unknown" in line for line in built.said)
    for number, found in enumerate((index * 0.3, index + 100)):
        built = starts(found, place, tmp_path / f"time{number}")
        assert np.allclose(np.sort(built.column("fixations.values")[:, 4]), np.sort(found))


def test_both_layouts(raw: Path, tmp_path: Path) -> None:
    hdf5(raw)
    built = Set(raw, tmp_path / "set")
    assert built.said[1].startswith("the same is there as raw (") and len(built.rows) == 6
    small.write_hdf5(raw / "pysaliency", [f"Stimuli/{name}.jpg" for name in small.NAMES], 1.0)
    with pytest.raises(DataError, match=r"disagree: the fixated pixels of 6 of 6 stimuli differ"):
        Source().entries(Raw(raw))
    # Shifted by one, as version 1 of the data has them: some lie outside, and are said.
    with pytest.raises(
        DataError, match=r"Action/001.jpg: 1 of \d+ fixations are outside the 64x36"
    ):
        Set(raw, tmp_path / "other", layout="pysaliency")
    built = Set(raw, tmp_path / "drop", layout="pysaliency", on_outside="drop")
    assert built.facts.notes["fixations outside the image dropped"] >= 6


def test_a_file_of_another_category_is_never_taken(raw: Path, tmp_path: Path) -> None:
    place = hdf5(raw, "/elsewhere/Stimuli/")
    (place / "Stimuli/Action/001.jpg").unlink()
    with pytest.raises(
        DataError, match=r"/elsewhere/Stimuli/Action/001.jpg: is not there, but stim"
    ):
        Set(place, tmp_path / "set")


def test_any_number_of_workers_writes_the_same(raw: Path, tmp_path: Path) -> None:
    place = hdf5(raw)
    one, two = (
        build(Source(folds=3, density=4), place, tmp_path / str(workers), workers=workers)
        for workers in (1, 2)
    )
    assert one.files == two.files


def test_the_test_set_is_passed_over(raw: Path, tmp_path: Path) -> None:
    shutil.copytree(raw / "trainSet" / "Stimuli", raw / "testSet" / "Stimuli")
    built = Set(raw, tmp_path / "set")
    assert len(built.rows) == 6 and any("not read: testSet/" in line for line in built.said)
    shutil.rmtree(raw / "trainSet")
    with pytest.raises(
        DataError, match=r"has the test set, whose fixations are not public: wanted"
    ):
        Source().entries(Raw(raw))
    (raw / "testSet").rename(raw / "images")
    with pytest.raises(
        DataError, match=r"has 6 stimuli, but no fixations .as the test set has.: wan"
    ):
        Source().entries(Raw(raw))
    shutil.rmtree(raw / "images")
    with pytest.raises(DataError, match=r"has no Stimuli/<Category>/NNN.jpg: wanted is trainSet"):
        Source().entries(Raw(raw))


def test_arrays_want_their_category(raw: Path, tmp_path: Path) -> None:
    place = hdf5(raw)
    with h5py.File(place / "stimuli.hdf5", "w") as file:
        file.attrs.update({"type": np.bytes_("Stimuli"), "version": np.bytes_("1.1")})
        file.attrs.update({"size": 6, "__attributes__": np.bytes_("[]")})
        for i in range(6):
            file[str(i)] = picture(i, small.HEIGHT, small.WIDTH)
    with pytest.raises(
        DataError, match=r"stimuli.hdf5: image 0 has no attribute category of 0 to 19"
    ):
        Source().entries(Raw(place))
    with h5py.File(place / "stimuli.hdf5", "r+") as file:
        file.attrs["__attributes__"] = np.bytes_('["category"]')
        file["category"] = [0, 0, 0, 17, 17, 17]
    built = Set(place, tmp_path / "set")
    assert built.column("category").tolist() == [0, 0, 0, 17, 17, 17]
