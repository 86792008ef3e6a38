"""The compiled resampler against Pillow: sizes, places, boxes, turns, types, memory used before.

Pillow's mode F computes in floats as we do, so it is the reference of every type; its 8-bit modes
round (and, cubic, clip) between the two passes, which costs up to a level.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
from PIL import Image

from dataprep.image import turned
from loaders import resample
from loaders.resample import KINDS, Workspace

FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "linear": Image.Resampling.BILINEAR,
    "cubic": Image.Resampling.BICUBIC,
}
TYPES = (np.uint8, np.uint16, np.float32)
CHANNELS = (1, 3, 4)
EXTREMES = [
    ((3000, 40), (7, 5)),
    ((40, 3000), (5, 7)),
    ((1, 1), (1, 1)),
    ((1, 1), (50, 30)),
    ((2, 3), (300, 200)),
    ((400, 1), (1, 300)),
    ((3, 400), (300, 1)),
    ((5, 5), (5, 5)),
    ((2000, 3), (1, 3)),
    ((3, 3), (300, 2)),
]


def noise(seed: int, height: int, width: int, channels: int, dtype: Any = np.uint8) -> Any:
    """Return pixels that show every mistake: no two neighbours are alike."""
    high = 256 if dtype != np.uint16 else 65536
    pixels = np.random.default_rng(seed).integers(0, high, (height, width, channels))
    return pixels.astype(dtype)


def resized(
    image: Any,
    size: tuple[int, int],
    kind: str = "linear",
    box: Any = None,
    place: Any = None,
    code: int = 0,
    work: Workspace | None = None,
) -> Any:
    """Return (H, W, C) floats; box (y, x, h, w) counts from the place, both whole by default."""
    height, width, channels = image.shape
    place = np.array([0, 0, height, width] if place is None else place)
    box = np.array([0, 0, *place[2:]] if box is None else box, np.float64)
    work = Workspace() if work is None else work
    work.fit(box, *size, channels, int(place[3]))
    out = np.full((channels, *size), np.nan, np.float32)
    same = np.ones(channels, np.float32), np.zeros(channels, np.float32)
    resample.resample(
        image.reshape(height, width * channels), place, box, code, KINDS[kind], *same,
        work.first, work.weights, work.line, out,
    )  # fmt: skip
    return out.transpose(1, 2, 0)


def pillow(image: Any, size: tuple[int, int], kind: str, box: Any = None) -> Any:
    """Return the same by Pillow, in floats; box is (y, x, h, w)."""
    edges = None if box is None else (box[1], box[0], box[1] + box[3], box[0] + box[2])
    planes = [
        Image.fromarray(np.ascontiguousarray(image[..., c], np.float32)).resize(
            size[::-1], FILTERS[kind], edges
        )
        for c in range(image.shape[2])
    ]
    return np.stack([np.asarray(plane) for plane in planes], axis=2)


def draws(seed: int, count: int) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Return sizes of sources and outputs, small ones as often as large ones."""
    rng = np.random.default_rng(seed)
    sides = np.exp(rng.uniform(0, np.log([401, 401, 301, 301]), (count, 4))).astype(int)
    return [((h, w), (y, x)) for h, w, y, x in sides.tolist()]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("kind", ["linear", "cubic"])
def test_equals_pillow_in_floats(kind: str, channels: int, dtype: Any) -> None:
    high = 65535 if dtype == np.uint16 else 255
    for seed, (source, size) in enumerate(draws(channels, 40) + EXTREMES):
        image = noise(seed, *source, channels, dtype)
        worst = np.abs(resized(image, size, kind) - pillow(image, size, kind)).max()
        assert worst < 1e-4 * high, (source, size, worst)


def test_linear_is_within_a_level_of_pillow_s_own() -> None:
    """In 8 bits, where Pillow rounds between the passes: random sizes and extreme ones."""
    for seed, (source, size) in enumerate(draws(9, 150) + EXTREMES):
        image = noise(seed, *source, 3)
        want = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR))
        worst = np.abs(resized(image, size) - want).max()
        assert worst < 1.001, (source, size, worst)


