"""loaders.cut: inside the box, the small JPEG decodes to exactly what the whole file does."""

from __future__ import annotations

import io
import struct
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms
from test_jpeg import SAMPLINGS, decode, encode, image, mangle, pillow, segments

from dataprep import jpeg
from loaders import cut

ALL = [*SAMPLINGS, "4:1:1", "grey", "rgb"]


def source(sampling: str, height: int, width: int, quality: int = 90) -> bytes:
    """Return a JPEG of this sampling."""
    pixels = image(height, width)
    if sampling == "rgb":
        return pillow(pixels, keep_rgb=True, quality=quality)
    if sampling == "4:1:1":
        options = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x411111]
        return bytes(cv2.imencode(".jpg", pixels, options)[1])
    return encode(pixels, sampling, quality)


def boxes(height: int, width: int, count: int, seed: int) -> list[tuple[int, int, int, int]]:
    """Return random boxes (y, x, h, w): small and large ones, many at the edges, the whole."""
    rng = np.random.default_rng(seed)
    found = [(0, 0, height, width), (height - 1, width - 1, 1, 1), (0, 0, 1, 1)]
    found += [(0, width - 1, height, 1), (height - 1, 0, 1, width)]
    while len(found) < count:
        limits = [1 if rng.random() < 0.1 else int(rng.integers(1, n + 1)) for n in (height, width)]
        h, w = (int(rng.integers(1, n + 1)) for n in limits)
        y, x = (
            int(rng.choice([0, n - m, rng.integers(n - m + 1)], p=[0.1, 0.1, 0.8]))
            for n, m in ((height, h), (width, w))
        )
        found.append((y, x, h, w))
    return found


def check(data: bytes, rows: Any, box: tuple[int, int, int, int], full: Any) -> cut.Cut:
    """Cut, decode, compare all pixels of the box."""
    y, x, h, w = box
    done = cut.crop(data, rows, box)
    pixels = decode(done.data)
    assert pixels.shape[:2] == (done.height, done.width)
    inside = pixels[done.top : done.top + h, done.left : done.left + w]
    np.testing.assert_array_equal(inside, full[y : y + h, x : x + w], err_msg=str(box))
    return done


@pytest.mark.parametrize("target_px", [1, 48, 9999])
@pytest.mark.parametrize("sampling", ALL)
def test_equals_full_decode(sampling: str, target_px: int) -> None:
    """1,000 boxes a sampling, of images whose last MCU is whole, one pixel or in between."""
    sizes = [(97, 129), (112, 160), (83, 130), (129, 67), (15, 200), (200, 17)]
    for seed, (height, width) in enumerate(sizes):
        data, rows, _ = jpeg.restart(source(sampling, height, width), target_px, growth=3)
        full = decode(data)
        for box in boxes(height, width, 60, seed):
            check(data, rows, box, full)


