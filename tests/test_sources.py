"""Over every source file: a tiny raw fixture is built, verified and read back, pixel for pixel."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from raw.df2k import png
from raw.srbench import save

from dataprep import index, manifest, sources
from dataprep.bicubic import downscale
from dataprep.build import build
from dataprep.encode import Encoded
from dataprep.image import decode
from dataprep.manifest import DataError, Manifest
from dataprep.preview import read
from dataprep.raw import Raw
from dataprep.sources import df2k, srbench
from dataprep.tar import tar_path
from dataprep.verify import verify

DATA = Path(os.environ.get("NOSTALL_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")
SET5 = DATA / "sr" / "Set5"
needs_set5 = pytest.mark.skipif(not SET5.is_dir(), reason=f"no {SET5} (NOSTALL_TEST_DATA)")


@pytest.mark.parametrize("name", sources.names())
def test_every_source(name: str, tmp_path: Path) -> None:
    raw_folder, folder = tmp_path / "raw", tmp_path / "set"
    raw_folder.mkdir()
    source = sources.load(name)(**import_module(f"raw.{name}").write(raw_folder))
    raw = Raw(raw_folder)
    entries = source.entries(raw)
    assert entries == source.entries(raw)
    facts = build(source, raw, folder, workers=1)
    assert list(verify(folder, decode=True)) == []
    assert manifest.load(folder) == facts  # what was saved is what is read
    assert facts.samples >= len(entries) and facts.source == name
    samples = [sample for entry in entries for sample in source.read(raw, entry)]
    keys = index.Names(folder / "index", "key", facts.samples)
    assert [keys[i] for i in range(facts.samples)] == [sample.key for sample in samples]
    for field in facts.fields:
        check_field(folder, facts, field, [sample.fields[field] for sample in samples])
    for split, size in facts.splits.items():
        ids = np.load(folder / "splits" / f"{split}.npy")
        assert ids.dtype == np.int64 and len(ids) == size and (np.diff(ids) > 0).all()
        per_entry = {entry.name for entry in entries if split in (entry.split, *entry.also)}
        names = index.Names(folder / "index", "name", facts.samples)
        assert {names[i] for i in ids.tolist()} == per_entry


def check_field(folder: Path, facts: Manifest, name: str, values: list[Any]) -> None:
    """Compare what lies in the set, as any reader sees it, with what the source gave."""
    field = facts.fields[name]
    if field.kind == "value":
        assert np.array_equal(np.load(folder / "index" / f"{name}.npy"), np.array(values))
        return
    if field.kind == "points":
        items, starts = (
            np.load(folder / "index" / f"{name}.{w}.npy") for w in ("values", "starts")
        )
        for i, value in enumerate(values):
            assert np.array_equal(items[starts[i] : starts[i + 1]], value, equal_nan=True)
        return
    for i, value in enumerate(values):
        shown = value.upright if isinstance(value, Encoded) else value
        assert (read(folder, facts, name, i) == shown).all()
        shard, offset, height, width = (
            int(np.load(folder / "index" / f"{name}.{what}.npy")[i])
            for what in ("shard", "offset", "height", "width")
        )
        assert (height, width) == shown.shape[:2]
        if isinstance(value, Encoded):
            data = tar_path(folder, shard).read_bytes()
            assert data[offset : offset + len(value.data)] == value.data
        else:
            array = zarr.open_array(folder / f"{name}.zarr", mode="r")
            row = value.size if array.ndim > 1 else 1  # an image, or one number
            start = shard * array.chunks[0] + offset // (np.dtype(field.dtype).itemsize * row)
            flat = array[start : start + value.size // row]
            assert (flat.reshape(value.shape) == value).all()


def test_df2k_refuses_missing_images_and_says_missing_parts(tmp_path: Path) -> None:
    import_module("raw.df2k").write(tmp_path)
    with pytest.raises(DataError, match="DIV2K train has 3 of 800 images, 0003 is missing"):
        df2k.Source().entries(Raw(tmp_path))
    source = df2k.Source(allow_partial=True)
    entries = source.entries(Raw(tmp_path))
    splits = {source.key(entry): entry.split for entry in entries}
    assert splits == {
        "div2k_0001": "train",
        "div2k_0002": "train",
        "div2k_0800": "train",
        "div2k_0801": "val",
        "flickr2k_000001": "train",
    }
    assert source.remarks(entries)[2] == "Flickr2K has 1 of 2650 images, 000002 is missing"
    flickr = [entry for entry in entries if "Flickr" in entry.name]
    assert source.remarks(flickr)[0] == "DIV2K train is not there: built without it"


def test_df2k_takes_a_file_before_its_packed_copy(tmp_path: Path) -> None:
    import_module("raw.df2k").write(tmp_path)
    (tmp_path / "DIV2K_valid_HR").mkdir()
    (tmp_path / "DIV2K_valid_HR" / "0801.png").write_bytes(png(801))
    names = [entry.name for entry in df2k.Source(allow_partial=True).entries(Raw(tmp_path))]
    assert "DIV2K_valid_HR/0801.png" in names and len(names) == 5


def test_df2k_of_something_else(tmp_path: Path) -> None:
    folder = tmp_path / "holidays"
    folder.mkdir()
    (folder / "0001.png").write_bytes(png(1))
    with pytest.raises(DataError, match="no DIV2K or Flickr2K"):
        df2k.Source().entries(Raw(folder))


@pytest.mark.parametrize(
    ("path", "want"),
    [
        ("Set5/HR/baby.png", ("set5", "baby", True, 0)),
        ("benchmark/Set5/LR_bicubic/X4/babyx4.png", ("set5", "baby", False, 4)),
        ("BSDS100/101085.png", ("bsd100", "101085", True, 0)),
        ("B100.zip/HR/3096.png", ("bsd100", "3096", True, 0)),
        ("Set14/GTmod12/comic.png", ("set14", "comic", True, 0)),
        ("Set14/LRbicx3/comic.png", ("set14", "comic", False, 3)),
        ("Set5/image_SRF_2/img_001_SRF_2_HR.png", ("set5", "img_001", True, 2)),
        ("Set5/image_SRF_2/img_001_SRF_2_LR.png", ("set5", "img_001", False, 2)),
        ("Set5/image_SRF_2/img_001_SRF_2_SelfExSR.png", None),
        ("LR/LRBI/Set5/x4/baby_LRBI_x4.png", ("set5", "baby", False, 4)),
        ("HR/Set5/x4/baby_HR_x4.png", ("set5", "baby", True, 4)),
        ("Set5/baby_GT.bmp", ("set5", "baby", True, 0)),
        ("Manga109/AisazuNihaIrarenai.png", ("manga109", "AisazuNihaIrarenai", True, 0)),
        ("Set5/results/baby.png", None),
        ("Set50/baby.png", None),
    ],
)
def test_benchmark_layouts(path: str, want: object) -> None:
    file = srbench.parse(path)
    assert (file and tuple(file)) == want


def test_benchmark_prefers_official_lr_and_records_it(tmp_path: Path) -> None:
    import_module("raw.srbench").write(tmp_path)
    facts = build(srbench.Source(), tmp_path, tmp_path / "set", workers=1)
    assert facts.splits == {"set5": 2, "urban100": 1}
    assert facts.notes["set5: lr_x2 official"] == facts.notes["urban100: lr_x4 official"] == 1
    assert facts.notes["set5: lr_x2 made, symmetric border"] == 1
    assert (read(tmp_path / "set", facts, "lr_x2", 0) == 7).all()  # baby's, from its file
    assert (read(tmp_path / "set", facts, "lr_x2", 1) == 120).all()  # bird's, made


def test_benchmark_leaves_out_lr_of_another_size(tmp_path: Path) -> None:
    save(tmp_path / "Set5" / "HR" / "baby.png", 40, 40, 50)
    save(tmp_path / "Set5" / "LR_bicubic" / "X2" / "babyx2.png", 19, 20, 7)
    facts = build(srbench.Source(), tmp_path / "Set5", tmp_path / "set", workers=1)
    why = "set5: lr_x2 made, symmetric border: the official one has another size"
    assert facts.notes[why] == 1
    assert (read(tmp_path / "set", facts, "lr_x2", 0) == 50).all()


def test_urban100_never_takes_the_half_size_hr(tmp_path: Path) -> None:
    two = tmp_path / "Urban100" / "image_SRF_2"
    save(two / "img_001_SRF_2_HR.png", 24, 24, 50)
    save(two / "img_001_SRF_2_LR.png", 12, 12, 50)
    with pytest.raises(DataError, match="half size"):
        srbench.Source().entries(Raw(tmp_path))
    save(tmp_path / "Urban100" / "image_SRF_4" / "img_001_SRF_4_HR.png", 48, 48, 60)
    facts = build(srbench.Source(), tmp_path, tmp_path / "set", workers=1)
    assert (read(tmp_path / "set", facts, "lr_x2", 0) == 60).all()


def test_one_hr_of_several_is_the_one_that_lr_files_fit(tmp_path: Path) -> None:
    save(tmp_path / "Set14" / "original" / "a.png", 50, 50, 1)
    save(tmp_path / "Set14" / "GTmod12" / "a.png", 48, 48, 2)
    raw = tmp_path / "Set14"
    assert srbench.Source().entries(Raw(raw))[0].members["hr"] == "original/a.png"
    save(tmp_path / "Set14" / "LRbicx2" / "a.png", 24, 24, 3)
    assert srbench.Source().entries(Raw(raw))[0].members["hr"] == "GTmod12/a.png"


@needs_set5
def test_real_set5_takes_the_official_files(tmp_path: Path) -> None:
    facts = build(srbench.Source(), SET5, tmp_path / "set", workers=1)
    assert facts.notes == {f"set5: lr_x{scale} official": 5 for scale in (2, 3, 4)}
    keys = index.Names(tmp_path / "set" / "index", "key", 5)
    for i in range(5):
        name = keys[i].removeprefix("set5__")
        hr = read(tmp_path / "set", facts, "hr", i)
        for scale in (2, 3, 4):
            lr = read(tmp_path / "set", facts, f"lr_x{scale}", i)
            file = SET5 / "LR_bicubic" / f"X{scale}" / f"{name}x{scale}.png"
            assert (lr == decode(file.read_bytes()).pixels).all()
            assert (lr == downscale(hr, scale)).all()
