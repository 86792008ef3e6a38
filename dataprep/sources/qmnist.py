"""QMNIST: MNIST made again from NIST's scans, with who wrote each digit and 60,000 test digits.

    qmnist-train-images-idx3-ubyte[.gz]  qmnist-train-labels-idx2-int[.gz]
    qmnist-test-images-idx3-ubyte[.gz]   qmnist-test-labels-idx2-int[.gz]

A label is a row of eight numbers (Yadav & Bottou 2019, Cold Case: The Lost MNIST Digits). The first
10,000 test digits are those of MNIST's test set: splits test10k and test50k.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dataprep import idx
from dataprep.manifest import DataError
from dataprep.mnist_like import MnistLike, check_pairs, public_files
from dataprep.raw import Raw
from dataprep.small_images import TEST, Content, Members, check_labels
from dataprep.sources import Download

# Columns of a label: digit, part of NIST's database, writer, number of the digit among the
# writer's, NIST's code of the class, number among all of NIST's digits, whether it is one of a few
# that NIST has twice; the eighth is reserved.
COLUMNS = {
    "label": "int64",
    "partition": "int32",
    "writer": "int32",
    "writer_digit": "int32",
    "class_code": "int32",
    "nist_digit": "int32",
    "duplicate": "int32",
}
WIDTH = 8
# Test digits of MNIST.
MNIST_TEST = 10_000
# Name, bytes, rounded bytes, md5.
PUBLIC = (
    ("qmnist-train-images-idx3-ubyte.gz", None, 9_700_000, "ed72d4157d28c017586c42bc6afe6370"),
    ("qmnist-train-labels-idx2-int.gz", None, 460_000, "0058f8dd561b90ffdd0f734c6a30e5e4"),
    ("qmnist-test-images-idx3-ubyte.gz", None, 9_700_000, "1394631089c404de565df7b7aeaf9412"),
    ("qmnist-test-labels-idx2-int.gz", 526_800, None, "5b5b05890a5e13444e108efe57b788aa"),
)
ADDRESSES = ("https://raw.githubusercontent.com/facebookresearch/qmnist/master",)


@dataclass(frozen=True, kw_only=True)
class Source(MnistLike):
    """Digits as they are, and what is known of each."""

    summary: ClassVar[str] = "QMNIST's IDX files, plain or .gz: digits of 28×28 pixels, writers"
    title = "QMNIST"
    home = "QMNIST/raw"
    parts: ClassVar = {"qmnist-train": "train", "qmnist-test": "test"}
    endings: ClassVar = {"images": "idx3-ubyte", "labels": "idx2-int"}
    class_names = tuple("0123456789")
    numbers = COLUMNS
    official: ClassVar = {"train": 60_000, "test": 60_000}

    def decode(self, raw: Raw, members: Members) -> Content:
        images = idx.read(raw, members["images"], idx.IMAGES)
        table = idx.read(raw, members["labels"], idx.TABLE)
        if table.shape[1] != WIDTH:
            why = f"has {table.shape[1]} numbers a label, not {WIDTH}"
            raise DataError(raw.path, members["labels"], why)
        check_pairs(raw, members, images.shape, len(table))
        check_labels(raw, members["labels"], table[:, 0], len(self.class_names))
        return Content(images, {name: table[:, i] for i, name in enumerate(COLUMNS)})

    def more_splits(self, part: str, index: int) -> tuple[str, ...]:
        if part != TEST:
            return ()
        return ("test10k",) if index < MNIST_TEST else ("test50k",)

    @classmethod
    def downloads(cls) -> Download:
        return public_files(PUBLIC, ADDRESSES, cls.parts)
