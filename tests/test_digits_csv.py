"""CSV of small images: read as numpy and csv read it; every bad line is named by its number."""

from __future__ import annotations

import csv as standard
import gzip
import io
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from raw.digits_csv import csv, labelled

from dataprep import csv_images
from dataprep.__main__ import main
from dataprep.build import build
from dataprep.manifest import DataError
from dataprep.raw import Raw
from dataprep.sources.digits_csv import Source


def read(tmp_path: Path, data: bytes, pixels: int = 4) -> tuple[Any, Any]:
    (tmp_path / "x.csv").write_bytes(data)
    return csv_images.read(Raw(tmp_path), "x.csv", pixels)


@pytest.mark.parametrize("piece", [7, 100, 1 << 24])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", ["", "\n", "\n\n\n", "\r\n\r\n"])
@pytest.mark.parametrize("packed", [False, True])
def test_same_as_the_standard_reader(
    piece: int, end: str, last: str, packed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In pieces of any size, with any ends of lines."""
    monkeypatch.setattr(csv_images, "PIECE_BYTES", piece)
    images = np.random.default_rng(0).integers(0, 256, (9, 2, 2), np.uint8)
    text = csv(images, np.arange(9) * 100).decode().strip()
    data = (text.replace("\n", end) + last).encode()
    labels, pixels = read(tmp_path, gzip.compress(data) if packed else data)
    theirs = list(standard.reader(io.StringIO(text)))[1:]
    assert [[label, *row] for label, row in zip(labels, pixels.tolist(), strict=True)] == [
        [int(cell) for cell in row] for row in theirs
    ]


def test_numpy_reads_the_same(tmp_path: Path) -> None:
    images, labels = labelled(70)
    data = csv(images, labels)
    theirs = np.loadtxt(io.BytesIO(data), np.int64, delimiter=",", skiprows=1)
    own_labels, pixels = read(tmp_path, b"\xef\xbb\xbf" + data, 784)  # a mark that Excel writes
    assert (own_labels == theirs[:, 0]).all() and (pixels == theirs[:, 1:]).all()


HEAD = b"label,pixel0,pixel1,pixel2,pixel3\n"
LINES = b"1,0,1,2,255\n" * 30
BAD = {
    "too few columns": (HEAD + LINES + b"1,2,3,4\n" + LINES, "line 32: has 4 columns, not 5"),
    "too many columns": (HEAD + b"1,2,3,4,5,6\n", "line 2: has 6 columns, not 5"),
    "cut short": (HEAD + LINES[:-8], "line 31: has 3 columns, not 5"),
    "above 255": (HEAD + LINES + b"1,2,256,4,5\n", "line 32: pixel1 is '256', not .* 0 to 255"),
    "huge": (HEAD + b"1,2,3,4," + b"9" * 5000 + b"\n", "line 2: pixel3 is '9{20}', not"),
    "below 0": (HEAD + b"1,2,3,4,-5\n", "line 2: pixel3 is '-5', not a whole number"),
    "no integer": (HEAD + b"1,2.0,3,4,5\n", "line 2: pixel0 is '2.0', not a whole number"),
    "an empty cell": (HEAD + b"1,,3,4,5\n", "line 2: pixel0 is '', not a whole number"),
    "text": (HEAD + b"cat,2,3,4,5\n", "line 2: label is 'cat', not a whole number"),
    "a huge label": (HEAD + b"9" * 30 + b",2,3,4,5\n", "line 2: has a label that is too large"),
    "quotes": (HEAD + b'"1",2,3,4,5\n', "line 2: label is '\"1\"', not a whole number"),
    "a blank line": (HEAD + LINES + b"\n" + LINES, "line 32: has 1 column, not 5"),
    "no header": (LINES, "line 1: begins with '1'; wanted is a header label,pixel0"),
    "another header": (b"a,b,c,d,e\n" + LINES, "line 1: begins with 'a'; wanted is a header"),
    "a short header": (b"label,pixel0\n", "line 1: has 2 columns, not 5"),
    "empty": (b"", "x.csv: is empty"),
    "binary": (bytes(range(128, 256)) * 9, "line 1: begins with"),
    "gzip cut short": (gzip.compress(HEAD + LINES)[:-9], "x.csv: is cut short"),
    "gzip damaged": (gzip.compress(HEAD)[:-8] + b"????????", "x.csv: cannot be read .CRC"),
}


@pytest.mark.parametrize("piece", [5, 1 << 24])
@pytest.mark.parametrize("kind", BAD)
def test_what_is_bad_is_named_by_its_line(
    kind: str, piece: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_images, "PIECE_BYTES", piece)
    data, why = BAD[kind]
    with pytest.raises(DataError, match=why) as error:
        read(tmp_path, data)
    assert "\n" not in str(error.value) and "x.csv" in str(error.value)


WIDE = b"label" + b",p" * 784 + b"\n"
GOOD = b"7" + b",1" * 784 + b"\n"
ZEROS = b"0" * (1 << 24)
# What takes more memory than its file, and where it is found.
BOMBS = {
    "short lines": (WIDE + GOOD + b"1\n" * 50_000, "line 3: has 1 column, not 785"),
    "no end of a line": (WIDE + GOOD * 2 + ZEROS, "line 4: is longer than 65,536 characters"),
    "no end of the header": (ZEROS, "line 1: begins with '00000000000000000000'"),
    "no end of columns": (WIDE + GOOD + b"1," * (1 << 23), "line 3: is longer than 65,536"),
    "no end of names": (b"label," * (1 << 21), "line 1: has [0-9,]+ columns, not 785"),
    "returns": (WIDE + GOOD + b"\r" * (1 << 24) + b"1", "line 3: has 1 column, not 785"),
    "blank lines": (WIDE + GOOD + b"\n" * (1 << 24) + b"1", "line 3: has 1 column, not 785"),
    "blank lines of two": (WIDE + GOOD + b"\r\n" * (1 << 23) + b"1", "line 3: has 1 column, not"),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_what_would_take_all_memory_is_named(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part of what is unpacked, whatever its lines are; in pieces that are small beside it."""
    monkeypatch.setattr(csv_images, "PIECE_BYTES", 1 << 18)
    assert read(tmp_path, WIDE + GOOD, 784)[0].tolist() == [7]  # so that the kernel is there
    data, why = BOMBS[kind]
    packed = gzip.compress(data, 1)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=rf"x.csv {why}"):
            read(tmp_path, packed, 784)
        assert tracemalloc.get_traced_memory()[1] < 6 << 20
    finally:
        tracemalloc.stop()


