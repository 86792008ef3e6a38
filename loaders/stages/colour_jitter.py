"""Brightness, contrast, saturation and hue, each by a drawn factor. Legend: B batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loaders import geometry
from loaders.draw import Keys
from loaders.stages import Array
from loaders.stages.colour_matrix import LUMA, ColourMatrix

Range = float | tuple[float, float]

MID_GREY = 127.5
TO_YIQ = np.array(
    [LUMA, [0.59590059, -0.27455667, -0.32134392], [0.21153661, -0.52273617, 0.31119955]]
)
FROM_YIQ = np.linalg.inv(TO_YIQ)


@dataclass(frozen=True, kw_only=True)
class ColourJitter(ColourMatrix):
    """Change colours by factors of torchvision's meaning, in a drawn order, as one matrix.

    brightness, contrast, saturation: (low, high), or d for max(0, 1 − d) to 1 + d; 1 keeps.
    hue: (low, high), or d for −d to d, in turns of the colour circle; 0 keeps.

    Not torchvision's pixels: contrast is about mid-grey (127.5) and not about the image's mean,
    hue turns the chroma plane of YIQ and keeps luma (theirs turns HSV's hue), and grey levels are
    clamped once at the end and not after every change. So only the order of brightness and
    contrast matters: it is drawn, every other pair commutes.
    """

    brightness: Range = 0.0
    contrast: Range = 0.0
    saturation: Range = 0.0
    hue: Range = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._limits()

    def matrices(self, keys: Keys) -> Array:
        """Draw four factors and which of brightness and contrast comes first."""
        brightness, contrast, saturation, hue = (
            low + keys.uniform(number) * (high - low)
            for number, (low, high) in enumerate(self._limits())
        )
        gains = brightness * contrast
        contrast_first = keys.integers(2, 4) == 1
        terms = (1 - contrast) * MID_GREY * np.where(contrast_first, brightness, 1.0)
        linear = gains[:, None, None] * (FROM_YIQ @ _chroma(saturation, hue) @ TO_YIQ)
        terms = np.broadcast_to(terms[:, None, None], (len(terms), 3, 1))
        return np.concatenate([linear, terms], axis=2)

    def _limits(self) -> tuple[tuple[float, float], ...]:
        """Return the least and the largest brightness, contrast, saturation and hue."""
        return (
            _limits("brightness", self.brightness),
            _limits("contrast", self.contrast),
            _limits("saturation", self.saturation),
            _limits("hue", self.hue),
        )


def _limits(name: str, value: Range) -> tuple[float, float]:
    keeps, least, most = (0.0, -0.5, 0.5) if name == "hue" else (1.0, 0.0, np.inf)
    if isinstance(value, tuple):
        low, high = value
    elif value < 0:
        raise ValueError(f"{name} is one number ≥ 0 or two, ascending, not {value}")
    else:
        low, high = keeps - value, keeps + value
        low = low if name == "hue" else max(0.0, low)
    if not least <= low <= high <= most:
        raise ValueError(
            f"{name} lies between {least:g} and {most:g}, ascending, not {low:g}, {high:g}"
        )
    return low, high


def _chroma(saturation: Array, hue: Array) -> Array:
    """Return (B, 3, 3) maps of (Y, I, Q): chroma times saturation, turned by hue.

    A positive turn goes as HSV's, red towards green: clockwise in (I, Q).
    """
    angles = -2 * np.pi * hue
    maps = geometry.identity(len(hue))
    maps[:, 1, 1] = maps[:, 2, 2] = saturation * np.cos(angles)
    maps[:, 2, 1] = saturation * np.sin(angles)
    maps[:, 1, 2] = -maps[:, 2, 1]
    return maps
