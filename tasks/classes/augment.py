"""Ways to vary the photographs that a classifier is trained on, at the network's size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from dataprep.manifest import Field
from loaders.stages import Stage
from loaders.stages.colour_jitter import ColourJitter
from loaders.stages.dihedral import Dihedral
from loaders.stages.flip import Flip
from loaders.stages.random_resized_crop import RandomResizedCrop
from loaders.stages.resize import Resize
from loaders.stages.rotate import Rotate
from tasks.classes import inputs

Augment = Literal["none", "flip", "crop", "lesion", "whole"]

JITTER = 0.2  # of brightness and contrast
LEAST_AREA = 0.4  # of a photograph: what is to be told must be in the crop
DEGREES = 20.0


def stages(name: Augment, field: Field, wanted: Any, fit: inputs.Fit) -> list[Stage]:
    """Return the stages between the set's images and `Normalise`. wanted: the network's Input."""
    return WAYS[name](field, wanted, fit)


def _none(field: Field, wanted: Any, fit: inputs.Fit) -> list[Stage]:
    return list(inputs.sizing(field, wanted, fit))


def _flip(field: Field, wanted: Any, fit: inputs.Fit) -> list[Stage]:
    """Mirror every other image."""
    return [*inputs.sizing(field, wanted, fit), Flip()]


def _crop(field: Field, wanted: Any, fit: inputs.Fit) -> list[Stage]:
    """ImageNet's: a box of 8 to 100 % of the area, mirrored or not."""
    return [_box(field, wanted, (0.08, 1.0)), Flip()]


def _lesion(field: Field, wanted: Any, fit: inputs.Fit) -> list[Stage]:
    """For what has no upside: large boxes, all eight turns and mirrors, other light."""
    return [_box(field, wanted, (LEAST_AREA, 1.0)), Dihedral(), _jitter()]


def _whole(field: Field, wanted: Any, fit: inputs.Fit) -> list[Stage]:
    """The whole image squashed, mirrored both ways, turned a little; other light."""
    height, width = _size(field, wanted)
    whole = Resize(height=height, width=width, interpolation=wanted.interpolation)
    turned = Rotate(degrees=DEGREES, interpolation=wanted.interpolation)
    return [whole, Flip(vertical=0.5), turned, _jitter()]


def _box(field: Field, wanted: Any, scale: tuple[float, float]) -> RandomResizedCrop:
    height, width = _size(field, wanted)
    return RandomResizedCrop(
        height=height, width=width, scale=scale, interpolation=wanted.interpolation
    )


def _jitter() -> ColourJitter:
    return ColourJitter(fields=("image",), brightness=JITTER, contrast=JITTER)


def _size(field: Field, wanted: Any) -> tuple[int, int]:
    """Return the size of the crops; ValueError where neither the network nor the set names one."""
    if wanted.size:
        height, width = wanted.size
        return height, width
    if not field.is_uniform:
        raise ValueError("the network takes images of any size: a crop has none, --task augment=…")
    return int(field.shape[0] or 0), int(field.shape[1] or 0)


WAYS: dict[str, Callable[[Field, Any, inputs.Fit], list[Stage]]] = {
    "none": _none,
    "flip": _flip,
    "crop": _crop,
    "lesion": _lesion,
    "whole": _whole,
}
