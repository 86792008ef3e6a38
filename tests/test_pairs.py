"""Decoding to RGB, LR and HR windows, and the split of any folder of images."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from dataprep import image
from dataprep.bicubic import downscale
from dataprep.image import decode
from dataprep.manifest import DataError
from dataprep.raw import Raw
from dataprep.sources import Entry, images
from dataprep.superres import key_of, windows

NOISE = np.random.default_rng(0).integers(0, 256, (20, 30, 4), dtype=np.uint8)
RGB = NOISE[..., :3]


def deep_tiff(orientation: int) -> bytes:
    """Return a 16-bit RGB TIFF of RGB × 257 with an orientation tag."""
    data = cv2.imencode(".tiff", RGB[..., ::-1].astype(np.uint16) * 257)[1].tobytes()
    whole = bytearray(data)
    assert whole[:4] == b"II*\0"
    start = struct.unpack_from("<I", whole, 4)[0]
    count = struct.unpack_from("<H", whole, start)[0]
    tags = [bytes(whole[start + 2 + 12 * i :][:12]) for i in range(count)]
    tags = [tag for tag in tags if tag[:2] != struct.pack("<H", 0x0112)]
    tags = sorted([*tags, struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)], key=tag_number)
    again = struct.pack("<H", len(tags)) + b"".join(tags) + bytes(4)
    struct.pack_into("<I", whole, 4, len(whole))
    return bytes(whole) + again


def tag_number(tag: bytes) -> int:
    return int(struct.unpack_from("<H", tag)[0])


def saved(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def test_plain_png_is_taken_as_it_is() -> None:
    pixels, notes = decode(saved(Image.fromarray(RGB)))
    assert (pixels == RGB).all() and notes == () and pixels.flags.c_contiguous


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bits_are_rounded_not_cut(channels: int) -> None:
    deep = np.random.default_rng(1).integers(0, 65536, (9, 11, channels), dtype=np.uint16)
    deep[0, 0] = 383  # 1.49 of 257: cutting the low byte off gives 1, so does rounding
    deep[0, 1] = 500  # 1.95: cutting gives 1, rounding 2
    data = cv2.imencode(".png", deep)[1].tobytes()
    pixels, notes = decode(data)
    want = np.round(deep / 257)[..., [2, 1, 0] if channels > 1 else [0, 0, 0]]
    assert (pixels == want).all() and (pixels[0, 1] == 2).all()
    assert notes[0] == "16 bits rounded to 8"
    assert ("alpha dropped" in notes) == (channels == 4)


def test_grey_palette_and_alpha_become_rgb() -> None:
    grey, notes = decode(saved(Image.fromarray(RGB[..., 0])))
    assert (grey == RGB[..., :1]).all() and notes == ("grey replicated to RGB",)
    alpha, notes = decode(saved(Image.fromarray(NOISE)))
    assert (alpha == RGB).all() and notes == ("alpha dropped",)
    few = Image.fromarray(RGB).quantize(16)
    palette, notes = decode(saved(few))
    assert (palette == np.asarray(few.convert("RGB"))).all() and notes == ("palette expanded",)
    clear, notes = decode(saved(few, transparency=bytes([0] * 16)))
    assert (clear == palette).all() and notes == ("palette expanded", "alpha dropped")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_exif_turns_as_pillow_does(orientation: int, kind: str) -> None:
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(Image.fromarray(RGB), kind, exif=exif)
    pixels, notes = decode(data)
    assert (pixels == np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))).all()
    assert bool(notes) == (orientation != 1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_16_bit_tiff_is_turned_too(orientation: int) -> None:
    pixels, notes = decode(deep_tiff(orientation))
    turn = image.TURNS.get(orientation, lambda x: x)
    assert (pixels == turn(RGB)).all()
    assert notes[0] == "16 bits rounded to 8" and len(notes) == 1 + (orientation != 1)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF", "WEBP"])
def test_every_cut_file_is_refused(kind: str) -> None:
    data = saved(Image.fromarray(RGB), kind)
    decode(data)
    for length in [*range(0, len(data) - 20, len(data) // 40), len(data) // 2, len(data) - 13]:
        with pytest.raises(ValueError):
            decode(data[:length])


def test_every_changed_byte_of_a_png_is_refused() -> None:
    data = bytearray(saved(Image.fromarray(RGB[:6, :6])))
    for at in range(len(data)):
        changed = data.copy()
        changed[at] ^= 0x10
        with pytest.raises(ValueError):
            decode(bytes(changed))


def test_png_with_too_few_pixels_and_sound_checksums_is_refused() -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        crc = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", 30, 20, 8, 2, 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in RGB)
    for body, is_sound in ((rows, True), (rows[:-300], False)):
        chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")
        if is_sound:
            assert (decode(image.PNG + chunks).pixels == RGB).all()
        else:
            with pytest.raises(ValueError, match="corrupt"):
                decode(image.PNG + chunks)


def test_cmyk_is_converted_as_pillow_does() -> None:
    """Photo sets hold a few of these: one more reason to stop would help nobody."""
    data = saved(Image.fromarray(RGB).convert("CMYK"), "JPEG")
    pixels, notes = decode(data)
    assert notes == ("CMYK converted to RGB",)
    assert (pixels == np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))).all()


def test_what_is_refused_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="colour mode"):
        decode(saved(Image.fromarray(NOISE, "RGBA").convert("RGB").convert("LAB"), "TIFF"))
    with pytest.raises(ValueError, match="not an image"):
        decode(b"hello")
    plain, grey = saved(Image.fromarray(RGB)), saved(Image.fromarray(RGB[..., 0]))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for data in (plain, grey):
        with pytest.raises(ValueError, match="too many pixels"):
            decode(data)


def source(**options: Any) -> images.Source:
    return images.Source(**options)


def write(folder: Path, height: int, width: int) -> tuple[Raw, Entry]:
    pixels = np.random.default_rng(2).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "a.png")
    return Raw(folder), Entry("a.png", "train", {"hr": "a.png"})


def test_whole_images_keep_their_odd_sides(tmp_path: Path) -> None:
    raw, entry = write(tmp_path, 53, 67)
    (sample,) = source().read(raw, entry)
    assert sample.fields["hr"].shape == (53, 67, 3)
    for scale in (2, 3, 4):
        assert (sample.fields[f"lr_x{scale}"] == downscale(sample.fields["hr"], scale)).all()


def test_windows_cover_all_and_stay_aligned(tmp_path: Path) -> None:
    raw, entry = write(tmp_path, 100, 133)
    (whole,) = source().read(raw, entry)
    tiles = list(source(tile=48, step=24).read(raw, entry))
    assert [tile.key for tile in tiles[:2]] == ["a_s001", "a_s002"]
    places = windows(96, 132, 48, 24)
    assert len(tiles) == len(places) == 3 * 5 and places[-1] == (48, 84)
    for (y, x), tile in zip(places, tiles, strict=True):
        assert (tile.fields["hr"] == whole.fields["hr"][y : y + 48, x : x + 48]).all()
        for s in (2, 3, 4):
            low = whole.fields[f"lr_x{s}"]
            cut = low[y // s : (y + 48) // s, x // s : (x + 48) // s]
            assert (tile.fields[f"lr_x{s}"] == cut).all()


def test_windows_are_basicsr_s() -> None:
    assert windows(480, 960, 480, 240) == [(0, 0), (0, 240), (0, 480)]
    assert windows(480, 972, 480, 240) == [(0, 0), (0, 240), (0, 480), (0, 492)]
    assert windows(300, 480, 480, 240) == [(0, 0)]


def test_too_small_images_are_refused_by_name(tmp_path: Path) -> None:
    raw, entry = write(tmp_path, 3, 50)
    with pytest.raises(DataError, match=r"a\.png: smaller than the scale"):
        list(source().read(raw, entry))


@pytest.mark.parametrize(
    "options", [{"scales": ()}, {"scales": (2, 2)}, {"scales": (1,)}, {"tile": 100}, {"step": 0}]
)
def test_options_that_make_no_sense(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="--"):
        source(**options)


def test_split_depends_on_names_and_seed_alone(tmp_path: Path) -> None:
    for i in range(40):
        (tmp_path / f"{i}.png").touch()

    def val(**options: Any) -> set[str]:
        entries = source(**options).entries(Raw(tmp_path))
        return {entry.name for entry in entries if entry.split == "val"}

    assert val() == val() and len(val()) == 4
    assert val(seed=1) != val() and not val(val_fraction=0.0)


def test_equal_keys_are_refused_before_the_build(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    (tmp_path / "a.jpg").touch()
    with pytest.raises(DataError, match=r"a\.png: would have the same key as a\.jpg"):
        source().entries(Raw(tmp_path))


def test_keys_hold_no_dot_and_no_slash() -> None:
    assert key_of("a.b/c.d.png") == "a_b__c_d"
    assert key_of("plain") == "plain"
