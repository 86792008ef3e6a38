"""HAM10000's sample data as it lies there: 735 small images, 42 large ones, three tables, masks."""

from __future__ import annotations

import csv
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from shared import folder

from dataprep import index
from dataprep.build import build
from dataprep.manifest import DataError, Manifest
from dataprep.preview import read
from dataprep.raw import Raw
from dataprep.sources.ham10000 import Source

REAL = folder("ham10000")
SMALL = "images_200x150"
SPLITS = ("train", "val", "calibration", "test")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    place = tmp_path_factory.mktemp("ham10000") / "set"
    source = Source(
        allow_partial=True, images=SMALL, masks=str(REAL / "masks_200x150"), restart=False
    )
    return place, build(source, REAL, place, workers=1)


@pytest.fixture(scope="module")
def records() -> dict[str, dict[str, str]]:
    with open(REAL / "subset_metadata.csv", newline="") as file:
        return {record["image_id"]: record for record in csv.DictReader(file)}


def test_every_image_has_its_class_and_lesion(
    built: tuple[Path, Manifest], records: dict[str, dict[str, str]]
) -> None:
    place, facts = built
    keys = index.Names(place / "index", "key", 735)
    names = index.Names(place / "index", "name", 735)
    labels, lesions = (np.load(place / "index" / f"{n}.npy") for n in ("label", "lesion"))
    assert {keys[i] for i in range(735)} == set(records)
    for i in range(735):
        record = records[keys[i]]
        assert facts.classes[labels[i]] == record["dx"]
        assert f"HAM_{lesions[i]:07d}" == record["lesion_id"]
        assert names[i] == f"{SMALL}/{keys[i]}.jpg"


def test_splits_are_apart_and_have_every_class(
    built: tuple[Path, Manifest], records: dict[str, dict[str, str]]
) -> None:
    place, facts = built
    keys = index.Names(place / "index", "key", 735)
    of = {
        name: [records[keys[i]] for i in np.load(place / "splits" / f"{name}.npy").tolist()]
        for name in SPLITS
    }
    assert sum(map(len, of.values())) == 735 and facts.splits.keys() == of.keys()
    lesions = [{record["lesion_id"] for record in own} for own in of.values()]
    assert sum(map(len, lesions)) == len(set().union(*lesions)) == 431
    counts = {name: Counter(record["dx"] for record in own) for name, own in of.items()}
    assert all(len(count) == 7 for count in counts.values())
    for name, share in zip(SPLITS, (0.7, 0.1, 0.1, 0.1), strict=True):
        for dx, total in Counter(record["dx"] for record in records.values()).items():
            assert abs(counts[name][dx] - share * total) <= 6
    assert facts.checks["lesions"]["disjoint"]
    assert set(facts.checks["lesions"]["shared"].values()) == {0}
    assert facts.checks["near_duplicates"]["pairs"] == 0


def test_masks_lie_on_their_images(built: tuple[Path, Manifest]) -> None:
    place, _ = built
    keys = index.Names(place / "index", "key", 735)
    darker = 0
    for i in range(0, 735, 21):
        picture, mask = read(place, built[1], "image", i), read(place, built[1], "mask", i)[..., 0]
        with Image.open(REAL / "masks_200x150" / f"{keys[i]}_segmentation.png") as image:
            assert ((mask == 255) == (np.asarray(image.convert("L")) > 127)).all()
        assert picture.shape[:2] == mask.shape == (150, 200)
        if 0 < (mask == 255).mean() < 0.8:  # a lesion is mostly darker than the skin around it
            grey = picture.mean(axis=2)
            darker += bool(grey[mask == 255].mean() < grey[mask == 0].mean())
    assert darker > 25


def test_the_whole_folder_is_read_with_the_large_images(records: dict[str, dict[str, str]]) -> None:
    source = Source(allow_partial=True)
    entries = source.entries(Raw(REAL))
    folders = Counter(entry.name.split("/")[0] for entry in entries)
    assert folders == {"images_600x450": 42, SMALL: 693}
    first, *others = source.remarks(entries)
    assert first.startswith("labels are those of HAM10000_metadata.csv; the same say HAM10000_meta")
    assert "42 images lie there in several sizes, the largest file is taken" in others[0]
    counts = Counter(record["dx"] for record in records.values())
    assert "735 of 10,015 images are there, missing ISIC_0024306, ISIC_0024307" in others[1]
    assert all(f"{dx} {count} of " in others[1] for dx, count in counts.items())
    assert "9,280 rows have no image" in others[1] and "431 of 7,470 lesions" in others[1]
    large = Source(allow_partial=True, images="images_600x450").entries(Raw(REAL))
    assert len(large) == 42


def test_a_part_is_refused_unless_asked_for() -> None:
    with pytest.raises(DataError, match=r"are not all of HAM10000: 735 of 10,015 images are there"):
        Source().entries(Raw(REAL))


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Raw:
    """Return the complete set as it is published, but for the images' bytes."""
    place = tmp_path_factory.mktemp("official")
    numbers = [*range(24306, 34321)]
    for part, own in ((1, numbers[:5000]), (2, numbers[5000:])):
        with zipfile.ZipFile(place / f"HAM10000_images_part_{part}.zip", "w") as archive:
            for number in own:
                archive.writestr(f"ISIC_{number:07d}.jpg", b"-")
    variant = REAL / "HAM10000_metadata_dataverse_variant.csv"
    (place / "HAM10000_metadata").write_bytes(variant.read_bytes())
    return Raw(place)


def test_the_complete_set_is_taken_without_a_word(official: Raw) -> None:
    source = Source()
    entries = source.entries(official)
    assert len(entries) == 10_015 and source.remarks(entries) == [
        "labels are those of HAM10000_metadata"
    ]
    assert len({entry.values["lesion"] for entry in entries}) == 7_470
    counts = Counter(entry.split for entry in entries)
    assert counts == {"train": 7007, "val": 1006, "calibration": 1001, "test": 1001}
    image = Source(split="image")
    entries = image.entries(official)
    assert Counter(entry.split for entry in entries) == {"train": 8512, "val": 1503}
    assert image.remarks(entries)[1].startswith("LEAKY: --split image")


def test_one_image_less_is_said(official: Raw, tmp_path: Path) -> None:
    lines = (REAL / "HAM10000_metadata.csv").read_text().splitlines()
    for archive in official.path.glob("*.zip"):
        (tmp_path / archive.name).symlink_to(archive)
    (tmp_path / "HAM10000_metadata.csv").write_text("\n".join(lines[:-1]))
    gone = lines[-1].split(",")
    with pytest.raises(DataError) as error:
        Source().entries(Raw(tmp_path))
    assert f"10,014 of 10,015 images are there, missing {gone[1]}; {gone[2]} " in str(error.value)
    assert f"1 images have no row: {gone[1]}" in str(error.value)


def test_the_image_split_leaks() -> None:
    source = Source(allow_partial=True, split="image", images=SMALL)
    entries = source.entries(Raw(REAL))
    train = {entry.values["lesion"] for entry in entries if entry.split == "train"}
    val = [entry for entry in entries if entry.split == "val"]
    assert len(val) == 111 and all(entry.also == ("calibration", "test") for entry in val)
    twins = sum(entry.values["lesion"] in train for entry in val)
    assert twins > 40
