"""IDX files of MNIST and Fashion-MNIST: read as torchvision reads them, wherever they lie.

What is bad is named. Most tests hold nothing out: the files of test_small_images.py do.
"""

from __future__ import annotations

import gzip
import tracemalloc
import zipfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import zarr
from click.testing import CliRunner
from raw.mnist import digits, idx
from shared import DATA

from dataprep import index
from dataprep.__main__ import main
from dataprep.build import build
from dataprep.idx import IMAGES
from dataprep.idx import read as read_idx
from dataprep.manifest import DataError, Manifest
from dataprep.raw import Raw
from dataprep.sources import fashion_mnist, mnist
from dataprep.verify import verify

MNIST = DATA / "mnist"
needs_mnist = pytest.mark.skipif(not MNIST.is_dir(), reason=f"no {MNIST} (NOSTALL_TEST_DATA)")
NAMES = [
    f"{part}-{what}-ubyte" for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1")
]


ALL = mnist.Source(val_fraction=0)


def write(folder: Path, rename: Callable[[str], str] = str, packed: bool = False) -> Path:
    """Write all four files under other names."""
    for part, count in (("train", 21), ("t10k", 6)):
        for what, array in zip(("images-idx3", "labels-idx1"), digits(count, count), strict=True):
            data = idx(array)
            path = folder / (rename(f"{part}-{what}-ubyte") + ".gz" * packed)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(gzip.compress(data) if packed else data)
    return folder


def stored(folder: Path, facts: Manifest, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return a split's images and labels, as any reader of zarr and npy sees them."""
    ids = np.load(folder / "splits" / f"{split}.npy")
    images = np.asarray(zarr.open_array(folder / "image.zarr", mode="r")[:])
    assert images.shape == (facts.samples, 28, 28)
    return images[ids], np.load(folder / "index" / "label.npy")[ids]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("kind", "name"), [(mnist, "MNIST"), (fashion_mnist, "FashionMNIST")])
def test_same_as_torchvision(packed: bool, kind: ModuleType, name: str, tmp_path: Path) -> None:
    datasets = pytest.importorskip("torchvision.datasets")
    write(tmp_path, lambda file: f"{name}/raw/{file}")  # torchvision itself reads plain files alone
    raw = write(tmp_path / "own", packed=packed)
    facts = build(kind.Source(val_fraction=0), raw, tmp_path / "set", workers=1)
    assert facts.splits == {"train": 21, "test": 6}
    official = getattr(datasets, name)
    digits_alone = [text.split(" ")[0] for text in official.classes]  # "0 - zero"
    assert facts.classes == (digits_alone if name == "MNIST" else official.classes)
    for split in facts.splits:
        theirs = official(tmp_path, train=split == "train")
        images, labels = stored(tmp_path / "set", facts, split)
        assert images.tobytes() == theirs.data.numpy().tobytes()
        assert labels.tolist() == theirs.targets.tolist() and labels.dtype == np.int64


def test_every_layout_makes_the_same_set(tmp_path: Path) -> None:
    layouts = {
        "plain": write(tmp_path / "plain"),
        "packed": write(tmp_path / "packed", packed=True),
        "dotted": write(tmp_path / "dotted", lambda name: name.replace("-idx", ".idx")),
        "torchvision": write(tmp_path / "torchvision", lambda name: f"MNIST/raw/{name}"),
        "outer": write(tmp_path / "outer", lambda name: f"some folder/{name}", packed=True),
    }
    write(layouts["torchvision"], lambda name: f"MNIST/raw/{name}", packed=True)
    write(layouts["torchvision"], lambda name: f"FashionMNIST/raw/{name}")
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as file:
        for name in NAMES:
            file.write(layouts["plain"] / name, f"mnist/{name}")
    layouts["zip"] = tmp_path / "all.zip"
    sets = [
        build(ALL, raw, tmp_path / f"set-{name}", workers=1).files for name, raw in layouts.items()
    ]
    assert all(one == sets[0] for one in sets)


def test_any_number_of_workers_makes_the_same_set(tmp_path: Path) -> None:
    raw = write(tmp_path / "raw")
    one, two = (build(ALL, raw, tmp_path / str(n), workers=n) for n in (1, 2))
    assert one.files == two.files and list(verify(tmp_path / "2")) == []


