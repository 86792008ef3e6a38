"""Read the header of a JPEG: its segments, its frame, how it is to be turned.

Only the standard library, and nothing is trusted: damage is `Unsuited`, never another exception.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

# Above this an image is refused: sampling factors are 1, 2 or 4, and libjpeg takes 10 blocks.
_MAX_BLOCKS = 10
DHT, EOI, SOS, DQT, DRI, _APP1 = 0xC4, 0xD9, 0xDA, 0xDB, 0xDD, 0xE1
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_OTHER_KINDS = {
    **dict.fromkeys((0xC2, 0xC6), "progressive"),
    **dict.fromkeys((0xC3, 0xC7), "lossless"),
    0xC5: "hierarchical",
    **dict.fromkeys(range(0xC9, 0xD0), "arithmetic coding"),
}
# EXIF orientation -> dihedral code that turns the stored pixels upright.
_TURNS = {2: 1, 3: 3, 4: 2, 5: 4, 6: 6, 7: 7, 8: 5}
_EXIF_ORIENTATION = 0x0112
_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')


class Unsuited(ValueError):
    """An image that stays as it is; its text is the reason, short enough to count by."""


class Segment(NamedTuple):
    marker: int
    start: int
    end: int


class Part(NamedTuple):
    name: int
    across: int
    down: int


class Frame(NamedTuple):
    height: int
    width: int
    parts: list[Part]

    @property
    def mcu(self) -> tuple[int, int]:
        """Height and width in pixels of what is coded together."""
        if len(self.parts) == 1:
            return 8, 8
        return 8 * max(p.down for p in self.parts), 8 * max(p.across for p in self.parts)

    @property
    def mcus(self) -> tuple[int, int]:
        """Rows and columns of MCUs."""
        return -(-self.height // self.mcu[0]), -(-self.width // self.mcu[1])


def is_jpeg(data: bytes) -> bool:
    """Return whether the first bytes are those of a JPEG."""
    return data[:3] == b"\xff\xd8\xff"


def size(data: bytes) -> tuple[int, int]:
    """Return height and width as stored (not turned); Unsuited where no frame header is found."""
    for segment in segments(data):
        if segment.marker in _FRAMES and segment.end - segment.start >= 9:
            height, width = struct.unpack_from(">HH", data, segment.start + 5)
            return height, width
    raise Unsuited("damaged header")


def orientation(data: bytes) -> int:
    """Return the dihedral code that turns the stored pixels upright; 0 where nothing is said.

    Flip x 1, flip y 2, transposition 4, the flips first. EXIF counts, without it XMP (as in Pillow,
    so that encoded and raw fields are turned alike); a damaged segment says nothing.
    """
    exif = xmp = None
    try:
        for marker, start, end in segments(data):
            body = data[start + 4 : end] if marker == _APP1 else b""
            if body.startswith(b"Exif\0\0"):
                exif = _tag(body[6:], _EXIF_ORIENTATION) if exif is None else exif
            elif found := _XMP_ORIENTATION.search(body):
                xmp = int(found[1])
    except Unsuited:
        pass
    value = xmp if exif is None else exif
    return _TURNS.get(value or 0, 0)


def _tag(tiff: bytes, wanted: int) -> int | None:
    """Return a single whole number from the first directory of a TIFF header, if it is there."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4], "")
    try:
        (at,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, at)
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            tag, kind, values = struct.unpack_from(order + "HHI", tiff, entry)
            if order and tag == wanted and kind in (3, 4) and values == 1:
                value: int = struct.unpack_from(order + "HI"[kind - 3], tiff, entry + 8)[0]
                return value
    except struct.error:
        pass
    return None


def segments(data: bytes) -> Iterator[Segment]:
    """Yield the segments up to the first scan's header; bytes start:end, marker included."""
    if not is_jpeg(data):
        raise Unsuited("not a JPEG")
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4])
        if marker < 0xC0 or 0xD0 <= marker <= EOI or end < at + 4 or end > len(data):
            break
        yield Segment(marker, at, end)
        if marker == SOS:
            return
        at = end
    raise Unsuited("damaged header")


def frame(data: bytes, found: list[Segment]) -> Frame:
    """Return the frame of a file that can get restart intervals; Unsuited says why it cannot."""
    headers = [segment for segment in found if segment.marker in _FRAMES]
    if len(headers) != 1:
        raise Unsuited("damaged header")
    marker, start, end = headers[0]
    if marker in _OTHER_KINDS:
        raise Unsuited(_OTHER_KINDS[marker])
    if end - start < 10 or end - start != 10 + 3 * data[start + 9]:
        raise Unsuited("damaged header")
    bits, height, width, count = struct.unpack_from(">BHHB", data, start + 4)
    if bits != 8:
        raise Unsuited("12 bits" if bits == 12 else "damaged header")
    if count not in (1, 3):
        raise Unsuited("CMYK" if count == 4 else f"{count} components")
    if not height or not width:
        raise Unsuited("no size in the header")
    parts = [
        Part(data[at], data[at + 1] >> 4, data[at + 1] & 15) for at in range(start + 10, end, 3)
    ]
    _check_parts(parts)
    return Frame(height, width, parts)


def _check_parts(parts: list[Part]) -> None:
    if len({part.name for part in parts}) != len(parts):
        raise Unsuited("damaged header")
    factors = {factor for part in parts for factor in (part.across, part.down)}
    blocks = sum(part.across * part.down for part in parts)
    if not factors <= {1, 2, 4} or (len(parts) > 1 and blocks > _MAX_BLOCKS):
        raise Unsuited("unusual sampling")
