"""CIFAR's pickles: read as torchvision reads them, in a folder or archive; what is bad is named."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from click.testing import CliRunner
from raw import cifar10 as raw_cifar10
from raw import cifar100 as raw_cifar100
from raw.cifar10 import batch, files, pickled
from shared import folder

from dataprep.__main__ import main
from dataprep.build import build
from dataprep.manifest import DataError, Manifest
from dataprep.raw import Raw
from dataprep.sources import cifar10, cifar100


def write(path: Path, content: dict[str, bytes]) -> Path:
    path.mkdir(parents=True)
    for name, data in content.items():
        (path / name).write_bytes(data)
    return path


def stored(path: Path, facts: Manifest, split: str) -> tuple[Any, Any]:
    """Return a split's images and labels, as any reader of zarr and npy sees them."""
    ids = np.load(path / "splits" / f"{split}.npy")
    images = np.asarray(zarr.open_array(path / "image.zarr", mode="r")[:])
    assert images.shape == (facts.samples, 32, 32, 3)
    return images[ids], np.load(path / "index" / "label.npy")[ids]


def theirs(root: Path, train: bool, batches: int) -> Any:
    """Return torchvision's reader, told that some batches are all there are."""
    datasets = pytest.importorskip("torchvision.datasets")

    class Partial(datasets.CIFAR10):  # type: ignore[misc,name-defined]
        train_list = [[f"data_batch_{i}", None] for i in range(1, batches + 1)]  # noqa: RUF012
        test_list = [["test_batch", None]]  # noqa: RUF012

    return Partial(str(root), train=train)


def test_real_batches_are_those_that_torchvision_reads(tmp_path: Path) -> None:
    real = folder("cifar10")
    source = cifar10.Source()
    facts = build(source, real, tmp_path / "set", workers=1)
    assert source.remarks(source.entries(Raw(real))) == [
        "train has 3,728 of 50,000 images",
        "test has 423 of 10,000 images",
    ]
    for split in ("train_all", "test"):
        images, labels = stored(tmp_path / "set", facts, split)
        peer = theirs(real, split != "test", 4)
        assert images.tobytes() == peer.data.tobytes() and labels.tolist() == peer.targets
        assert facts.classes == peer.classes
    parts = [set(np.load(tmp_path / "set" / "splits" / f"{s}.npy")) for s in ("train", "val")]
    assert len(parts[0] | parts[1]) == 3728 and not parts[0] & parts[1]


def test_every_layout_makes_the_same_set(tmp_path: Path) -> None:
    content = files(14)
    layouts = {
        "plain": write(tmp_path / "plain", content),
        "official": write(tmp_path / "official" / "cifar-10-batches-py", content).parent,
        "outer": write(tmp_path / "outer" / "some" / "folder", content).parents[1],
        "archive": tmp_path / "cifar-10-python.tar.gz",
        "downloaded": write(tmp_path / "downloaded" / "cifar-10-batches-py", content).parent,
        "zip": tmp_path / "all.zip",
    }
    raw_cifar10.write_archive(layouts["archive"], content)
    raw_cifar10.write_archive(layouts["downloaded"] / "cifar-10-python.tar.gz", content)
    with zipfile.ZipFile(layouts["zip"], "w") as archive:
        for name, data in content.items():
            archive.writestr(f"x/{name}", data)
    sets = {
        name: build(cifar10.Source(), raw, tmp_path / f"set-{name}", workers=1).files
        for name, raw in layouts.items()
    }
    assert all(one == sets["plain"] for one in sets.values())


