"""CAT2000: files of fixations that are none, wrong names, and data of another source."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from raw import cat2000 as small
from raw import mit1003 as small_mit1003
from raw.imagefolder import jpeg, picture
from saliency_sets import Set as AnySet
from scipy.io import savemat

from dataprep.manifest import DataError
from dataprep.raw import Raw
from dataprep.sources import mit1003
from dataprep.sources.cat2000 import Source


class Set(AnySet):
    """A built set of this source."""

    source = Source


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    small.write(tmp_path / "raw")
    return tmp_path / "raw"


LOCS, MAPS, IMAGES = (f"trainSet/{kind}" for kind in ("FIXATIONLOCS", "FIXATIONMAPS", "Stimuli"))


def other_variable(path: Path) -> None:
    savemat(path, {"points": np.ones((3, 3)), "n": 1})


def cell(path: Path) -> None:
    savemat(path, {"fixLocs": np.array(["a", 1], object)})


def small_mat(path: Path) -> None:
    savemat(path, {"fixLocs": np.ones((30, 40), np.uint8)})


def blurred(path: Path) -> None:
    savemat(path, {"fixLocs": np.add.outer(np.arange(small.HEIGHT), np.arange(small.WIDTH)) % 20})


def negative(path: Path) -> None:
    savemat(path, {"fixLocs": -small.marks("Satelite/019").astype(float)})


def not_a_number(path: Path) -> None:
    savemat(path, {"fixLocs": np.where(small.marks("Satelite/019"), 1, np.nan)})


def shares(path: Path) -> None:
    marks = np.zeros((small.HEIGHT, small.WIDTH))
    marks[3, :4] = 0.25, 0.5, 0.75, 1
    savemat(path, {"fixLocs": marks})


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def broken_73(path: Path) -> None:
    data = bytearray(small.mat_73("Action/019"))
    data[600:] = bytes(len(data) - 600)
    path.write_bytes(data)


def text(path: Path) -> None:
    path.write_bytes(b"<html>quota exceeded</html>")


def small_map(path: Path) -> None:
    path.write_bytes(jpeg(picture(0, 30, 40)))


def empty(path: Path) -> None:
    savemat(path, {"fixLocs": np.zeros((small.HEIGHT, small.WIDTH), np.uint8)})


@pytest.mark.parametrize(
    ("name", "change", "why"),
    [
        (
            f"{LOCS}/Satelite/019.mat",
            truncated,
            r"Satelite/019\.mat: damaged or not a MATLAB file \(",
        ),
        (f"{LOCS}/Satelite/019.mat", text, r"Satelite/019\.mat: damaged or not a MATLAB file \("),
        (
            f"{LOCS}/Satelite/019.mat",
            broken_73,
            r"Satelite/019\.mat: damaged or not a MATLAB file \(",
        ),
        (f"{LOCS}/Satelite/019.mat", other_variable, "has no variable fixLocs: it has points, n$"),
        (f"{LOCS}/Satelite/019.mat", cell, r"019\.mat: fixLocs is object of .*, not a matrix"),
        *(
            (f"{LOCS}/Satelite/019.mat", one, "fixLocs has other values than 0 and 1: not points")
            for one in (blurred, negative, not_a_number, shares)
        ),
        (
            f"{LOCS}/Satelite/019.mat",
            small_mat,
            r"FIXATIONMAPS/Satelite/019\.jpg: is 64x36, but .*LOCS/Satelite/019.mat is 40x30",
        ),
        (
            f"{LOCS}/Satelite/019.mat",
            empty,
            r"Satelite/019\.jpg: has no fixations: --on-empty skip",
        ),
        (
            f"{LOCS}/Satelite/019.mat",
            Path.unlink,
            r"Satelite/019\.jpg: has a blurred map alone, no FIXATIONLOCS/Satelite/019\.mat: ",
        ),
        (
            f"{MAPS}/Satelite/019.jpg",
            Path.unlink,
            r"Stimuli/Satelite/019\.jpg: has no map: FIXATIONMAPS/Satelite/019\.jpg is not there",
        ),
        (
            f"{MAPS}/Satelite/019.jpg",
            small_map,
            r"MAPS/Satelite/019\.jpg: is 40x30, but trainSet/FI",
        ),
        (
            f"{IMAGES}/Satelite/019.jpg",
            lambda path: path.rename(path.with_name("018.jpg")),
            r"Satelite/018\.jpg: has no fixations: FIXATIONLOCS/Satelite/018\.mat is not there"
            r" \(renamed\? Satelite/019 lacks its other half too\)",
        ),
    ],
)
def test_what_is_wrong_is_named_or_skipped(
    name: str, change: Callable[[Path], None], why: str, raw: Path, tmp_path: Path
) -> None:
    change(raw / name)
    with pytest.raises(DataError, match=why):
        Set(raw, tmp_path / "set")
    built = Set(raw, tmp_path / "set", on_error="skip")
    assert len(built.rows) == 5 and 1 <= len(built.facts.skipped) <= 2
    assert "Satelite_019" not in built.rows


@pytest.mark.parametrize("kind", ["uint8", "logical", "few counts"])
def test_points_may_be_marked_by_any_number(kind: str, raw: Path, tmp_path: Path) -> None:
    marks: Any = np.zeros((small.HEIGHT, small.WIDTH), np.uint8)
    marks[2, 3:9] = 255
    if kind == "logical":
        marks = marks > 0
    if kind == "few counts":
        marks[2, 3:6] = marks[2, 6:9] = 1, 2, 3
    savemat(raw / LOCS / "Satelite/019.mat", {"fixLocs": marks})
    points = Set(raw, tmp_path / "set").points("Satelite_019")
    assert points[:, :2].tolist() == [[x + 0.5, 2.5] for x in range(3, 9)]


def test_folds_of_too_few_name_the_category(raw: Path) -> None:
    why = "--folds 10 leaves folds of 3 stimuli of Action empty"
    with pytest.raises(ValueError, match=why):
        Source(folds=10).entries(Raw(raw))


def test_data_of_the_other_source(raw: Path, tmp_path: Path) -> None:
    from_hdf5 = tmp_path / "pysaliency"
    small.write_hdf5(from_hdf5, [f"Stimuli/{name}.jpg" for name in small.NAMES])
    for place in (raw / "trainSet", from_hdf5):
        with pytest.raises(DataError, match="looks like CAT2000: its source is cat2000"):
            mit1003.Source().entries(Raw(place))
    small_mit1003.write(tmp_path / "mit")
    with pytest.raises(DataError, match="looks like MIT1003: its source is mit1003"):
        Source().entries(Raw(tmp_path / "mit"))
    small.write_hdf5(from_hdf5, [f"stimuli/{i}.jpeg" for i in range(6)])
    with pytest.raises(DataError, match="no folder of a category; MIT1003's is source mit1003"):
        Source().entries(Raw(from_hdf5))


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ("Satellite", "; meant is Satelite, the authors' spelling"),
        ("satelite", "; meant is Satelite, the authors' spelling"),
        ("Holidays", ""),
    ],
)
@pytest.mark.parametrize("kind", ["Stimuli", "FIXATIONLOCS"])
def test_a_category_that_there_is_not(wrong: str, hint: str, kind: str, raw: Path) -> None:
    (raw / "trainSet" / kind / "Satelite").rename(raw / "trainSet" / kind / wrong)
    with pytest.raises(DataError) as error:
        Source().entries(Raw(raw))
    assert f"{kind}/{wrong}/001" in str(error.value)
    assert str(error.value).endswith(f"its folder '{wrong}' is no category of CAT2000{hint}")