@pytest.mark.parametrize("size", [(37, 41), (224, 224), (512, 700), (900, 800)])
def test_cubic_is_near_pillow_s_own(size: tuple[int, int]) -> None:
    """On a photograph: Pillow clips between the passes, which shows beside sharp edges only."""
    image = skimage.data.astronaut()
    want = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BICUBIC))
    differences = np.abs(np.clip(resized(image, size, "cubic"), 0, 255) - want)
    assert differences.mean() < 0.3
    assert np.percentile(differences, 99) < 1.5
    assert differences.max() < 8


def test_nearest_is_pillow_s_but_for_ties() -> None:
    """Each output names its source pixel; where a centre lies between two, either is right."""
    for source, size in draws(5, 150) + EXTREMES:
        y, x = np.mgrid[: source[0], : source[1]]
        named = np.stack([y, x, 0 * x], axis=2).astype(np.uint16)
        ours, theirs = resized(named, size, "nearest"), pillow(named, size, "nearest")
        for axis in (0, 1):
            steps = np.arange(size[axis]) + 0.5
            centres = steps * source[axis] / size[axis]
            tie = np.abs(centres - np.rint(centres)) < 1e-6
            wrong = (ours[..., axis] != theirs[..., axis]).any(axis=1 - axis)
            assert not (wrong & ~tie).any(), (source, size)
            assert np.abs(ours[..., axis] - theirs[..., axis]).max() <= 1


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("kind", FILTERS)
def test_boxes_between_pixels(kind: str, channels: int) -> None:
    """A box inside the image: the filter sees beyond it, as Pillow's `box` does."""
    rng = np.random.default_rng(channels)
    image = noise(7, 90, 130, channels)
    for _ in range(30):
        h, w = rng.uniform(1, (90, 130))
        y, x = rng.uniform(0, (90 - h, 130 - w))
        size = tuple(rng.integers(1, 120, 2).tolist())
        box = np.array([y, x, h, w])
        want = pillow(image, size, kind, box)
        assert np.abs(resized(image, size, kind, box) - want).max() < 0.05, (box, size)


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("kind", FILTERS)
def test_a_place_hides_what_lies_around_it(kind: str, channels: int) -> None:
    """Crop, then resize: the filter sees no pixel outside, and NaN there do not matter."""
    rng = np.random.default_rng(channels)
    for _ in range(30):
        image = np.full((70, 100, channels), np.nan, np.float32)
        h, w = rng.integers(1, (71, 101)).tolist()
        y, x = rng.integers(0, (71 - h, 101 - w)).tolist()
        inner = noise(h * w, h, w, channels, np.float32)
        image[y : y + h, x : x + w] = inner
        size = tuple(rng.integers(1, 120, 2).tolist())
        got = resized(image, size, kind, place=[y, x, h, w])
        np.testing.assert_array_equal(got, resized(inner, size, kind))
        if kind != "nearest":  # it has ties here
            assert np.abs(got - pillow(inner, size, kind)).max() < 0.05


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("kind", FILTERS)
@pytest.mark.parametrize("code", range(8))
def test_flips_and_turns(code: int, kind: str, channels: int) -> None:
    """Turned pixels are those of a turned result, bit for bit."""
    image = noise(3, 61, 83, channels)
    box = np.array([3.25, 8.5, 40.5, 66.75])
    got = resized(image, (29, 47), kind, box, code=code)
    if code & 4:
        planes = np.ascontiguousarray(got.transpose(2, 0, 1))
        out = np.full((channels, 47, 29), np.nan, np.float32)
        resample.turn(planes, out)
        got = out.transpose(1, 2, 0)
    np.testing.assert_array_equal(got, turned(resized(image, (29, 47), kind, box), code))


@pytest.mark.parametrize("kind", FILTERS)
@pytest.mark.parametrize("channels", CHANNELS)
def test_the_size_it_has_changes_nothing(channels: int, kind: str) -> None:
    image = noise(4, 33, 47, channels, np.float32)
    np.testing.assert_array_equal(resized(image, (33, 47), kind), image)