def test_keys_and_names_say_where_a_sample_is_from(tmp_path: Path) -> None:
    facts = build(ALL, write(tmp_path / "raw"), tmp_path / "set", workers=1)
    columns = tmp_path / "set" / "index"
    keys, names = (index.Names(columns, what, facts.samples) for what in ("key", "name"))
    assert (keys[2], names[2]) == ("train_00002", "train-images[2]")
    assert (keys[21], names[21]) == ("test_00000", "t10k-images[0]")


def test_one_split_is_enough_and_said(tmp_path: Path) -> None:
    raw = write(tmp_path / "raw")
    for name in NAMES[2:]:
        (raw / name).unlink()
    said: list[str] = []
    facts = build(ALL, raw, tmp_path / "set", workers=1, say=said.append)
    assert facts.splits == {"train": 21}
    assert said == [
        "train does not begin with MNIST's first image: is it other data?",
        "no test files are there: built without split test",
    ]


def test_other_pixels_of_equal_size_are_another_set(tmp_path: Path) -> None:
    """Fashion-MNIST's files have MNIST's names and sizes."""
    raw = write(tmp_path / "raw")
    build(ALL, raw, tmp_path / "set", workers=1)
    (raw / NAMES[0]).write_bytes(idx(digits(21, seed=5)[0]))
    with pytest.raises(DataError, match="made from other options or raw files"):
        build(ALL, raw, tmp_path / "set", workers=1)


