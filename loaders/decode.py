"""One image file to RGB pixels in reused memory, for both engines.

JPEGs go to libjpeg-turbo, straight into the given buffer; what it cannot turn to RGB (CMYK) and all
other formats take the way of the build (dataprep/image.py), so that a stored file means the same
pixels everywhere.
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
from loaders.tar import Fetched

Array = npt.NDArray[Any]
PLAIN = ("Gray", "YCbCr", "RGB")


def decode(fetched: Fetched, scratch: Scratch) -> Array:
    """Return the pixels as rows (height, width × 3), as stored; ValueError where it is corrupt."""
    data, height, width = fetched.data, fetched.height, fetched.width
    if fetched.is_cut or is_plain_jpeg(data):
        held = scratch.flat("decoded", height * width * 3)
        # Refuses a file that says a larger size than fits.
        pixels = simplejpeg.decode_jpeg(data, "RGB", buffer=held)
    elif is_jpeg(data):
        pixels = _unusual(data)
    else:
        pixels = image.decode(data.tobytes()).pixels
    if pixels.shape != (height, width, 3):
        raise ValueError(
            f"has {pixels.shape[0]}×{pixels.shape[1]} pixels, the index says {height}×{width}"
        )
    return np.asarray(pixels).reshape(height, width * 3)


def is_jpeg(data: Array) -> bool:
    """Tell a JPEG by its first bytes."""
    return bool(len(data) > 2 and data[0] == 0xFF and data[1] == 0xD8)


def is_plain_jpeg(data: Array) -> bool:
    """Tell a JPEG that every decoder turns to RGB alike: not CMYK, no odd sampling."""
    try:
        return is_jpeg(data) and simplejpeg.decode_jpeg_header(data)[2] in PLAIN
    except ValueError:
        return False


def _unusual(data: Array) -> Array:
    """Decode a JPEG by Pillow, as the build did: with its pixels not turned upright."""
    try:
        with Image.open(io.BytesIO(data.tobytes())) as opened:
            return np.asarray(opened.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"corrupt image ({error})") from None
