"""HDF5 files as pysaliency writes them, in small, one of each type; texts of fixed length."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from dataprep import pysaliency

NAN = np.nan
TEXT = h5py.string_dtype()
XS = np.array([[1.5, 2.5, NAN], [NAN, NAN, NAN], [3.5, 4.5, 5.5], [6.5, NAN, NAN]])


def say(file: h5py.Group, **attributes: Any) -> None:
    """Write attributes, texts of fixed length as pysaliency's are."""
    for name, value in attributes.items():
        file.attrs[name] = np.bytes_(value) if isinstance(value, str) else value


def trains(file: h5py.Group, version: str = "1.2") -> None:
    """Write four scanpaths on three stimuli, the second one empty."""
    say(file, type="FixationTrains", version=version)
    say(file, __attributes__='["subjects", "scanpath_index"]')
    file["train_xs"], file["train_ys"], file["train_ts"] = XS, XS + 10, XS / 10
    file["train_ns"], file["train_subjects"] = np.array([0, 0, 1, 2]), np.array([7, 8, 7, 8])


def images(file: h5py.Group) -> None:
    """Write two images, one grey."""
    say(file, type="Stimuli", version="1.1", size=2, __attributes__="[]")
    file["0"] = np.arange(24, dtype=np.uint8).reshape(4, 2, 3)
    file["1"] = np.arange(6, dtype=np.uint8).reshape(2, 3)


def names(file: h5py.Group) -> None:
    """Write the names of two images."""
    say(file, type="FileStimuli", version="2.1", size=2)
    file.create_dataset("filenames", data=["a.jpg", "b/ü.jpg"], dtype=TEXT)
    shapes = file.create_dataset("shapes", (2,), h5py.vlen_dtype(np.int64))
    shapes[0], shapes[1] = [4, 2, 3], [2, 3]


def single(file: h5py.Group) -> None:
    """Write three single fixations."""
    say(file, type="Fixations", version="1.0")
    file["x"], file["y"], file["t"] = np.array([[1.5, 2.5, 3.5]] * 3)
    file["n"], file["subjects"] = np.array([0, 1, 1]), np.array([0, 0, 1])
    file["x_hist"] = np.array([[NAN, NAN], [1.5, NAN], [1.5, 2.5]])


def scanpaths(file: h5py.Group) -> None:
    """Write two scanpaths as the development version does, with names of subjects."""
    say(file, type="ScanpathFixations", version="1.0")
    group = file.create_group("scanpaths")
    say(group, type="Scanpaths", version="1.0")
    say(group, attribute_mapping='{"when": "t", "dwell": "duration"}')
    group["xs"] = group["ys"] = XS[2:]
    group["n"], group["lengths"] = np.array([1, 0]), np.array([3, 1])
    group["fixation_attributes/when"] = XS[2:] * 2
    group["fixation_attributes/dwell"] = XS[2:] * 3
    group.create_dataset("scanpath_attributes/subject", data=["zb", "CNG"], dtype=TEXT)


WRITERS = {one.__name__: one for one in (trains, images, names, single, scanpaths)}


def read(path: Path, stimuli: int | None = None) -> Any:
    with pysaliency.open(path, path) as file:
        (kind,) = pysaliency.kinds(file, path).values()
        if kind not in pysaliency.STIMULI:
            return pysaliency.read_fixations(file, path, stimuli)
        found = pysaliency.read_stimuli(file, path)
        for index in range(0 if found.names else len(found)):
            found.pixels(index)
        return found


def write(path: Path, writer: Callable[[h5py.Group], None]) -> Path:
    with h5py.File(path / "x.hdf5", "w") as file:
        writer(file)
    return path / "x.hdf5"


def replaced(file: h5py.Group, name: str, data: Any, **options: Any) -> None:
    del file[name]
    file.create_dataset(name, data=data, **options)
