"""CINIC-10: folders or the archive as it is, three splits, with and without CIFAR-10's images."""

from __future__ import annotations

import io
import random
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from PIL import Image
from raw import cinic10 as raw_cinic10
from raw.cinic10 import png
from shared import folder

from dataprep import index
from dataprep.build import build
from dataprep.manifest import DataError
from dataprep.raw import Raw
from dataprep.sources import cinic10
from dataprep.sources.cinic10 import Source


def test_real_tiles_are_those_that_pillow_reads(tmp_path: Path) -> None:
    real = folder("cinic10")
    facts = build(Source(), real, tmp_path / "set", workers=1)
    assert facts.splits == {"train": 700, "val": 300, "train_all": 1000, "test": 300}
    images = np.asarray(zarr.open_array(tmp_path / "set" / "image.zarr", mode="r")[:])
    labels = np.load(tmp_path / "set" / "index" / "label.npy")
    names = index.Names(tmp_path / "set" / "index", "name", facts.samples)
    assert facts.classes == sorted(path.name for path in (real / "train").iterdir())
    for i in range(0, facts.samples, 37):
        assert (images[i] == np.asarray(Image.open(real / names[i]).convert("RGB"))).all()
        assert facts.classes[labels[i]] == names[i].split("/")[1]


def test_cifar10_is_left_out_where_asked(tmp_path: Path) -> None:
    raw_cinic10.write(tmp_path)
    raw = Raw(tmp_path)
    every, own = Source().entries(raw), Source(cifar10=False).entries(raw)
    assert len(every) == 24 and len(own) == 12
    assert [e for e in every if not e.name.split("/")[-1].startswith("cifar10-")] == own
    assert Source(cifar10=False).remarks(own)[0] == "train has 4 of 70,000 images"


def archive(path: Path, files: dict[str, bytes]) -> Path:
    """Write the official archive, in an order of its own."""
    names = sorted(files)
    random.Random(0).shuffle(names)
    with tarfile.open(path, "w:gz") as tar:
        for name in names:
            info = tarfile.TarInfo(f"./{name}")
            info.size = len(files[name])
            tar.addfile(info, io.BytesIO(files[name]))
    return path


def by_key(path: Path, samples: int) -> dict[str, Any]:
    keys = index.Names(path / "index", "key", samples)
    images = np.asarray(zarr.open_array(path / "image.zarr", mode="r")[:])
    labels = np.load(path / "index" / "label.npy")
    return {keys[i]: (images[i].tobytes(), labels[i]) for i in range(samples)}


def test_the_archive_is_read_as_it_is_from_front_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw_cinic10.write(tmp_path / "raw")
    packed = archive(tmp_path / "CINIC-10.tar.gz", raw_cinic10.files())
    places: list[int] = []
    read = Raw.read

    def noted(self: Raw, name: str) -> bytes:
        place = self.place(name)
        places.append(place[1] if place else -1)
        return read(self, name)

    monkeypatch.setattr(Raw, "read", noted)
    facts = build(Source(), packed, tmp_path / "packed", workers=1)
    assert len(places) == 24 and places == sorted(places) and places[0] > 0
    build(Source(), tmp_path / "raw", tmp_path / "plain", workers=1)
    assert by_key(tmp_path / "packed", 24) == by_key(tmp_path / "plain", 24)
    assert facts.notes == {"grey replicated to RGB": 6}
    two = build(Source(), packed, tmp_path / "two", workers=2)
    assert two.files == facts.files


def test_train_and_test_alone_are_enough(tmp_path: Path) -> None:
    for name, data in raw_cinic10.files().items():
        if not name.startswith("valid/"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(data)
    said: list[str] = []
    facts = build(Source(), tmp_path, tmp_path / "set", workers=1, say=said.append)
    assert facts.splits == {"train": 8, "test": 8}
    assert "no val images are there: built without split val" in said


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("train/cat/large.png", png(0, side=33), "is of 33×33 pixels, not 32×32"),
        ("train/cat/cut.png", png(0)[:-20], "corrupt image"),
        ("train/lion/1.png", png(0), "lion is no class of CINIC-10"),
        ("cat/1.png", png(0), "is not in a class of a split"),
    ],
)
def test_what_is_bad_is_named(name: str, data: bytes, why: str, tmp_path: Path) -> None:
    raw_cinic10.write(tmp_path)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=f"{name}: {why}"):
        build(Source(), tmp_path, tmp_path / "set", workers=1)


def test_official_figures() -> None:
    (file,) = Source.downloads().files
    assert file.size_bytes == 687_544_992 and len(cinic10.CLASSES) == 10
