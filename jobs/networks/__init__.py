"""What the study of networks compares, on which set, and by which figures.

A network is a recipe of models/timm_nets.py, or any architecture of timm by its name. Figures are
those of `python -m tasks calibrate`; `_before` and `_after` temperature scaling.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import models
from dataprep.manifest import DataError, Manifest
from jobs.study import Execution, Metric, Settings, Variant, opened

NAME = "ham10000"
FAMILY = "timm_nets"
FOUR = ("resnet50", "efficientnet_b3", "densenet121", "vit_b_16")
LABELS = {
    "resnet50": "ResNet-50",
    "efficientnet_b3": "EfficientNet-B3",
    "densenet121": "DenseNet-121",
    "vit_b_16": "ViT-B/16",
}
TRAIN, VAL, CALIBRATION, TEST, OUTSIDE = "train", "val", "calibration", "test", "isic2018_test"
BEFORE, AFTER = "_before", "_after"


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A figure as it is shown. percent: a share, else a number with three decimals."""

    name: str
    title: str
    better: Literal["higher", "lower"] = "higher"
    percent: bool = False

    @property
    def axis(self) -> str:
        """Its title with its unit."""
        return self.title + (", %" if self.percent else "")

    @property
    def scale(self) -> float:
        """What a value is multiplied by."""
        return 100.0 if self.percent else 1.0

    def text(self, value: float) -> str:
        """Return a value as text."""
        return f"{100 * value:.1f}" if self.percent else f"{value:.3f}"


CALIBRATIONS = (
    Shown(name="ece", title="ECE", better="lower", percent=True),
    Shown(name="mce", title="MCE", better="lower", percent=True),
    Shown(name="classwise_ece", title="classwise ECE", better="lower", percent=True),
    Shown(name="adaptive_ece", title="adaptive ECE", better="lower", percent=True),
    Shown(name="brier", title="Brier score", better="lower"),
    Shown(name="nll", title="NLL, nats", better="lower"),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """What all networks have in common. positive: the class of the operating points."""

    data: str
    positive: str
    specificity: float
    sensitivity: float
    execution: Execution

    @cached_property
    def manifest(self) -> Manifest:
        """The set's manifest; DataError where it is not there or lacks a split or the class."""
        found = opened(self.data, self.execution.data_root)
        for split in (TRAIN, VAL, CALIBRATION, TEST):
            if split not in found.splits:
                there = ", ".join(found.splits)
                raise DataError(self.data, split, f"no such split; there are: {there}")
        if self.positive not in found.classes:
            there = ", ".join(found.classes) or "none with a name"
            raise DataError(self.data, self.positive, f"no such class; there are: {there}")
        return found

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits on which networks are judged: never chosen by."""
        return tuple(name for name in (TEST, OUTSIDE) if name in self.manifest.splits)

    @property
    def points(self) -> dict[str, str]:
        """The operating points by name, and what each promises on the calibration split."""
        return {
            f"spec{100 * self.specificity:g}": f"specificity ≥ {100 * self.specificity:g} %",
            f"sens{100 * self.sensitivity:g}": f"sensitivity ≥ {100 * self.sensitivity:g} %",
        }

    @property
    def point(self) -> str:
        """The operating point of a wanted specificity."""
        return next(iter(self.points))

    @property
    def figures(self) -> tuple[Shown, ...]:
        """What networks are told apart by."""
        return (
            Shown(name="accuracy", title="accuracy", percent=True),
            Shown(name="balanced_accuracy", title="balanced accuracy", percent=True),
            Shown(name="macro_f1", title="macro F1"),
            Shown(name="macro_auc", title="macro AUC"),
            Shown(name=self.auc, title=f"AUC {self.positive}"),
            Shown(
                name=f"sensitivity@{self.point}",
                title=f"sensitivity at {self.points[self.point]}",
                percent=True,
            ),
        )

    @property
    def auc(self) -> str:
        """The name of the area under the ROC curve of the positive class."""
        return f"auc/{self.positive}"

    @property
    def ranked(self) -> tuple[Shown, ...]:
        """The figures by which networks are ranked."""
        after = {one.name: one for one in CALIBRATIONS}
        chosen = ("ece", "brier", "nll")
        more = (
            Shown(
                name=name + AFTER,
                title=f"{after[name].title} after calibration",
                better="lower",
                percent=after[name].percent,
            )
            for name in chosen
        )
        return (*self.figures, *more)

    @property
    def headline(self) -> tuple[Metric, ...]:
        """The ranked figures as the framework of studies knows them."""
        return tuple(
            Metric(name=one.name, label=one.title, better=one.better, where="further")
            for one in self.ranked
        )

    def variant(self, net: str) -> Variant:
        """Return a network as a variant of the study."""
        is_recipe = net in recipes()
        return Variant(
            name=net.replace(".", "-"),
            model=net if is_recipe else FOUR[0],
            settings={} if is_recipe else {"net.arch": net},
            label=LABELS.get(net, net),
            late=self._settings,
        )

    def _settings(self) -> Settings:
        """Return what only the set tells: its classes."""
        return {
            "data": self.data,
            "net.classes": str(len(self.manifest.classes)),
            "task.positive": self.positive,
        }


def recipes() -> list[str]:
    """Return the recipes of the family."""
    return list(models.load(FAMILY).RECIPES)
