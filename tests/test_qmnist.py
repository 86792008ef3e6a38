"""QMNIST: tables of labels as torchvision reads them; the first test digits are MNIST's."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import zarr
from raw import qmnist as raw_qmnist
from raw.mnist import digits, idx
from raw.qmnist import rows, table
from shared import DATA

from dataprep import idx as idx_files
from dataprep.build import build
from dataprep.manifest import DataError
from dataprep.raw import Raw
from dataprep.sources.qmnist import COLUMNS, MNIST_TEST, Source

MNIST = DATA / "mnist"
needs_mnist = pytest.mark.skipif(not MNIST.is_dir(), reason=f"no {MNIST} (NOSTALL_TEST_DATA)")


def test_same_as_torchvision(tmp_path: Path) -> None:
    datasets = pytest.importorskip("torchvision.datasets")
    raw_qmnist.write(tmp_path)
    home = tmp_path / "QMNIST" / "raw"
    home.mkdir(parents=True)
    for file in [path for path in tmp_path.iterdir() if path.is_file()]:
        data = file.read_bytes()  # torchvision itself reads plain files alone
        plain = gzip.decompress(data) if file.suffix == ".gz" else data
        (home / file.name.removesuffix(".gz")).write_bytes(plain)
    facts = build(Source(), tmp_path, tmp_path / "set", workers=1)
    assert facts.splits == {"train": 60, "val": 10, "train_all": 70, "test": 12, "test10k": 12}
    images = np.asarray(zarr.open_array(tmp_path / "set" / "image.zarr", mode="r")[:])
    columns = [np.load(tmp_path / "set" / "index" / f"{name}.npy") for name in COLUMNS]
    assert [column.dtype.name for column in columns] == list(COLUMNS.values())
    for split in ("train_all", "test"):
        theirs = datasets.QMNIST(tmp_path, what=split.removesuffix("_all"), compat=False)
        ids = np.load(tmp_path / "set" / "splits" / f"{split}.npy")
        assert images[ids].tobytes() == theirs.data.numpy().tobytes()
        own = np.stack([column[ids] for column in columns], axis=1)
        assert (own == theirs.targets.numpy()[:, : len(COLUMNS)]).all()


def test_official_files_are_what_torchvision_asks_for() -> None:
    official = pytest.importorskip("torchvision.datasets").QMNIST
    theirs = {
        url: f"md5:{md5}" for what in ("train", "test") for url, md5 in official.resources[what]
    }
    files = Source.downloads().files
    assert {file.urls[0]: file.checksum for file in files} == theirs


def test_further_test_digits_are_a_split_of_their_own() -> None:
    source = Source()
    assert source.more_splits("test", MNIST_TEST - 1) == ("test10k",)
    assert source.more_splits("test", MNIST_TEST) == ("test50k",)


@needs_mnist
def test_the_real_table_begins_with_mnists_test_digits(tmp_path: Path) -> None:
    raw = Raw(MNIST)
    found = idx_files.read(raw, "qmnist-test-labels-idx2-int.gz", idx_files.TABLE)
    assert found.shape == (60_000, 8)
    labels = idx_files.read(raw, "t10k-labels-idx1-ubyte.gz", idx_files.LABELS)
    assert (found[:10_000, 0] == labels).all()
    (tmp_path / "qmnist-test-labels-idx2-int").write_bytes(table(found[:10_000]))
    images = MNIST / "t10k-images-idx3-ubyte.gz"
    (tmp_path / "qmnist-test-images-idx3-ubyte.gz").symlink_to(images)
    source = Source()
    entries = source.entries(Raw(tmp_path))
    assert source.remarks(entries) == [
        "no train files are there: built without split train",
        "test has 10,000 of 60,000 images",
    ]
    assert [entry.values["writer"] for entry in entries] == found[:10_000, 2].tolist()


BAD = {
    "a table for MNIST's labels": (idx(digits(70)[1]), "magic number is 2049, not 3074"),
    "fewer columns": (table(rows(70)[:, :5]), "has 5 numbers a label, not 8"),
    "cut short": (table(rows(70))[:-4], "it is cut short"),
    "fewer rows": (table(rows(69)), "has 69 labels, but .* has 70 images"),
    "no digit": (table(rows(70) + 5), "label 5 is 10, not 0 to 9"),
    "below 0": (table(rows(70) * [-1, *[1] * 7]), "label 1 is -1, not 0 to 9"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_bad_is_named(kind: str, tmp_path: Path) -> None:
    data, why = BAD[kind]
    raw_qmnist.write(tmp_path)
    (tmp_path / "qmnist-train-labels-idx2-int").write_bytes(data)
    with pytest.raises(DataError, match=f"qmnist-train-labels-idx2-int: .*{why}"):
        build(Source(), tmp_path, tmp_path / "set", workers=1)
