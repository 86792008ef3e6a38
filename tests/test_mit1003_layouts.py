"""MIT1003 in every layout that a user may have, and in several at once."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from raw.imagefolder import jpeg
from saliency_sets import Set, zip_folder
from shared import folder

from dataprep.image import decode
from dataprep.manifest import DataError
from dataprep.raw import Raw
from dataprep.sources.mit1003 import Source

DATA = folder("saliency")
REAL, HDF5 = DATA / "mit1003_real", DATA / "mit1003_pysaliency"


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Set:
    return Set(REAL, tmp_path_factory.mktemp("real") / "set", folds=10)


@pytest.fixture(scope="module")
def hdf5(tmp_path_factory: pytest.TempPathFactory) -> Set:
    return Set(HDF5 / "MIT1003", tmp_path_factory.mktemp("hdf5") / "set")


def test_joined_by_name_never_by_position(hdf5: Set, tmp_path: Path) -> None:
    """The rows of the HDF5 file are in another order than sorted names: shuffle them to be sure."""
    shutil.copytree(HDF5 / "MIT1003", tmp_path / "raw")
    order = np.random.default_rng(0).permutation(8)
    with h5py.File(tmp_path / "raw" / "stimuli.hdf5", "r+") as file:
        for name in ("filenames", "shapes"):
            rows = list(file[name][()])
            for i, row in enumerate(order):
                file[name][i] = rows[row]
    with h5py.File(tmp_path / "raw" / "fixations.hdf5", "r+") as file:
        file["train_ns"][...] = np.argsort(order)[file["train_ns"][()]]
    built = Set(tmp_path / "raw", tmp_path / "set")
    assert built.rows == hdf5.rows
    for stem in built.rows:
        assert (built.points(stem) == hdf5.points(stem)).all()


def test_zips_and_nested_folders_give_the_same(real: Set, tmp_path: Path) -> None:
    zip_folder(REAL / "ALLSTIMULI", tmp_path / "zips" / "ALLSTIMULI.zip")
    zip_folder(REAL / "ALLFIXATIONMAPS", tmp_path / "zips" / "ALLFIXATIONMAPS.zip")
    nested = tmp_path / "nested"
    shutil.copytree(REAL / "ALLSTIMULI", nested / "ALLSTIMULI" / "ALLSTIMULI")
    shutil.copytree(REAL / "ALLFIXATIONMAPS", nested / "maps")
    shutil.copytree(nested, tmp_path / "jpg")
    for path in (tmp_path / "jpg").rglob("*.jpeg"):
        path.rename(path.with_suffix(".jpg"))
    shutil.copy(tmp_path / "zips" / "ALLSTIMULI.zip", nested)  # unpacked, and kept
    for name in ("zips", "nested", "jpg"):
        built = Set(tmp_path / name, tmp_path / "sets" / name)
        assert built.rows == real.rows
        for column in ("fixations.values", "sha256"):
            assert np.array_equal(built.column(column), real.column(column), equal_nan=True)
        assert [built.keys("val")] == [real.keys("val")]


def test_the_folder_of_the_origin_is_not_ambiguous(tmp_path: Path) -> None:
    raw = tmp_path / "MIT1003"
    shutil.copytree(HDF5 / "MIT1003", raw)
    zip_folder(raw / "stimuli", tmp_path / "ALLSTIMULI.zip")
    (raw / "src").mkdir()
    (tmp_path / "ALLSTIMULI.zip").rename(raw / "src" / "ALLSTIMULI.zip")
    with zipfile.ZipFile(raw / "src" / "DATA.zip", "w") as file:
        file.writestr("DATA/CNG/i1011319098.mat", b"gaze")
    built = Set(raw, tmp_path / "set")
    assert built.said[0].startswith("layout: pysaliency HDF5 (stimuli.hdf5, fixations.hdf5), 8")
    assert len(built.column("fixations.values")) == 762


def both_layouts(tmp_path: Path) -> Path:
    """Write the eight stimuli of pysaliency in the raw layout, too."""
    shutil.copytree(HDF5 / "MIT1003", tmp_path / "raw" / "MIT1003")
    for path in (HDF5 / "MIT1003" / "stimuli").iterdir():
        for what in ("Pts", "Map"):
            name = f"ALLFIXATIONMAPS/{path.stem}_fix{what}.jpg"
            (tmp_path / "raw" / name).parent.mkdir(exist_ok=True)
            shutil.copy(REAL / name, tmp_path / "raw" / name)
    return tmp_path / "raw"


def test_two_layouts_that_agree(hdf5: Set, tmp_path: Path) -> None:
    raw = both_layouts(tmp_path)
    built = Set(raw, tmp_path / "set")
    assert np.array_equal(built.column("fixations.values"), hdf5.column("fixations.values"))
    assert built.said[1].startswith("the same is there as raw (MIT1003/stimuli, ALLFIXATIONMAPS)")
    other = Set(raw, tmp_path / "other", layout="raw")
    assert other.rows == built.rows and other.said[0].startswith("layout: raw")


def test_two_layouts_that_disagree(tmp_path: Path) -> None:
    raw = both_layouts(tmp_path)
    dots = decode((raw / "ALLFIXATIONMAPS/i1011319098_fixPts.jpg").read_bytes()).pixels[..., 0]
    (raw / "ALLFIXATIONMAPS/i1011319098_fixPts.jpg").write_bytes(
        jpeg(np.roll(dots, 1, axis=0), quality=95)
    )
    with pytest.raises(DataError) as error:
        Source().entries(Raw(raw))
    assert "disagree: the fixated pixels of 1 of 8 stimuli differ (i1011319098: " in str(
        error.value
    )
    assert "--layout pysaliency or --layout raw takes one" in str(error.value)
    (raw / "ALLFIXATIONMAPS/i99_fixPts.jpg").write_bytes(b"")
    (raw / "MIT1003/stimuli/i99.jpeg").write_bytes(b"")
    with pytest.raises(DataError, match=r"disagree: 1 more stimuli in raw \(i99\)"):
        Source().entries(Raw(raw))
    assert len(Source(layout="pysaliency").entries(Raw(raw))) == 8


def write_names(path: Path, names: list[str]) -> None:
    with h5py.File(path, "r+") as file:
        file["filenames"][...] = names


@pytest.mark.parametrize("start", ["/data/of/another/MIT1003/stimuli/", "D:\\mit\\stimuli\\"])
def test_absolute_names_of_another_machine(start: str, hdf5: Set, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    shutil.copytree(HDF5 / "MIT1003", raw)
    with h5py.File(raw / "stimuli.hdf5") as file:
        stems = [name.decode().rsplit("/", 1)[1] for name in file["filenames"][()]]
    write_names(raw / "stimuli.hdf5", [start + name for name in stems])
    built = Set(raw, tmp_path / "set")
    assert np.array_equal(built.column("fixations.values"), hdf5.column("fixations.values"))
    (raw / "stimuli").rename(tmp_path / "elsewhere")
    with pytest.raises(DataError) as error:
        Source().entries(Raw(raw))
    assert str(error.value).endswith(
        "is not there, but stimuli.hdf5 names it: --stimuli FOLDER has images?; nor is any other"
    )
    zip_folder(tmp_path / "elsewhere", tmp_path / "images.zip")
    for place in ("elsewhere", "images.zip"):
        other = Set(raw, tmp_path / "sets" / place, stimuli=str(tmp_path / place))
        assert (other.column("sha256") == hdf5.column("sha256")).all()


def test_images_that_are_given_win(tmp_path: Path) -> None:
    """Names may lead somewhere, to other copies than those that are asked for."""
    raw, other = tmp_path / "raw", tmp_path / "other"
    shutil.copytree(HDF5 / "MIT1003", raw)
    shutil.copytree(raw / "stimuli", other)
    for path in other.iterdir():
        path.write_bytes(path.read_bytes() + b"\0")
    built = Set(raw, tmp_path / "set", stimuli=str(other))
    for key in built.rows:
        assert built.file(key) == (other / f"{key}.jpeg").read_bytes()


def test_images_that_are_not_named_are_said(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    shutil.copytree(HDF5 / "MIT1003", raw)
    zip_folder(raw / "stimuli", raw / "src" / "ALLSTIMULI.zip")  # those that it names, again
    assert not any("not read" in line for line in Set(raw, tmp_path / "set").said)
    shutil.copy(raw / "stimuli" / "i107362766.jpeg", raw / "stimuli" / "i0.jpeg")
    said = Set(raw, tmp_path / "more").said
    assert said[1] == "not read: stimuli/i0.jpeg" and ", 8 stimuli, " in said[0]


def test_a_blurred_map_is_no_file_of_points(tmp_path: Path) -> None:
    raw = both_layouts(tmp_path)
    for path in raw.glob("MIT1003/*.hdf5"):
        path.unlink()
    assert len(Set(raw, tmp_path / "set").rows) == 8
    name = "ALLFIXATIONMAPS/i1011319098_fix{}.jpg"
    shutil.copy(raw / name.format("Map"), raw / name.format("Pts"))
    with pytest.raises(DataError, match=r"fixPts.jpg: has more grey than white: a blurred map"):
        Set(raw, tmp_path / "other")


def test_one_missing_image_is_named_or_skipped(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    shutil.copytree(HDF5 / "MIT1003", raw)
    (raw / "stimuli" / "i107362766.jpeg").unlink()
    with pytest.raises(DataError, match=r"stimuli/i107362766\.jpeg: is not there, but stimuli\.h"):
        Set(raw, tmp_path / "set")
    built = Set(raw, tmp_path / "set", on_error="skip")
    assert len(built.rows) == 7 and "incomplete are 1 of 8 stimuli" in built.said[1]
    assert [one["name"] for one in built.facts.skipped] == ["stimuli/i107362766.jpeg"]


ARRAYS = DATA / "pysaliency_hdf5" / "v0.2.22"


def test_arrays_need_no_images(tmp_path: Path) -> None:
    shutil.copy(ARRAYS / "stimuli_array_attrs.hdf5", tmp_path / "stimuli.hdf5")
    shutil.copy(ARRAYS / "fixations_trains.hdf5", tmp_path)
    (tmp_path / "images").mkdir()
    with pytest.raises(ValueError, match=r"--stimuli is not used: pysaliency HDF5 \(stimuli"):
        Source(stimuli=str(tmp_path / "images")).entries(Raw(tmp_path))


def test_arrays_grey_ones_too(tmp_path: Path) -> None:
    """Stimuli that lie in the HDF5 file: stored as PNG, pixel for pixel."""
    raw = tmp_path / "raw"
    raw.mkdir()
    shutil.copy(ARRAYS / "stimuli_array_attrs.hdf5", raw / "all.hdf5")
    shutil.copy(ARRAYS / "fixations_trains.hdf5", raw)
    built = Set(raw, tmp_path / "set")
    with h5py.File(raw / "all.hdf5") as file:
        images = [file[str(i)][()] for i in range(5)]
    assert any(image.ndim == 2 for image in images)
    for i, key in enumerate(sorted(built.rows)):
        pixels = decode(built.file(key)).pixels
        assert (pixels == (images[i] if images[i].ndim == 3 else images[i][..., None])).all()
    named = tmp_path / "named"
    shutil.copytree(DATA / "pysaliency_hdf5" / "stimuli", tmp_path / "stimuli")
    named.mkdir()
    shutil.copy(ARRAYS / "stimuli_file.hdf5", named / "stimuli.hdf5")
    shutil.copy(ARRAYS / "fixations_trains.hdf5", named / "fixations.hdf5")
    files = Set(named, tmp_path / "files")
    assert np.array_equal(
        files.column("fixations.values"), built.column("fixations.values"), equal_nan=True
    )
    assert sorted(files.rows)[0] == "i01_48x64"


def test_the_first_version_with_absolute_names(tmp_path: Path) -> None:
    """FileStimuli 1.0: no shapes, names of another machine; the images lie elsewhere."""
    raw = tmp_path / "raw"
    shutil.copytree(DATA / "pysaliency_hdf5" / "git-a9c0089-2018", raw)
    with pytest.raises(DataError, match=r"/i01.png: is not there, but .*; nor is any other"):
        Source().entries(Raw(raw))
    images = tmp_path / "images"
    images.mkdir()
    for path in (DATA / "pysaliency_hdf5" / "stimuli").iterdir():
        shutil.copy(path, images / f"{path.stem.split('_')[0]}.png")
    built = Set(raw, tmp_path / "set", stimuli=str(images))
    truth = json.loads((DATA / "pysaliency_hdf5" / "truth.json").read_text())
    for i, one in enumerate(truth["images"]):
        key = one["file"].rsplit("/", 1)[-1].split("_")[0]
        pixels = decode(built.file(key)).pixels
        assert pixels.shape[:2] == tuple(one["shape"][:2])
        paths = [path for path in truth["scanpaths"] if path["n"] == i]
        xs = [x for path in paths for x in path["x"]]
        assert built.points(key)[:, 0].tolist() == xs


def test_groups_of_one_file(hdf5: Set, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    shutil.copytree(HDF5 / "MIT1003" / "stimuli", raw / "stimuli")
    with h5py.File(raw / "both.hdf5", "w") as file:
        for name in ("stimuli", "fixations"):
            with h5py.File(HDF5 / "MIT1003" / f"{name}.hdf5") as one:
                one.copy("/", file, name)
    built = Set(raw, tmp_path / "set")
    assert built.said[0].startswith("layout: pysaliency HDF5 (both.hdf5/stimuli, both.hdf5/fix")
    assert np.array_equal(built.column("fixations.values"), hdf5.column("fixations.values"))


def test_which_hdf5_is_meant(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"mit1003_real: has no HDF5 files of pysaliency: stimuli"):
        Source(layout="pysaliency").entries(Raw(REAL))
    with pytest.raises(
        DataError, match=r"several pysaliency sets: give one of these .*, MIT1003_v"
    ):
        Source().entries(Raw(HDF5))
    with pytest.raises(
        DataError, match=r"holds stimuli several times: .*stimuli_array.hdf5, .*; leave"
    ):
        Source().entries(Raw(ARRAYS))
    shutil.copy(HDF5 / "MIT1003" / "stimuli.hdf5", tmp_path)
    with pytest.raises(
        DataError, match=r"stimuli.hdf5 has stimuli, but no HDF5 file has their fix"
    ):
        Source().entries(Raw(tmp_path))


def test_changed_fixations_are_another_plan(tmp_path: Path) -> None:
    raw = both_layouts(tmp_path)
    Set(raw / "MIT1003", tmp_path / "hdf5")
    assert Set(raw / "MIT1003", tmp_path / "hdf5").said[-1].startswith("already built")
    with h5py.File(raw / "MIT1003" / "fixations.hdf5", "r+") as file:
        file["train_xs"][0, 0] += 1
    with pytest.raises(DataError, match=r"made from other options or raw files"):
        Set(raw / "MIT1003", tmp_path / "hdf5")
    Set(raw, tmp_path / "single", layout="raw")
    path = raw / "ALLFIXATIONMAPS/i1011319098_fixPts.jpg"
    data = bytearray(path.read_bytes())
    data[-3] ^= 1  # of the same size
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"made from other options or raw files"):
        Set(raw, tmp_path / "single", layout="raw")
