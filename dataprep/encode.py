"""One image file on its way into a set: decoded once, and given restart intervals without loss."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from dataprep import image, jpeg
from dataprep.image import Pixels

Array = npt.NDArray[Any]

NOT_ASKED = "without --restart"


@dataclass(frozen=True)
class Encoded:
    """A file as it is stored.

    pixels: what it decodes to, (H, W, 3); `turn`: the dihedral code that turns these upright.
    rows: where the MCU rows start (as in `jpeg.Restarted`), empty for a file stored whole; `whole`
        then says why. source_bytes: the bytes of the raw file.
    """

    data: bytes
    pixels: Pixels
    source_bytes: int
    turn: int = 0
    rows: Array = field(default_factory=lambda: np.zeros(0, np.uint32))
    whole: str = ""

    @property
    def kind(self) -> str:
        """The suffix that names such a file."""
        return image.kind(self.data)

    @property
    def upright(self) -> Pixels:
        """The pixels as they are meant to be seen, a view."""
        upright: Pixels = image.turned(self.pixels, self.turn)
        return upright


def keep(
    data: bytes, restart: bool = True, source_bytes: int | None = None
) -> tuple[Encoded, tuple[str, ...]]:
    """Return an image file with its pixels unchanged, and notes; ValueError where it is bad.

    restart: give a JPEG restart intervals, if its kind allows that and it hardly grows.
    """
    decoded = image.decode(data, upright=False)
    source_bytes = len(data) if source_bytes is None else source_bytes
    kind = image.kind(data)
    turn = jpeg.orientation(data) if kind == "jpg" else 0
    notes = [*decoded.notes, *(["EXIF orientation kept as a turn"] if turn else [])]
    if not restart:
        return Encoded(data, decoded.pixels, source_bytes, turn, whole=NOT_ASKED), tuple(notes)
    try:
        done = _restarted(data, kind, decoded.pixels)
    except jpeg.Unsuited as error:
        notes.append(f"stored whole: {error}")
        return Encoded(data, decoded.pixels, source_bytes, turn, whole=str(error)), tuple(notes)
    notes.append("restart intervals inserted")
    return Encoded(done.data, decoded.pixels, source_bytes, turn, done.rows), tuple(notes)


def _restarted(data: bytes, kind: str, pixels: Pixels) -> jpeg.Restarted:
    """Return the transcoded file, decoded again to be sure; Unsuited where it stays whole."""
    if kind != "jpg":
        raise jpeg.Unsuited({"webp": "WebP"}.get(kind, kind.upper()))
    if not image.is_usual(data):  # the loader's fast decoder does not take it, cut or not
        raise jpeg.Unsuited("unusual sampling")
    done = jpeg.restart(data)
    try:
        again = image.decode(done.data, upright=False).pixels
    except ValueError:
        raise jpeg.Unsuited("transcoding failed") from None
    if not np.array_equal(again, pixels):
        raise jpeg.Unsuited("transcoding changed pixels")
    return done


def shrink(pixels: Pixels, short: int) -> Pixels:
    """Return the pixels with a short side of `short` (antialiased bicubic), never enlarged."""
    height, width = pixels.shape[:2]
    if min(height, width) <= short:
        return pixels
    by = short / min(height, width)
    size = max(short, round(width * by)), max(short, round(height * by))
    small = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
    return np.asarray(small)


def as_jpeg(pixels: Pixels, quality: int) -> bytes:
    """Encode as baseline JPEG, 4:2:0; ValueError where a side is too long for one."""
    out = io.BytesIO()
    try:
        Image.fromarray(pixels).save(
            out, "JPEG", quality=quality, subsampling="4:2:0", optimize=True
        )
    except OSError as error:
        raise ValueError(f"cannot be encoded as JPEG ({error})") from None
    return out.getvalue()
