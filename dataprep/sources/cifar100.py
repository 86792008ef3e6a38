"""CIFAR-100: 32×32 RGB photographs of 100 classes in 20 groups, from the official Python pickles.

    train     split train, part of it held out as val
    test      split test

In cifar-100-python, or in cifar-100-python.tar.gz as it is. `label` is the class, `coarse_label`
its group: numbers in the alphabetical order of the names, as in the files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dataprep.cifar import SITE, Cifar
from dataprep.sources import Download, PublicFile

GROUPS = 20
CLASSES = tuple(
    """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus
    butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch
    crab crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo
    keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain
    mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain
    plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
    skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone
    television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
    """.split()
)


@dataclass(frozen=True, kw_only=True)
class Source(Cifar):
    """Photographs as they are, with both labels."""

    summary: ClassVar[str] = "CIFAR-100's Python pickles or archive: photographs of 32×32 pixels"
    title = "CIFAR-100"
    folder = "cifar-100-python"
    batches: ClassVar = {"train": "train", "test": "test"}
    names_in = ("meta", "fine_label_names")
    labels: ClassVar = {"label": "fine_labels", "coarse_label": "coarse_labels"}
    numbers: ClassVar = {"label": "int64", "coarse_label": "int64"}
    classes_of: ClassVar = {"label": len(CLASSES), "coarse_label": GROUPS}
    class_names = CLASSES
    official: ClassVar = {"train": 50_000, "test": 10_000}

    @classmethod
    def downloads(cls) -> Download:
        name = "cifar-100-python.tar.gz"
        md5 = "md5:eb9058c3a382ffc7106e4002c42a8d85"
        return Download((PublicFile(name, (f"{SITE}/{name}",), "all images", md5, 169_001_437),))
