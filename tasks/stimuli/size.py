"""At which size images are looked at."""

from __future__ import annotations

import re
from dataclasses import dataclass

from loaders.stages import Interpolation
from loaders.stages.resize import Resize

LEAST_PX = 16


@dataclass(frozen=True)
class Size:
    """One size, or with `oriented` its transpose as well; height and width 0: as images are."""

    height: int = 0
    width: int = 0
    oriented: bool = False

    @classmethod
    def parse(cls, text: str) -> Size:
        """Read "768x1024" (oriented), "768x1024!" (for all images) or "native"."""
        if text == "native":
            return cls()
        match = re.fullmatch(r"(\d+)x(\d+)(!?)", text)
        if not match:
            raise ValueError(
                f"size is 768x1024, 768x1024! (for all images) or native, not {text!r}"
            )
        height, width = int(match[1]), int(match[2])
        if min(height, width) < LEAST_PX:
            raise ValueError(f"size={text}: want {LEAST_PX} pixels or more")
        return cls(height, width, not match[3])

    @property
    def is_native(self) -> bool:
        """True where images keep their sizes."""
        return not self.height

    def stages(self, interpolation: Interpolation) -> tuple[Resize, ...]:
        """Return what brings images to this size."""
        if self.is_native:
            return ()
        return (
            Resize(
                height=self.height,
                width=self.width,
                oriented=self.oriented,
                interpolation=interpolation,
            ),
        )

    def of(self, height: int, width: int) -> tuple[int, int]:
        """Return the size at which an image of this height and width is looked at."""
        if self.is_native:
            return height, width
        if self.oriented and width <= height:
            return self.width, self.height
        return self.height, self.width
