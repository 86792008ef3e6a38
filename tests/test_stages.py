"""Geometric stages against torchvision: distributions of draws, sizes, and pixels of one image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import skimage.data
import torch
from scipy import ndimage, stats
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from loaders.draw import Keys
from loaders.stages import Geometric, Photometric
from loaders.stages.blur import Blur
from loaders.stages.centre_crop import CentreCrop
from loaders.stages.colour_jitter import ColourJitter
from loaders.stages.crop import Crop
from loaders.stages.flip import Flip
from loaders.stages.grey import Grey
from loaders.stages.random_resized_crop import RandomResizedCrop
from loaders.stages.resize import Resize
from loaders.stages.rotate import Rotate
from loaders.stages.solarise import Solarise

RGB = ("image",)
STAGES: list[Geometric | Photometric] = [
    Crop(height=20, width=30),
    CentreCrop(height=20, width=30),
    Flip(horizontal=0.4, vertical=0.7),
    RandomResizedCrop(height=32, width=24, scale=(0.5, 1.0)),
    Resize(height=32, width=24),
    Resize(short=24),
    Rotate(degrees=30.0),
    ColourJitter(
        fields=RGB, brightness=0.8, contrast=0.8, saturation=0.8, hue=0.4, probability=0.8
    ),
    Grey(fields=RGB, probability=0.3),
    Blur(fields=RGB),
    Solarise(fields=RGB),
]


def keys(count: int, **other: Any) -> Keys:
    return Keys(5, 1, np.arange(count), np.arange(count) * 7 % count, 2, **other)


def sizes(count: int, height: int, width: int) -> Any:
    return np.tile(np.array([[height, width]]), (count, 1))


def drawn(stage: Geometric | Photometric, key: Keys, extents: Any) -> list[Any]:
    if isinstance(stage, Photometric):
        return list(stage.draw(key).values())
    return list(stage.draw(key, extents))


def boxes(matrices: Any, out: Any) -> Any:
    """Return (B, 4: top, left, height, width) of what unturned outputs show."""
    extents = np.stack([matrices[:, 1, 1], matrices[:, 0, 0]], axis=1) * out
    return np.concatenate([matrices[:, :2, 2][:, ::-1], extents], axis=1)


def moved(image: Any, matrix: Any, size: Any) -> Any:
    """Return scipy's linear interpolation where a matrix says, 0 outside; image (H, W, C)."""
    linear, shift = matrix[:2, :2][::-1, ::-1], matrix[:2, 2][::-1]
    shift = shift + linear @ (0.5, 0.5) - 0.5  # scipy counts from the first pixel's centre
    channels = [
        ndimage.affine_transform(
            image[..., c].astype(float), linear, shift, tuple(size), order=1, mode="grid-constant"
        )
        for c in range(image.shape[2])
    ]
    return np.stack(channels, axis=2)


def as_tensor(image: Any) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: type(stage).__name__)
def test_a_draw_depends_on_its_key_only(stage: Geometric | Photometric) -> None:
    """Same keys, same draws; a sample's draw is the same in any batch."""
    whole, extents = keys(64), np.random.default_rng(0).integers(40, 90, (64, 2))
    want = drawn(stage, whole, extents)
    for one, other in zip(want, drawn(stage, keys(64), extents), strict=True):
        np.testing.assert_array_equal(one, other)
    for rows in (slice(3, 4), slice(10, 31), slice(None, None, -1)):
        part = Keys(5, 1, whole.positions[rows], whole.ids[rows], 2)
        for one, other in zip(want, drawn(stage, part, extents[rows]), strict=True):
            np.testing.assert_array_equal(one[rows], other)


@pytest.mark.parametrize(
    "stage",
    [s for s in STAGES if not isinstance(s, (CentreCrop, Resize))],
    ids=lambda stage: type(stage).__name__,
)
def test_every_part_of_the_key_counts(stage: Geometric | Photometric) -> None:
    ids = np.arange(64)
    extents = sizes(64, 50, 70)
    found = [
        drawn(stage, key, extents)[0]
        for key in (
            Keys(5, 1, ids, ids, 2),
            Keys(6, 1, ids, ids, 2),
            Keys(5, 2, ids, ids, 2),
            Keys(5, 1, ids + 64, ids, 2),
            Keys(5, 1, ids, ids + 64, 2),
            Keys(5, 1, ids, ids, 3),
        )
    ]
    for i, one in enumerate(found):
        assert not any(np.array_equal(one, other) for other in found[:i])


