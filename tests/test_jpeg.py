"""dataprep.jpeg: the transcoded file decodes to the same pixels, for every reader."""

from __future__ import annotations

import importlib.util
import io
import os
import struct
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import simplejpeg
from PIL import Image, ImageCms

from dataprep import jpeg
from dataprep.image import TURNS
from loaders import geometry

OUTSIDE = Path(
    os.environ.get("NOSTALL_TEST_DATA") or Path(__file__).resolve().parents[1] / "../shared/data"
)
PACKAGES = ("matplotlib", "scipy", "skimage", "sklearn", "torchvision")
SAMPLINGS = {"4:4:4": 0x111111, "4:2:2": 0x211111, "4:2:0": 0x221111, "4:4:0": 0x121111}
KEPT_WHOLE = {"progressive", "CMYK", "would grow"}


def image(height: int, width: int, seed: int = 0) -> Any:
    """Return something between a photograph and noise: all sizes of symbols occur."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [128 + 100 * np.sin(x / (9 + c) + y / 17) * np.cos(y / (5 + c)) for c in range(3)]
    noise = rng.normal(0, 8, (height, width, 3)) * (x > width / 2)[..., None]
    return (np.stack(waves, 2) + noise).clip(0, 255).astype(np.uint8)


def encode(pixels: Any, sampling: str = "4:2:0", quality: int = 90, interval: int = 0) -> bytes:
    """Return a JPEG by OpenCV, which knows 4:4:0; `interval` is its own restart interval."""
    if sampling == "grey":
        pixels, factor = pixels[..., 0], []
    else:
        factor = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, SAMPLINGS[sampling]]
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_RST_INTERVAL, interval, *factor]
    return bytes(cv2.imencode(".jpg", pixels, options)[1])


def pillow(pixels: Any, **options: Any) -> bytes:
    """Return a JPEG by Pillow."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", **options)
    return file.getvalue()


def decode(data: bytes, strict: bool = True) -> Any:
    """Return the stored pixels (H, W, 3 or 1), by libjpeg-turbo; strict: a warning is an error."""
    space = simplejpeg.decode_jpeg_header(data, strict=strict)[2]
    return simplejpeg.decode_jpeg(data, "GRAY" if space == "Gray" else "RGB", strict=strict)


def segments(data: bytes) -> list[bytes]:
    """Return what must be kept byte for byte: all before the entropy data but DHT and DRI."""
    at, found = 2, []
    while data[at + 1] != 0xDA:
        end = at + 2 + struct.unpack_from(">H", data, at + 2)[0]
        found += [data[at:end]] if data[at + 1] not in (0xC4, 0xDD) else []
        at = end
    return [*found, data[at : at + 2 + struct.unpack_from(">H", data, at + 2)[0]]]


def check(data: bytes, **options: Any) -> jpeg.Restarted:
    """Transcode and compare pixels, segments and row offsets."""
    done = jpeg.restart(data, **options)
    np.testing.assert_array_equal(decode(done.data), decode(data))
    assert segments(done.data) == segments(data)
    assert done.rows.dtype == np.uint32
    assert (np.diff(done.rows.astype(np.int64)) > 0).all()
    assert done.data[done.rows[-1] :] == b"\xff\xd9"
    for row in done.rows[1:-1]:
        assert done.data[row - 2] == 0xFF
        assert 0xD0 <= done.data[row - 1] <= 0xD7
    return done


def groups() -> dict[str, list[Path]]:
    """Return all JPEGs at hand: of the data sets outside, and of the installed packages."""
    found: dict[str, list[Path]] = {}
    for path in sorted(OUTSIDE.glob("**/*")):
        if path.suffix.lower() in (".jpg", ".jpeg"):
            name = "/".join(path.relative_to(OUTSIDE).parts[:2])
            found.setdefault(name, []).append(path)
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        folder = Path(spec.origin).parent if spec and spec.origin else Path("nowhere")
        if paths := [p for p in folder.glob("**/*") if p.suffix.lower() in (".jpg", ".jpeg")]:
            found[package] = sorted(paths)
    return found


GROUPS = groups()