@pytest.mark.parametrize("sampling", ALL)
def test_every_small_box(sampling: str) -> None:
    """Every place of boxes of 1 and 2 pixels, where the margins decide."""
    height, width = 35, 37
    data, rows, _ = jpeg.restart(source(sampling, height, width), 1, growth=3)
    full = decode(data)
    for y in range(height - 1):
        check(data, rows, (y, y, 1, 1), full)
        check(data, rows, (y, width - 2 - y // 2, 2, 2), full)
    for x in range(width - 1):
        check(data, rows, (17, x, 1, 1), full)
        check(data, rows, (height - 2, x, 2, 2), full)


@pytest.mark.parametrize("sampling", ["4:2:0", "4:4:4", "grey"])
def test_other_readers(sampling: str) -> None:
    data, rows, _ = jpeg.restart(source(sampling, 97, 129), growth=3)
    with Image.open(io.BytesIO(data)) as opened:
        full = np.asarray(opened)
    for box in boxes(97, 129, 40, 9):
        y, x, h, w = box
        done = cut.crop(data, rows, box)
        with Image.open(io.BytesIO(done.data)) as opened:
            one = np.asarray(opened)
        two = cv2.imdecode(np.frombuffer(done.data, np.uint8), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(one, two if two.ndim == 2 else two[..., ::-1])
        inside = one[done.top : done.top + h, done.left : done.left + w]
        np.testing.assert_array_equal(inside, full[y : y + h, x : x + w])


def test_takes_no_more_than_it_needs() -> None:
    data, rows, interval = jpeg.restart(source("4:4:4", 160, 320), 16, growth=3)
    assert interval == 2
    done = cut.crop(data, rows, (16, 32, 8, 16))
    assert done[1:] == (0, 0, 8, 16)
    assert cut.crop(data, rows, (17, 33, 8, 16))[1:] == (1, 1, 16, 32)
    data, rows, interval = jpeg.restart(source("4:2:0", 160, 320), 16, growth=3)
    assert cut.crop(data, rows, (18, 34, 12, 12))[1:] == (2, 2, 16, 16)
    assert cut.crop(data, rows, (16, 32, 16, 16))[1:] == (16, 16, 48, 48)


def test_whole_image_is_the_whole_scan() -> None:
    data, rows, _ = jpeg.restart(source("4:2:0", 97, 129), growth=3)
    done = cut.crop(data, rows, (0, 0, 97, 129))
    assert done == (data, 0, 0, 97, 129)
    unmarked = source("4:2:0", 97, 129)
    assert cut.crop(unmarked, np.zeros(0, np.uint32), (3, 4, 5, 6)) == (unmarked, 3, 4, 97, 129)


def test_header_keeps_only_what_decides_pixels() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    pixels = image(97, 129)
    data, rows, _ = jpeg.restart(
        pillow(pixels, exif=exif, icc_profile=profile, comment=b"text", keep_rgb=True), growth=3
    )
    done = cut.crop(data, rows, (0, 0, 9, 9))
    kept = [s[1] for s in segments(done.data)]
    assert set(kept) == {0xEE, 0xDB, 0xC0, 0xDA}
    assert 0xE0 in [s[1] for s in segments(cut.crop(*_plain(pixels), (0, 0, 9, 9)).data)]
    np.testing.assert_array_equal(decode(done.data)[:9, :9], decode(data)[:9, :9])


def _plain(pixels: Any) -> tuple[bytes, Any]:
    done = jpeg.restart(pillow(pixels), growth=3)
    return done.data, done.rows


def test_rows_needed() -> None:
    for mcu, margin in ((8, 0), (16, 2), (32, 4)):
        for height in range(1, 131):
            rows = -(-height // mcu)
            for top in range(0, height, 3):
                for bottom in range(top + 1, height + 1, 5):
                    first, last = cut.rows_needed(height, rows, top, bottom)
                    if rows == 1:
                        assert (first, last) == (0, 0)
                        continue
                    assert first == max(top - margin, 0) // mcu
                    assert last == (min(bottom + margin, height) - 1) // mcu
    for bad in (
        (100, 0, 0, 9),
        (100, 9, 0, 9),
        (100, 13, 5, 5),
        (100, 13, -1, 5),
        (100, 13, 5, 101),
    ):
        assert cut.rows_needed(*bad) == (-1, -1)


def parts(data: bytes, rows: Any, first: int, last: int, lead: int = 0) -> list[Any]:
    """Return head, body, starts and first row as the engine would read them."""
    raw = np.frombuffer(data, np.uint8).copy()
    body = raw[int(rows[first]) - lead : int(rows[last + 1])]
    return [raw[: int(rows[0])], body, rows[first : last + 2].astype(np.int64), first]


def test_assemble_on_buffers() -> None:
    data, rows, _ = jpeg.restart(source("4:2:0", 160, 320), 32, growth=3)
    wanted = cut.crop(data, rows, (50, 60, 40, 90))
    first, last = cut.rows_needed(160, len(rows) - 1, 50, 90)
    for first_row, last_row in ((first, last), (first - 1, last + 2), (0, len(rows) - 2)):
        for lead in (0, 2):
            out = np.full(len(data) + 9, 7, np.uint8)
            head, body, starts, row = parts(data, rows, first_row, last_row, lead)
            got = cut.assemble(head, body, starts, row, 50, 60, 40, 90, 160, 320, out)
            assert out[: got[0]].tobytes() == wanted.data
            assert got[1:] == wanted[1:]
            assert (out[len(head) + len(body) + 2 :] == 7).all()
            starts = starts.astype(np.uint32)
            assert got == cut.assemble(head, body, starts, row, 50, 60, 40, 90, 160, 320, out)


def test_errors_have_reasons() -> None:
    data, rows, _ = jpeg.restart(source("4:2:0", 160, 320), 32, growth=3)
    out = np.empty(len(data), np.uint8)
    head, body, starts, first = parts(data, rows, 2, 5)
    box, size = (50, 60, 20, 90), (160, 320)
    assert cut.assemble(head, body, starts, first, *box, *size, out)[0] > 0

    def reason(*arguments: Any) -> str:
        got = cut.assemble(*arguments)
        assert got[0] < 0
        return cut.explain(got[0])

    assert "buffer" in reason(head, body, starts, first, *box, *size, out[: len(body)])
    assert "box" in reason(head, body, starts, first, 50, 60, 20, 0, *size, out)
    assert "box" in reason(head, body, starts, first, 50, 60, 20, 261, *size, out)
    assert "size" in reason(head, body, starts, first, *box, 160, 321, out)
    assert "cover" in reason(head, body, starts, first, 5, *box[1:], *size, out)
    assert "cover" in reason(head, body, starts, first, 90, *box[1:], *size, out)
    assert "cover" in reason(head, body, starts[:0], first, *box, *size, out)
    assert "offsets" in reason(head, body[:-1], starts, first, *box, *size, out)
    assert "offsets" in reason(head, body, starts[::-1].copy(), first, *box, *size, out)
    shifted = starts + np.array([0, 1, 0, 0, 0])
    assert "markers" in reason(head, body, shifted, first, *box, *size, out)
    assert "markers" in reason(head, body, starts, first + 1, 60, *box[1:], *size, out)
    assert "header" in reason(head[:-1], body, starts, first, *box, *size, out)
    assert "header" in reason(head[:0], body, starts, first, *box, *size, out)
    halved = head.copy()
    at = halved.tobytes().index(b"\xff\xdd")
    halved[at + 5] = 3
    assert "interval" in reason(halved, body, starts, first, *box, *size, out)
    halved[at + 5] = 1
    assert "markers" in reason(halved, body, starts, first, *box, *size, out)
    for box in ((0, 0, 161, 9), (0, 0, 0, 9), (-1, 0, 9, 9)):
        with pytest.raises(ValueError, match="box"):
            cut.crop(data, rows, box)
    with pytest.raises(ValueError, match="offsets"):
        cut.crop(data, rows[:-1], (0, 0, 9, 9))


def mangled(data: bytes, rows: Any, rng: np.random.Generator) -> tuple[bytes, Any]:
    """Return the file or its offsets with an error."""
    if rng.random() < 0.7:
        return mangle(data, rng), rows
    rows, at = rows.copy(), rng.integers(len(rows))
    rows[at] = rng.choice([rows[at] + rng.integers(-9, 9), rng.integers(0, 1 << 32), 0])
    return data, rows[: rng.integers(len(rows) + 1)] if rng.random() < 0.1 else rows


def loose(data: bytes) -> list[Any]:
    """Return what libjpeg-turbo makes of a damaged file, if anything."""
    try:
        return [decode(data, strict=False)]
    except ValueError:
        return []


@pytest.mark.parametrize("sampling", ["4:2:0", "4:4:4", "4:2:2", "grey"])
def test_mangled_files_and_offsets(sampling: str) -> None:
    """An error, or the pixels of the full decode; where that one fails, of what it still gives."""
    rng = np.random.default_rng(3)
    height, width = 97, 129
    good, offsets, _ = jpeg.restart(source(sampling, height, width), growth=3)
    sound = decode(good)
    equal = 0
    for box in boxes(height, width, 700, 5):
        data, rows = mangled(good, offsets, rng)
        y, x, h, w = box
        try:
            done = cut.crop(data, rows, box)
            pixels = decode(done.data)
        except ValueError:
            continue
        try:
            allowed = [decode(data)]
        except ValueError:  # damaged elsewhere, too: not decoding on from there is the better way
            allowed = [sound, *loose(data)]
        inside = pixels[done.top : done.top + h, done.left : done.left + w]
        assert any((inside == full[y : y + h, x : x + w]).all() for full in allowed)
        equal += 1
    assert equal > 50


def test_mangled_parts_stay_in_bounds() -> None:
    """Whatever the parts, nothing is written behind the promised length, and all calls return."""
    rng = np.random.default_rng(4)
    data, rows, _ = jpeg.restart(source("4:2:0", 97, 129), growth=3)
    for _ in range(2000):
        first = int(rng.integers(len(rows) - 1))
        last = int(rng.integers(first, len(rows) - 1))
        head, body, starts, row = parts(data, rows, first, last, int(rng.integers(3)))
        for part in (head, body):
            if len(part):
                part[rng.integers(len(part), size=rng.integers(4))] = rng.choice([255, 0, 0xD3])
        starts[rng.integers(len(starts))] += rng.integers(-1, 2) * rng.integers(1 << 40)
        room = len(head) + len(body) + 2
        out = np.full(room + 64, 7, np.uint8)
        box = [int(n) for n in rng.integers(-2, 140, 4)]
        length = cut.assemble(
            head, body, starts, row + int(rng.integers(-1, 2)), *box, 97, 129, out
        )[0]
        assert length <= room
        assert (out[room:] == 7).all()


def test_size_is_that_of_the_cut() -> None:
    data, rows, _ = jpeg.restart(source("4:2:0", 97, 129), growth=3)
    done = cut.crop(data, rows, (90, 120, 7, 9))
    at = done.data.index(b"\xff\xc0")
    assert struct.unpack_from(">HH", done.data, at + 5) == (done.height, done.width)
    assert (97 - done.height) % 16 == 0
    assert (129 - done.width) % 16 == 0
