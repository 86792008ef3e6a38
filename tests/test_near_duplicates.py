"""Perceptual hashes: near pictures of different groups in different splits are found, no others."""

from __future__ import annotations

import io
from itertools import combinations
from typing import Any

import imagehash
import numpy as np
import pytest
from PIL import Image
from raw.ham10000 import picture
from shared import DATA

from dataprep import ham_table
from dataprep.near_duplicates import BITS, NEAR_BITS, distances, pairs, phash

REAL = DATA / "ham10000"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="no sample data of ham10000")


def pixels(image: Image.Image) -> Any:
    return np.asarray(image.convert("RGB"))


def test_distances_are_the_library_s() -> None:
    images = [Image.open(io.BytesIO(picture(i))).convert("RGB") for i in range(6)]
    theirs = [imagehash.phash(image, 16) for image in images]
    ours = np.array([phash(pixels(image)) for image in images])
    assert ours.shape == (6, BITS // 64) and ours.dtype == np.uint64
    wanted = [[one - other for other in theirs] for one in theirs]
    assert distances(ours, ours).tolist() == wanted
    assert distances(ours[:2], ours[3:]).tolist() == [row[3:] for row in wanted[:2]]


def test_pairs_are_those_that_a_plain_loop_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dataprep.near_duplicates.BLOCK", 7)
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**63, (6, 4), np.uint64)[rng.integers(0, 6, 50)]
    hashes[:, 0] ^= rng.integers(0, 16, 50, np.uint64)
    groups, splits = rng.integers(0, 9, 50), rng.integers(1, 4, 50)
    wanted = set()
    for i, j in combinations(range(50), 2):
        bits = sum(int(a ^ b).bit_count() for a, b in zip(hashes[i], hashes[j], strict=True))
        if bits <= 3 and groups[i] != groups[j] and splits[i] != splits[j]:
            wanted.add((i, j, bits))
    count, found = pairs(hashes, groups, splits, 10_000, 3)
    assert {tuple(pair) for pair in found} == wanted and count == len(wanted) > 20
    assert [pair.bits for pair in found] == sorted(pair.bits for pair in found)
    assert pairs(hashes, groups, splits, 12, 3) == (count, found[:12])


def test_copies_of_one_picture_are_counted_and_a_few_of_them_kept() -> None:
    n = 1500  # 1.1 million pairs
    count, found = pairs(np.full((n, 4), 7, np.uint64), np.arange(n), np.arange(n), 5)
    assert count == n * (n - 1) // 2
    assert [tuple(pair) for pair in found] == [(0, other, 0) for other in range(1, 6)]


@needs_real
def test_a_real_image_made_smaller_or_compressed_anew_is_near() -> None:
    for path in sorted((REAL / "images_600x450").glob("*.jpg"))[:12]:
        large = Image.open(path).convert("RGB")
        out = io.BytesIO()
        large.save(out, "JPEG", quality=20)
        others = [
            Image.open(REAL / "images_200x150" / path.name),
            large.resize((224, 224)),
            Image.open(out),
            large.crop((6, 4, 594, 446)),
        ]
        hashes = np.array([phash(pixels(image)) for image in (large, *others)])
        assert distances(hashes[:1], hashes).max() <= 26 < NEAR_BITS


@needs_real
def test_no_two_real_lesions_are_near_and_some_twins_are() -> None:
    name = "subset_metadata.csv"
    rows = ham_table.rows(REAL, name, (REAL / name).read_bytes())
    images = [Image.open(REAL / "images_200x150" / f"{row.image}.jpg") for row in rows]
    bits = distances(*[np.array([phash(pixels(image)) for image in images])] * 2)
    lesions = np.array([row.lesion for row in rows])
    same = np.triu(lesions[:, None] == lesions, 1)
    other = np.triu(lesions[:, None] != lesions, 1)
    assert (same.sum(), other.sum()) == (372, 269_373)
    assert bits[other].min() > NEAR_BITS + 8
    assert 0.03 < (bits[same] <= NEAR_BITS).mean() < 0.04
