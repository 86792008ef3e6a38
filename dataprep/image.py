"""Decode one image file to 8-bit RGB, or say why not: never a partial or silently changed image.

What had to be done to reach RGB uint8 comes back as notes, which the builder counts.
"""

from __future__ import annotations

import io
import struct
import threading
import warnings
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image, UnidentifiedImageError

from dataprep import jpeg

Pixels = npt.NDArray[np.uint8]

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
PNG = b"\x89PNG\r\n\x1a\n"
# What Pillow raises on mangled files, by its many readers.
CORRUPT = (
    EOFError,
    OSError,
    OverflowError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
JPEG = b"\xff\xd8"
# First bytes -> the suffix that names such a file.
KINDS = {
    b"\xff\xd8\xff": "jpg",
    PNG: "png",
    b"BM": "bmp",
    b"II*\0": "tif",
    b"MM\0*": "tif",
    b"P2": "pgm",
    b"P5": "pgm",
    b"P3": "ppm",
    b"P6": "ppm",
}
EXIF_ORIENTATION = 0x0112
TIFF_BITS = 258
FILTERS = threading.Lock()

# EXIF orientation -> what turns the stored pixels upright.
TURNS: dict[int, Callable[[Any], Any]] = {
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: x[::-1].swapaxes(0, 1),
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: x.swapaxes(0, 1)[::-1],
}


class Decoded(NamedTuple):
    """RGB pixels (H, W, 3) and what was done to the file's own ones."""

    pixels: Pixels
    notes: tuple[str, ...]


def is_image(name: str) -> bool:
    """Return whether a file of this name is taken for an image."""
    return name.lower().endswith(SUFFIXES)


def kind(data: bytes) -> str:
    """Return the suffix of an image file by its first bytes; ValueError for another file."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    for start, suffix in KINDS.items():
        if data.startswith(start):
            return suffix
    raise ValueError("not an image of a kind that is known here")


def turned(pixels: Any, turn: int) -> Any:
    """Return a view of pixels (H, W, …), turned: flip x 1, flip y 2, then transpose 4."""
    pixels = pixels[:: -1 if turn & 2 else 1, :: -1 if turn & 1 else 1]
    return pixels.swapaxes(0, 1) if turn & 4 else pixels


def decode(data: bytes, upright: bool = True) -> Decoded:
    """Decode to (H, W, 3) uint8 RGB; ValueError says what is wrong with the file.

    upright: turn a JPEG as its EXIF orientation says; all other files always are turned so.
    """
    if data[:2] == JPEG:
        return _jpeg(data, jpeg.orientation(data) if upright else 0)
    chunks = _check_png(data)
    if _is_plain(data, chunks):
        return Decoded(_plain(data), ())
    with _opened(data) as image:
        try:
            before = _orientation(image)
            image.load()
            turn = _orientation(image)
        except CORRUPT as error:
            raise ValueError(f"corrupt image ({error})") from None
        notes = ["first of several frames"] if getattr(image, "n_frames", 1) > 1 else []
        pixels, done = _eight_bits(data) if _is_deep(data, image) else _rgb(image)
    notes += done
    # Both decoders turn a TIFF themselves, and then forget its orientation.
    notes += ["turned upright (EXIF)"] if before in TURNS or turn in TURNS else []
    if turn in TURNS:
        pixels = TURNS[turn](pixels)
    return Decoded(np.ascontiguousarray(pixels), tuple(notes))


def size(data: bytes) -> tuple[int, int]:
    """Return height and width from the header alone, as stored in the file (not turned)."""
    with _opened(data) as image:
        return image.height, image.width


def _opened(data: bytes) -> Image.Image:
    # Filters belong to the whole process: two threads at once would leave them changed for good.
    with FILTERS, warnings.catch_warnings():
        # Broken EXIF and the like are warnings too: the pixels are what counts here.
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            return Image.open(io.BytesIO(data))
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            raise ValueError(f"refused: too many pixels ({error})") from None
        except UnidentifiedImageError:
            raise ValueError("not an image, or corrupt from its first bytes on") from None
        except CORRUPT as error:
            raise ValueError(f"corrupt image ({error})") from None


def _check_png(data: bytes) -> set[bytes]:
    """Check what the decoders do not, every checksum; return the kinds of chunks of a PNG."""
    if data[:8] != PNG:
        return set()
    at = 8
    kinds = set()
    view = memoryview(data)
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 8 + length
        if end + 4 > len(data):
            break
        # The decoders skip the checksums of pixel chunks.
        if zlib.crc32(view[at + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            raise ValueError(f"corrupt image (PNG chunk {kind!r} at byte {at}: bad checksum)")
        kinds.add(kind)
        if kind == b"IEND":
            return kinds
        at = end + 4
    raise ValueError("corrupt image (the PNG ends before its last chunk: cut short)")


def _orientation(image: Image.Image) -> int:
    orientation: int = image.getexif().get(EXIF_ORIENTATION, 1)
    return orientation


def _jpeg(data: bytes, turn: int) -> Decoded:
    """Decode a JPEG and turn it; what libjpeg-turbo only warns of is an error here."""
    with _opened(data) as image:  # refuses too many pixels
        notes = ["first of several frames"] if getattr(image, "n_frames", 1) > 1 else []
        try:
            if image.mode == "CMYK" or not is_usual(data):
                image.load()
                pixels, done = _rgb(image)
            else:
                pixels = simplejpeg.decode_jpeg(data, "RGB")
                done = ["grey replicated to RGB"] if image.mode == "L" else []
        except CORRUPT as error:
            raise ValueError(f"corrupt image ({error})") from None
    notes += done
    notes += ["turned upright (EXIF)"] if turn else []
    return Decoded(np.ascontiguousarray(turned(pixels, turn)), tuple(notes))


def is_usual(data: bytes) -> bool:
    """Return False for a JPEG whose chroma is sampled as simplejpeg has no name for."""
    try:
        simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return False
    return True


def _is_plain(data: bytes, chunks: set[bytes]) -> bool:
    """Return whether this is an 8-bit RGB PNG that needs nothing done to it."""
    return data[24:26] == b"\x08\x02" and bool(chunks) and not chunks & {b"tRNS", b"eXIf", b"acTL"}


def _plain(data: bytes) -> Pixels:
    """Decode by OpenCV, which takes 0.6 of Pillow's time; most training images are of this kind."""
    size(data)  # refuses too many pixels
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None or pixels.dtype != np.uint8:
        raise ValueError("corrupt image (the PNG's pixels cannot be decoded)")
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels), np.uint8)


