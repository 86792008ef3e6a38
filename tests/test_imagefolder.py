"""Folders of classes: layouts, splits, keys and labels, and what is refused by name."""

from __future__ import annotations

import os
import zipfile
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from raw.imagefolder import jpeg, picture

from dataprep import index
from dataprep.__main__ import main
from dataprep.build import build
from dataprep.manifest import DataError
from dataprep.raw import Raw
from dataprep.show import table
from dataprep.sources.imagefolder import Source
from dataprep.verify import verify

ONE = jpeg(picture(0, 24, 32))


def write(folder: Path, *names: str, data: bytes = ONE) -> Raw:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return Raw(folder)


def listed(raw: Raw, **options: Any) -> list[tuple[str, str, str]]:
    """Return split, class and key of each image."""
    entries = Source(**options).entries(raw)
    classes = Source(**options).classes(entries)
    assert all(classes[entry.values["label"]] == entry.values["class"] for entry in entries)
    return [(entry.split, entry.values["class"], entry.values["key"]) for entry in entries]


@pytest.mark.parametrize("outer", ["", "flowers/", "a/b.c/"])
def test_splits_and_classes_in_any_outer_folder(outer: str, tmp_path: Path) -> None:
    names = ("train/rose/1.jpg", "train/tulip/x/2.PNG", "valid/rose/1.jpg", "test/tulip/3.jpeg")
    raw = write(tmp_path, *(outer + name for name in names), outer + "readme.txt")
    assert sorted(listed(raw)) == [
        ("test", "tulip", "test__tulip__3"),
        ("train", "rose", "train__rose__1"),
        ("train", "tulip", "train__tulip__x__2"),
        ("val", "rose", "val__rose__1"),
    ]


@pytest.mark.parametrize("outer", ["", "flowers/"])
def test_classes_alone_are_all_train(outer: str, tmp_path: Path) -> None:
    raw = write(tmp_path, *(f"{outer}{name}.jpg" for name in ("rose/1", "train/2", "tulip/y/3")))
    assert listed(raw) == [
        ("train", "rose", "train__rose__1"),
        ("train", "train", "train__train__2"),  # a train is also a thing to photograph
        ("train", "tulip", "train__tulip__y__3"),
    ]


def test_archives_stand_for_folders(tmp_path: Path) -> None:
    for archive, names in (
        ("train.zip", ["train/rose/1.jpg", "train/tulip/1.jpg"]),
        ("val.zip", ["rose/1.jpg"]),
    ):
        with zipfile.ZipFile(tmp_path / archive, "w") as file:
            for name in names:
                file.writestr(name, ONE)
    assert [key for _, _, key in listed(Raw(tmp_path))] == [
        "train__rose__1",
        "train__tulip__1",
        "val__rose__1",
    ]
    assert [key for _, _, key in listed(Raw(tmp_path / "train.zip"))] == [
        "train__rose__1",
        "train__tulip__1",
    ]


def test_labels_count_the_classes_of_all_splits(tmp_path: Path) -> None:
    raw = write(tmp_path, "train/b/1.jpg", "train/d/1.jpg", "val/a/1.jpg", "val/b/1.jpg")
    entries = Source().entries(raw)
    assert Source().classes(entries) == ["a", "b", "d"]
    assert [entry.values["label"] for entry in entries] == [1, 2, 0, 1]
    (remark,) = Source().remarks(entries)
    assert remark == "2 of 3 classes are not in every split: a (val), d (train)"
    facts = build(Source(), raw, tmp_path / "set", workers=1)
    assert facts.classes == ["a", "b", "d"] and "a, b, d" in table(facts)
    assert np.load(tmp_path / "set" / "index" / "label.npy").tolist() == [1, 2, 0, 1]


