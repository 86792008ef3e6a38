"""MNIST: handwritten digits, 28×28 grey, from the four official IDX files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dataprep.mnist_like import FIRST, MnistLike, public_files
from dataprep.sources import Download

# Name, bytes, md5.
PUBLIC = (
    ("train-images-idx3-ubyte.gz", 9_912_422, None, "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
    ("train-labels-idx1-ubyte.gz", 28_881, None, "d53e105ee54ea40749a09fcbcd1e9432"),
    ("t10k-images-idx3-ubyte.gz", 1_648_877, None, "9fb629c4189551a2d022fa330f9573f3"),
    ("t10k-labels-idx1-ubyte.gz", 4_542, None, "ec29112dd5afa0611ce80d1b7f02629c"),
)
ADDRESSES = (
    "https://ossci-datasets.s3.amazonaws.com/mnist",
    "https://storage.googleapis.com/cvdf-datasets/mnist",
)


@dataclass(frozen=True, kw_only=True)
class Source(MnistLike):
    """Digits as they are."""

    summary: ClassVar[str] = "MNIST's IDX files, plain or .gz: digits of 28×28 pixels"
    title = "MNIST"
    home = "MNIST/raw"
    class_names = tuple("0123456789")
    official: ClassVar = {"train": 60_000, "test": 10_000}
    first_images = FIRST

    @classmethod
    def downloads(cls) -> Download:
        return public_files(PUBLIC, ADDRESSES, cls.parts)
