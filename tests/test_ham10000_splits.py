"""Splits by group and what a split by sample leaks, on HAM10000's real table and on small ones."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest
from shared import DATA
from sklearn.model_selection import train_test_split

from dataprep import groups, ham_table
from dataprep.ham_table import CLASSES, IMAGES, Row

REAL = DATA / "ham10000"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="no sample data of ham10000")
SHARES = {"train": 0.7, "val": 0.1, "calibration": 0.1, "test": 0.1}


@pytest.fixture(scope="module")
def real() -> list[Row]:
    name = "HAM10000_metadata.csv"
    return ham_table.rows(REAL, name, (REAL / name).read_bytes())


def split_of(rows: list[Row], seed: int = 42) -> dict[str, str]:
    names = groups.by_group([r.lesion for r in rows], [r.dx for r in rows], SHARES, seed)
    return {row.image: name for row, name in zip(rows, names, strict=True)}


@needs_real
@pytest.mark.parametrize("seed", [42, 0])
def test_the_lesion_split_keeps_lesions_and_shares(real: list[Row], seed: int) -> None:
    split = split_of(real, seed)
    of_lesion = defaultdict(set)
    for row in real:
        of_lesion[row.lesion].add(split[row.image])
    assert len(of_lesion) == 7_470 and all(len(one) == 1 for one in of_lesion.values())
    counts = Counter((row.dx, split[row.image]) for row in real)
    for dx in CLASSES:
        for name, share in SHARES.items():
            # Half of a lesion of six images at either end.
            assert abs(counts[dx, name] - share * IMAGES[dx]) <= 6


@needs_real
def test_a_lesion_keeps_its_split_when_others_go(real: list[Row]) -> None:
    whole = split_of(real)
    lesions = sorted({row.lesion for row in real})
    gone = set(np.random.default_rng(0).choice(lesions, 747, replace=False).tolist())
    rest = [row for row in real if row.lesion not in gone]
    moved = [image for image, name in split_of(rest).items() if name != whole[image]]
    assert 0 < len(moved) < 0.03 * len(rest)
    assert split_of(real[::-1]) == whole and split_of(real, 43) != whole


@needs_real
def test_the_image_split_is_scikit_learn_s_and_leaks(real: list[Row]) -> None:
    dx = [row.dx for row in real]
    held_out = groups.by_sample(dx, 0.15, 42)
    images = np.array([row.image for row in real])
    _, wanted = train_test_split(images, test_size=0.15, stratify=dx, random_state=42)
    assert set(images[held_out]) == set(wanted) and len(wanted) == 1503
    train, val = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    lesions = np.array([ham_table.number(row.lesion) for row in real])
    labels = np.array([CLASSES.index(one) for one in dx])
    facts = groups.leak(val, train, lesions, labels, CLASSES.index("mel"))
    assert 0.39 <= facts["share"] <= 0.41
    assert 0.66 <= facts["of_class"]["share"] <= 0.72
    # Counted again, in plain Python.
    of_train = {row.lesion for row, is_out in zip(real, held_out, strict=True) if not is_out}
    twins = [r for r, is_out in zip(real, held_out, strict=True) if is_out and r.lesion in of_train]
    assert facts["twins"] == len(twins)
    assert facts["of_class"]["twins"] == sum(row.dx == "mel" for row in twins)


@needs_real
def test_the_lesion_split_leaks_nothing(real: list[Row]) -> None:
    names = np.array(list(split_of(real).values()))
    lesions = np.array([ham_table.number(row.lesion) for row in real])
    labels = np.array([CLASSES.index(row.dx) for row in real])
    splits = {name: np.flatnonzero(names == name) for name in SHARES}
    assert set(groups.shared(splits, lesions).values()) == {0}
    assert len(groups.shared(splits, lesions)) == 6
    for name in ("val", "calibration", "test"):
        facts = groups.leak(splits[name], splits["train"], lesions, labels, 4)
        assert facts["twins"] == facts["of_class"]["twins"] == 0 and facts["samples"] > 990


@pytest.mark.parametrize("count", range(4, 12))
def test_a_class_of_few_groups_is_in_every_split(count: int) -> None:
    names = groups.by_group([f"g{i}" for i in range(count)], ["a"] * count, SHARES, 1)
    assert set(names) == set(SHARES)


@pytest.mark.parametrize("place", range(10))
def test_a_large_group_crowds_no_split_out(place: int) -> None:
    """Wherever it comes: alone it covers the shares of two splits and more."""
    ordered = sorted((f"g{i}" for i in range(10)), key=lambda group: groups._rank(1, group))
    large = [ordered[place]] * 9
    names = groups.by_group([*ordered, *large], ["a"] * 19, SHARES, 1)
    assert set(names) == set(SHARES) and len(set(names[10:])) == 1


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_class_of_too_few_groups_trains(count: int) -> None:
    names = groups.by_group([f"g{i}" for i in range(count)], ["a"] * count, SHARES, 1)
    assert "train" in names and len(names) == count


def test_a_split_of_no_share_is_empty() -> None:
    shares = {"train": 0.5, "val": 0.0, "test": 0.5}
    names = groups.by_group([f"g{i}" for i in range(40)], ["a", "b"] * 20, shares, 1)
    assert Counter(names) == {"train": 20, "test": 20}


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="a group has samples of two classes"):
        groups.by_group(["g", "g"], ["a", "b"], SHARES, 1)
    with pytest.raises(ValueError, match=r"add up to 1, not train 0\.5, test 0\.4"):
        groups.by_group(["g"], ["a"], {"train": 0.5, "test": 0.4}, 1)
    with pytest.raises(ValueError, match="not train nan, test 0"):
        groups.by_group(["g"], ["a"], {"train": float("nan"), "test": 0.0}, 1)


def test_shared_and_leak_count_groups_and_samples() -> None:
    of, labels = np.array([1, 1, 2, 2, 3, 4]), np.array([0, 0, 1, 1, 1, 0])
    splits = {"train": np.array([0, 2, 3]), "val": np.array([1, 4]), "test": np.array([5])}
    assert groups.shared(splits, of) == {"train/val": 1, "train/test": 0, "val/test": 0}
    facts = groups.leak(splits["val"], splits["train"], of, labels, 1)
    assert facts == {
        "samples": 2,
        "twins": 1,
        "share": 0.5,
        "of_class": {"samples": 1, "twins": 0, "share": 0.0},
    }
