"""Fashion-MNIST: articles of clothing, 28×28 grey, under MNIST's very file names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dataprep.mnist_like import FIRST, MnistLike, public_files
from dataprep.sources import Download

# Name, bytes, md5.
PUBLIC = (
    ("train-images-idx3-ubyte.gz", 26_421_880, None, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
    ("train-labels-idx1-ubyte.gz", 29_515, None, "25c81989df183df01b3e8a0aad5dffbe"),
    ("t10k-images-idx3-ubyte.gz", 4_422_102, None, "bef4ecab320f06d8554ea6380940ec79"),
    ("t10k-labels-idx1-ubyte.gz", 5_148, None, "bb300cfdad3c16e7a12a480ee83cd310"),
)
ADDRESSES = (
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets",
)


@dataclass(frozen=True, kw_only=True)
class Source(MnistLike):
    """Articles as they are."""

    summary: ClassVar[str] = "Fashion-MNIST's IDX files, plain or .gz: clothes of 28×28 pixels"
    title = "Fashion-MNIST"
    home = "FashionMNIST/raw"
    class_names = (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    )
    official: ClassVar = {"train": 60_000, "test": 10_000}
    first_images = FIRST

    @classmethod
    def downloads(cls) -> Download:
        return public_files(PUBLIC, ADDRESSES, cls.parts)
