"""Files that pysaliency itself wrote, of every version, read back to what was put in."""

from __future__ import annotations

import csv
import hashlib
import json
import multiprocessing
from collections import defaultdict
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image
from shared import folder

from dataprep import pysaliency
from dataprep.manifest import DataError

DATA = folder("saliency")
HDF5 = DATA / "pysaliency_hdf5"
TRUTH = json.loads((HDF5 / "truth.json").read_text())
FILES = sorted(str(path.relative_to(HDF5)) for path in HDF5.rglob("*.hdf5"))
IMAGES = {"stimuli_array.hdf5": 3, "both_in_groups.hdf5": 2}
FIELDS = ("stimulus", "x_px", "y_px", "subject", "order", "start_s", "duration_s")


def read(data: Path | bytes, path: Path) -> dict[str, Any]:
    """Read all objects of a file, pixels too."""
    found: dict[str, Any] = {}
    with pysaliency.open(data, path) as file:
        for group, kind in pysaliency.kinds(file, path).items():
            if kind in pysaliency.STIMULI:
                stimuli = pysaliency.read_stimuli(file[group or "/"], path)
                count = 0 if stimuli.names else len(stimuli)
                found[group] = stimuli, [stimuli.pixels(index) for index in range(count)]
            else:
                found[group] = pysaliency.read_fixations(file[group or "/"], path)
    return found


def truth() -> dict[str, np.ndarray[Any, Any]]:
    """Return the true scanpaths, flat."""
    rows = [
        (path["n"], x, y, path["subject"], order, t, duration)
        for path in TRUTH["scanpaths"]
        for order, (x, y, t, duration) in enumerate(
            zip(path["x"], path["y"], path["t"], path["duration"], strict=True)
        )
    ]
    return dict(zip(FIELDS, np.array(rows, np.float64).T, strict=True))


def test_every_file_and_every_version_is_there() -> None:
    versions = set()
    for name in FILES:
        with h5py.File(HDF5 / name) as file:
            for group in [file, *(file[key] for key in file if "type" in file[key].attrs)]:
                if "type" in group.attrs:
                    versions.add((group.attrs["type"].decode(), group.attrs["version"].decode()))
    assert len(FILES) == 54
    assert versions == {
        *(("Stimuli", version) for version in ("1.0", "1.1")),
        *(("FileStimuli", version) for version in ("1.0", "2.0", "2.1")),
        *(("Fixations", version) for version in ("1.0", "1.1", "1.2")),
        *(("FixationTrains", version) for version in ("1.0", "1.1", "1.2", "1.3")),
        ("ScanpathFixations", "1.0"),
        ("Scanpaths", "1.0"),
    }


@pytest.mark.parametrize("in_memory", [False, True])
@pytest.mark.parametrize("name", FILES)
def test_reads_back_to_the_truth(name: str, in_memory: bool) -> None:
    path = HDF5 / name
    found = read(path.read_bytes() if in_memory else path, path)
    assert list(found) == (["fixations", "stimuli"] if path.stem == "both_in_groups" else [""])
    for part in found.values():
        if isinstance(part, pysaliency.Fixations):
            check_fixations(part, path)
        else:
            check_stimuli(*part, path)


def check_stimuli(stimuli: pysaliency.Stimuli, pixels: list[Any], path: Path) -> None:
    images = TRUTH["images"][: IMAGES.get(path.name, 5)]
    assert len(stimuli) == len(images)
    if path.stem == "stimuli_file_absolute_paths":
        assert stimuli.names == tuple(f"/data/mit1003/stimuli/i0{n}.png" for n in range(1, 6))
        assert stimuli.shapes is None
        return
    assert stimuli.shapes == [tuple(image["shape"]) for image in images]
    if stimuli.names is not None:
        assert path.stem.startswith("stimuli_file")
        pixels = [decoded(path.parent / name) for name in stimuli.names]
    else:
        assert all(image.shape[2] == 3 and image.dtype == np.uint8 for image in pixels)
        grey = [image for image in pixels if np.ptp(image, axis=2).max() == 0]
        assert len(grey) == sum(len(shape) == 2 for shape in stimuli.shapes)
        pixels = [
            image if len(shape) == 3 else image[..., 0]
            for image, shape in zip(pixels, stimuli.shapes, strict=True)
        ]
    hashes = [hashlib.sha1(np.ascontiguousarray(image)).hexdigest() for image in pixels]
    assert hashes == [image["sha1_of_pixels"] for image in images]
    check_attributes(stimuli, path)


