"""HAM10000: 10,015 dermatoscopic images of 7,470 lesions in seven classes.

    HAM10000_images_part_1.zip  HAM10000_images_part_2.zip  HAM10000_metadata.csv
    ISIC2018_Task3_Test_Images.zip  ISIC2018_Task3_Test_GroundTruth.csv       split isic2018_test
    HAM10000_segmentations_lesion_tschandl.zip                                for --masks

As downloaded or unpacked, in any folders. A lesion has up to six images: splits go by lesion, since
a random split by image tests on lesions that were trained on. `lesion` is the number in a lesion's
name; that of a test image is 1,000,000 more, or the image's where its truth names no lesion.
Tschandl et al. 2018, Sci Data 5:180161; CC BY-NC 4.0.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from PIL import Image

from dataprep import groups, ham_checks, ham_files, ham_table, image, near_duplicates
from dataprep.encode import Encoded
from dataprep.ham_checks import HELD_OUT, TEST, TRAIN
from dataprep.ham_files import Found, elsewhere
from dataprep.ham_table import CLASSES, LAST, Row
from dataprep.image import Pixels
from dataprep.layouts import listed
from dataprep.manifest import DataError, Field
from dataprep.photos import Photos
from dataprep.raw import Raw
from dataprep.sources import Download, Entry, Sample

SHARES = (0.7, 0.1, 0.1, 0.1)
# What the origin of `--split image` holds out, for all choices and for the judgement.
IMAGE_SHARE = 0.15
TEST_IMAGES = 1511
TEST_LESIONS = 1_000_000
# Made by the challenge to find cheaters, and left out of its scores; most copies lack it.
SYNTHETIC = "ISIC_0035068"
# A larger file is none of these images, of some 270 kB, and is not read.
IMAGE_BYTES = 64_000_000
MASK_BYTES = 2_000
LESION, NONE = 255, 127
# Sides of an image and its mask may differ by a factor, but not in their ratio.
RATIO = 0.02


@dataclass(frozen=True, kw_only=True)
class Source(Photos):
    """Options of the splits and of what is read; the rest is that of all photographs."""

    summary: ClassVar[str] = "HAM10000: 10,015 skin lesion images of 7 classes, split by lesion"

    split: Literal["lesion", "image"] = field(
        default="lesion",
        metadata={
            "help": "by lesion; or by image, 85 to 15 %, which leaks: to compare with others"
        },
    )
    shares: tuple[float, float, float, float] = field(
        default=SHARES,
        metadata={"help": "of train, val, calibration and test, by lesion; 0 leaves one out"},
    )
    seed: int = field(default=42, metadata={"help": "chooses the splits"})
    masks: str = field(
        default="", metadata={"help": "folder or archive of the lesion masks: adds the field mask"}
    )
    images: str = field(
        default="",
        metadata={"help": "only HAM10000's images in the folder or archive of this name"},
    )
    table: str = field(
        default="", metadata={"help": "the table of labels, where several lie there"}
    )
    allow_partial: bool = field(
        default=False, metadata={"help": "build although images, rows or masks are missing"}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"--seed must be 0 to {2**32 - 1}, not {self.seed}")
        # Put so that nan is refused as well.
        adds_up = abs(sum(self.shares) - 1) <= 1e-6 and self.shares[0] > 0
        if not adds_up or min(self.shares) < 0:
            shares = ",".join(map(str, self.shares))
            raise ValueError(f"--shares must add up to 1, train's above 0, not {shares}")
        if self.split == "image" and self.shares != SHARES:
            raise ValueError("--shares are those of the split by lesion, not of --split image")

    def fields(self) -> dict[str, Field]:
        fields = {
            "image": self.photo_field(),
            "label": Field(kind="value", dtype="int64"),
            "lesion": Field(kind="value", dtype="int64"),
            "phash": near_duplicates.FIELD,
        }
        if self.masks:
            shape = (None, None, 1)
            fields["mask"] = Field(kind="map", dtype="uint8", shape=shape, codec="encoded")
        return fields

    def classes(self, entries: Sequence[Entry]) -> list[str]:
        return list(CLASSES)

    def seeds(self) -> dict[str, int]:
        return {"split": self.seed}

    def entries(self, raw: Raw) -> list[Entry]:
        found = ham_files.find(raw, self.images, self.table)
        rows = [row for row in found.rows if row.image in found.images]
        facts = self._complete(raw, found, rows)
        masks = ham_files.masks(elsewhere(self.masks)) if self.masks else {}
        maskless = [row.image for row in rows if row.image not in masks] if self.masks else []
        if maskless and not self.allow_partial:
            why = f"{len(maskless):,} images have no mask: {listed(maskless)}"
            raise DataError(self.masks, "", f"{why}; --allow-partial gives them an empty one")
        test = self._test_rows(found, facts)
        if not rows:
            raise DataError(raw.path, "", f"none of its images stands in {found.table}")
        placed = [*zip(rows, self._splits(rows), strict=True), *((row, (TEST,)) for row in test)]
        entries = [self._entry(found, row, splits, masks) for row, splits in placed]
        entries.sort(key=lambda entry: entry.values["key"])
        facts |= {"table": found.table, "others": found.others, "sizes": found.sizes}
        facts["maskless"] = len(maskless)
        # On one entry, for the remarks and checks: it is the same for all.
        return [replace(entries[0], values={**entries[0].values, "listing": facts}), *entries[1:]]

    def _complete(self, raw: Raw, found: Found, rows: Sequence[Row]) -> dict[str, Any]:
        """Return what is missing, for remarks; DataError for that, unless --allow-partial."""
        known = [row.image for row in found.rows]
        ours = [name for name in found.images if ham_table.number(name) <= LAST]
        rowless = ham_files.without(ours, known)
        lacking = ham_files.without(known, found.images)
        lines = ham_table.differences(rows)
        lines += [f"{len(rowless):,} images have no row: {listed(rowless)}"] if rowless else []
        lines += [f"{len(lacking):,} rows have no image: {listed(lacking)}"] if lacking else []
        if lines and not self.allow_partial:
            why = f"{found.table} and the images are not all of HAM10000: {'; '.join(lines)}"
            raise DataError(raw.path, "", f"{why}; --allow-partial builds what is there")
        return {"rowless": len(rowless), "lacking": len(lacking), "differs": lines}

    def _test_rows(self, found: Found, facts: dict[str, Any]) -> list[Row]:
        """Return the rows of ISIC 2018's test images that are there, noting what is left out."""
        test = [row for row in found.test_rows if row.image != SYNTHETIC]
        labelled = {row.image for row in [*found.rows, *found.test_rows]}
        outside = [name for name in found.images if ham_table.number(name) > LAST]
        facts["unlabelled"] = ham_files.without(outside, labelled)
        facts["synthetic"] = SYNTHETIC in {row.image for row in found.test_rows}
        facts["truth"] = found.truth
        return [row for row in test if row.image in found.images]

    def _splits(self, rows: Sequence[Row]) -> list[tuple[str, ...]]:
        """Return the splits that each row is in."""
        labels = [row.dx for row in rows]
        if self.split == "image":
            try:
                held_out = groups.by_sample(labels, IMAGE_SHARE, self.seed)
            except ValueError as error:
                raise ValueError(f"--split image cannot part these images: {error}") from None
            return [HELD_OUT if one else (TRAIN,) for one in held_out.tolist()]
        lesions = [row.lesion for row in rows]
        shares = dict(zip((TRAIN, *HELD_OUT), self.shares, strict=True))
        split = groups.by_group(lesions, labels, shares, self.seed)
        assert len({*zip(lesions, split, strict=True)}) == len(set(lesions)), "a lesion was parted"
        return [(one,) for one in split]

    def _entry(
        self, found: Found, row: Row, splits: tuple[str, ...], masks: Mapping[str, str]
    ) -> Entry:
        name = found.images[row.image]
        lesion = ham_table.number(row.lesion or row.image)
        if splits == (TEST,) and row.lesion:
            lesion += TEST_LESIONS
        values: dict[str, Any] = {
            "key": row.image,
            "label": CLASSES.index(row.dx),
            "lesion": lesion,
        }
        if row.image in masks:
            mask = masks[row.image]
            # Its bytes go into the plan with it: it may lie elsewhere than the raw data.
            values |= {"mask": mask, "mask_bytes": elsewhere(self.masks).size(mask)}
        return Entry(name, splits[0], {"image": name}, values, splits[1:])

    def read(self, raw: Raw, entry: Entry) -> Iterator[Sample]:
        name = entry.members["image"]
        if raw.size(name) > IMAGE_BYTES:
            raise DataError(raw.path, name, f"is of {raw.size(name):,} bytes: none of HAM10000")
        stored, notes = self.photo(raw, name)
        pixels = stored.upright if isinstance(stored, Encoded) else stored
        values = {
            "image": stored,
            "label": entry.values["label"],
            "lesion": entry.values["lesion"],
            "phash": near_duplicates.phash(pixels),
        }
        if self.masks:
            values["mask"], more = self._mask(entry, (pixels.shape[0], pixels.shape[1]))
            notes = (*notes, *more)
        yield Sample(entry.values["key"], values, notes)

    def _mask(self, entry: Entry, size: tuple[int, int]) -> tuple[Encoded, tuple[str, ...]]:
        """Return the mask as it is stored, of the image's size, and notes."""
        name = entry.values.get("mask")
        if name is None:
            return _png(np.zeros(size, np.uint8), 0), ("mask: none there, an empty one stored",)
        data = elsewhere(self.masks).read(name)
        try:
            lesion = image.decode(data).pixels[:, :, 0] > NONE
        except ValueError as error:
            raise DataError(self.masks, name, str(error)) from None
        height, width = lesion.shape
        if abs(width / height * size[0] / size[1] - 1) > RATIO:
            why = f"is of {height}×{width} pixels, its image of {size[0]}×{size[1]}: another shape"
            raise DataError(self.masks, name, why)
        mask = np.where(lesion, np.uint8(LESION), np.uint8(0))
        if (height, width) == size:
            return _png(mask, len(data)), ()
        nearest = Image.fromarray(mask).resize(size[::-1], Image.Resampling.NEAREST)
        return _png(np.asarray(nearest), len(data)), ("mask: resized to its image",)

    def weigh(self, raw: Raw, entry: Entry) -> int:
        return super().weigh(raw, entry) + (MASK_BYTES if self.masks else 0)

    def remarks(self, entries: Sequence[Entry]) -> list[str]:
        facts = entries[0].values["listing"]
        lines = [f"labels are those of {facts['table']}"]
        if facts["others"]:
            lines[0] += f"; the same say {listed(facts['others'])}"
        if facts["sizes"]:
            why = "lie there in several sizes, the largest file is taken (--images FOLDER chooses)"
            lines.append(f"{facts['sizes']:,} images {why}")
        if facts["differs"]:
            lines.append(f"not all of HAM10000: {'; '.join(facts['differs'])}")
        if facts["maskless"]:
            lines.append(f"{facts['maskless']:,} images have no mask: an empty one is stored")
        lines += self._test_remarks(entries, facts)
        if self.split == "image":
            lines.append("LEAKY: --split image puts images of one lesion in train and in test")
        else:
            lines += self._absent(entries)
        return lines

    def _test_remarks(self, entries: Sequence[Entry], facts: Mapping[str, Any]) -> list[str]:
        count = sum(entry.split == TEST for entry in entries)
        lines = []
        if count and count != TEST_IMAGES:
            lines.append(f"{TEST} has {count:,} of {TEST_IMAGES:,} images")
        if facts["truth"] and not count:
            lines.append(f"{facts['truth']} is there, its images are not: no split {TEST}")
        if facts["synthetic"]:
            lines.append(
                f"{SYNTHETIC} is left out of {TEST}, as the challenge does: it is no photo"
            )
        if facts["unlabelled"]:
            lines.append(f"not read, for want of their truth: {listed(facts['unlabelled'])}")
        if count and self.masks:
            lines.append(f"{TEST} has no masks: its samples get empty ones")
        return lines

    def _absent(self, entries: Sequence[Entry]) -> list[str]:
        """Say which classes have too few lesions for all splits."""
        wanted = [one for one, share in zip((TRAIN, *HELD_OUT), self.shares, strict=True) if share]
        here = {(entry.values["label"], entry.split) for entry in entries}
        labels = sorted({label for label, split in here if split != TEST})
        absent = {
            split: [CLASSES[label] for label in labels if (label, split) not in here]
            for split in wanted
        }
        return [
            f"no {', '.join(names)} in {split}: too few lesions"
            for split, names in absent.items()
            if names
        ]

    def checks(self, folder: Path, entries: Sequence[Entry]) -> dict[str, Any]:
        listing = entries[0].values["listing"]
        found = ham_checks.checks(folder, self.split == "lesion")
        if listing["differs"]:
            lines = [f"not all of HAM10000: {'; '.join(listing['differs'])}"]
            counts = {key: listing[key] for key in ("rowless", "lacking", "maskless")}
            found = {"complete": {"says": lines, **counts}, **found}
        return found

    @classmethod
    def downloads(cls) -> Download:
        return Download(ham_checks.PUBLIC)


def _png(mask: Pixels, source_bytes: int) -> Encoded:
    out = io.BytesIO()
    Image.fromarray(mask).save(out, "PNG", optimize=True)
    return Encoded(out.getvalue(), mask[:, :, None], source_bytes, whole="PNG")