def test_scale_and_bias_belong_to_channels() -> None:
    image = noise(5, 40, 50, 3)
    plain, work = resized(image, (20, 30)), Workspace()
    scale, bias = np.array([0.5, 2, -1], np.float32), np.array([1, 0, 9], np.float32)
    out = np.empty((3, 20, 30), np.float32)
    box = np.array([0, 0, 40, 50])
    work.fit(box, 20, 30, 3, 50)
    resample.resample(
        image.reshape(40, 150), box, box.astype(float), 0, 1, scale, bias,
        work.first, work.weights, work.line, out,
    )  # fmt: skip
    np.testing.assert_allclose(out.transpose(1, 2, 0), plain * scale + bias, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("kind", FILTERS)
def test_memory_used_before_does_not_matter(kind: str, channels: int) -> None:
    """A workspace that held larger images, garbage, and NaN, gives what a fresh one gives."""
    used = Workspace()
    lost = np.full((60, 500, channels), np.nan, np.float32)
    for seed, (source, size) in enumerate(draws(20 + channels, 40)):
        resized(noise(seed, 300, 420, channels), (330, 320), "cubic", work=used)
        resized(lost, (50, 20 + seed), kind, work=used)
        if seed % 2:
            for array, garbage in ((used.first, -1), (used.weights, np.nan), (used.line, np.nan)):
                array[...] = garbage
        image = noise(seed, *source, channels)
        np.testing.assert_array_equal(
            resized(image, size, kind, work=used), resized(image, size, kind)
        )


def test_nearest_takes_one_pixel_and_no_other() -> None:
    """A map whose gaps are NaN keeps them as they are: neighbours have no share in a pixel."""
    for channels in CHANNELS:
        image = noise(6, 30, 40, channels, np.float32)
        image[np.random.default_rng(6).random((30, 40)) < 0.3] = np.nan
        rows, columns = ((np.arange(n) + 0.5) * m // n for n, m in ((17, 30), (65, 40)))
        want = image[rows.astype(int)][:, columns.astype(int)]
        np.testing.assert_array_equal(resized(image, (17, 65), "nearest"), want)


def fingerprint() -> str:
    """Return a hash of many results: memory is taken and given back between them."""
    import hashlib

    found = hashlib.sha256()
    work = Workspace()
    for channels in CHANNELS:
        for seed, (source, size) in enumerate(draws(40 + channels, 60) + EXTREMES):
            image = noise(seed, *source, channels, TYPES[seed % 3])
            for kind in FILTERS:
                out = resized(image, size, kind, work=work if seed % 2 else None)
                assert np.isfinite(out).all()
                found.update(np.ascontiguousarray(out).tobytes())
    return found.hexdigest()


def test_poisoned_memory_does_not_matter() -> None:
    """What the allocator hands out is filled with huge floats in one child, with -1 in another."""
    root = Path(__file__).parent.parent
    code = "import test_resample; print(test_resample.fingerprint())"
    for poison in ("128", "1"):
        paths = os.pathsep.join([str(root), str(root / "tests")])
        environment = os.environ | {"MALLOC_PERTURB_": poison, "PYTHONPATH": paths}
        child = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True
        )
        assert child.returncode == 0, child.stderr[-2000:]
        assert child.stdout.strip() == fingerprint()


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("kind", ["linear", "cubic"])
@pytest.mark.parametrize("height", [40, 31, 70])
@pytest.mark.parametrize("code", range(4))
def test_columns_that_are_only_moved(dtype: Any, kind: str, height: int, code: int) -> None:
    """They take a way of their own; a box a millionth of a pixel aside takes the common one."""
    image = noise(8, 60, 64, 3, dtype)
    place, box = (3, 5, 50, 55), np.array([4.0, 7.0, 40.0, 33.0])
    found = resized(image, (height, 33), kind, box, place, code)
    beside = resized(image, (height, 33), kind, box + np.array([0, 1e-6, 0, 0]), place, code)
    np.testing.assert_allclose(found, beside, rtol=2e-5, atol=2e-6 * float(image.max()))
    if height == 40:  # nothing is resampled at all: to the last bit
        inside = image[7:47, 12:45].astype(np.float32)
        np.testing.assert_array_equal(found, turned(inside, code))


@pytest.mark.parametrize("left", [0.0, 31.0])
def test_moved_columns_end_with_the_place(left: float) -> None:
    """A box that reaches the border of what may be seen, and one beyond it."""
    image = noise(9, 20, 64, 3)
    inside = resized(image, (20, 33), box=(0, left, 20, 33), place=(0, 0, 20, 64))
    np.testing.assert_array_equal(inside, image[:, int(left) : int(left) + 33])
    beyond = resized(image, (20, 33), box=(0, left, 20, 33), place=(0, 0, 20, int(left) + 20))
    np.testing.assert_array_equal(beyond[:, :20], image[:, int(left) : int(left) + 20])
    assert np.isfinite(beyond).all()