def decoded(path: Path) -> np.ndarray[Any, Any]:
    with Image.open(path) as image:
        return np.asarray(image)


def check_attributes(stimuli: pysaliency.Stimuli, path: Path) -> None:
    if not path.stem.endswith("_attrs"):
        assert stimuli.attributes == {}
        return
    names = {"category", "name"} | ({"pair"} if stimuli.names is None else set())
    assert set(stimuli.attributes) == names
    assert stimuli.attributes["category"].tolist() == [0, 1, 0, 1, 0]
    assert stimuli.attributes["name"] == tuple(f"stim_{n}" for n in range(5))
    if "pair" in names:
        assert stimuli.attributes["pair"].tolist() == [[n, n + 0.5] for n in range(5)]


def check_fixations(fixations: pysaliency.Fixations, path: Path) -> None:
    expected = truth()
    is_single = path.stem in ("fixations_filtered", "fixations_without_history")
    if path.stem == "fixations_filtered":
        later = expected["order"] > 0
        expected = {name: values[later] for name, values in expected.items()}
    if path.stem == "fixations_without_history":
        expected["order"] = expected["start_s"] = np.full(46, np.nan)
    if "durations" not in path.stem and path.stem not in ("fixations_scanpath", "scanpaths"):
        expected["duration_s"] = np.full(len(expected["x_px"]), np.nan)
    for name, values in expected.items():
        np.testing.assert_array_equal(getattr(fixations, name), values, name)
        assert getattr(fixations, name).dtype == (np.int64 if name == "stimulus" else np.float64)
    stimuli = [] if is_single else [scanpath["n"] for scanpath in TRUTH["scanpaths"]]
    assert fixations.scanpath_stimulus.tolist() == stimuli
    assert (fixations.scanpaths, fixations.empty) == (len(stimuli), 0)
    assert fixations.subject_names is None


def test_durations_of_single_fixations_come_from_the_history_of_later_ones(tmp_path: Path) -> None:
    expected = truth()
    last = np.append(expected["order"][1:] == 0, True)
    expected["duration_s"][last] = np.nan
    source = HDF5 / "v0.2.21" / "fixations_trains_durations.hdf5"
    with h5py.File(source) as old, h5py.File(tmp_path / "f.hdf5", "w") as new:
        new.attrs.update({"type": np.bytes_("Fixations"), "version": np.bytes_("1.0")})
        new["x"], new["y"], new["t"] = expected["x_px"], expected["y_px"], expected["start_s"]
        new["n"], new["lengths"] = expected["stimulus"].astype(int), expected["order"].astype(int)
        new["scanpath_index"] = np.cumsum(expected["order"] == 0) - 1
        new["duration_hist"] = old["duration_hist"][()]
    fixations = read(tmp_path / "f.hdf5", tmp_path)[""]
    np.testing.assert_array_equal(fixations.duration_s, expected["duration_s"])


