"""What sources of photographs share: whether an image file is kept, made smaller, or decoded.

By default the files are kept as they are and JPEGs get restart intervals, without loss, so that a
crop can be decoded alone. `--resize-short` and `--quality` encode them anew; `--raw-pixels` stores
what they decode to, which is read fastest and takes the most disk.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from dataprep import encode, image
from dataprep.encode import Encoded
from dataprep.image import Pixels
from dataprep.manifest import DataError, Field
from dataprep.raw import Raw
from dataprep.sources import Base, Entry

QUALITY = 90
# For estimates. Bytes of a JPEG of quality 90 for each pixel; what a tar, columns and restart
# intervals add to a file; pixels for each byte of a raw file whose header was not read.
JPEG_BYTES_PER_PX = 0.5
MORE_BYTES, GROWTH = 2048, 1.03
PX_PER_BYTE = 6
# A shard is a file to copy: about this large, of no more than so many samples.
SHARD_BYTES, SHARD_SAMPLES = 128_000_000, 1024


@dataclass(frozen=True, kw_only=True)
class Photos(Base):
    """Options and reading of every source of photographs. An entry's file is its member `image`."""

    restart: bool = field(
        default=True,
        metadata={"help": "give JPEGs restart intervals, without loss: a crop is decoded alone"},
    )
    resize_short: int = field(
        default=0, metadata={"help": "make the short side so many pixels, never more; 0: as it is"}
    )
    quality: int = field(
        default=0,
        metadata={"help": f"encode anew as JPEG, 1 to 100; 0: only what is resized, at {QUALITY}"},
    )
    raw_pixels: bool = field(
        default=False, metadata={"help": "store decoded pixels: fast to read, many times the disk"}
    )

    def __post_init__(self) -> None:
        if self.resize_short < 0:
            raise ValueError(f"--resize-short must be at least 0, not {self.resize_short}")
        if not 0 <= self.quality <= 100:
            raise ValueError(f"--quality must be 1 to 100 (0: keep files), not {self.quality}")
        if self.raw_pixels and self.quality:
            raise ValueError("--raw-pixels stores no JPEG: leave out --quality")

    def photo_field(self) -> Field:
        """Return the field of the photographs under these options."""
        codec = "raw" if self.raw_pixels else "encoded"
        shape = (None, None, 3)
        return Field(kind="image", dtype="uint8", shape=shape, codec=codec, scale=1 / 255)

    def photo(self, raw: Raw, name: str) -> tuple[Encoded | Pixels, tuple[str, ...]]:
        """Return one file as it is to be stored, with notes; DataError names a bad one."""
        data = raw.read(name)
        try:
            if self.raw_pixels or self.quality or self.resize_short:
                return self._anew(data)
            return encode.keep(data, self.restart)
        except ValueError as error:
            raise DataError(raw.path, name, str(error)) from None

    def _anew(self, data: bytes) -> tuple[Encoded | Pixels, tuple[str, ...]]:
        pixels, notes = image.decode(data)
        if self.resize_short and min(pixels.shape[:2]) > self.resize_short:
            pixels = encode.shrink(pixels, self.resize_short)
            notes += (f"resized to short side {self.resize_short}",)
        elif not self.raw_pixels and not self.quality:
            return encode.keep(data, self.restart)  # small enough: no reason to lose anything
        if self.raw_pixels:
            return pixels, notes
        quality = self.quality or QUALITY
        stored, more = encode.keep(encode.as_jpeg(pixels, quality), self.restart, len(data))
        return stored, (*notes, f"re-encoded at quality {quality}", *more)

    def weigh(self, raw: Raw, entry: Entry) -> int:
        name = entry.members["image"]
        if not (self.raw_pixels or self.quality or self.resize_short):
            return int(raw.size(name) * GROWTH) + MORE_BYTES
        try:
            height, width = image.size(raw.read(name))
        except ValueError as error:
            raise DataError(raw.path, name, str(error)) from None
        is_large = 0 < self.resize_short < min(height, width)
        by = self.resize_short / min(height, width) if is_large else 1.0
        pixels = height * width * by**2
        if self.raw_pixels:
            return int(3 * pixels) + MORE_BYTES
        is_kept = not (self.quality or is_large)
        return int(raw.size(name) * GROWTH if is_kept else pixels * JPEG_BYTES_PER_PX) + MORE_BYTES

    def entries_per_shard(self, entries: int, size_bytes: int) -> int:
        one = self._expected_bytes(size_bytes / entries)
        # Some 16 shards also of a small set, so that several workers have something to do.
        return max(1, min(int(SHARD_BYTES / one), SHARD_SAMPLES, -(-entries // 16)))

    def _expected_bytes(self, raw_bytes: float) -> float:
        """Estimate the bytes of one stored image from those of a raw file alone."""
        pixels = raw_bytes * PX_PER_BYTE
        if self.resize_short:
            pixels = min(pixels, self.resize_short**2 * 1.4)
        per_pixel = 3 if self.raw_pixels else JPEG_BYTES_PER_PX
        is_kept = not (self.raw_pixels or self.quality or self.resize_short)
        return max(raw_bytes if is_kept else pixels * per_pixel, 1.0)
