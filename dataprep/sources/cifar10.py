"""CIFAR-10: 32×32 RGB photographs of ten classes, from the official Python batches.

    data_batch_1 … data_batch_5     split train, part of it held out as val
    test_batch                      split test

In cifar-10-batches-py, or in cifar-10-python.tar.gz as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dataprep.cifar import SITE, Cifar
from dataprep.sources import Download, PublicFile

CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)


@dataclass(frozen=True, kw_only=True)
class Source(Cifar):
    """Photographs as they are."""

    summary: ClassVar[str] = "CIFAR-10's Python batches or archive: photographs of 32×32 pixels"
    title = "CIFAR-10"
    folder = "cifar-10-batches-py"
    batches: ClassVar = {f"data_batch_{i}": "train" for i in range(1, 6)} | {"test_batch": "test"}
    names_in = ("batches.meta", "label_names")
    labels: ClassVar = {"label": "labels"}
    classes_of: ClassVar = {"label": len(CLASSES)}
    class_names = CLASSES
    official: ClassVar = {"train": 50_000, "test": 10_000}
    first_images: ClassVar = {
        0x154086BA: ("CIFAR-10", "cifar10"),
        0x9B4C7E75: ("CIFAR-10", "cifar10"),
    }

    @classmethod
    def downloads(cls) -> Download:
        name = "cifar-10-python.tar.gz"
        md5 = "md5:c58f30108f718f92721af3b95e74349a"
        return Download((PublicFile(name, (f"{SITE}/{name}",), "all batches", md5, 170_498_071),))