@pytest.mark.parametrize(
    ("name", "count", "empty"),
    [
        ("MIT1003", 762, 2),
        ("MIT1003_v0.3dev", 762, 2),
        ("MIT1003_initial_fix_consistent", 882, 0),
    ],
)
def test_real_scanpaths_are_those_of_the_table(name: str, count: int, empty: int) -> None:
    place = DATA / "mit1003_pysaliency" / name
    stimuli, _ = read(place / "stimuli.hdf5", place)[""]
    fixations = read(place / "fixations.hdf5", place)[""]
    assert (len(fixations), fixations.scanpaths, fixations.empty) == (count, 120, empty)
    assert np.bincount(fixations.scanpath_stimulus).tolist() == [15] * 8
    table = table_of_fixations()
    subjects = sorted({subject for _, subject in table})
    start = 0 if count == 882 else 1  # the first one, in the middle of the image, is left out
    seconds = []
    expected: list[tuple[float, ...]] = []
    for row, (file, (height, width, _)) in enumerate(
        zip(stimuli.names, stimuli.shapes, strict=True)
    ):
        assert decoded(place / file).shape == (height, width, 3)
        for number, subject in enumerate(subjects):
            inside = [
                one
                for one in table[Path(file).stem, subject]
                if 0 < one[0] < width and 0 < one[1] < height
            ]
            for order, (x, y, begin, end) in enumerate(inside[start:]):
                expected.append((row, x, y, number, order))
                seconds.append((begin, end - begin))
    got = np.column_stack([getattr(fixations, field) for field in FIELDS])
    np.testing.assert_allclose(got[:, :5], expected, rtol=0, atol=5.1e-5)  # four digits there
    np.testing.assert_allclose(got[:, 5:], seconds, rtol=0, atol=2e-3)


def table_of_fixations() -> dict[tuple[str, str], list[tuple[float, ...]]]:
    """Return x, y, start, end by stimulus and subject, from another extraction of the raw data."""
    table = defaultdict(list)
    with open(DATA / "mit1003_real" / "fixations.csv", newline="") as file:
        for row in csv.DictReader(file):
            if row["x_px"]:
                values = [float(row[name]) for name in ("x_px", "y_px", "t_start_s", "t_end_s")]
                table[row["stimulus"], row["subject"]].append(tuple(values))
    return table


@pytest.mark.parametrize("name", FILES)
def test_a_cut_file_is_an_error(name: str) -> None:
    whole = (HDF5 / name).read_bytes()
    for size in {0, 1, 8, 96, *range(0, len(whole), len(whole) // 16 + 1), len(whole) - 1}:
        with pytest.raises(DataError, match=r"is damaged|not an HDF5 file"):
            read(whole[:size], Path(name))


def test_damaged_coordinates_move_nothing_else() -> None:
    path = HDF5 / "v0.2.22" / "fixations_trains_durations.hdf5"
    with h5py.File(path) as file:
        start, size = file["train_xs"].id.get_offset(), file["train_xs"].id.get_storage_size()
    whole, expected, outcomes = path.read_bytes(), read(path, path)[""], set()
    for at in range(start, start + size, 7):
        data = bytearray(whole)
        data[at] ^= 0x55
        try:
            fixations = read(bytes(data), path)[""]
        except DataError as error:
            assert error.key in ("train_xs", "train_ys")
            outcomes.add("refused")
            continue
        outcomes.add("changed")
        assert np.count_nonzero(fixations.x_px != expected.x_px) <= 1
        for name in set(FIELDS) - {"x_px"}:
            np.testing.assert_array_equal(getattr(fixations, name), getattr(expected, name))
    assert outcomes == {"refused", "changed"}  # a NaN behind the end that became a number is seen


def test_any_damage_is_an_error_or_a_sound_result() -> None:
    # In another process, since the library has crashed and has looped for ever on such files.
    process = multiprocessing.get_context("spawn").Process(target=damage, args=(300,))
    process.start()
    process.join(120)
    process.kill()
    assert process.exitcode == 0


def damage(cases: int) -> None:
    """Read files with a few wrong bytes; what is read has to keep what is promised of it."""
    outcomes = set()
    for case in range(cases):
        rng = np.random.default_rng([5, case])
        path = HDF5 / FILES[rng.integers(len(FILES))]
        data = bytearray(path.read_bytes())
        for at in rng.integers(len(data) if case % 2 else 4096, size=rng.integers(1, 9)):
            data[at % len(data)] = rng.integers(256)
        try:
            found = read(bytes(data), path)
        except DataError as error:
            assert "\n" not in str(error)
            outcomes.add("refused")
            continue
        outcomes.add("read")
        for part in found.values():
            if isinstance(part, pysaliency.Fixations):
                assert {len(getattr(part, name)) for name in FIELDS} == {len(part)}
                assert np.isfinite(part.x_px).all() and np.isfinite(part.y_px).all()
                assert (part.stimulus >= 0).all()
    assert outcomes == {"refused", "read"}
