"""What is done to photographs: kept, turned, resized, encoded anew, or refused by name."""

from __future__ import annotations

import io
import re
import warnings
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, ImageOps
from raw.imagefolder import jpeg, picture, turned

from dataprep import encode, image, index
from dataprep import jpeg as jpegs
from dataprep.__main__ import main
from dataprep.build import build
from dataprep.manifest import DataError, Manifest
from dataprep.preview import read
from dataprep.raw import Raw
from dataprep.show import table
from dataprep.sources import Entry
from dataprep.sources.imagefolder import Source
from dataprep.verify import verify

ONE = jpeg(picture(0, 24, 32))


def write(folder: Path, *names: str, data: bytes = ONE) -> Raw:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return Raw(folder)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("imagefolder")
    import_module("raw.imagefolder").write(folder)
    return folder


def row(folder: Path, facts: Manifest, name: str) -> int:
    names = index.Names(folder / "index", "name", facts.samples)
    return [names[i] for i in range(facts.samples)].index(name)


def column(folder: Path, name: str) -> Any:
    return np.load(folder / "index" / f"image.{name}.npy")


def test_files_are_kept_and_jpegs_transcoded(raw: Path, tmp_path: Path) -> None:
    facts = build(Source(), raw, tmp_path, workers=1)
    assert facts.notes == {
        "EXIF orientation kept as a turn": 1,
        "alpha dropped": 1,
        "grey replicated to RGB": 1,
        "restart intervals inserted": 14,
        "stored whole: PNG": 1,
        "stored whole: WebP": 1,
        "stored whole: progressive": 1,
    }
    costs = facts.encoded["image"]
    assert costs["transcoded"] == 14 and costs["whole"] == {"PNG": 1, "WebP": 1, "progressive": 1}
    assert costs["source_bytes"] == sum(
        path.stat().st_size for path in raw.rglob("*") if path.suffix not in ("", ".txt")
    )
    assert costs["stored_bytes"] == column(tmp_path, "size").sum()
    assert "image stored  14 transcoded, 3 whole (1 PNG, 1 WebP, 1 progressive); ×" in table(facts)
    rows = index.Ragged(tmp_path / "index", "image.rows", facts.samples)
    for i in range(facts.samples):
        name = index.Names(tmp_path / "index", "name", facts.samples)[i]
        with Image.open(raw / name) as file:
            assert (len(rows[i]) == 0) == name.endswith(("png", "webp", "JPEG"))
            upright = file.convert("RGB").transpose(Image.Transpose.ROTATE_270)
            want = upright if "turned" in name else file.convert("RGB")
            np.testing.assert_array_equal(read(tmp_path, facts, "image", i), np.asarray(want))
        mcu = 8 if "grey" in name else 16
        if len(rows[i]):
            stored = column(tmp_path, "height" if "turned" not in name else "width")[i]
            assert len(rows[i]) == -(-int(stored) // mcu) + 1


def test_exif_sizes_are_upright(raw: Path, tmp_path: Path) -> None:
    facts = build(Source(), raw, tmp_path, workers=1)
    i = row(tmp_path, facts, "train/dog/turned.jpg")  # 33 high, 64 wide, held upright
    sizes = [int(column(tmp_path, what)[i]) for what in ("height", "width", "turn")]
    assert sizes == [64, 33, 6]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_turn_is_as_pillow_does(orientation: int) -> None:
    data = jpeg(picture(1, 40, 56), exif=turned(orientation))
    kept, _ = encode.keep(data)
    want = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    np.testing.assert_array_equal(kept.upright, want)
    np.testing.assert_array_equal(image.decode(kept.data).pixels, want)


def test_statistics_do_not_depend_on_how_pixels_are_stored(raw: Path, tmp_path: Path) -> None:
    encoded = build(Source(), raw, tmp_path / "encoded", workers=1)
    pixels = build(Source(raw_pixels=True), raw, tmp_path / "raw", workers=1)
    assert encoded.statistics == pixels.statistics and pixels.encoded == {}
    assert not (tmp_path / "raw" / "shards").exists() and pixels.fields["image"].codec == "raw"
    for i in range(encoded.samples):
        one, other = (
            read(tmp_path / name, facts, "image", i)
            for name, facts in (("encoded", encoded), ("raw", pixels))
        )
        np.testing.assert_array_equal(one, other)


def test_without_restart_files_are_the_same_bytes(raw: Path, tmp_path: Path) -> None:
    facts = build(Source(restart=False), raw, tmp_path, workers=1)
    assert facts.encoded["image"]["transcoded"] == 0
    assert facts.encoded["image"]["stored_bytes"] == facts.encoded["image"]["source_bytes"]
    i = row(tmp_path, facts, "train/dog/turned.jpg")
    shard, offset, size = (int(column(tmp_path, what)[i]) for what in ("shard", "offset", "size"))
    data = (tmp_path / "shards" / f"{shard:06d}.tar").read_bytes()[offset : offset + size]
    assert data == (raw / "train" / "dog" / "turned.jpg").read_bytes()


def test_resized_and_encoded_anew(tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    write(folder, "a/large.jpg", data=jpeg(picture(0, 80, 120), exif=turned(6)))
    small = jpeg(picture(1, 30, 44))
    write(folder, "a/small.jpg", data=small)
    facts = build(Source(resize_short=40), folder, tmp_path / "set", workers=1)
    assert facts.notes == {
        "re-encoded at quality 90": 1,
        "resized to short side 40": 1,
        "restart intervals inserted": 2,
        "turned upright (EXIF)": 1,
    }
    sizes = [column(tmp_path / "set", what).tolist() for what in ("height", "width", "turn")]
    assert sizes == [[60, 30], [40, 44], [0, 0]]  # the small one is not enlarged, nor changed
    np.testing.assert_array_equal(
        read(tmp_path / "set", facts, "image", 1), image.decode(small).pixels
    )
    large = image.decode((folder / "a" / "large.jpg").read_bytes()).pixels
    want = np.asarray(Image.fromarray(large).resize((40, 60), Image.Resampling.BICUBIC), np.int64)
    assert np.abs(read(tmp_path / "set", facts, "image", 0) - want).mean() < 4
    again = build(Source(quality=50), folder, tmp_path / "q", workers=1)
    assert again.notes["re-encoded at quality 50"] == 2
    assert again.encoded["image"]["stored_bytes"] < facts.encoded["image"]["source_bytes"] / 2
    pixels = build(Source(raw_pixels=True, resize_short=40), folder, tmp_path / "r", workers=1)
    np.testing.assert_array_equal(read(tmp_path / "r", pixels, "image", 0), want)
    for name in ("set", "q", "r"):
        assert list(verify(tmp_path / name, decode=True)) == []


@pytest.mark.parametrize(
    ("shape", "short", "want"),
    [((100, 300), 50, (50, 150)), ((300, 100), 33, (99, 33)), ((10, 5000), 3, (3, 1500))],
)
def test_shrinking_keeps_the_ratio(
    shape: tuple[int, int], short: int, want: tuple[int, int]
) -> None:
    assert encode.shrink(np.zeros((*shape, 3), np.uint8), short).shape[:2] == want


@pytest.mark.parametrize(
    "options",
    [
        {"quality": 101},
        {"quality": -1},
        {"resize_short": -5},
        {"raw_pixels": True, "quality": 80},
        {"val_fraction": 1.0},
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="--"):
        Source(**options)


def cmyk() -> bytes:
    out = io.BytesIO()
    Image.fromarray(picture(3, 40, 50)).convert("CMYK").save(out, "JPEG")
    return out.getvalue()


def png(pixels: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (cmyk(), "CMYK"),
        (jpeg(picture(0, 40, 50), progressive=True), "progressive"),
        (png(np.zeros((2, 66_000, 3), np.uint8)), "PNG"),
    ],
)
def test_stored_whole(data: bytes, why: str) -> None:
    kept, notes = encode.keep(data)
    assert kept.data == data and kept.whole == why and len(kept.rows) == 0
    assert f"stored whole: {why}" in notes


@pytest.mark.parametrize("tail", [bytes(9000), ONE, b"\xff\xd9" * 5])
def test_what_follows_the_image_does_no_harm(tail: bytes) -> None:
    """Cameras append previews and notes of their own; they are not stored."""
    kept, notes = encode.keep(ONE + tail)
    assert notes == ("restart intervals inserted",) and kept.data == encode.keep(ONE)[0].data


def test_threads_leave_warnings_as_they_were() -> None:
    """The loader decodes in threads; a filter that one forgot would silence the training."""
    files = [png(picture(i, 20, 30)[..., 0]) for i in range(4)] * 50
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        assert len(list(pool.map(image.decode, files))) == 200
    assert warnings.filters == before


def test_a_transcode_that_changes_pixels_is_not_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    """It never happened; were it to happen, the image stays whole."""
    other = jpegs.restart(jpeg(picture(9, 24, 32)))
    for wrong, why in ((other, "changed pixels"), (other._replace(data=b"no"), "failed")):
        monkeypatch.setattr(jpegs, "restart", lambda data, wrong=wrong: wrong)
        kept, notes = encode.keep(ONE)
        assert kept.data == ONE and notes == (f"stored whole: transcoding {why}",)


def bad_files() -> dict[str, bytes]:
    changed = bytearray(jpeg(picture(5, 200, 300)))
    changed[len(changed) // 2] ^= 0xFF
    return {
        "cut.jpg": ONE[:-40],
        "empty.jpg": b"",
        "html.jpg": b"<html><body>403 Forbidden</body></html>",
        "zeros.png": bytes(5000),
        "half.png": png(picture(0, 30, 30))[:-25],
    }


@pytest.mark.parametrize("name", bad_files())
@pytest.mark.parametrize("options", [{}, {"quality": 80}, {"raw_pixels": True}])
def test_bad_files_are_named(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    write(tmp_path / "raw", f"a/{name}", data=bad_files()[name])
    with pytest.raises(DataError, match=rf"a/{name}: (corrupt|not an) image"):
        build(Source(**options), tmp_path / "raw", tmp_path / "set", workers=1)


def test_bad_files_are_left_out_and_listed(tmp_path: Path) -> None:
    write(tmp_path / "raw", "a/fine.jpg", "b/fine.jpg")
    for name, data in bad_files().items():
        write(tmp_path / "raw", f"a/{name}", data=data)
    command = ["build", "imagefolder", "--raw", str(tmp_path / "raw"), "--data-root", str(tmp_path)]
    result = CliRunner().invoke(main, [*command, "--workers", "1", "--on-error", "skip"])
    assert result.exit_code == 0, result.stderr
    for name in bad_files():
        assert re.search(rf"skipped +a/{re.escape(name)}: \S", result.stdout), result.stdout
    assert list(verify(tmp_path / "imagefolder", decode=True)) == []


def test_shards_are_of_a_size_to_copy() -> None:
    source = Source()
    assert source.entries_per_shard(1_300_000, 1_300_000 * 110_000) == 1024
    assert source.entries_per_shard(100_000, 100_000 * 270_000) == 474
    assert source.entries_per_shard(100, 100 * 10_000) == 7
    assert source.entries_per_shard(100_000, 100_000 * 10**9) == 1
    assert Source(raw_pixels=True).entries_per_shard(1_000_000, 10**11) < 150
    assert Source(resize_short=256).entries_per_shard(1_000_000, 10**12) == 1024


@pytest.mark.parametrize(
    ("options", "low", "high"),
    [
        ({}, 1.0, 1.5),
        ({"resize_short": 64}, 0.85, 4),
        ({"quality": 90}, 0.9, 4),
        ({"raw_pixels": True}, 0.99, 1.1),
        ({"raw_pixels": True, "resize_short": 64}, 0.9, 1.2),
    ],
)
def test_the_disk_needed_is_estimated(
    options: dict[str, Any], low: float, high: float, tmp_path: Path
) -> None:
    """Never much too little: a build that stops for want of disk has wasted its time."""
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    soft = Image.fromarray(noise).resize((200, 150)).resize((400, 300))
    raw = write(tmp_path / "raw", "a/1.jpg", data=jpeg(np.asarray(soft)))
    source = Source(**options)
    facts = build(source, raw, tmp_path / "set", workers=1)
    stored = sum(facts.files[name]["bytes"] for name in facts.files if "index" not in name)
    estimate = source.weigh(raw, Entry("a/1.jpg", "train", {"image": "a/1.jpg"}))
    assert low <= estimate / stored <= high, estimate / stored
