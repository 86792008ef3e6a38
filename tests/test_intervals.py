"""loaders.box: straight to RGB, bit for bit what libjpeg-turbo gives, or refused."""

from __future__ import annotations

import ctypes
import mmap
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import simplejpeg
from test_cut import boxes, mangled, source
from test_jpeg import GROUPS, SAMPLINGS, encode, image, pillow

from dataprep import jpeg
from loaders import box, cut

Box = tuple[int, int, int, int]
KINDS = [*SAMPLINGS, "grey"]
PAGE = mmap.PAGESIZE
PROTECT = ctypes.CDLL(None).mprotect


def guarded(size: int) -> Any:
    """Return bytes that end where a page begins that nobody may touch."""
    whole = -(-size // PAGE) * PAGE
    pages = mmap.mmap(-1, whole + PAGE)
    held = np.frombuffer(pages, np.uint8)
    end = held.ctypes.data + whole
    assert PROTECT(ctypes.c_void_p(end), ctypes.c_size_t(PAGE), 0) == 0
    return held[whole - size : whole]


def copied(part: Any) -> Any:
    """Return the same bytes before a page that nobody may touch."""
    held = guarded(len(part))
    held[:] = part
    return held


def arguments(data: bytes, rows: Any, wanted: Box, size: tuple[int, int]) -> list[Any] | None:
    """Return what the engine would read for a box; None where offsets are absurd."""
    offsets = np.asarray(rows, np.int64)
    if len(offsets) < 2 or offsets.min() < 4 or offsets.max() > len(data):
        return None
    first, last = cut.rows_needed(size[0], len(rows) - 1, wanted[0], wanted[0] + wanted[2])
    raw = np.frombuffer(data, np.uint8)
    start = int(offsets[first]) - (2 if first else 0)
    if first < 0 or start > offsets[last + 1]:
        return None
    head, body = raw[: offsets[0]].copy(), raw[start : offsets[last + 1]].copy()
    return [head, body, offsets[first : last + 2], first, *wanted, *size]


def decode(
    data: bytes, rows: Any, wanted: Box, size: tuple[int, int], allot: Any = np.empty
) -> Any:
    """Return the box's pixels, None where it is refused; `allot` makes the memory."""
    given = arguments(data, rows, wanted, size)
    if given is None:
        return None
    room = box.work_bytes(len(given[1]), wanted[2], wanted[3], size[1])
    work, out = (
        (np.empty(n, np.uint8) if allot is np.empty else allot(n))
        for n in (room, wanted[2] * wanted[3] * 3)
    )
    if allot is not np.empty:
        given[:2] = copied(given[0]), copied(given[1])
    work[:] = 0xA5
    code = box.decode_box(*given, work, out)
    assert code in (0, box.REFUSED)
    return None if code else out.reshape(wanted[2], wanted[3], 3)


def rgb(data: bytes, strict: bool = True) -> Any:
    """Return what libjpeg-turbo decodes."""
    return simplejpeg.decode_jpeg(data, "RGB", strict=strict)


def check(data: bytes, rows: Any, wanted: Box, full: Any) -> None:
    """Decode a box and compare all its pixels."""
    y, x, h, w = wanted
    got = decode(data, rows, wanted, full.shape[:2])
    assert got is not None, wanted
    np.testing.assert_array_equal(got, full[y : y + h, x : x + w], err_msg=str(wanted))


@pytest.mark.parametrize("target_px", [1, 48, 9999])
@pytest.mark.parametrize("sampling", KINDS)
def test_equals_full_decode(sampling: str, target_px: int) -> None:
    sizes = [(97, 129), (112, 160), (83, 130), (129, 67), (15, 200), (200, 17), (331, 402)]
    for seed, (height, width) in enumerate(sizes):
        data, rows, _ = jpeg.restart(source(sampling, height, width), target_px, growth=3)
        full = rgb(data)
        for wanted in boxes(height, width, 60, seed):
            check(data, rows, wanted, full)


@pytest.mark.parametrize("sampling", KINDS)
def test_every_small_box(sampling: str) -> None:
    height, width = 35, 37
    data, rows, _ = jpeg.restart(source(sampling, height, width), 1, growth=3)
    full = rgb(data)
    for y in range(height - 1):
        for x in range(width - 1):
            check(data, rows, (y, x, 1 + (x + y) % 2, 1 + y % 2), full)


@pytest.mark.parametrize("sampling", KINDS)
def test_every_size(sampling: str) -> None:
    """Images and boxes of all small sizes; chroma of less than 3 samples is left to libjpeg."""
    for width in range(1, 71):
        height = width * 37 % 70 + 1
        data, rows, _ = jpeg.restart(encode(image(height, width), sampling), growth=9)
        full = rgb(data)
        if sampling in ("4:2:0", "4:2:2") and width < 5:
            assert decode(data, rows, (0, 0, 1, 1), (height, width)) is None
            continue
        for wanted in boxes(height, width, 12, width):
            check(data, rows, wanted, full)


@pytest.mark.parametrize("sampling", KINDS)
def test_every_quality(sampling: str) -> None:
    """From quality 1 on, of smooth, noisy and saturated pixels."""
    rng = np.random.default_rng(7)
    noise = rng.integers(256, size=(61, 83, 3)).astype(np.uint8)
    extreme = (rng.integers(2, size=(61, 83, 3)) * 255).astype(np.uint8)
    blocks = np.kron(extreme[:8, :11], np.ones((8, 8, 1), np.uint8))[:61, :83].copy()
    for quality in range(1, 101):
        for pixels in (image(61, 83), noise, extreme, blocks):
            data, rows, _ = jpeg.restart(encode(pixels, sampling, quality), growth=9)
            full = rgb(data)
            check(data, rows, (0, 0, 61, 83), full)
            check(data, rows, boxes(61, 83, 6, quality)[-1], full)


@pytest.mark.parametrize("name", GROUPS)
def test_real_files(name: str) -> None:
    rng, refused, done = np.random.default_rng(1), 0, 0
    for path in GROUPS[name]:
        try:
            data, rows, _ = jpeg.restart(path.read_bytes())
            full = rgb(data)
        except ValueError:
            continue
        height, width = full.shape[:2]
        whole = 0, 0, height, width
        for wanted in (whole, boxes(height, width, 6, int(rng.integers(999)))[-1]):
            got, (y, x, h, w) = decode(data, rows, wanted, (height, width)), wanted
            if got is None:
                refused += 1
                continue
            np.testing.assert_array_equal(got, full[y : y + h, x : x + w], err_msg=str(path))
            done += 1
    print(f"{name}: {done} boxes equal, {refused} refused")
    assert refused <= done / 10


def test_what_it_does_not_know_is_refused() -> None:
    pixels = image(97, 129)
    options = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x411111]
    for data in (
        pillow(pixels, keep_rgb=True),
        bytes(cv2.imencode(".jpg", pixels, options)[1]),
    ):
        done = jpeg.restart(data, growth=3)
        assert decode(done.data, done.rows, (9, 9, 40, 40), (97, 129)) is None
    data, rows, _ = jpeg.restart(encode(pixels), growth=3)
    assert decode(data, rows, (9, 9, 40, 40), (97, 128)) is None
    for wanted in ((-1, 0, 9, 9), (0, 0, 98, 9), (0, 121, 9, 9), (0, 0, 0, 9), (0, 0, 9, 0)):
        given = arguments(data, rows, (0, 0, 97, 129), (97, 129))
        assert given is not None
        given[4:8] = wanted
        out = np.empty(97 * 129 * 3, np.uint8)
        assert box.decode_box(*given, np.empty(1 << 20, np.uint8), out) == box.REFUSED