@pytest.mark.parametrize("name", GROUPS)
def test_real_files(name: str) -> None:
    paths, before, after = GROUPS[name], 0, 0
    reasons: Counter[str] = Counter()
    for path in paths:
        data = path.read_bytes()
        before += len(data)
        try:
            done = check(data)
        except jpeg.Unsuited as error:
            reasons[str(error)] += 1
            after += len(data)
            continue
        after += len(done.data)
        with Image.open(path) as one, Image.open(io.BytesIO(done.data)) as two:
            assert one.info.get("exif") == two.info.get("exif")
            np.testing.assert_array_equal(np.asarray(one), np.asarray(two))
    print(f"{name}: {len(paths)} files, size x{after / before:.4f}, kept whole {dict(reasons)}")
    assert after <= 1.03 * before
    assert set(reasons) <= KEPT_WHOLE
    assert reasons.total() <= len(paths) / 4


@pytest.mark.parametrize("sampling", [*SAMPLINGS, "grey"])
def test_sizes(sampling: str) -> None:
    for width in range(1, 71):
        check(encode(image(width * 37 % 70 + 1, width), sampling), growth=2)


@pytest.mark.parametrize("sampling", [*SAMPLINGS, "grey"])
@pytest.mark.parametrize("interval", [1, 3, 7, 1000])
def test_source_with_restart_markers(sampling: str, interval: int) -> None:
    pixels = image(90, 130)
    data = encode(pixels, sampling, interval=interval)
    assert (b"\xff\xd0" in data) == (interval < 1000)
    # Same symbols, so the same file as from a source without markers.
    assert check(data, growth=2).data == check(encode(pixels, sampling), growth=2).data


@pytest.mark.parametrize("options", [{"restart_marker_blocks": 5}, {"restart_marker_rows": 1}])
def test_source_of_pillow_with_restart_markers(options: dict[str, int]) -> None:
    check(pillow(image(90, 130), **options), growth=2)


