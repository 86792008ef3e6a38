"""HAM10000 as a user has it: zips or folders, several tables, masks, what is missing or wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from file_server import serving
from ham_sets import PARTIAL, TABLE, TRUTH, built
from PIL import Image
from raw import ham10000 as small
from raw.ham10000 import FIRST, IMAGES, TEST, picture, table, zipped

from dataprep import index
from dataprep.__main__ import main
from dataprep.build import build
from dataprep.manifest import DataError, Manifest
from dataprep.raw import Raw
from dataprep.sources.ham10000 import SYNTHETIC, Source


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    small.write(tmp_path / "raw")
    return tmp_path / "raw"


def rows(folder: Path, facts: Manifest) -> dict[str, dict[str, Any]]:
    """Return what the set says of each image."""
    keys = index.Names(folder / "index", "key", facts.samples)
    columns = {name: np.load(folder / "index" / f"{name}.npy") for name in ("label", "lesion")}
    found = {keys[i]: {n: c[i].item() for n, c in columns.items()} for i in range(facts.samples)}
    for split in facts.splits:
        for i in np.load(folder / "splits" / f"{split}.npy").tolist():
            found[keys[i]].setdefault("splits", []).append(split)
    return found


def test_labels_lesions_and_splits(raw: Path, tmp_path: Path) -> None:
    facts, said = built(PARTIAL, raw, tmp_path / "set")
    found = rows(tmp_path / "set", facts)
    assert facts.classes == ["akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"]
    for line in table()[1:]:
        lesion, image, dx = line.split(",")[:3]
        row = found.pop(image)
        assert row["lesion"] == int(lesion[4:]) and facts.classes[row["label"]] == dx
    assert found == {
        f"ISIC_{TEST:07d}": {"label": 5, "lesion": 1_000_000, "splits": ["isic2018_test"]},
        f"ISIC_{TEST + 1:07d}": {"label": 4, "lesion": 1_000_001, "splits": ["isic2018_test"]},
    }
    assert said[0] == f"labels are those of {TABLE}"
    assert said[1].startswith("not all of HAM10000: 21 of 10,015 images are there, missing")
    assert "isic2018_test has 2 of 1,511 images" in said
    every = "akiec, bcc, bkl, df, mel, nv, vasc"
    assert f"no {every} in val: too few lesions" in said
    assert facts.checks["lesions"]["disjoint"] and facts.checks["near_duplicates"]["pairs"] == 0
    assert facts.checks["complete"]["says"] == [said[1]]


def test_zips_are_read_as_they_are(raw: Path, tmp_path: Path) -> None:
    plain, _ = built(Source(allow_partial=True, masks=str(raw / "masks")), raw, tmp_path / "a")
    packed = zipped(raw, tmp_path / "packed")
    source = Source(allow_partial=True, masks=str(packed / "masks.zip"))
    facts, _ = built(source, packed, tmp_path / "b")
    assert rows(tmp_path / "a", plain) == rows(tmp_path / "b", facts)
    tars = [name for name in facts.files if name.endswith(".tar")]
    assert tars and all(plain.files[name] == facts.files[name] for name in tars)
    both = tmp_path / "both"  # whoever unpacked a download has both
    shutil.copytree(raw, both)
    shutil.copy(packed / f"{IMAGES}.zip", both)
    names = [entry.name for entry in PARTIAL.entries(Raw(both))]
    assert not any(".zip" in name for name in names) and len(names) == 23


def test_any_number_of_workers_writes_the_same(raw: Path, tmp_path: Path) -> None:
    source = Source(allow_partial=True, masks=str(raw / "masks"))
    one, two = (build(source, raw, tmp_path / str(n), workers=n) for n in (1, 2))
    assert one.files == two.files and one.checks == two.checks


def test_the_image_split_is_labelled_leaky(raw: Path, tmp_path: Path) -> None:
    more = [line.replace("ISIC_00243", "ISIC_00253") for line in table()[1:]]  # more twins
    (raw / TABLE).write_text("\n".join([*table(), *more]) + "\n")
    for line in more:
        image = line.split(",")[1]
        (raw / IMAGES / f"{image}.jpg").write_bytes(picture(int(image[5:])))
    facts, said = built(Source(allow_partial=True, split="image"), raw, tmp_path / "set")
    assert facts.splits["val"] == facts.splits["test"] == facts.splits["calibration"] == 7
    assert facts.splits["train"] == 35
    ids = [np.load(tmp_path / "set" / "splits" / f"{n}.npy").tolist() for n in ("val", "test")]
    assert ids[0] == ids[1]
    assert any(line.startswith("LEAKY: --split image") for line in said)
    leak = facts.checks["lesions"]
    assert leak["says"][-1].startswith("LEAKY: val, calibration, test are the same images")
    assert not leak["disjoint"] and leak["shared"]["train/val"] > 0
    assert leak["leak"]["val"]["samples"] == 7 and 0 < leak["leak"]["val"]["share"] <= 1
    assert leak["says"][0].startswith("LEAKY: of val, ") and facts.options["split"] == "image"
    assert leak["leak"]["isic2018_test"]["twins"] == 0


def test_near_duplicates_are_listed_and_said(raw: Path, tmp_path: Path) -> None:
    (raw / "ISIC2018_Task3_Test_Images" / f"ISIC_{TEST:07d}.jpg").write_bytes(picture(FIRST + 5))
    facts, said = built(PARTIAL, raw, tmp_path / "set")
    found = facts.checks["near_duplicates"]
    assert (found["pairs"], found["near_bits"], found["bits"]) == (1, 48, 256)
    (pair,) = found["listed"]
    assert pair["bits"] == 0
    assert (pair["one"]["key"], pair["one"]["lesion"]) == (f"ISIC_{FIRST + 5:07d}", 3)
    assert pair["other"] == {
        "key": f"ISIC_{TEST:07d}",
        "lesion": 1_000_000,
        "splits": ["isic2018_test"],
    }
    line = f"the nearest ISIC_{FIRST + 5:07d} and ISIC_{TEST:07d}"
    assert said[-1].startswith("1 pairs of different lesions in different splits within 48 of 256")
    assert said[-1].endswith(line)


def test_the_other_truth_and_what_it_lacks(raw: Path, tmp_path: Path) -> None:
    head = "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC"
    of = [f"ISIC_{TEST:07d},0,1,0,0,0,0,0", f"{SYNTHETIC},0,1,0,0,0,0,0"]
    (raw / TRUTH).write_text("\n".join([head, *of]))
    (raw / "ISIC2018_Task3_Test_Images" / f"{SYNTHETIC}.jpg").write_bytes(picture(1))
    facts, said = built(PARTIAL, raw, tmp_path / "set")
    found = rows(tmp_path / "set", facts)[f"ISIC_{TEST:07d}"]
    assert found == {"label": 5, "lesion": TEST, "splits": ["isic2018_test"]}
    assert facts.splits["isic2018_test"] == 1
    assert f"not read, for want of their truth: ISIC_{TEST + 1:07d}" in said
    assert any(line.startswith(f"{SYNTHETIC} is left out of isic2018_test") for line in said)
    shutil.rmtree(raw / "ISIC2018_Task3_Test_Images")
    lines = PARTIAL.remarks(PARTIAL.entries(Raw(raw)))
    assert f"{TRUTH} is there, its images are not: no split isic2018_test" in lines
    (raw / TRUTH).write_text(f"{head}\nISIC_{FIRST:07d},0,1,0,0,0,0,0\n")
    with pytest.raises(DataError, match=r"line 2: ISIC_0024306 of the test's truth stands in HAM"):
        PARTIAL.entries(Raw(raw))
    (raw / TRUTH).write_text(f"lesion_id,image_id,dx\nHAM_0000003,ISIC_{TEST:07d},bcc\n")
    with pytest.raises(DataError, match=r"line 2: HAM_0000003 of the test's truth stands in HAM"):
        PARTIAL.entries(Raw(raw))


def test_the_commands(raw: Path, tmp_path: Path) -> None:
    def run(*words: str) -> Any:
        return CliRunner().invoke(main, [*words, "--data-root", str(tmp_path / "data")])

    done = run("build", "ham10000", "--raw", str(raw), "--workers", "1")
    assert done.exit_code == 2 and done.stderr.count("\n") == 1 and "--allow-partial" in done.stderr
    options = ("--allow-partial", "--workers", "1", "--shares", "0.6,0.2,0,0.2")
    assert run("build", "ham10000", "--raw", str(raw), *options).exit_code == 0
    shown = run("info", "ham10000").output
    assert "check lesions          16 lesions, none in two splits: nothing leaks" in shown
    assert "check complete         not all of HAM10000: 21 of 10,015 images" in shown
    assert "calibration" not in json.loads(run("info", "ham10000", "--json").output)["splits"]
    sheet = tmp_path / "sheet.png"
    assert run("preview", "ham10000", "--out", str(sheet)).exit_code == 0
    with Image.open(sheet) as image:
        assert image.width > 100


def test_downloads_with_and_without_a_published_checksum(tmp_path: Path) -> None:
    truth, table = b"lesion_id,image_id,dx\n", b"another table"
    with serving() as server:
        server.files = {f"/{TRUTH}": truth, f"/{TABLE}": table}

        def run(*words: str) -> Any:
            more = ("--mirror", server.url, "--to", str(tmp_path / "raw"), "--yes")
            return CliRunner().invoke(main, ["download", "ham10000", *more, *words])

        done = run("--only", TRUTH)
        assert done.exit_code == 0 and f"build ham10000 --raw {tmp_path / 'raw'}" in done.output
        known = json.loads((tmp_path / "raw" / "checksums.json").read_text())
        assert len(known[TRUTH]["sha256"]) == 64
        (tmp_path / "raw" / TRUTH).write_bytes(truth.upper())
        done = run("--only", TRUTH)  # the wrong one is put aside, the right one comes again
        assert done.exit_code == 0 and "when it first came" in done.output
        assert (tmp_path / "raw" / TRUTH).read_bytes() == truth
        done = run("--only", TABLE)
        assert done.exit_code == 2 and "wanted are 690,218" in done.stderr
        assert not (tmp_path / "raw" / TABLE).exists()


def test_the_offer() -> None:
    files = Source.downloads().files
    assert [file.name for file in files] == [
        "HAM10000_images_part_1.zip",
        "HAM10000_images_part_2.zip",
        TABLE,
        "HAM10000_segmentations_lesion_tschandl.zip",
        "ISIC2018_Task3_Test_Images.zip",
        TRUTH,
    ]
    assert [file.name for file in files if not file.checksum] == [TRUTH]
    assert len({file.urls for file in files}) == 6
