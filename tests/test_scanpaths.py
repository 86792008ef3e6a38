"""What pysaliency's files may hold against their reader, written here on purpose."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from raw.pysaliency import (
    NAN,
    TEXT,
    WRITERS,
    XS,
    images,
    names,
    read,
    replaced,
    say,
    scanpaths,
    single,
    trains,
    write,
)

from dataprep import pysaliency
from dataprep.manifest import DataError


def test_empty_scanpaths_are_counted(tmp_path: Path) -> None:
    found = read(write(tmp_path, trains), stimuli=3)
    assert (len(found), found.scanpaths, found.empty) == (6, 4, 1)
    assert found.x_px.tolist() == [1.5, 2.5, 3.5, 4.5, 5.5, 6.5]
    assert found.order.tolist() == [0, 1, 0, 1, 2, 0]
    assert found.stimulus.tolist() == [0, 0, 1, 1, 1, 2]
    assert found.subject.tolist() == [7, 7, 7, 7, 7, 8]
    assert found.scanpath_stimulus.tolist() == [0, 0, 1, 2]
    assert np.isnan(found.duration_s).all()


def test_names_of_attributes_and_subjects_are_followed(tmp_path: Path) -> None:
    found = read(write(tmp_path, scanpaths))
    assert found.start_s.tolist() == [7, 9, 11, 13]
    assert found.duration_s.tolist() == [10.5, 13.5, 16.5, 19.5]
    assert found.subject_names == ("CNG", "zb")
    assert found.subject.tolist() == [1, 1, 1, 0]


def test_order_is_counted_in_the_history(tmp_path: Path) -> None:
    assert read(write(tmp_path, single)).order.tolist() == [0, 1, 2]


def test_names_and_grey_images(tmp_path: Path) -> None:
    found = read(write(tmp_path, names))
    assert found.names == ("a.jpg", "b/ü.jpg")
    assert found.shapes == [(4, 2, 3), (2, 3)]
    path = write(tmp_path, images)
    with pysaliency.open(path, path) as file:
        found = pysaliency.read_stimuli(file, path)
        assert found.pixels(1).tolist() == [[[3 * y + x] * 3 for x in range(3)] for y in range(2)]
        with pytest.raises(ValueError, match="no image 2"):
            found.pixels(2)


@pytest.mark.parametrize("options", [{}, {"compression": "gzip"}])
def test_text_of_fixed_length_is_read(tmp_path: Path, options: dict[str, Any]) -> None:
    def writer(file: h5py.Group) -> None:
        names(file)
        replaced(file, "filenames", np.array([b"a.jpg", b"b.jpg"]), **options)

    assert read(write(tmp_path, writer)).names == ("a.jpg", "b.jpg")


def test_objects_are_found_in_any_group_and_loops_end(tmp_path: Path) -> None:
    def deep(file: h5py.Group) -> None:
        trains(file.create_group("a/b"))
        names(file.create_group("c"))
        file["a/loop"] = file["/"]

    path = write(tmp_path, deep)
    with pysaliency.open(path, path) as file:
        assert pysaliency.kinds(file, path) == {"a/b": "FixationTrains", "c": "FileStimuli"}


def attribute(name: str, value: Any) -> Callable[[h5py.Group], None]:
    return lambda file: say(file, **{name: value})


def data(name: str, value: Any, **options: Any) -> Callable[[h5py.Group], None]:
    return lambda file: replaced(file, name, value, **options)


def huge(file: h5py.Group) -> None:
    del file["0"]
    made = file.create_dataset("0", (2**21, 2**21, 3), np.uint8, chunks=(8, 8, 3), compression=9)
    made[:8, :8] = 0


def elsewhere(file: h5py.Group) -> None:
    del file["train_xs"]
    outside = [(str(Path(file.file.filename).parent / "secret"), 0, 96)]
    file.create_dataset("train_xs", (4, 3), np.float64, external=outside)


def virtual(file: h5py.Group) -> None:
    layout = h5py.VirtualLayout((4, 3), np.float64)
    layout[:] = h5py.VirtualSource("secret.hdf5", "x", (4, 3))
    del file["train_xs"]
    file.create_virtual_dataset("train_xs", layout)


def linked(link: Any) -> Callable[[h5py.Group], None]:
    def make(file: h5py.Group) -> None:
        del file["train_xs"]
        file["train_xs"] = link

    return make


def references(file: h5py.Group) -> None:
    replaced(file, "train_ns", [file["train_xs"].ref] * 4, dtype=h5py.ref_dtype)


def scattered(file: h5py.Group) -> None:
    del file["shapes"]
    shapes = file.create_dataset("shapes", (2,), h5py.vlen_dtype(np.int64), chunks=(2,))
    shapes[0] = shapes[1] = [4, 2, 3]


def long_text(file: h5py.Group) -> None:
    file.attrs["type"] = "FileStimuli"  # in a heap, which the library walks


def compound(file: h5py.Group) -> None:
    file.attrs.create("type", np.array([("a",)], [("x", TEXT)]))


def a_gap(file: h5py.Group) -> None:
    file["train_xs"][2, 1] = NAN


def behind(file: h5py.Group) -> None:
    file["train_ts"][0, 2] = 1


TRAPS: list[tuple[str, Callable[[h5py.Group], None], str]] = [
    ("trains", attribute("type", "Trains"), "'Trains'; known here: .*ScanpathFixations"),
    ("trains", attribute("version", "2.0"), r"FixationTrains of version '2.0'; known: 1.x"),
    ("names", attribute("version", np.bytes_("3.1")), r"version '3.1'; known: 1.x, 2.x"),
    ("trains", attribute("version", [1, 2]), r"version: has the shape \(2,\), not one value"),
    ("trains", attribute("type", 3), "type: is int64, not a text"),
    ("trains", linked(h5py.SoftLink("/train_ys")), "train_xs: is a link"),
    ("trains", linked(h5py.ExternalLink("secret.hdf5", "/x")), "train_xs: is a link"),
    ("trains", elsewhere, "train_xs: lies in other files"),
    ("trains", virtual, "train_xs: lies in other files"),
    ("trains", references, "train_ns: holds object, not whole numbers"),
    ("trains", a_gap, "train_xs: scanpath 2, fixation 1 is nan"),
    ("trains", behind, "train_ts: scanpath 0, fixation 2, behind the end of .* is 1.0"),
    ("trains", data("train_ys", XS[:3]), r"train_ys: has the shape \(3, 3\), not 4 rows"),
    ("trains", data("train_ts", XS[:, :2]), r"train_ts: has the shape \(4, 2\), not \(4, 3\)"),
    ("trains", data("train_ns", [0, 1, 2]), r"train_ns: has the shape \(3,\), not 4 rows"),
    ("trains", data("train_ns", [0.0, 1, 2, 0]), "train_ns: holds float64, not whole numbers"),
    ("trains", data("train_ns", [0, -1, 1, 2]), "row 1 names stimulus -1"),
    ("trains", data("train_ns", [0, 1, 2, 3]), "row 3 names stimulus 3; there are 3"),
    ("trains", data("train_xs", [b"1"] * 4), "train_xs: holds .*, not numbers"),
    ("trains", data("train_xs", np.full((4, 3), np.inf)), "scanpath 0, fixation 0 is inf"),
    ("trains", lambda file: file.pop("train_ts"), "train_ts: is missing"),
    ("trains", lambda file: file.create_dataset("train_lengths", data=[2, 0, 4, 1]), "4 of 3"),
    (
        "trains",
        lambda file: file.create_dataset("train_lengths", data=[1, 0, 3, 1]),
        "train_xs: scanpath 0, fixation 1, behind the end",
    ),
    ("trains", attribute("scanpath_attribute_mapping", "{"), "mapping: is not JSON"),
    ("trains", attribute("scanpath_attribute_mapping", "[]"), "mapping: is not a JSON dict"),
    ("trains", attribute("scanpath_attribute_mapping", "[" * 60000), "mapping: is not JSON"),
    ("single", data("y", [1.5, NAN, 2.5]), "y: fixation 1 is nan"),
    ("single", data("x_hist", np.ones((2, 2))), "x_hist: has the shape"),
    ("images", attribute("size", 10**15), "2: is missing"),
    ("images", attribute("size", -1), "size: is -1"),
    ("images", attribute("size", "2"), "size: is not a whole number"),
    ("images", data("1", np.zeros((2, 2, 4), np.uint8)), r"1: has the shape \(2, 2, 4\)"),
    ("images", data("1", np.zeros((2, 2), np.uint16)), "1: holds uint16"),
    ("images", data("1", h5py.Empty("u1")), "1: is empty"),
    ("images", huge, "0: declares 13194139533312 bytes"),
    ("images", attribute("__attributes__", "[1]"), "lists '1', which is no name"),
    ("names", data("filenames", ["a"], dtype=TEXT), "not 2 names"),
    ("names", data("filenames", ["a", ""], dtype=TEXT), "'' is no name"),
    ("names", data("filenames", [1, 2]), "filenames: holds no text"),
    ("names", data("filenames", [b"a", b"\xff"], dtype=TEXT), "filenames: is damaged"),
    ("names", data("filenames", ["a", "b"], dtype=TEXT, chunks=(2,)), "filenames: .* in one piece"),
    ("names", scattered, "shapes: is not stored in one piece, as pysaliency stores it: not read"),
    ("names", long_text, "type: is neither a number nor a text of fixed length"),
    ("names", compound, "type: is neither a number nor a text of fixed length"),
    ("names", lambda file: file["shapes"].__setitem__(0, [4]), r"row 0 is \(4,\), not the shape"),
    ("scanpaths", lambda file: file.pop("scanpaths"), "scanpaths: is missing"),
]


@pytest.mark.parametrize(("name", "spoil", "words"), TRAPS)
def test_a_trap_is_one_line(
    tmp_path: Path, name: str, spoil: Callable[[h5py.Group], None], words: str
) -> None:
    def spoiled(file: h5py.Group) -> None:
        WRITERS[name](file)
        spoil(file)

    (tmp_path / "secret").write_bytes(np.ones(12).tobytes())
    with h5py.File(tmp_path / "secret.hdf5", "w") as file:
        file["x"] = np.ones((4, 3))
    with pytest.raises(DataError, match=words) as caught:
        read(write(tmp_path, spoiled), stimuli=3)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "x.hdf5"))


def test_a_filter_that_needs_a_plugin_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, trains)
    with h5py.File(path, "r+") as file:
        replaced(file, "train_xs", XS, compression="gzip")
    whole = path.read_bytes()
    message = b"\x01\x00\x08\x00\x01\x00\x01\x00deflate\x00"  # number 1, name of 8 bytes
    assert whole.count(message) == 1
    path.write_bytes(whole.replace(message, b"\x99\x7f" + message[2:]))
    with pytest.raises(DataError, match="train_xs: is packed by filter 32665"):
        read(path)


@pytest.mark.parametrize("at", [8, 16, 24])
def test_a_damaged_heap_of_strings_ends(tmp_path: Path, at: int) -> None:
    path = write(tmp_path, names)
    whole = bytearray(path.read_bytes())
    start = whole.index(b"GCOL")
    whole[start + at : start + at + 8] = b"\xff" * 8
    path.write_bytes(whole)
    with pytest.raises(DataError, match="is damaged: "):
        read(path)


@pytest.mark.parametrize("place", ["attribute", "chunks"])
@pytest.mark.parametrize("size", [0, 2**64 - 16])
def test_a_damaged_heap_is_left_alone_where_the_library_would_walk_it(
    tmp_path: Path, place: str, size: int
) -> None:
    # In another process: without the check it never comes back.
    def writer(file: h5py.Group) -> None:
        names(file)
        if place == "attribute":
            long_text(file)
        else:
            replaced(file, "filenames", ["a", "b"], dtype=TEXT, chunks=(2,))

    path = write(tmp_path, writer)
    whole = bytearray(path.read_bytes())
    start = whole.index(b"GCOL")
    while start >= 0:  # of every heap the first object
        if size == 0:
            whole[start + 16 : start + 18] = bytes(2)
        whole[start + 24 : start + 32] = size.to_bytes(8, "little")
        start = whole.find(b"GCOL", start + 1)
    path.write_bytes(whole)
    process = multiprocessing.get_context("spawn").Process(target=refuse, args=(path,))
    process.start()
    process.join(30)
    process.kill()
    assert process.exitcode == 0


def refuse(path: Path) -> None:
    """Read a file that has to be refused."""
    with pytest.raises(DataError):
        read(path)


def test_what_is_no_file_of_this_kind(tmp_path: Path) -> None:
    for content in (b"", b"version https://git-lfs\n", b"PK\3\4" + bytes(4096)):
        (tmp_path / "a").write_bytes(content)
        with pytest.raises(DataError, match=r"a: is not an HDF5 file$"):
            read(tmp_path / "a")
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(DataError, match=r"is not a file$"):
            read(path)
    if os.getuid():
        (tmp_path / "a").chmod(0)
        with pytest.raises(DataError, match="a: cannot be opened"):
            read(tmp_path / "a")