def test_cifar100_has_both_labels(tmp_path: Path) -> None:
    raw_cifar100.write(tmp_path)
    facts = build(cifar100.Source(), tmp_path, tmp_path / "set", workers=1)
    assert facts.splits == {"train": 600, "val": 100, "train_all": 700, "test": 100}
    assert facts.classes[:2] == ["apple", "aquarium_fish"] and facts.classes[-1] == "worm"
    assert len(set(facts.classes)) == 100 and sorted(facts.classes) == facts.classes
    fine, coarse = (
        np.load(tmp_path / "set" / "index" / f"{name}.npy") for name in ("label", "coarse_label")
    )
    assert (fine[:700] == np.arange(700) % 100).all() and (coarse == fine // 5).all()
    images, _ = stored(tmp_path / "set", facts, "train_all")
    pixels = raw_cifar100.content(700)["data"]
    assert (images[3, 5, 7] == pixels[3, [5 * 32 + 7 + 1024 * c for c in range(3)]]).all()
    datasets = pytest.importorskip("torchvision.datasets")
    official = datasets.CIFAR100
    peer = pickle.loads((tmp_path / "cifar-100-python" / "test").read_bytes())
    assert [file.checksum for file in cifar100.Source.downloads().files] == [
        f"md5:{official.tgz_md5}"
    ]
    assert peer["fine_labels"] == fine[700:].tolist()


def test_official_archive_is_what_torchvision_asks_for() -> None:
    official = pytest.importorskip("torchvision.datasets").CIFAR10
    (file,) = cifar10.Source.downloads().files
    assert (file.name, file.checksum) == (official.filename, f"md5:{official.tgz_md5}")


WRONG = batch(14)
BAD: dict[str, tuple[dict[bytes, Any], str]] = {
    "label too high": ({b"labels": [0] * 13 + [10]}, "labels 13 is 10, not 0 to 9"),
    "label below 0": ({b"labels": [0, -1] * 7}, "labels 1 is -1, not 0 to 9"),
    "no label": ({b"labels": None}, "has no labels"),
    "text for a label": ({b"labels": [b"cat"] * 14}, "labels 0 is .*cat.*, not a whole number"),
    "true for a label": ({b"labels": [0, True] * 7}, "labels 1 is 'True', not a whole number"),
    "fewer labels": ({b"labels": [1] * 13}, "has 13 labels, but 14 images"),
    "other pixels": ({b"data": np.zeros((14, 784), np.uint8)}, r"pixels are \(14, 784\), not"),
    "wider pixels": ({b"data": np.zeros((14, 3072), np.int64)}, "holds no pixels of a CIFAR-10"),
    "flat pixels": ({b"data": np.zeros(14 * 3072, np.uint8)}, "pixels are "),
    "a list of pixels": ({b"data": [1, 2]}, "holds no pixels"),
    "a number of pixels": ({b"data": 5}, "holds no pixels"),
    "text of pixels": ({b"data": b"\0" * 3072}, "holds no pixels"),
    "pixels without sides": ({b"data": np.array(3, np.uint8)}, r"pixels are \(\), not"),
    "one label": ({b"labels": 5}, "its labels are of type int, not a list"),
    "labels in text": ({b"labels": b"0" * 14}, "its labels are of type bytes, not a list"),
    "labels by name": ({b"labels": {b"a": 1}}, "its labels are of type dict, not a list"),
    "a label's array": (
        {b"labels": np.array(3)},
        r"labels are of type ndarray of \(\), not a list",
    ),
    "a table of labels": (
        {b"labels": np.zeros((14, 1), int)},
        r"labels are of type ndarray of \(14, 1\), not a list",
    ),
    "an array's label": ({b"labels": np.arange(14)}, "labels 10 is 10, not 0 to 9"),
    "a huge label": ({b"labels": [0, 2**70] * 7}, "labels 1 is a huge number, not 0 to 9"),
    "a label far below": (
        {b"labels": [0, -(2**2000)] * 7},
        "labels 1 is a huge number, not 0 to 9",
    ),
    "a list for a label": ({b"labels": [[0], 1] * 7}, "labels 0 is 'list', not a whole number"),
    "odd text for a label": (
        {b"labels": ["a\nb", 1] * 7},
        r"labels 0 is 'a\?b', not a whole number",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_bad_is_named_in_one_line(kind: str, tmp_path: Path) -> None:
    changes, why = BAD[kind]
    content = files(14) | {"data_batch_2": pickled(WRONG | changes)}
    raw = write(tmp_path / "raw", content)
    with pytest.raises(DataError, match=f"data_batch_2: .*{why}"):
        build(cifar10.Source(), raw, tmp_path / "set", workers=1)
    options = ["build", "cifar10", "--raw", str(raw), "--data-root", str(tmp_path)]
    result = CliRunner().invoke(main, options)
    assert result.exit_code == 2 and len(result.output.strip().splitlines()) == 1


def test_other_class_names_are_refused(tmp_path: Path) -> None:
    meta = pickled({b"label_names": [b"cat", b"dog"]})
    raw = write(tmp_path / "raw", files(14) | {"batches.meta": meta})
    with pytest.raises(
        DataError, match=r"batches.meta: its label_names are not CIFAR-10's: cat, dog"
    ):
        cifar10.Source().entries(Raw(raw))


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (5, "are of type int, not a list"),
        (b"cat", "are of type bytes, not a list"),
        (np.zeros((2, 2), int), r"are of type ndarray of \(2, 2\), not a list"),
        (np.arange(10), "are not CIFAR-10's: 0, 1, 2…"),
        ([[b"cat"], None, "a\nb"], r"are not CIFAR-10's: list, NoneType, a\?b…"),
        ([], "are not CIFAR-10's"),
    ],
)
def test_class_names_of_another_kind_are_refused(names: Any, why: str, tmp_path: Path) -> None:
    meta = pickled({b"label_names": names})
    raw = write(tmp_path / "raw", files(14) | {"batches.meta": meta})
    with pytest.raises(DataError, match=f"batches.meta: its label_names {why}") as error:
        cifar10.Source().entries(Raw(raw))
    assert "\n" not in str(error.value)
    (raw / "batches.meta").write_bytes(pickled({b"num_cases_per_batch": 14}))
    with pytest.raises(DataError, match=r"batches.meta: has no label_names"):
        cifar10.Source().entries(Raw(raw))


def test_labels_in_an_array_are_those_of_a_list(tmp_path: Path) -> None:
    content = files(14)
    other = {
        name: pickled(batch(14, i) | {b"labels": np.arange(14, dtype="u1") % 10})
        for i, name in enumerate(raw_cifar10.ORDER)
    }
    sets = [
        build(cifar10.Source(), write(tmp_path / name, files_), tmp_path / f"set-{name}", workers=1)
        for name, files_ in (("list", content), ("array", content | other))
    ]
    assert sets[0].files == sets[1].files


def test_tuples_that_hold_themselves_are_named_by_type(tmp_path: Path) -> None:
    """Their text would double with every three bytes of the file."""
    nested = b"K\x01" + b"q\x00h\x00\x86" * 20
    raw = write(tmp_path / "raw", files(14))
    (raw / "batches.meta").write_bytes(b"\x80\x02}U\x0blabel_names]" + nested + b"as.")
    with pytest.raises(DataError, match="label_names are not CIFAR-10's: tuple…"):
        cifar10.Source().entries(Raw(raw))
    (raw / "batches.meta").unlink()
    data = pickled({b"data": np.zeros((1, 3072), np.uint8)})
    end = b"X\x06\0\0\0labels]" + nested + b"as."
    (raw / "data_batch_1").write_bytes(data[:-1] + end)
    with pytest.raises(DataError, match="data_batch_1: labels 0 is 'tuple', not a whole number"):
        cifar10.Source().entries(Raw(raw))


def test_other_images_are_said(tmp_path: Path) -> None:
    source = cifar10.Source()
    entries = source.entries(Raw(write(tmp_path / "raw", files(14))))
    assert "does not begin with CIFAR-10's first image" in source.remarks(entries)[0]
