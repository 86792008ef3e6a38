"""Stages: one frozen dataclass a file; what happens to a sample between the store and the batch.

Three kinds. A `Geometric` stage only draws matrices; the engines carry them out, composed, on every
image, map and points field. A `Photometric` stage names its fields and changes grey levels, with a
`host` face (numpy, one sample) and a `graph` face (DALI nodes). `Normalise` ends a field: the one
conversion to float. Legend: B batch, C channels, H W pixels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from dataprep.manifest import Field
from loaders.draw import Keys

Array = npt.NDArray[Any]
Interpolation = Literal["linear", "cubic", "nearest"]


@dataclass(frozen=True, kw_only=True)
class Geometric(ABC):
    """Moves pixels and points alike.

    resamples: output pixels may fall between source pixels; `interpolation` then says how they are
        filled, antialiased where an image shrinks (linear: Pillow's BILINEAR).
    confines: a crop. Before anything was resampled, the filter then sees no pixel outside it.
    """

    resamples: ClassVar[bool] = False
    confines: ClassVar[bool] = False

    @abstractmethod
    def draw(self, keys: Keys, sizes: Array) -> tuple[Array, Array]:
        """Return matrices (B, 3, 3), output to source, and output sizes (B, 2: height, width).

        `sizes` (B, 2) are those of the reference field as the stages before left it. ValueError
        where a sample cannot be served, naming its id.
        """

    def resized(self, sizes: Array) -> Array:
        """Return the output sizes of `draw`; ValueError where they are drawn themselves."""
        return sizes


@dataclass(frozen=True, kw_only=True)
class Photometric(ABC):
    """Changes grey levels of the fields it names, never their place."""

    fields: tuple[str, ...]

    def check(self, name: str, field: Field) -> None:
        """Refuse a field that the stage is not made for; by default all but 8-bit RGB."""
        if field.dtype != "uint8" or field.shape[2:] != (3,):
            raise ValueError(
                f"stage {type(self).__name__} changes 8-bit RGB images; field {name!r} is"
                f" {field.dtype} of {field.shape}"
            )

    @abstractmethod
    def draw(self, keys: Keys) -> dict[str, Array]:
        """Return the drawn parameters, each (B, ...) and float32."""

    @abstractmethod
    def host(self, image: Array, drawn: dict[str, Array]) -> Array:
        """Return one changed image (H, W, C) of the same dtype."""

    def graph(self, image: Any, drawn: dict[str, Any]) -> Any:
        """Return a DALI node that does the same; a stage without one says so by name."""
        raise ValueError(f"stage {type(self).__name__} has no DALI face: use --engine host")


@dataclass(frozen=True, kw_only=True)
class Normalise:
    """Convert one field to float, (B, C, H, W): (physical value − mean) / std.

    The physical value is the manifest's `stored × scale + offset`: [0, 1] for 8-bit images.
    channels_last: in torch's memory format of that name, which tensor cores like better.
    dtype "uint8": not converted, only laid out so, for a network that normalises by itself.
    """

    field: str
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    dtype: Literal["float32", "bfloat16", "uint8"] = "float32"
    channels_last: bool = False

    def __post_init__(self) -> None:
        if self.dtype not in ("float32", "bfloat16", "uint8"):
            raise ValueError(f"normalise to float32, bfloat16 or uint8, not {self.dtype}")
        if self.dtype == "uint8" and (set(self.mean), set(self.std)) != ({0.0}, {1.0}):
            raise ValueError("uint8 stays as it is stored: no mean and std go with it")
        if min(self.std) <= 0:
            raise ValueError(f"std must be positive, not {self.std}")

    def affine(self, scale: float, offset: float, channels: int) -> tuple[Array, Array]:
        """Return (C,) factors and terms: float = stored × factor + term."""
        if self.dtype == "uint8":
            return np.ones(channels, np.float32), np.zeros(channels, np.float32)
        mean, std = (np.broadcast_to(value, channels) for value in (self.mean, self.std))
        return (scale / std).astype(np.float32), ((offset - mean) / std).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Views:
    """Several draws of one image: output `<field>.<name>` for each field and each view.

    `stages` are geometric and photometric stages of one view, the same for each, drawn anew; what
    stands before `Views` in the list is drawn once and shared.
    """

    names: tuple[str, ...]
    fields: tuple[str, ...]
    stages: tuple[tuple[Geometric | Photometric, ...], ...]

    def __post_init__(self) -> None:
        if len(self.stages) != len(self.names):
            raise ValueError(f"{len(self.names)} views need as many stage lists")


Stage = Geometric | Photometric | Normalise | Views
