"""MIT1003: what no build can be made of, said in one line, and files that are passed over."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from raw import mit1003 as small
from saliency_sets import Set

from dataprep.manifest import DataError
from dataprep.raw import Raw
from dataprep.sources.mit1003 import Source

STIMULUS = "ALLSTIMULI/ALLSTIMULI/i10.jpeg"


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return small.write_unpacked(tmp_path / "raw")


def write(name: str, data: bytes) -> Callable[[Path], None]:
    return lambda raw: (raw / name).write_bytes(data) and None


def test_two_files_of_one_stimulus_must_be_the_same(raw: Path) -> None:
    data = bytearray((raw / STIMULUS).read_bytes())
    write("ALLSTIMULI/i10.jpeg", bytes(data))(raw)
    assert len(Source().entries(Raw(raw))) == 5
    data[-3] ^= 1  # of the same size
    write("ALLSTIMULI/i10.jpeg", bytes(data))(raw)
    with pytest.raises(DataError, match=r"i10.jpeg: differs from .*i10.jpeg, of the same stimulus"):
        Source().entries(Raw(raw))


def damaged(path: Path) -> None:
    """Write a set of one image as pysaliency does, without what its fixations need."""
    with h5py.File(path / "stimuli.hdf5", "w") as file:
        file.attrs.update({"type": np.bytes_("FileStimuli"), "version": np.bytes_("2.0")})
        file.attrs["size"] = 1
        file.create_dataset("filenames", data=["i10.jpeg"], dtype=h5py.string_dtype())
    with h5py.File(path / "fixations.hdf5", "w") as file:
        file.attrs.update({"type": np.bytes_("FixationTrains"), "version": np.bytes_("1.0")})


def model(path: Path) -> None:
    with h5py.File(path / "model.h5", "w") as file:
        file.attrs["type"] = "model"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (damaged, "not read: fixations.hdf5: train_xs: is missing"),
        (model, "not read: model.h5: type: is neither a number nor a text of fixed length"),
        (write("weights.h5", b"half a file"), "not read: weights.h5: is not an HDF5 file"),
    ],
)
def test_hdf5_files_of_other_things_are_passed_over(
    change: Callable[[Path], None], said: str, raw: Path, tmp_path: Path
) -> None:
    change(raw)
    assert said in Set(raw, tmp_path / "set").said
    why = said.removeprefix("not read: ")
    with pytest.raises(DataError, match=why):
        Source(layout="pysaliency").entries(Raw(raw))
    shutil.rmtree(raw / "ALLFIXATIONMAPS")
    with pytest.raises(DataError, match=why):
        Source().entries(Raw(raw))


def test_images_elsewhere_are_for_hdf5_that_names_them(raw: Path) -> None:
    why = r"--stimuli is not used: raw \(ALLSTIMULI/ALLSTIMULI, .*\) brings its own images"
    with pytest.raises(ValueError, match=why):
        Source(stimuli=str(raw / "ALLSTIMULI")).entries(Raw(raw))


def test_a_line_stays_one_whatever_a_file_is_called(raw: Path, tmp_path: Path) -> None:
    write("ALLFIXATIONMAPS/i\nfixPts.jpg", b"stray")(raw)
    said = Set(raw, tmp_path / "set").said
    assert any(line.endswith(", ALLFIXATIONMAPS/i\\nfixPts.jpg") for line in said)


def test_archives_in_an_archive(raw: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as archive:
        archive.writestr("ALLSTIMULI.zip", b"")
    with pytest.raises(DataError, match=r"archive \(ALLSTIMULI.zip\): unpack the outer"):
        Source().entries(Raw(tmp_path / "outer.zip"))


def test_a_set_without_points_is_refused(raw: Path) -> None:
    for path in raw.rglob("*_fixPts.jpg"):
        path.unlink()
    with pytest.raises(
        DataError, match=r"has blurred maps alone \(.*, no \*_fixPts.jpg: points ca"
    ):
        Source().entries(Raw(raw))
    shutil.rmtree(raw / "ALLFIXATIONMAPS")
    with pytest.raises(
        DataError, match=r"has 5 images, but no fixations: wanted are ALLSTIMULI and"
    ):
        Source().entries(Raw(raw))
    (raw / "DATA" / "CNG").mkdir(parents=True)
    (raw / "DATA" / "CNG" / "i9.mat").touch()
    with pytest.raises(DataError, match=r"raw gaze \(DATA/<subject>/\*.mat\) is not read: wanted"):
        Source().entries(Raw(raw))
    with pytest.raises(DataError, match=r"has no images: wanted are"):
        Source().entries(Raw(raw / "DATA"))


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"sigma_px": 0.0}, "--sigma-px must be above 0"),
        ({"density": -1}, "--density must be at least 0"),
        ({"seed": -1}, "--seed must be 0 to 4294967295, not -1"),
        ({"folds": 2}, "--folds must be 0, or 3 or more"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Source(**options)