IMAGES_21, LABELS_21 = (idx(array) for array in digits(21, 21))
PACKED = gzip.compress(IMAGES_21)
BAD = {
    "labels for images": (NAMES[0], LABELS_21 + bytes(8), "its magic number is 2049, not 2051"),
    "images for labels": (NAMES[1], IMAGES_21, "its magic number is 2051, not 2049"),
    "no idx": (NAMES[0], b"<html>not found</html>", "its magic number is"),
    "empty": (NAMES[0], b"", "is no IDX file, or cut short: it has only 0 bytes"),
    "cut short": (NAMES[0], IMAGES_21[:-1], "16,464 bytes, but 16,463 follow: it is cut short"),
    "too long": (NAMES[1], LABELS_21 + b"\0", "21 bytes, but more follow: too many"),
    "labels cut short": (NAMES[1], LABELS_21[:-3], "21 bytes, but 18 follow: it is cut short"),
    "header too large": (NAMES[0], IMAGES_21[:4] + b"\xff" * 12, "0 follow: it is cut short"),
    "fewer labels": (NAMES[1], idx(digits(20)[1]), "has 20 labels, but .*images.* has 21 images"),
    "other sides": (NAMES[0], idx(np.zeros((21, 28, 27), np.uint8)), "are 28×27, not 28×28"),
    "no digit": (NAMES[1], idx(np.full(21, 12, np.uint8)), "label 0 is 12, not 0 to 9"),
    "gzip cut short": (NAMES[0], PACKED[:-9], "is cut short: the gzip stream has no end"),
    "gzip damaged": (NAMES[0], PACKED[:99] + b"???" + PACKED[102:], "is a damaged gzip"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_bad_is_named_in_one_line(kind: str, tmp_path: Path) -> None:
    name, data, why = BAD[kind]
    raw = write(tmp_path / "raw")
    (raw / name).write_bytes(data)
    with pytest.raises(DataError, match=f"{name}: .*{why}"):
        build(ALL, raw, tmp_path / "set", workers=1)
    assert not (tmp_path / "set").exists()
    options = ["build", "mnist", "--raw", str(raw), "--data-root", str(tmp_path)]
    result = CliRunner().invoke(main, options)
    assert result.exit_code == 2 and len(result.output.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("head", "why"),
    [
        (IMAGES_21, "16,464 bytes, but more follow: too many"),
        (b"<html>not found</html>", "its magic number is"),
        (IMAGES_21[:4] + b"\xff" * 12, "it is cut short"),
    ],
)
def test_no_more_is_unpacked_than_the_header_asks_for(
    head: bytes, why: str, tmp_path: Path
) -> None:
    data = head + bytes(1 << 25)
    (tmp_path / "x.gz").write_bytes(gzip.compress(data, 1))
    limit = (1 << 26) if "cut short" in why else (1 << 20)  # there all of it is asked for
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=f"x.gz: .*{why}"):
            read_idx(Raw(tmp_path), "x.gz", IMAGES)
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


def test_numbers_are_read_only(tmp_path: Path) -> None:
    for name, data in (("plain", IMAGES_21), ("packed", PACKED)):
        (tmp_path / name).write_bytes(data)
        images = read_idx(Raw(tmp_path), name, IMAGES)
        assert not images.flags.writeable and (images == digits(21, 21)[0]).all()


@pytest.mark.parametrize(
    ("missing", "named", "why"),
    [
        (NAMES[1], NAMES[0], r"its labels are missing: train-labels-idx1-ubyte\[\.gz\]"),
        (NAMES[2], NAMES[3], r"its images are missing: t10k-images-idx3-ubyte\[\.gz\]"),
    ],
)
def test_a_missing_half_is_named(missing: str, named: str, why: str, tmp_path: Path) -> None:
    raw = write(tmp_path)
    (raw / missing).unlink()
    with pytest.raises(DataError, match=f"{named}: {why}"):
        ALL.entries(Raw(raw))


def test_folders_that_hold_nothing_or_too_much(tmp_path: Path) -> None:
    (tmp_path / "digits.txt").touch()
    with pytest.raises(DataError, match="holds no MNIST files; wanted are train-images"):
        ALL.entries(Raw(tmp_path))
    for outer in ("one", "two"):
        write(tmp_path, lambda name, outer=outer: f"{outer}/{name}")  # type: ignore[misc]
    with pytest.raises(DataError, match="several folders hold such files: one, two"):
        ALL.entries(Raw(tmp_path))


def test_commands_work_on_the_set(tmp_path: Path) -> None:
    import_module("raw.mnist").write(tmp_path)
    root = ["--data-root", str(tmp_path)]
    for command in (
        ["build", "mnist", "--raw", str(tmp_path), *root],
        ["verify", "mnist", *root],
        ["info", "mnist", *root],
        ["preview", "mnist", "--out", str(tmp_path / "sheet.png"), *root],
    ):
        result = CliRunner().invoke(main, command)
        assert result.exit_code == 0, result.output
        assert command[0] != "info" or "28 × 28" in result.output
    assert (tmp_path / "sheet.png").stat().st_size > 1000


def test_each_of_several_sets_finds_its_own_folder(tmp_path: Path) -> None:
    for home in ("MNIST", "FashionMNIST"):
        write(tmp_path, lambda name, home=home: f"{home}/raw/{name}")  # type: ignore[misc]
    for kind, home in ((mnist, "MNIST"), (fashion_mnist, "FashionMNIST")):
        entries = kind.Source().entries(Raw(tmp_path))
        assert {entry.members["images"].split("/")[0] for entry in entries} == {home}


def test_official_files_are_what_torchvision_asks_for() -> None:
    datasets = pytest.importorskip("torchvision.datasets")
    for kind, name in ((mnist, "MNIST"), (fashion_mnist, "FashionMNIST")):
        ours = {file.name: file.checksum for file in kind.Source.downloads().files}
        assert ours == {name: f"md5:{md5}" for name, md5 in getattr(datasets, name).resources}


@needs_mnist
def test_mnist_in_place_of_fashion_mnist_is_said(tmp_path: Path) -> None:
    for part in ("images-idx3", "labels-idx1"):
        (tmp_path / f"t10k-{part}-ubyte.gz").symlink_to(MNIST / f"t10k-{part}-ubyte.gz")
    source = fashion_mnist.Source()
    line = source.remarks(source.entries(Raw(tmp_path)))[1]
    assert line.startswith("test begins with MNIST's first image, not Fashion-MNIST's")
    assert "python -m dataprep build mnist" in line


@needs_mnist
def test_real_digits(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    for part in ("images-idx3", "labels-idx1"):
        (raw / f"train-{part}-ubyte.gz").symlink_to(MNIST / f"train6k-{part}-ubyte.gz")
        (raw / f"t10k-{part}-ubyte.gz").symlink_to(MNIST / f"t10k-{part}-ubyte.gz")
    entries = ALL.entries(Raw(raw))
    assert ALL.remarks(entries) == ["train has 6,000 of 60,000 images"]
    labels = [entry.values["label"] for entry in entries if entry.split == "test"]
    assert len(labels) == 10_000 and labels[:5] == [7, 2, 1, 0, 4]
    images = read_idx(Raw(raw), "t10k-images-idx3-ubyte.gz", IMAGES)
    assert images.shape == (10_000, 28, 28)
    theirs = pytest.importorskip("torchvision.datasets.mnist")  # it reads plain files alone
    plain = tmp_path / "plain"
    plain.write_bytes(gzip.decompress((raw / "t10k-images-idx3-ubyte.gz").read_bytes()))
    assert images.tobytes() == theirs.read_image_file(str(plain)).numpy().tobytes()
