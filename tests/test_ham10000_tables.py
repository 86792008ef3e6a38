"""HAM10000's table of labels: every form that goes round is read alike, what is wrong is named."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from raw.ham10000 import table
from shared import DATA

from dataprep import ham_table
from dataprep.ham_table import CLASSES, IMAGES, LESIONS, Row
from dataprep.manifest import DataError

REAL = DATA / "ham10000"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="no sample data of ham10000")


def rows(text: str | bytes, name: str = "HAM10000_metadata.csv") -> list[Row]:
    return ham_table.rows(Path("raw"), name, text.encode() if isinstance(text, str) else text)


def plain(found: list[Row]) -> list[tuple[str, str, str]]:
    return [(row.image, row.lesion, row.dx) for row in found]


def text(*more: str) -> str:
    return "\n".join([*table(), *more]) + "\n"


WANTED = [(line.split(",")[1], line.split(",")[0], line.split(",")[2]) for line in table()[1:]]
LINES = {
    "as it is": text(),
    "CRLF": text().replace("\n", "\r\n"),
    "CR": text().replace("\n", "\r"),
    "no last line end": text().rstrip("\n"),
    "blank lines": text().replace("\n", "\n\n"),
    "eight columns": "\n".join(
        line + (",vidir_modern" if i else ",dataset") for i, line in enumerate(table())
    ),
    "an index column": "\n".join(f"{i - 1 if i else ''},{line}" for i, line in enumerate(table())),
    "another order": "\n".join(
        ",".join([*line.split(",")[2:], *line.split(",")[:2]]) for line in table()
    ),
    "whole ages": text().replace("80.0", "80"),
    "no ages": text().replace("80.0", ""),
    "tabs": text().replace(",", "\t"),
    "semicolons": text().replace(",", ";"),
    "quotes": "\n".join('"' + line.replace(",", '","') + '"' for line in table()),
    "quoted tabs": "\n".join('"' + line.replace(",", '"\t"') + '"' for line in table()),
    "blanks": text().replace(",", " , "),
    "a comma in quotes": text().replace("scalp", '"scalp, left"'),
    "a byte order mark": "\ufeff" + text(),
    "file names": text().replace(",bkl", ".jpg,bkl"),
}


@pytest.mark.parametrize("form", LINES)
def test_every_form_is_read_alike(form: str) -> None:
    assert plain(rows(LINES[form])) == WANTED


def test_a_spreadsheet_s_utf_16() -> None:
    assert plain(rows(text().replace(",", "\t").encode("utf-16"))) == WANTED


def test_lines_are_those_of_the_file() -> None:
    assert [row.line for row in rows(LINES["as it is"])] == list(range(2, 23))
    assert rows(LINES["blank lines"])[1].line == 5


ROW = "HAM_0000100,ISIC_0030000,{},histo,80.0,male,scalp"
CODES = "wanted is a code, one of akiec, bcc, bkl, df, mel, nv, vasc; "


@pytest.mark.parametrize(
    ("dx", "code"),
    [
        ("Melanoma", "mel"),
        ("MEL", "mel"),
        ("NV", "nv"),
        ("melanocytic nevi", "nv"),
        ("Melanocytic_Nevus", "nv"),
        ("Basal cell carcinoma", "bcc"),
        ("Benign keratosis-like lesions", "bkl"),
        ("Actinic keratoses", "akiec"),
        ("Vascular lesions", "vasc"),
        ("dermatofibroma", "df"),
        ("Dermatofibromas", "df"),
    ],
)
def test_long_and_upper_case_names_are_refused_with_a_hint(dx: str, code: str) -> None:
    with pytest.raises(DataError) as error:
        rows(text(ROW.format(dx)))
    why = f"line 23: ISIC_0030000 has dx '{dx}': {CODES}this one probably means {code}"
    assert str(error.value) == f"raw/HAM10000_metadata.csv: {why}"


@pytest.mark.parametrize("dx", ["healthy", "", "scc", "0"])
def test_other_names_were_added_by_somebody(dx: str) -> None:
    with pytest.raises(DataError, match=rf"line 23: .* '{dx}': .* this row was added by somebody"):
        rows(text(ROW.format(dx)))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (text(table()[3]), "line 23: ISIC_0024308 stands in line 4 already (the file has 22 rows"),
        (
            text("HAM_0000000,ISIC_0030000,nv,histo,80.0,male,scalp"),
            "line 23: lesion HAM_0000000 has dx nv, but akiec in line 2",
        ),
        (
            text("XYZ_0000000,ISIC_0030000,akiec,,,,"),
            "line 23: lesion XYZ_0000000 has the number of HAM_0000000 in line 2",
        ),
        (
            text("HAM_000000\uff10,ISIC_0030000,akiec,,,,"),
            "line 23: 'HAM_000000\uff10' is no lesion",
        ),
        ("lesion_id,image_id,dx,Dx\nHAM_0000000,ISIC_0030000,nv,mel\n", "has two columns 'dx'"),
        (text("HAM_0000100,ISIC_0030000,nv"), "line 23: has 3 cells, the header has 7"),
        (text("x,ISIC_0030000,nv,,,,"), "line 23: 'x' is no lesion like HAM_0000118"),
        (text("HAM_0000100,30000,nv,,,,"), "line 23: '30000' is no image like ISIC_0027419"),
        ("<!DOCTYPE html>\n<html>", "is a web page, not a table: the download failed"),
        ("\n  <html>", "is a web page"),
        ("", "is empty: wanted are lesion_id, image_id, dx"),
        ("image_id,dx\n", "has the columns image_id, dx: wanted are lesion_id, image_id, dx"),
        (b"PK\3\4\0\0\0", "is no text"),
        (b"lesion_id,image_id,dx\n\xff\xff", "is no text"),
        (text('"never closed') + "x\n" * 100_000, "line 23: is no table (field larger than"),
    ],
)
def test_what_is_wrong_is_named(data: str | bytes, why: str) -> None:
    with pytest.raises(DataError) as error:
        rows(data)
    assert f"raw/HAM10000_metadata.csv: {why}" in str(error.value)


ONE_HOT = "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC\n"


def test_one_hot_truth() -> None:
    found = rows(ONE_HOT + "ISIC_0034524,0.0,1.0,0,0,0,0,0\nISIC_0034525,1,0,0,0,0,0,0\n")
    assert plain(found) == [("ISIC_0034524", "", "nv"), ("ISIC_0034525", "", "mel")]
    for values in ("0,0,0,0,0,0,0", "1,1,0,0,0,0,0", "0.5,0,0,0,0,0,0", "1,x,0,0,0,0,0"):
        with pytest.raises(DataError, match=r"line 2: ISIC_0034524 has mel .*wanted is one 1"):
            rows(f"{ONE_HOT}ISIC_0034524,{values}\n")


def test_differences_are_counted() -> None:
    found = [Row(f"ISIC_{ham_table.FIRST + i:07d}", f"HAM_{i:07d}", "nv", i) for i in range(2)]
    lines = ham_table.differences([*found, Row("ISIC_0099999", "HAM_0009999", "mel", 4)])
    assert lines[0].startswith("2 of 10,015 images are there, missing ISIC_0024308, ISIC_0024309,")
    assert lines[1] == "1 images are not of HAM10000: ISIC_0099999"
    assert "mel 1 of 1,113" in lines and "nv 2 of 6,705" in lines
    assert lines[-1] == "3 of 7,470 lesions"


@needs_real
@pytest.mark.parametrize("name", ["metadata", "metadata_dataverse_variant"])
def test_the_real_tables_are_complete(name: str) -> None:
    path = REAL / f"HAM10000_{name}.csv"
    found = ham_table.rows(REAL, path.name, path.read_bytes())
    with open(path, newline="") as file:
        records = list(csv.DictReader(file))
    assert plain(found) == [(r["image_id"], r["lesion_id"], r["dx"]) for r in records]
    assert ham_table.differences(found) == []
    assert len(found) == 10_015 and len({row.lesion for row in found}) == 7_470
    for dx in CLASSES:
        own = [row for row in found if row.dx == dx]
        assert (len(own), len({row.lesion for row in own})) == (IMAGES[dx], LESIONS[dx])


@needs_real
def test_the_real_truth_says_the_same() -> None:
    of = {}
    for name in ("HAM10000_metadata.csv", "ISIC2018_Task3_Training_GroundTruth.csv"):
        found = ham_table.rows(REAL, name, (REAL / name).read_bytes())
        of[name] = {row.image: row.dx for row in found}
    one, other = of.values()
    assert one == other and len(one) == 10_015


@needs_real
def test_the_spoilt_tables_that_go_round_are_refused() -> None:
    lines = (REAL / "HAM10000_metadata.csv").read_text().splitlines()
    doubled = "\n".join([*lines, *lines[1:9931]])
    assert doubled.count("\n") == 19_945
    with pytest.raises(DataError) as error:
        rows(doubled)
    assert "line 10017: ISIC_0027419 stands in line 2 already" in str(error.value)
    assert "(the file has 19,945 rows of 10,015 images: take an unchanged one)" in str(error.value)
    healthy = [ROW.format("healthy").replace("30000", f"{40000 + i}") for i in range(109)]
    with pytest.raises(DataError, match=r"line 10017: ISIC_0040000 has dx 'healthy'"):
        rows("\n".join([*lines, *healthy]))