def test_qualities() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    for quality in range(1, 101):
        for pixels in (image(40, 56), noise, noise // 255 * 255, noise * 0):
            check(encode(pixels, quality=quality), growth=3)


def test_pillow_reads_and_keeps_the_rest() -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = pillow(image(80, 70), exif=exif, icc_profile=profile, comment=b"kept", dpi=(72, 72))
    with (
        Image.open(io.BytesIO(check(data, growth=2).data)) as done,
        Image.open(io.BytesIO(data)) as one,
    ):
        assert done.info == one.info
        assert done.info["icc_profile"] == profile
        assert done.quantization == one.quantization  # type: ignore[attr-defined]


@pytest.mark.parametrize("sampling", [*SAMPLINGS, "grey"])
def test_other_readers(sampling: str) -> None:
    data = encode(image(75, 101), sampling)
    done = check(data, growth=2).data
    one, two = (cv2.imdecode(np.frombuffer(x, np.uint8), cv2.IMREAD_COLOR) for x in (data, done))
    np.testing.assert_array_equal(one, two)
    with Image.open(io.BytesIO(data)) as one, Image.open(io.BytesIO(done)) as two:
        np.testing.assert_array_equal(np.asarray(one), np.asarray(two))


@pytest.mark.filterwarnings("ignore:The image decoding:DeprecationWarning")
def test_torchvision_reads_it() -> None:
    torch, io_ = pytest.importorskip("torch"), pytest.importorskip("torchvision.io")
    data = encode(image(75, 101))
    one, two = (
        io_.decode_jpeg(torch.frombuffer(bytearray(x), dtype=torch.uint8))
        for x in (data, jpeg.restart(data, growth=2).data)
    )
    assert torch.equal(one, two)


def test_rgb_by_adobe_marker() -> None:
    data = pillow(image(50, 60), keep_rgb=True, quality=95)
    check(data, growth=2)


@pytest.mark.parametrize("sampling", [*SAMPLINGS, "grey"])
def test_tables_are_as_good_as_those_of_libjpeg(sampling: str) -> None:
    """With its optimisation and one interval a row, both have the same entropy data in length."""
    pixels = image(120, 160)
    factor = [] if sampling == "grey" else [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, SAMPLINGS[sampling]]
    mcus = 160 // (16 if sampling in ("4:2:0", "4:2:2") else 8)
    options = [cv2.IMWRITE_JPEG_RST_INTERVAL, mcus, cv2.IMWRITE_JPEG_OPTIMIZE, 1, *factor]
    source = pixels[..., 0] if sampling == "grey" else pixels
    theirs = bytes(cv2.imencode(".jpg", source, options)[1])
    done = check(theirs, target_px=160)
    assert done.interval == mcus
    start = theirs.index(b"\xff\xda")
    start += 2 + struct.unpack_from(">H", theirs, start + 2)[0]
    # Several best tables may exist, and bytes are stuffed by chance.
    assert len(done.data) - done.rows[0] == pytest.approx(len(theirs) - start, rel=2e-3)


def test_interval_is_the_divisor_nearest_to_the_target() -> None:
    data = encode(image(64, 16 * 12), "4:2:0")
    found = [check(data, target_px=px, growth=3).interval for px in (1, 16, 40, 41, 48, 100, 999)]
    assert found == [1, 1, 2, 3, 3, 6, 12]
    assert check(encode(image(64, 16 * 31)), growth=3).interval == 1


def test_interval_grows_until_the_file_does_not() -> None:
    data = encode(image(64, 16 * 12), quality=30)
    sizes = {}
    for interval in (1, 2, 3, 4, 6, 12):
        done = jpeg.restart(data, 16 * interval, growth=9)
        assert done.interval == interval
        sizes[interval] = len(done.data)
    assert sorted(sizes.values(), reverse=True) == list(sizes.values())
    for interval, size in sizes.items():
        assert jpeg.restart(data, 16, growth=(size + 0.5) / len(data)).interval == interval
    with pytest.raises(jpeg.Unsuited, match="would grow"):
        jpeg.restart(data, 16, growth=(sizes[12] - 1) / len(data))


def test_transcoding_again_changes_nothing() -> None:
    once = jpeg.restart(encode(image(99, 140)), growth=2)
    again = jpeg.restart(once.data, growth=2)
    assert again.data == once.data
    assert (again.rows == once.rows).all()


def test_bytes_behind_the_end_are_dropped() -> None:
    data = encode(image(99, 140))
    assert (
        jpeg.restart(data + b"\0 something \xff\xd9", growth=2).data
        == jpeg.restart(data, growth=2).data
    )


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (pillow(image(30, 40), progressive=True), "progressive"),
        (encode(image(30, 40)).replace(b"\xff\xc0", b"\xff\xc9"), "arithmetic coding"),
        (encode(image(30, 40)).replace(b"\xff\xc0\0\x11\x08", b"\xff\xc1\0\x11\x0c"), "12 bits"),
        (encode(image(30, 40))[:-40], "damaged entropy data"),
        (encode(image(30, 40))[:300], "damaged header"),
        (encode(image(30, 40))[:-2] + b"\0\0\0\xff\xd9", "damaged entropy data"),
        (encode(image(30, 40))[:-1] + b"\xda\0\0", "several scans"),
        (b"\x89PNG\r\n\x1a\n", "not a JPEG"),
        (b"", "not a JPEG"),
    ],
)
def test_reasons(data: bytes, reason: str) -> None:
    with pytest.raises(jpeg.Unsuited, match=f"^{reason}$"):
        jpeg.restart(data, growth=9)


def test_cmyk_is_kept_whole() -> None:
    file = io.BytesIO()
    Image.new("CMYK", (40, 30)).save(file, "JPEG")
    with pytest.raises(jpeg.Unsuited, match="CMYK"):
        jpeg.restart(file.getvalue())


def oriented(value: int, kind: int = 3, order: str = "<") -> bytes:
    """Return a JPEG whose EXIF has one entry, the orientation."""
    tiff = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    tiff += struct.pack(order + "HHHI" + "HI"[kind - 3], 1, 0x0112, kind, 1, value).ljust(18, b"\0")
    exif = b"Exif\0\0" + tiff
    data = encode(image(6, 9))
    return data[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(exif)) + exif + data[2:]


