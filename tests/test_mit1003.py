"""MIT1003: the real stimuli and names: what is found, what is stored, and the splits."""

from __future__ import annotations

import csv
import hashlib
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from saliency_sets import Set
from shared import folder

from dataprep.folds import fold_splits, natural_key
from dataprep.raw import Raw
from dataprep.sources.mit1003 import Source

DATA = folder("saliency")
REAL, HDF5 = DATA / "mit1003_real", DATA / "mit1003_pysaliency"
with open(DATA / "mit1003_names_sizes.csv", newline="") as table:
    NAMES = list(csv.DictReader(table))


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Set:
    return Set(REAL, tmp_path_factory.mktemp("real") / "set", folds=10)


def recorded() -> dict[str, Any]:
    """Return the independent table without the first of each scanpath: (M, 4) x, y, start, end."""
    found: dict[str, list[list[float]]] = {}
    with open(REAL / "fixations.csv", newline="") as file:
        for row in csv.DictReader(file):
            if row["x_px"]:
                values = [float(row[name]) for name in ("x_px", "y_px", "t_start_s", "t_end_s")]
                found.setdefault(row["stimulus"], []).append(
                    [*values, row["fixation_index"] != "0"]
                )
    return {stem: np.array(rows) for stem, rows in found.items()}


def test_all_names_are_found_as_published(tmp_path: Path) -> None:
    """Mistake 11: names guessed (i*.jpeg, fixMap.jpeg) instead of those that there are."""
    (tmp_path / "ALLSTIMULI" / "Output").mkdir(parents=True)
    (tmp_path / "ALLFIXATIONMAPS").mkdir()
    for row in NAMES:
        (tmp_path / f"ALLSTIMULI/{row['stem']}.jpeg").touch()
        for what in ("Map", "Pts"):
            (tmp_path / f"ALLFIXATIONMAPS/{row['stem']}_fix{what}.jpg").touch()
    (tmp_path / "ALLSTIMULI/Output/i1011319098.jpeg").touch()
    (tmp_path / "ALLSTIMULI/i1011319098_SaliencyMap.jpg").touch()
    stray = "ALLFIXATIONMAPS/i05june05_static_street_boston_p1010764fixPts.jpg"
    (tmp_path / stray).touch()
    source = Source(folds=10)
    entries = source.entries(Raw(tmp_path))
    stems = [entry.values["stem"] for entry in entries]
    natural = sorted(NAMES, key=lambda row: int(row["natsort_index"]))
    assert stems == [row["stem"] for row in natural]
    assert {"syntheticData1", "syntheticData4"} <= set(stems)
    assert not any("wrong" in entry.values for entry in entries)
    assert source.remarks(entries)[1:] == [f"not read: {stray}"]
    check_splits({entry.values["stem"]: (entry.split, *entry.also) for entry in entries})


def check_splits(splits: dict[str, tuple[str, ...]]) -> None:
    """Compare with the digests of the published split and pysaliency's own shuffle."""

    drawn = sorted(f"{stem}.jpeg" for stem in splits)
    random.Random(42).shuffle(drawn)  # the digests are of the names in the order drawn

    def digest(split: str) -> str:
        names = [name for name in drawn if split in splits[name.removesuffix(".jpeg")]]
        return hashlib.sha1("\n".join(names).encode()).hexdigest()

    assert digest("val") == "2b8709c60f67f5a193d96f4a4e036b5957a79a5c"
    assert digest("train") == "1e97b56db8654917f81d024767047ac6ed969cf6"
    rows = {row["stem"]: int(row["natsort_index"]) for row in NAMES}
    for fold in range(10):
        parts = {
            part: {rows[stem] for stem, own in splits.items() if f"fold{fold}_{part}" in own}
            for part in ("train", "val", "test")
        }
        assert len(parts["test"]) == (94 if fold == 9 else 101)
        assert len(parts["val"]) == (94 if fold == 0 else 101)
        assert sorted(set().union(*parts.values())) == list(range(1003))
        assert sum(map(len, parts.values())) == 1003
        before = {stem for stem, own in splits.items() if f"fold{(fold - 1) % 10}_test" in own}
        assert {stem for stem, own in splits.items() if f"fold{fold}_val" in own} == before
        if fold == 0:
            assert {626, 629, 847, 514, 365, 903} <= parts["test"]


