"""What is measured on a finished set of HAM10000: leaks between its splits, near duplicates.

The result is the manifest's `checks`. Pairs are listed by key, `SHOWN` of them at most.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dataprep import groups, index, near_duplicates
from dataprep.ham_table import CLASSES
from dataprep.near_duplicates import NEAR_BITS
from dataprep.sources import PublicFile

Array = npt.NDArray[Any]

TRAIN, HELD_OUT, TEST = "train", ("val", "calibration", "test"), "isic2018_test"
MELANOMA = "mel"
SHOWN = 100

SITE = "https://dataverse.harvard.edu/api/access/datafile"
# Of a table the site serves a copy made from its database, unless the original is asked for.
ORIGINAL = "?format=original"
# doi:10.7910/DVN/DBW86T, version 4.
PUBLIC = (
    PublicFile(
        "HAM10000_images_part_1.zip",
        (f"{SITE}/3172585",),
        "5,000 images",
        "md5:4639bfa73ab251610530a97c898e6e46",
        1_366_522_108,
    ),
    PublicFile(
        "HAM10000_images_part_2.zip",
        (f"{SITE}/3172584",),
        "5,015 images",
        "md5:da43d6cc50f6613013be07e8986b384b",
        1_403_566_547,
    ),
    PublicFile(
        "HAM10000_metadata.csv",
        (f"{SITE}/4338392{ORIGINAL}",),
        "classes and lesions",
        "md5:8f85fb1aa29d80a2797247e434deb79d",
        690_218,
    ),
    PublicFile(
        "HAM10000_segmentations_lesion_tschandl.zip",
        (f"{SITE}/3838943",),
        "lesion masks, for --masks",
        "md5:6e8d252e09cfdb0189199f15985a5b84",
        10_808_743,
    ),
    PublicFile(
        "ISIC2018_Task3_Test_Images.zip",
        (f"{SITE}/3855824",),
        "1,511 test images",
        "md5:0488b6f65849e310857d9207daa55a21",
        about_bytes=421_000_000,
    ),
    PublicFile(
        "ISIC2018_Task3_Test_GroundTruth.csv",
        (f"{SITE}/6924466{ORIGINAL}",),
        "their classes",
        about_bytes=100_000,
    ),
)


def checks(folder: Path, by_lesion: bool) -> dict[str, Any]:
    """Return what the columns and splits of a set say; by_lesion: no lesion may be parted."""
    columns = folder / "index"
    splits = {path.stem: np.load(path) for path in sorted((folder / "splits").glob("*.npy"))}
    order = [name for name in (TRAIN, *HELD_OUT, TEST) if name in splits]
    splits = {name: splits[name] for name in order}
    lesions, labels, hashes = (np.load(columns / f"{n}.npy") for n in ("lesion", "label", "phash"))
    keys = index.Names(columns, "key", len(lesions))
    return {
        "lesions": _lesions(splits, lesions, labels, by_lesion),
        "near_duplicates": _near_duplicates(splits, lesions, hashes, keys),
    }


def _lesions(
    splits: Mapping[str, Array], lesions: Array, labels: Array, by_lesion: bool
) -> dict[str, Any]:
    shared = groups.shared(splits, lesions)
    disjoint = not any(shared.values())
    assert disjoint or not by_lesion, f"lesions lie in two splits: {shared}"
    train = splits.get(TRAIN, np.zeros(0, np.int64))
    leak = {
        name: groups.leak(ids, train, lesions, labels, CLASSES.index(MELANOMA))
        for name, ids in splits.items()
        if name != TRAIN
    }
    says = [f"{len(np.unique(lesions)):,} lesions, none in two splits: nothing leaks from train"]
    if not disjoint:
        says = [
            f"LEAKY: of {name}, {facts['share']:.1%} of the images and"
            f" {facts['of_class']['share']:.1%} of the melanomas show a lesion of train"
            for name, facts in leak.items()
            if facts["twins"]
        ]
        same = ", ".join(name for name in HELD_OUT if name in splits)
        says.append(f"LEAKY: {same} are the same images: one judges what it has chosen")
    leaks = {name: _named(facts) for name, facts in leak.items()}
    return {"says": says, "disjoint": disjoint, "shared": shared, "leak": leaks}


def _named(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {MELANOMA if name == "of_class" else name: value for name, value in facts.items()}


def _near_duplicates(
    splits: Mapping[str, Array], lesions: Array, hashes: Array, keys: index.Names
) -> dict[str, Any]:
    codes = np.zeros(len(lesions), np.int64)
    for i, ids in enumerate(splits.values()):
        codes[ids] |= 1 << i
    count, pairs = near_duplicates.pairs(hashes, lesions, codes, SHOWN)

    def of(sample: int) -> dict[str, Any]:
        there = [name for i, name in enumerate(splits) if codes[sample] >> i & 1]
        return {"key": keys[sample], "lesion": int(lesions[sample]), "splits": there}

    listed: list[dict[str, Any]] = [
        {"bits": pair.bits, "one": of(pair.one), "other": of(pair.other)} for pair in pairs
    ]
    measure = f"of different lesions in different splits within {NEAR_BITS} of"
    measure += f" {near_duplicates.BITS} bits of their perceptual hash"
    first = [f"{x['one']['key']} and {x['other']['key']}" for x in listed[:1]]
    says = f"{count:,} pairs {measure}" + (f", the nearest {first[0]}" if first else "")
    return {
        "says": [says],
        "warns": bool(pairs),
        "bits": near_duplicates.BITS,
        "near_bits": NEAR_BITS,
        "pairs": count,
        "listed": listed,
    }
