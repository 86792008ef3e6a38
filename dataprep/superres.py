"""What super-resolution sources share: whole HR images and their bicubic LR images, as raw pixels.

HR is stored whole; LR of scale S is (H // S, W // S), made from HR cut at the bottom and right to
a multiple of S. With `--tile` the samples are windows of HR instead, as BasicSR cuts them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import lcm
from typing import Literal

from dataprep import image
from dataprep.image import Decoded, Pixels
from dataprep.manifest import DataError, Field
from dataprep.raw import Raw
from dataprep.sources import Base, Entry, Sample


@dataclass(frozen=True, kw_only=True)
class Pairs(Base):
    """Options and reading of every super-resolution source."""

    scales: tuple[int, ...] = field(
        default=(2, 3, 4), metadata={"help": "LR scales to store, comma separated"}
    )
    border: Literal["symmetric", "replicate"] = field(
        default="symmetric",
        metadata={"help": "bicubic at the border: symmetric = today's MATLAB, replicate = before"},
    )
    tile: int = field(
        default=0, metadata={"help": "cut HR into windows of this size; 0: whole images"}
    )
    step: int = field(default=240, metadata={"help": "distance of two windows, with --tile"})

    def __post_init__(self) -> None:
        if not self.scales or len(set(self.scales)) < len(self.scales):
            raise ValueError(f"--scales wants different whole numbers, not {self.scales}")
        if not all(2 <= scale <= 16 for scale in self.scales):
            raise ValueError(f"--scales must be 2 to 16 each, not {self.scales}")
        if self.tile < 0 or self.step < 1:
            raise ValueError("--tile must be at least 0 and --step at least 1")
        if self.tile % self.multiple or (self.tile and self.step % self.multiple):
            raise ValueError(
                f"--tile and --step must be multiples of {self.multiple} for scales {self.scales}"
            )

    @property
    def multiple(self) -> int:
        """The number that every scale divides."""
        return lcm(*self.scales)

    def fields(self) -> dict[str, Field]:
        pitches = {"hr": 1} | {f"lr_x{scale}": scale for scale in self.scales}
        return {
            name: Field(
                kind="image", dtype="uint8", shape=(None, None, 3), pitch=pitch, scale=1 / 255
            )
            for name, pitch in pitches.items()
        }

    def entries_per_shard(self, entries: int, size_bytes: int) -> int:
        # Some 16 shards also of a small set, so that several workers have something to do.
        return min(self.shard_entries, -(-entries // 16))

    def weigh(self, raw: Raw, entry: Entry) -> int:
        height, width = self.size(raw, entry.members["hr"])
        pixels = height * width * 3
        if self.tile:
            pixels = len(windows(height, width, self.tile, self.step)) * self.tile**2 * 3
        return int(pixels * (1 + sum(1 / scale**2 for scale in self.scales)))

    def read(self, raw: Raw, entry: Entry) -> Iterator[Sample]:
        hr, notes = self.decoded(raw, entry.members["hr"])
        yield from self.samples(raw, entry, hr, notes, {})

    def samples(
        self,
        raw: Raw,
        entry: Entry,
        hr: Pixels,
        notes: tuple[str, ...],
        ready: Mapping[int, Pixels],
    ) -> Iterator[Sample]:
        """Yield the sample, or its windows; `ready` holds LR images that need not be made."""
        key = self.key(entry)
        if min(hr.shape[:2]) < max(self.scales):
            raise DataError(raw.path, entry.name, f"smaller than the scale: {hr.shape[:2]} px")
        lr = {s: ready[s] if s in ready else self.downscale(hr, s) for s in self.scales}
        if not self.tile:
            yield Sample(key, {"hr": hr} | {f"lr_x{s}": lr[s] for s in self.scales}, notes)
            return
        # Windows lie on the common multiple, the last one too, so that LR and HR stay aligned.
        height, width = (side - side % self.multiple for side in hr.shape[:2])
        for number, (y, x) in enumerate(windows(height, width, self.tile, self.step), start=1):
            bottom, right = min(y + self.tile, height), min(x + self.tile, width)
            cut = {"hr": hr[y:bottom, x:right]} | {
                f"lr_x{s}": lr[s][y // s : bottom // s, x // s : right // s] for s in self.scales
            }
            yield Sample(f"{key}_s{number:03d}", cut, notes if number == 1 else ())

    def key(self, entry: Entry) -> str:
        """Return the key of an entry's sample."""
        return key_of(entry.name)

    def downscale(self, hr: Pixels, scale: int) -> Pixels:
        """Return LR of an HR image."""
        # Imported here: numba takes a second, and `list`, `info` and `--help` do without.
        from dataprep.bicubic import downscale

        return downscale(hr, scale, self.border)

    def content(self, raw: Raw, name: str) -> bytes:
        """Return the bytes of one image file."""
        return raw.read(name)

    def decoded(self, raw: Raw, name: str) -> Decoded:
        """Decode one file; DataError names it."""
        try:
            return image.decode(self.content(raw, name))
        except ValueError as error:
            raise DataError(raw.path, name, str(error)) from None

    def size(self, raw: Raw, name: str) -> tuple[int, int]:
        """Return an image's (H, W) from its header; DataError names the file."""
        try:
            return image.size(self.content(raw, name))
        except ValueError as error:
            raise DataError(raw.path, name, str(error)) from None


def windows(height: int, width: int, tile: int, step: int) -> list[tuple[int, int]]:
    """Return (y, x) of each window, row by row, the last of a row or column flush to the edge."""
    return [(y, x) for y in _starts(height, tile, step) for x in _starts(width, tile, step)]


def _starts(side: int, tile: int, step: int) -> list[int]:
    starts = list(range(0, max(side - tile, 0) + 1, step))
    return starts if side <= tile or starts[-1] + tile == side else [*starts, side - tile]


def key_of(name: str) -> str:
    """Return a file's name as a key: no suffix, no slash, no dot."""
    stem = name.rsplit("/", 1)
    stem[-1] = stem[-1].rsplit(".", 1)[0] if "." in stem[-1] else stem[-1]
    return "/".join(stem).replace("/", "__").replace(".", "_")