def test_keys_are_unique_and_keep_the_name(tmp_path: Path) -> None:
    names = [
        "c/1.jpg",
        "c/1.png",
        "c/a.b.jpg",
        "c/a_b.jpg",
        "c/x y\t.jpg",
        "c__1/1.jpg",
        "c/1__1.jpg",
    ]
    raw = write(tmp_path, *names, "d/é.jpg")
    keys = {entry.name: entry.values["key"] for entry in Source().entries(raw)}
    assert len(set(keys.values())) == 8 and keys["d/é.jpg"] == "train__d__é"
    assert keys["c/x y\t.jpg"] == "train__c__x_y_"
    for name in ("c/1.jpg", "c/1.png"):
        assert keys[name].startswith("train__c__1_") and len(keys[name]) == 20
    facts = build(Source(), raw, tmp_path / "set", workers=1)
    stored = index.Names(tmp_path / "set" / "index", "name", facts.samples)
    assert {stored[i] for i in range(8)} == {*names, "d/é.jpg"}


def test_names_that_are_no_utf8(tmp_path: Path) -> None:
    (tmp_path / "raw" / "c").mkdir(parents=True)
    with open(os.fsencode(tmp_path / "raw" / "c") + b"/caf\xe9.jpg", "wb") as file:
        file.write(ONE)
    build(Source(), tmp_path / "raw", tmp_path / "set", workers=1)
    assert list(verify(tmp_path / "set")) == []
    columns = tmp_path / "set" / "index"
    assert index.Names(columns, "key", 1)[0] == "train__c__caf_"
    assert os.fsencode(index.Names(columns, "name", 1)[0]) == b"c/caf\xe9.jpg"


def test_held_out_of_each_class(tmp_path: Path) -> None:
    raw = write(tmp_path, *(f"{c}/{i}.jpg" for c, n in (("a", 20), ("b", 10)) for i in range(n)))

    def held(**options: Any) -> list[str]:
        return [key for split, _, key in listed(raw, **options) if split == "val"]

    one = held(val_fraction=0.2)
    assert one == held(val_fraction=0.2) != held(val_fraction=0.2, seed=1)
    assert [sum(f"__{c}__" in key for key in one) for c in "ab"] == [4, 2]
    assert Source(val_fraction=0.2, seed=3).seeds() == {"split": 3} and Source().seeds() == {}
    with_test = write(tmp_path / "more", "test/a/1.jpg", *(f"train/a/{i}.jpg" for i in range(4)))
    assert sorted(split for split, _, _ in listed(with_test, val_fraction=0.5)) == [
        *["test"],
        *["train"] * 2,
        *["val"] * 2,
    ]
    with_val = write(tmp_path / "val", "train/a/1.jpg", "val/a/1.jpg")
    with pytest.raises(DataError, match="has a val split of its own"):
        Source(val_fraction=0.5).entries(with_val)


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (["1.jpg", "2.jpg"], r"1\.jpg: lies in no class folder: wanted is CLASS.*`build images`"),
        (["a/1.jpg", "2.jpg"], r"2\.jpg: lies in no class folder"),
        (["train/a/1.jpg", "b/1.jpg"], r"b/1\.jpg: is not in a class of a split, but train/a/1"),
        (["train/a/1.jpg", "test/1.jpg"], r"test/1\.jpg: is not in a class of a split"),
        (["a/1.txt"], "no images in it; wanted is CLASS"),
    ],
)
def test_other_layouts_are_explained(names: list[str], why: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=why):
        Source().entries(write(tmp_path, *names))


def test_members_that_lead_out_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr("a/1.jpg", ONE)
        file.writestr("../2.jpg", ONE)
    with pytest.raises(DataError, match="out of the archive"):
        build(Source(), tmp_path / "x.zip", tmp_path / "set")


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("imagefolder")
    import_module("raw.imagefolder").write(folder)
    return folder


def test_the_command_line_shows_it(raw: Path, tmp_path: Path) -> None:
    def run(*args: str) -> str:
        result = CliRunner().invoke(main, [*args, "--data-root", str(tmp_path)])
        assert result.exit_code == 0, result.output
        return result.stdout

    run("build", "imagefolder", "--raw", str(raw), "--workers", "1", "--name", "pets")
    assert "pets  imagefolder · train 12, val 5" in run("list")
    assert "field image   image, uint8, any × any × 3, encoded" in run("info", "pets")
    assert "as built" in run("verify", "pets", "--decode")
    run("preview", "pets", "--out", str(tmp_path / "sheet.png"), "--samples", "17")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.height > 17 * 30
