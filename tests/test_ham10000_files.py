"""HAM10000's files in a mess: which are taken, and what is refused with its name and a hint."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
from ham_sets import PARTIAL, TABLE, TRUTH
from raw import ham10000 as small
from raw.ham10000 import FIRST, IMAGES, picture, table, zipped

from dataprep.build import build
from dataprep.manifest import DataError
from dataprep.raw import Raw
from dataprep.sources.ham10000 import Source


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    small.write(tmp_path / "raw")
    return tmp_path / "raw"


def test_all_of_it_is_wanted(raw: Path) -> None:
    with pytest.raises(DataError) as error:
        Source().entries(Raw(raw))
    why = str(error.value)
    assert f"raw: {TABLE} and the images are not all of HAM10000: 21 of 10,015 images" in why
    assert "nv 3 of 6,705" in why and "14 of 7,470 lesions" in why
    assert why.endswith("--allow-partial builds what is there")
    (raw / IMAGES / f"ISIC_{FIRST:07d}.jpg").unlink()
    (raw / IMAGES / "ISIC_0030000.jpg").write_bytes(picture(1))
    with pytest.raises(DataError) as error:
        Source().entries(Raw(raw))
    assert "1 images have no row: ISIC_0030000; 1 rows have no image: ISIC_0024306;" in str(
        error.value
    )
    facts = PARTIAL.entries(Raw(raw))[0].values["listing"]
    assert (facts["rowless"], facts["lacking"]) == (1, 1)


def test_which_table_is_taken(raw: Path) -> None:
    def said() -> str:
        return PARTIAL.remarks(PARTIAL.entries(Raw(raw)))[0]

    lines = table()
    (raw / "subset.csv").write_text("\n".join(lines[:5]))
    (raw / "HAM10000_metadata.tab").write_text("\n".join(lines).replace(",", "\t"))
    (raw / "hmnist_28_28_RGB.csv").write_text("pixel0000,label\n1,2\n")
    assert said() == f"labels are those of {TABLE}; the same say HAM10000_metadata.tab, subset.csv"
    (raw / TABLE).rename(raw / "labels.csv")
    assert said().startswith("labels are those of HAM10000_metadata.tab;")
    (raw / "HAM10000_metadata.tab").unlink()
    assert said() == "labels are those of labels.csv; the same say subset.csv"
    (raw / "subset.csv").write_text("\n".join(lines[:5]).replace("akiec", "nv"))
    with pytest.raises(DataError) as error:
        said()
    why = "subset.csv: line 2: ISIC_0024306 is nv of HAM_0000000, but akiec of HAM_0000000 in"
    assert f"{why} labels.csv: name the right table by --table" in str(error.value)
    chosen = Source(allow_partial=True, table="labels.csv").entries(Raw(raw))
    assert len(chosen) == 23
    with pytest.raises(DataError, match=r"no table 'x.csv'; there are: labels.csv, subset.csv"):
        Source(table="x.csv").entries(Raw(raw))


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        (TABLE, b"<html>", "HAM10000_metadata.csv: is a web page, not a table"),
        (TABLE, b"image_id,dx\n", "HAM10000_metadata.csv: has the columns image_id, dx: wanted"),
        (TRUTH, b"<html>", f"{TRUTH}: is a web page"),
        (
            TABLE,
            b"image,MEL,NV,BCC,AKIEC,BKL,DF,VASC\nISIC_0024306,1,0,0,0,0,0,0\n",
            f"{TABLE}: does not say which images show the same lesion",
        ),
        (f"{IMAGES}.zip", b"<html>", "HAM10000_images_part_1.zip: damaged or not a zip"),
    ],
)
def test_failed_downloads_are_named(name: str, data: bytes, why: str, raw: Path) -> None:
    (raw / name).write_bytes(data)
    with pytest.raises(DataError, match=why):
        PARTIAL.entries(Raw(raw))


def test_no_table_and_no_images(raw: Path, tmp_path: Path) -> None:
    (raw / TABLE).unlink()
    wanted = "wanted is HAM10000_metadata"
    with pytest.raises(DataError, match=f"raw: no table of labels in it: {wanted}"):
        PARTIAL.entries(Raw(raw))
    (raw / "ISIC2018_Task3_Training_GroundTruth.csv").write_text("image,MEL\n")
    with pytest.raises(DataError, match=r"does not say which images show the same lesion; wanted"):
        PARTIAL.entries(Raw(raw))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: no images like ISIC_0024306.jpg in it$"):
        PARTIAL.entries(Raw(tmp_path / "empty"))


def test_archives_in_an_archive_are_to_be_unpacked(raw: Path, tmp_path: Path) -> None:
    packed = zipped(raw, tmp_path / "packed")
    with zipfile.ZipFile(tmp_path / "dataverse_files.zip", "w") as archive:
        for path in packed.iterdir():
            archive.write(path, path.name)
    with pytest.raises(DataError, match=r"dataverse_files.zip: no images .*: unpack the outer one"):
        PARTIAL.entries(Raw(tmp_path / "dataverse_files.zip"))


def test_the_largest_of_several_files_is_taken_or_a_folder_s(raw: Path) -> None:
    shutil.copytree(raw / IMAGES, raw / "small")
    for path in (raw / "small").iterdir():
        path.write_bytes(picture(int(path.stem[5:]), 22, 30))
    entries = PARTIAL.entries(Raw(raw))
    assert not any("small" in entry.name for entry in entries)
    line = "21 images lie there in several sizes, the largest file is taken"
    assert any(remark.startswith(line) for remark in PARTIAL.remarks(entries))
    chosen = Source(allow_partial=True, images="small").entries(Raw(raw))
    assert sum(entry.name.startswith("small/") for entry in chosen) == 21 and len(chosen) == 23
    with pytest.raises(
        DataError, match=r"no images in 'x'; they lie in HAM10000_images_part_1, small"
    ):
        Source(images="x").entries(Raw(raw))


@pytest.mark.parametrize(
    ("data", "why"),
    [(picture(1)[:900], "corrupt image"), (b"", "not an image"), (b"<html>", "not an image")],
)
def test_a_bad_image_is_named_or_skipped(data: bytes, why: str, raw: Path, tmp_path: Path) -> None:
    (raw / IMAGES / "ISIC_0024310.jpg").write_bytes(data)
    with pytest.raises(DataError, match=rf"{IMAGES}/ISIC_0024310.jpg: .*{why}"):
        build(PARTIAL, raw, tmp_path / "set", workers=1)
    facts = build(PARTIAL, raw, tmp_path / "other", workers=1, on_error="skip")
    assert facts.samples == 22 and facts.skipped[0]["name"] == f"{IMAGES}/ISIC_0024310.jpg"


def test_what_is_no_image_of_it_is_not_read(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dataprep.sources.ham10000.IMAGE_BYTES", 100)
    entry = PARTIAL.entries(Raw(raw))[0]
    with pytest.raises(DataError, match=r"is of .* bytes: none of HAM10000"):
        list(PARTIAL.read(Raw(raw), entry))


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"shares": (0.7, 0.1, 0.1, 0.2)}, "--shares must add up to 1, train's above 0, not 0.7,"),
        ({"shares": (0.0, 0.5, 0.3, 0.2)}, "--shares must add up to 1, train's above 0"),
        ({"shares": (1.2, -0.2, 0.0, 0.0)}, "--shares"),
        ({"shares": (float("nan"), 0.0, 0.0, 0.0)}, "--shares must add up to 1"),
        ({"split": "image", "shares": (0.8, 0.1, 0.1, 0.0)}, "--shares are those of the split by"),
        ({"seed": -1}, "--seed must be 0 to"),
    ],
)
def test_bad_options(options: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Source(**options)


def test_a_class_of_one_image_cannot_be_split_by_image(raw: Path) -> None:
    lines = [line for line in table() if ",vasc," not in line or "ISIC_0024326" in line]
    (raw / TABLE).write_text("\n".join(lines))
    with pytest.raises(ValueError, match="--split image cannot part these images: The least"):
        Source(allow_partial=True, split="image").entries(Raw(raw))