def test_too_little_memory_is_refused() -> None:
    """The least work that is taken suffices, up to its last byte."""
    for sampling in KINDS:
        data, rows, _ = jpeg.restart(source(sampling, 97, 129), growth=3)
        full = rgb(data)
        for wanted in boxes(97, 129, 9, 2):
            y, x, h, w = wanted
            given = arguments(data, rows, wanted, (97, 129))
            assert given is not None
            out = np.empty(h * w * 3, np.uint8)
            assert box.decode_box(*given, np.empty(1 << 20, np.uint8), out[:-1]) == box.REFUSED
            low, high = 0, box.work_bytes(len(given[1]), h, w, 129)
            while high - low > 1:
                middle = (low + high) // 2
                code = box.decode_box(*given, np.empty(middle, np.uint8), out)
                low, high = (low, middle) if code == 0 else (middle, high)
            given[:2] = copied(given[0]), copied(given[1])
            out = guarded(h * w * 3)
            assert box.decode_box(*given, guarded(high), out) == 0
            np.testing.assert_array_equal(out.reshape(h, w, 3), full[y : y + h, x : x + w])


def reference(data: bytes, rows: Any, wanted: Box) -> Any:
    """Return what libjpeg-turbo makes of the box in the cut of a damaged file, None if nothing."""
    try:
        done = cut.crop(data, rows, wanted)
        pixels = rgb(done.data, strict=False)
    except ValueError:
        return None
    return pixels[done.top : done.top + wanted[2], done.left : done.left + wanted[3]]


def damage(data: bytes, rows: Any, rng: np.random.Generator) -> tuple[bytes, Any]:
    """Return the file or its offsets with one error or several, most in the entropy data."""
    kind = rng.random()
    if kind < 0.5:
        return mangled(data, rows, rng)
    raw = np.frombuffer(data, np.uint8).copy()
    low, high = (int(rows[0]), len(raw)) if kind < 0.8 else (0, int(rows[0]))
    at = rng.integers(low, high, size=rng.integers(1, 4))
    raw[at] = rng.choice([0, 255, 0xD3, *rng.integers(256, size=3)], size=len(at))
    return raw.tobytes(), rows


@pytest.mark.parametrize("sampling", KINDS)
def test_mangled(sampling: str) -> None:
    """Refused, or the pixels that libjpeg-turbo decodes from the cut of the same bytes."""
    rng = np.random.default_rng(3)
    height, width, equal, refused = 97, 129, 0, 0
    many = int(os.environ.get("NOSTALL_TEST_MANGLED", "1200"))
    for quality, target_px in ((90, 48), (30, 16), (100, 9999)):
        whole = source(sampling, height, width, quality)
        good, offsets, _ = jpeg.restart(whole, target_px, growth=3)
        for number, wanted in enumerate(boxes(height, width, many // 3, 5)):
            data, rows = damage(good, offsets, rng)
            allot = guarded if number % 4 == 0 else np.empty
            got = decode(data, rows, wanted, (height, width), allot)
            if got is None:
                refused += 1
                continue
            expected = reference(data, rows, wanted)
            assert expected is not None
            np.testing.assert_array_equal(got, expected, err_msg=f"{sampling} {number} {wanted}")
            equal += 1
    print(f"{sampling}: {equal} equal, {refused} refused")
    assert equal > many / 12
    assert refused > many / 12


def test_mangled_with_checked_bounds(tmp_path: Path) -> None:
    """The same with numba's checks of all indices."""
    given = {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    given["NOSTALL_TEST_MANGLED"] = "300"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    ran = subprocess.run(
        [*command, "-k", "test_mangled and not checked"],
        env={**os.environ, **given},
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
