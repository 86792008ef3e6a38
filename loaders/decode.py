"""One image file to RGB pixels in reused memory, for both engines.

What the build wrote is decoded by the loader itself (loaders/box.py). Other JPEGs, and irregular
ones, go to libjpeg-turbo; what it cannot turn to RGB (CMYK) and all other formats take the way of
the build (dataprep/image.py), so that a stored file means the same pixels everywhere.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image

from dataprep import image
from loaders.buffers import Scratch
from loaders.tar import Fetched, Members, Tar

Array = npt.NDArray[Any]
PLAIN = ("Gray", "YCbCr", "RGB")


def pixels(tar: Tar, members: Members, row: int, scratch: Scratch) -> tuple[Array, int, int]:
    """Return rows (h, w × C) that hold a sample's box, and where it begins in them: top, left.

    BadSample where it cannot be read or decoded.
    """
    done = tar.decode(members, row, scratch)
    if done is not None:
        return _only(tar, done), 0, 0
    fetched = tar.fetch(members, row, scratch)
    try:
        return decoded(tar, fetched, scratch), fetched.top, fetched.left
    except ValueError as error:
        raise tar.bad(int(members.ids[row]), str(error)) from None


def decoded(tar: Tar, fetched: Fetched, scratch: Scratch) -> Array:
    """Return a file's pixels as rows (height, width × C) of its field; ValueError as `decode`."""
    return _only(tar, decode(fetched, scratch))


def _only(tar: Tar, rows: Array) -> Array:
    """Return rows of RGB as rows of the field's channels: of grey files one is all there is."""
    return rows if tar.channels == 3 else np.ascontiguousarray(rows[:, ::3])


def decode(fetched: Fetched, scratch: Scratch) -> Array:
    """Return the pixels as rows (height, width × 3), as stored; ValueError where it is corrupt."""
    data, expected = fetched.data, (fetched.height, fetched.width)
    size = expected if fetched.is_cut else plain_size(data)
    if size is not None:
        _check(size, expected)  # before a damaged index asks for gigabytes
        held = scratch.flat("decoded", size[0] * size[1] * 3)
        pixels = simplejpeg.decode_jpeg(data, "RGB", buffer=held)
    elif is_jpeg(data):
        pixels = _unusual(data)
    else:
        pixels = _other(data)
    _check(pixels.shape[:2], expected)
    return np.asarray(pixels).reshape(expected[0], expected[1] * 3)


def is_jpeg(data: Array) -> bool:
    """Tell a JPEG by its first bytes."""
    return bool(len(data) > 2 and data[0] == 0xFF and data[1] == 0xD8)


def plain_size(data: Array) -> tuple[int, int] | None:
    """Return height and width of a JPEG that every decoder turns to RGB alike, else None.

    Not plain are CMYK and odd sampling of chroma.
    """
    if not is_jpeg(data):
        return None
    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return None
    return (height, width) if space in PLAIN else None


def _check(size: tuple[int, ...], expected: tuple[int, int]) -> None:
    if size != expected:
        has, wanted = ("×".join(map(str, sides)) for sides in (size, expected))
        raise ValueError(f"has {has} pixels, the index says {wanted}")


def _other(data: Array) -> Array:
    try:
        return image.decode(data.tobytes()).pixels
    except (ValueError, MemoryError):
        raise
    except Exception as error:  # readers of rare formats raise whatever they stumble over
        raise ValueError(f"corrupt image ({error})") from None


def _unusual(data: Array) -> Array:
    """Decode a JPEG by Pillow, as the build did: with its pixels not turned upright."""
    try:
        with Image.open(io.BytesIO(data.tobytes())) as opened:
            return np.asarray(opened.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"corrupt image ({error})") from None