def test_the_natural_order_is_that_of_the_rows() -> None:
    names = sorted((f"{row['stem']}.jpeg" for row in NAMES), key=natural_key)
    assert names == [
        f"{row['stem']}.jpeg" for row in sorted(NAMES, key=lambda row: int(row["natsort_index"]))
    ]
    assert sorted(["i10", "i9", "a", "i9b", "10", "9"], key=natural_key) == [
        *("9", "10", "a", "i9", "i9b", "i10")
    ]
    with pytest.raises(ValueError, match=r"--folds 10 leaves folds of 12 stimuli empty"):
        fold_splits([str(i) for i in range(12)], 10, 42)


def test_real_stimuli_and_points_from_the_raw_layout(real: Set) -> None:
    """Mistake 9: points are kept, not whatever of a blurred map is not zero."""
    files = {path.stem: path.read_bytes() for path in (REAL / "ALLSTIMULI").iterdir()}
    assert set(real.rows) == set(files) and real.facts.samples == 30
    table = recorded()
    sha256 = real.column("sha256")
    for stem, data in files.items():
        assert real.file(stem) == data
        assert sha256[real.rows[stem]].tobytes() == hashlib.sha256(data).digest()
        points, row = real.points(stem), real.rows[stem]
        height, width = (int(real.column(f"image.{w}")[row]) for w in ("height", "width"))
        marked = set(map(tuple, points[:, :2].astype(int).tolist()))
        later = table[stem][table[stem][:, 4] == 1, :2]
        # The table is rounded to 4 digits: a fixation may have lain in the pixel before.
        near = [set(map(tuple, np.floor(later + d).astype(int).tolist())) for d in (-6e-5, 6e-5)]
        inside = [{(x, y) for x, y in one if 0 <= x < width and 0 <= y < height} for one in near]
        assert inside[0] & inside[1] <= marked <= inside[0] | inside[1] and marked
        assert (points[:, :2] % 1 == 0.5).all() and np.isnan(points[:, 2:]).all()
    assert real.facts.splits["train"] == 27 and real.facts.splits["val"] == 3
    assert real.facts.splits["fold9_test"] == 3 and real.facts.splits["fold9_train"] == 24
    assert "layout: raw (ALLSTIMULI, ALLFIXATIONMAPS), 30 stimuli" in real.said[0]
    assert real.said[1].endswith("boston_p1010764fixPts.jpg")
    assert "train 27 and val 3, the share of 902 in 1,003" in real.said[2]


@pytest.mark.parametrize(
    ("name", "fixations", "empty"),
    [("MIT1003", 762, 2), ("MIT1003_initial_fix_consistent", 882, 0), ("MIT1003_v0.3dev", 762, 2)],
)
def test_each_pysaliency_set_has_its_own_fixations(
    name: str, fixations: int, empty: int, real: Set, tmp_path: Path
) -> None:
    built = Set(HDF5 / name, tmp_path / "set")
    values = built.column("fixations.values")
    assert len(values) == fixations and len(built.rows) == 8
    shown = ", 2 empty scanpaths" if empty else ""
    line = f"(stimuli.hdf5, fixations.hdf5), 8 stimuli, {fixations} fixations of 15 subjects{shown}"
    assert built.said[0] == f"layout: pysaliency HDF5 {line}"
    for stem in built.rows:
        assert built.file(stem) == real.file(stem)
        points = built.points(stem)
        assert set(points[:, 2]) <= set(range(15)) and not np.isnan(points).any()
        for subject in set(points[:, 2]):
            order = points[points[:, 2] == subject, 3]
            assert order.tolist() == list(range(len(order)))
        table = recorded()[stem][:, :4]
        table[:, 3] -= table[:, 2]  # an end as a duration
        apart = np.abs(table[:, None] - points[None][..., [0, 1, 4, 5]]).max(axis=2)
        assert (apart.min(axis=0) < 2e-3).all()