def _is_deep(data: bytes, image: Image.Image) -> bool:
    """Return whether the file has more than 8 bits a channel; Pillow drops the lower ones."""
    if data[:8] == PNG:
        return data[24:25] == b"\x10"
    if image.format == "TIFF":
        bits = image.tag_v2.get(TIFF_BITS, (8,))  # type: ignore[attr-defined]
        return bool(max(bits) == 16)
    return False


def _eight_bits(data: bytes) -> tuple[Pixels, list[str]]:
    deep = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if deep is None or deep.dtype != np.uint16:
        raise ValueError("corrupt image (16-bit pixels cannot be decoded)")
    # 65535 = 255 × 257: this is stored / 257, rounded, without leaving 32 bits.
    pixels = ((deep.astype(np.uint32) + 128) // 257).astype(np.uint8)
    notes = ["16 bits rounded to 8"]
    if pixels.ndim == 2:
        return np.stack([pixels] * 3, axis=2), [*notes, "grey replicated to RGB"]
    if pixels.shape[2] == 4:
        notes.append("alpha dropped")
    return pixels[:, :, 2::-1], notes


def _rgb(image: Image.Image) -> tuple[Pixels, list[str]]:
    notes = []
    if image.mode in ("P", "PA"):
        notes.append("palette expanded")
    if "transparency" in image.info or image.mode in ("LA", "PA", "RGBA"):
        notes.append("alpha dropped")
        image = image.convert("RGBA") if image.mode in ("P", "PA") else image
    if image.mode in ("1", "L", "LA"):
        notes.append("grey replicated to RGB")
    elif image.mode == "CMYK":
        notes.append("CMYK converted to RGB")
    elif image.mode not in ("P", "PA", "RGB", "RGBA"):
        raise ValueError(f"colour mode {image.mode} is not supported: convert it to RGB first")
    image.info.pop("transparency", None)
    return np.asarray(image.convert("RGB")), notes