@pytest.mark.parametrize(
    ("height", "width", "scale", "ratio"),
    [
        (300, 400, (0.08, 1.0), (3 / 4, 4 / 3)),
        (97, 251, (0.3, 1.0), (3 / 4, 4 / 3)),  # most tries fail
        (251, 97, (0.05, 0.6), (0.2, 1.5)),
    ],
)
def test_random_resized_crop_is_distributed_as_torchvisions(
    height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> None:
    count = 3000
    stage = RandomResizedCrop(height=32, width=48, scale=scale, ratio=ratio)
    found = boxes(*stage.draw(keys(count), sizes(count, height, width)))
    torch.manual_seed(1)
    outside = v2.RandomResizedCrop((32, 48), scale=scale, ratio=ratio)
    image = torch.empty(1, height, width, dtype=torch.uint8)
    want = np.array(
        [
            [p["top"], p["left"], p["height"], p["width"]]
            for p in (outside.make_params([image]) for _ in range(count))
        ]
    )
    np.testing.assert_allclose(found, np.rint(found), atol=1e-9)
    assert (found[:, :2] >= 0).all()
    assert (found[:, :2] + found[:, 2:] <= (height, width)).all()
    for name, measure in {
        "area": lambda b: b[:, 2] * b[:, 3],
        "ratio": lambda b: b[:, 3] / b[:, 2],
        "top": lambda b: b[:, 0] / np.maximum(1, height - b[:, 2]),
        "left": lambda b: b[:, 1] / np.maximum(1, width - b[:, 3]),
    }.items():
        result = stats.ks_2samp(measure(np.rint(found)), measure(want))
        assert result.pvalue > 0.01, (name, result)


@pytest.mark.parametrize(
    ("height", "width"), [(300, 400), (97, 251), (251, 97), (64, 64), (1, 9), (10, 7), (5, 1)]
)
def test_random_resized_crop_falls_back_as_torchvision(height: int, width: int) -> None:
    """No try fits an area above the image's: the largest centred box of an allowed ratio."""
    stage = RandomResizedCrop(height=8, width=8, scale=(4.0, 5.0))
    found = boxes(*stage.draw(keys(2), sizes(2, height, width)))
    p = v2.RandomResizedCrop(8, scale=(4.0, 5.0)).make_params([torch.empty(1, height, width)])
    want = [p["top"], p["left"], p["height"], p["width"]]
    np.testing.assert_allclose(found, [want, want], atol=1e-9)


def test_resize_gives_torchvisions_sizes() -> None:
    rng = np.random.default_rng(3)
    extents = rng.integers(1, 300, (200, 2))
    for short in (1, 7, 64, 233):
        matrices, out = Resize(short=short).draw(keys(200), extents)
        outside = v2.Resize(short, interpolation=v2.InterpolationMode.NEAREST)
        for (height, width), got in zip(extents.tolist(), out.tolist(), strict=True):
            assert list(outside(torch.empty(1, height, width)).shape[1:]) == got
        np.testing.assert_allclose(boxes(matrices, out)[:, 2:], extents)
    matrices, out = Resize(height=30, width=50).draw(keys(200), extents)
    assert out.tolist() == [[30, 50]] * 200
    np.testing.assert_allclose(boxes(matrices, out)[:, 2:], extents)
    assert (matrices[:, :2, 2] == 0).all()


@pytest.mark.parametrize("height", [20, 21, 22, 23, 47])
@pytest.mark.parametrize("width", [30, 31, 32, 33])
def test_centre_crop_is_torchvisions(height: int, width: int) -> None:
    image = np.arange(height * width).reshape(height, width)
    matrices, out = CentreCrop(height=20, width=30).draw(keys(1), sizes(1, height, width))
    top, left, h, w = boxes(matrices, out)[0].astype(int)
    want = v2.CenterCrop((20, 30))(torch.from_numpy(image)[None])[0].numpy()
    np.testing.assert_array_equal(image[top : top + h, left : left + w], want)


def test_crop_reaches_every_offset_equally_often() -> None:
    matrices, out = Crop(height=20, width=30).draw(keys(4000), sizes(4000, 23, 35))
    found = boxes(matrices, out)
    for axis, places in ((0, 4), (1, 6)):
        counts = np.bincount(found[:, axis].astype(int), minlength=places)
        assert len(counts) == places
        assert stats.chisquare(counts).pvalue > 0.01


@pytest.mark.parametrize("stage", [Crop(height=20, width=30), CentreCrop(height=20, width=30)])
def test_crops_name_the_sample_that_is_too_small(stage: Geometric) -> None:
    extents = sizes(3, 25, 35)
    extents[1, 0] = 19
    with pytest.raises(ValueError, match=r"sample 1 has 19×35 pixels, the crop wants 20×30"):
        stage.draw(Keys(0, 0, np.arange(3), np.arange(3)), extents)


def test_flip_mirrors_with_its_probabilities() -> None:
    image = skimage.data.astronaut()[:37, :53]
    matrices, out = Flip(horizontal=0.3, vertical=0.6).draw(keys(4000), sizes(4000, 37, 53))
    across, down = matrices[:, 0, 0] < 0, matrices[:, 1, 1] < 0
    assert stats.binomtest(int(across.sum()), 4000, 0.3).pvalue > 0.01
    assert stats.binomtest(int(down.sum()), 4000, 0.6).pvalue > 0.01
    assert stats.binomtest(int((across & down).sum()), 4000, 0.18).pvalue > 0.01
    for i in range(20):
        want = as_tensor(image)
        want = functional.horizontal_flip(want) if across[i] else want
        want = functional.vertical_flip(want) if down[i] else want
        np.testing.assert_allclose(
            as_tensor(moved(image, matrices[i], out[i])), want.numpy(), atol=1e-6
        )
    for certain in (0.0, 1.0):
        one, _ = Flip(horizontal=certain, vertical=certain).draw(keys(99), sizes(99, 4, 5))
        assert (one[:, 0, 0] == (-1 if certain else 1)).all()


@pytest.mark.parametrize("degrees", [-90.0, -37.0, 0.0, 1.5, 20.0, 90.0, 133.0, 180.0])
@pytest.mark.parametrize("shape", [(64, 64), (61, 90)])
def test_rotate_is_torchvisions(degrees: float, shape: tuple[int, int]) -> None:
    """The matrix, carried out by scipy, gives torchvision's turn within its rounding."""
    image = skimage.data.astronaut()[100 : 100 + shape[0], 150 : 150 + shape[1]]
    matrices, out = Rotate(degrees=(degrees, degrees)).draw(keys(1), sizes(1, *shape))
    got = as_tensor(moved(image, matrices[0], out[0]))
    bilinear = v2.InterpolationMode.BILINEAR
    want = functional.rotate(as_tensor(image).double(), degrees, bilinear)
    torch.testing.assert_close(got, want, atol=0.05, rtol=0)


def test_rotate_draws_uniform_angles() -> None:
    for degrees, low, high in ((25.0, -25, 25), ((-10.0, 80.0), -10, 80)):
        matrices, _ = Rotate(degrees=degrees).draw(keys(3000), sizes(3000, 40, 60))
        angles = np.rad2deg(np.arctan2(matrices[:, 1, 0], matrices[:, 0, 0]))
        assert stats.kstest(angles, stats.uniform(low, high - low).cdf).pvalue > 0.01


def test_crops_and_resampling_say_so() -> None:
    """What the engines ask of a stage before any draw."""
    told = {type(s): (s.resamples, s.confines) for s in STAGES if isinstance(s, Geometric)}
    assert told == {
        Crop: (False, True),
        CentreCrop: (False, True),
        Flip: (False, False),
        RandomResizedCrop: (True, True),
        Resize: (True, False),
        Rotate: (True, False),
    }


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Crop(height=0, width=3), "needs pixels"),
        (lambda: CentreCrop(height=3, width=-1), "needs pixels"),
        (lambda: Flip(horizontal=1.2), "horizontal is a probability, not 1.2"),
        (lambda: RandomResizedCrop(height=0, width=3), "needs pixels"),
        (lambda: RandomResizedCrop(height=4, width=3, scale=(0.0, 1.0)), "scale is two positive"),
        (lambda: RandomResizedCrop(height=4, width=3, ratio=(2.0, 1.0)), "ratio is two positive"),
        (lambda: Resize(), "to height and width, or to short"),
        (lambda: Resize(height=3), "to height and width, or to short"),
        (lambda: Resize(height=3, width=3, short=3), "to height and width, or to short"),
        (lambda: Resize(short=0), "needs pixels"),
        (
            lambda: Resize(short=5, interpolation="area"),
            "one of linear, cubic, nearest, not 'area'",
        ),
        (lambda: Rotate(degrees=-3.0), "one number ≥ 0 or two, ascending, not -3"),
        (lambda: ColourJitter(fields=RGB, brightness=-0.1), "brightness is one number ≥ 0"),
        (lambda: ColourJitter(fields=RGB, contrast=(0.9, 0.1)), "contrast lies between 0 and inf"),
        (lambda: ColourJitter(fields=RGB, hue=0.6), "hue lies between -0.5 and 0.5"),
        (lambda: ColourJitter(fields=RGB, probability=2.0), "probability lies between 0 and 1"),
        (lambda: Grey(fields=RGB, probability=-1.0), "probability lies between 0 and 1"),
        (lambda: Blur(fields=RGB, sigma=(0.0, 1.0)), "sigma is two positive"),
        (lambda: Blur(fields=RGB, probability=1.1), "probability lies between 0 and 1"),
        (lambda: Solarise(fields=RGB, threshold=300), "threshold lies between 0 and 256"),
        (lambda: Solarise(fields=RGB, probability=1.1), "probability lies between 0 and 1"),
    ],
)
def test_options_without_sense_are_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
