"""CINIC-10: 270,000 photographs of 32×32, CIFAR-10's and ImageNet's made smaller, in ten classes.

    train/airplane/*.png   valid/airplane/*.png   test/airplane/*.png   …

In any outer folder, or in CINIC-10.tar.gz as it is. Splits: train, val (valid), train_all (both, as
the authors also train) and test. Files named cifar10-… are CIFAR-10's images, in test all of its
test set too: `--no-cifar10` leaves them out. Darlow et al. 2018, CINIC-10 Is Not ImageNet or
CIFAR-10; CC BY 4.0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from dataprep import image
from dataprep.manifest import DataError, Field
from dataprep.raw import Raw
from dataprep.small_images import ROW_BYTES, SHARD_SAMPLES, SHARDS, TRAIN, TRAIN_ALL, VAL
from dataprep.sources import Base, Download, Entry, PublicFile, Sample
from dataprep.sources.cifar10 import CLASSES
from dataprep.sources.imagefolder import layout
from dataprep.superres import key_of

SHAPE = (32, 32, 3)
PREFIX = "cifar10-"
# Images of each split, and those of them that are CIFAR-10's.
OFFICIAL, OF_CIFAR10 = 90_000, 20_000
SITE = "https://datashare.ed.ac.uk"
PUBLIC = PublicFile(
    "CINIC-10.tar.gz",
    (
        f"{SITE}/server/api/core/bitstreams/e8e186cc-2688-48f1-aa5a-3fda1a43f8b6/content",
        f"{SITE}/bitstream/handle/10283/3192/CINIC-10.tar.gz",
    ),
    "all images",
    "md5:6ee4d0c996905fe93221de577967a372",
    687_544_992,
)


@dataclass(frozen=True, kw_only=True)
class Source(Base):
    """Decoded pixels in one array; the order of ids is that in which files are read fastest."""

    summary: ClassVar[str] = "CINIC-10's folders or archive: photographs of 32×32 pixels"

    cifar10: bool = field(
        default=True, metadata={"help": "with the images that CIFAR-10 has, named cifar10-…"}
    )

    def fields(self) -> dict[str, Field]:
        pixels = Field(kind="image", dtype="uint8", shape=SHAPE, scale=1 / 255)
        return {"image": pixels, "label": Field(kind="value", dtype="int64")}

    def entries(self, raw: Raw) -> list[Entry]:
        entries = []
        for name, split, folder, rest in layout(raw):
            if folder not in CLASSES:
                raise DataError(raw.path, name, f"{folder} is no class of CINIC-10")
            if self.cifar10 or not rest.rpartition("/")[2].startswith(PREFIX):
                values = {
                    "key": key_of(f"{split}/{folder}/{rest}"),
                    "label": CLASSES.index(folder),
                }
                entries.append(Entry(name, split, {"image": name}, values))
        has_val = any(entry.split == VAL for entry in entries)
        if has_val:
            entries = [_also_in_train_all(entry) for entry in entries]
        # A member of a compressed tar is reached by reading all before it.
        return sorted(entries, key=lambda entry: raw.place(entry.name) or ("", 0))

    def classes(self, entries: Sequence[Entry]) -> list[str]:
        return list(CLASSES)

    def read(self, raw: Raw, entry: Entry) -> Iterator[Sample]:
        name = entry.members["image"]
        try:
            pixels, notes = image.decode(raw.read(name))
        except ValueError as error:
            raise DataError(raw.path, name, str(error)) from None
        if pixels.shape != SHAPE:
            sides = "×".join(map(str, pixels.shape[:2]))
            raise DataError(raw.path, name, f"is of {sides} pixels, not 32×32")
        fields = {"image": pixels, "label": entry.values["label"]}
        yield Sample(entry.values["key"], fields, notes)

    def weigh(self, raw: Raw, entry: Entry) -> int:
        height, width, channels = SHAPE
        return height * width * channels + ROW_BYTES

    def entries_per_shard(self, entries: int, size_bytes: int) -> int:
        return min(-(-entries // SHARDS), SHARD_SAMPLES)

    def remarks(self, entries: Sequence[Entry]) -> list[str]:
        counts = Counter(entry.split for entry in entries)
        wanted = OFFICIAL if self.cifar10 else OFFICIAL - OF_CIFAR10
        return [
            f"{split} has {counts[split]:,} of {wanted:,} images"
            if counts[split]
            else f"no {split} images are there: built without split {split}"
            for split in (TRAIN, VAL, "test")
            if counts[split] != wanted
        ]

    @classmethod
    def downloads(cls) -> Download:
        return Download((PUBLIC,))


def _also_in_train_all(entry: Entry) -> Entry:
    if entry.split not in (TRAIN, VAL):
        return entry
    return Entry(entry.name, entry.split, entry.members, entry.values, (TRAIN_ALL,))