@pytest.mark.parametrize("value", range(1, 9))
def test_orientation_turns_upright(value: int) -> None:
    stored = image(6, 9)
    upright = TURNS.get(value, lambda x: x)(stored)
    for data in (oriented(value), oriented(value, 4), oriented(value, 3, ">")):
        code = jpeg.orientation(data)
        flipped = stored[:: -1 if code & 2 else 1, :: -1 if code & 1 else 1]
        np.testing.assert_array_equal(flipped.swapaxes(0, 1) if code & 4 else flipped, upright)
    # The same by the loader's matrices: output (x, y) -> stored pixel.
    matrix = geometry.dihedral(np.array([code]), np.array([stored.shape[:2]]))[0]
    y, x = np.mgrid[: upright.shape[0], : upright.shape[1]]
    at = np.stack([x + 0.5, y + 0.5, np.ones_like(x)]).reshape(3, -1)
    sx, sy = np.floor(matrix @ at)[:2].astype(int)
    np.testing.assert_array_equal(stored[sy, sx].reshape(upright.shape), upright)


def test_orientation_like_pillow() -> None:
    for value in range(10):
        exif = Image.Exif()
        exif[0x0112], exif[0x010E] = value, "text"
        xmp = f'<x tiff:Orientation="{(value + 3) % 10}"/>'.encode()
        for extra in ({"exif": exif}, {"xmp": xmp}, {"exif": exif, "xmp": xmp}):
            data = pillow(image(6, 9), **extra)
            with Image.open(io.BytesIO(data)) as opened:
                wanted = opened.getexif().get(0x0112, 1)
            upright = TURNS.get(wanted, lambda x: x)(image(6, 9))
            code = jpeg.orientation(data)
            assert (code & 4 != 0) == (upright.shape != (6, 9, 3))
            assert (code == 0) == (wanted not in TURNS)


def test_odd_orientation_is_none() -> None:
    assert jpeg.orientation(encode(image(6, 9))) == 0
    assert jpeg.orientation(b"") == 0
    rng = np.random.default_rng(0)
    good = oriented(6)
    for _ in range(1000):
        bad = bytearray(good[: rng.integers(len(good))] if rng.random() < 0.3 else good)
        if bad:
            bad[rng.integers(min(50, len(bad)))] = rng.integers(256)
        assert jpeg.orientation(bytes(bad)) in range(8)


def mangle(data: bytes, rng: np.random.Generator) -> bytes:
    """Return the file with a byte or bit changed, lost or added, or its end cut off."""
    at = int(rng.integers(len(data) if rng.random() < 0.6 else min(700, len(data))))
    byte = rng.integers(256, dtype=np.uint8).tobytes()
    kind = rng.integers(5)
    if kind == 0:
        return data[:at] + byte + data[at + 1 :]
    if kind == 1:
        return data[:at] + bytes([data[at] ^ 1 << int(rng.integers(8))]) + data[at + 1 :]
    if kind == 2:
        return data[:at] + data[at + 1 :]
    return data[:at] if kind == 3 else data[:at] + byte + data[at:]


@pytest.mark.parametrize("sampling", [*SAMPLINGS, "grey"])
def test_mangled_files(sampling: str) -> None:
    """What is accepted decodes as before; where libjpeg-turbo fails, nothing is claimed."""
    rng = np.random.default_rng(1)
    accepted = 0
    for source in (encode(image(70, 90), sampling), encode(image(40, 60), sampling, interval=3)):
        for _ in range(500):
            data = mangle(source, rng)
            try:
                done = jpeg.restart(data, growth=9)
                expected = decode(data)
            except ValueError:  # Unsuited is one; so is what simplejpeg raises
                continue
            accepted += 1
            np.testing.assert_array_equal(decode(done.data), expected)
    assert accepted > 100


def test_random_entropy_data() -> None:
    rng = np.random.default_rng(2)
    good = encode(image(70, 90))
    start = good.index(b"\xff\xda") + 14
    for _ in range(300):
        noise = rng.integers(0, 256, rng.integers(1, 5000), dtype=np.uint8).tobytes()
        with pytest.raises(jpeg.Unsuited):
            jpeg.restart(good[:start] + noise.replace(b"\xff", b"\xff\0") + b"\xff\xd9")


def test_size_as_stored() -> None:
    assert jpeg.size(encode(image(31, 47))) == (31, 47)
    assert jpeg.size(pillow(image(31, 47), progressive=True)) == (31, 47)
    with pytest.raises(jpeg.Unsuited):
        jpeg.size(encode(image(31, 47))[:100])