def test_blank_lines_at_the_end_may_be_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_images, "PIECE_BYTES", 1000)
    for end in (b"\n", b"\r\n"):
        labels, _ = read(tmp_path, HEAD + LINES + end * 100_000)
        assert labels.tolist() == [1] * 30


def test_the_shortest_and_the_longest_lines(tmp_path: Path) -> None:
    """One digit a cell, and eighteen: as many lines as text of that length can hold."""
    labels, pixels = read(tmp_path, HEAD + b"1,2,3,4,5\n" * 500)
    assert len(labels) == 500 and pixels[-1].tolist() == [2, 3, 4, 5]
    names, cells = b",".join([b"label"] + [b"p"] * 9000), b",".join([b"1".zfill(18)] * 9001)
    labels, pixels = read(tmp_path, names + b"\r\n" + (cells + b"\r\n") * 3, 9000)
    assert labels.tolist() == [1] * 3 and pixels.sum() == 27_000


def write(folder: Path, *names: str) -> Path:
    folder.mkdir()
    for seed, name in enumerate(names):
        data = csv(*labelled(20 + seed))
        (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return folder


@pytest.mark.parametrize(
    ("names", "want"),
    [
        (("anything.csv",), {"train": 20}),
        (("mnist_train.csv", "mnist_test.csv"), {"train": 20, "test": 21}),
        (("Train.csv.gz", "TEST.CSV"), {"train": 20, "test": 21}),
        (("train.csv", "train.csv.gz", "test.csv"), {"train": 20, "test": 22}),
        (("train-1.csv", "train-2.csv", "train-10.csv"), {"train": 63}),
        (
            ("x_train.csv", "x_val.csv", "x_test.csv", "x_train_all.csv"),
            {"train": 20, "val": 21, "test": 22, "train_all": 41},
        ),
        (("x_train_all.csv", "x_test.csv"), {"train": 20, "test": 21}),
    ],
)
def test_files_tell_the_splits(
    names: tuple[str, ...], want: dict[str, int], tmp_path: Path
) -> None:
    raw = write(tmp_path / "raw", *names)
    options = {} if "val" in want else {"val_fraction": 0.0}
    facts = build(Source(**options), raw, tmp_path / "set", workers=1)
    assert facts.splits == want


def test_several_files_follow_each_other_by_number(tmp_path: Path) -> None:
    raw = write(tmp_path / "raw", "train-1.csv", "train-2.csv", "train-10.csv")
    entries = Source().entries(Raw(raw))
    assert [entry.values["key"] for entry in entries] == [f"train_{i:05d}" for i in range(63)]
    files = [entry.members["csv"] for entry in entries]
    assert list(dict.fromkeys(files)) == ["train-1.csv", "train-2.csv", "train-10.csv"]


def test_colour_images_and_names_of_classes(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), np.uint8)
    data = csv(pixels, np.arange(20) % 2)
    with zipfile.ZipFile(tmp_path / "raw.zip", "w") as archive:
        archive.writestr("cifar_train.csv", data)
    raw = Raw(tmp_path / "raw.zip")
    source = Source(pixels="32x32x3", names=("cat", "dog"))
    samples = [sample for entry in source.entries(raw) for sample in source.read(raw, entry)]
    assert (np.stack([sample.fields["image"] for sample in samples]) == pixels).all()
    assert source.classes(source.entries(raw)) == ["cat", "dog"]
    with pytest.raises(DataError, match="has 3,073 columns, not 785: --pixels 32x32x3 reads it"):
        Source().entries(raw)
    with pytest.raises(DataError, match=r"cifar_train.csv line 3: label is 1, not 0 to 0"):
        Source(pixels="32x32x3", names=("cat",)).entries(raw)


def test_folders_that_tell_too_little(tmp_path: Path) -> None:
    (tmp_path / "nothing.txt").touch()
    with pytest.raises(DataError, match=r"holds no \.csv"):
        Source().entries(Raw(tmp_path))
    raw = write(tmp_path / "raw", "one.csv", "two.csv")
    with pytest.raises(DataError, match=r"one.csv: its name tells no split"):
        Source().entries(Raw(raw))


def test_a_user_is_answered_in_one_line(tmp_path: Path) -> None:
    raw = write(tmp_path / "raw", "x_train.csv")
    text = (raw / "x_train.csv").read_text().splitlines()
    text[4] = text[4] + ",7"
    (raw / "x_train.csv").write_text("\n".join(text))
    options = ["build", "digits_csv", "--raw", str(raw), "--data-root", str(tmp_path)]
    result = CliRunner().invoke(main, options)
    assert result.exit_code == 2 and result.output.count("\n") == 1
    assert "x_train.csv line 5: has 786 columns, not 785" in result.output
