"""bench/: no contestant passes with batches of another work."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

BENCH = Path(__file__).resolve().parents[1] / "bench"


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Import a file of bench/ as its siblings do."""
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module


def pairs(count: int = 16) -> tuple[Tensor, Tensor]:
    """Return smooth noise as HR, its block means as LR."""
    torch.manual_seed(0)
    rough = torch.rand(count, 3, 16, 16)
    hr = torch.nn.functional.interpolate(rough, scale_factor=4, mode="bilinear")
    return torch.nn.functional.avg_pool2d(hr, 4), hr.contiguous()


@pytest.fixture
def check(module: Callable[[str], Any]) -> Any:
    return module("pairs.check").Check(scale=4, patch=16, batch=16)


def test_aligned_pairs_pass(check: Any) -> None:
    check(pairs())
    assert check.result()["samples"] == 16


@pytest.mark.parametrize("shift", [(1, 0), (-1, 0), (0, 1), (0, -2)])
def test_hr_a_pixel_beside_is_caught(shift: tuple[int, int], check: Any) -> None:
    lr, hr = pairs()
    check((lr, hr.roll(shift, (2, 3))))
    with pytest.raises(ValueError, match=r"not aligned|another place"):
        check.result()


def test_pairs_mixed_up_are_caught(check: Any) -> None:
    lr, hr = pairs()
    check((lr.roll(1, 0), hr))
    with pytest.raises(ValueError, match="another place"):
        check.result()


def test_one_crop_again_and_again_is_caught(check: Any) -> None:
    lr, hr = pairs(1)
    check((lr.repeat(16, 1, 1, 1), hr.repeat(16, 1, 1, 1)))
    with pytest.raises(ValueError, match="only 1 of 16"):
        check.result()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda lr, hr: (lr, hr * 255),
        lambda lr, hr: (lr, hr.half()),
        lambda lr, hr: (lr, hr[:, :, :-4]),
        lambda lr, hr: (lr, hr.to(memory_format=torch.channels_last)),
    ],
    ids=["bytes", "half", "smaller", "a view"],
)
def test_other_than_the_promised_tensors_are_caught(spoil: Any, check: Any) -> None:
    with pytest.raises(ValueError):
        check(spoil(*pairs()))


COLOURS = torch.tensor([[-1.0, 0.5, 0.0], [1.0, 0.0, -0.5], [0.0, -1.0, 1.5]])


def photos(count: int = 24) -> tuple[Tensor, Tensor]:
    """Return noise around the colour of each label's class."""
    torch.manual_seed(0)
    labels = torch.arange(count) % len(COLOURS)
    return COLOURS[labels, :, None, None] + torch.randn(count, 3, 32, 32), labels


@pytest.fixture
def photo_check(module: Callable[[str], Any], tmp_path: Path) -> Any:
    found = module("photos.check")
    images, labels = photos()
    kinds = [images[labels == k] for k in range(len(COLOURS))]
    reference = tmp_path / "reference.json"
    figures = [found.figures(some).tolist() for some in kinds]
    facts = {"figures": figures, "colours": COLOURS.tolist(), "mean": float(images.mean())}
    reference.write_text(json.dumps(facts))
    return found.Check(str(reference), batch=24, size=32)


def test_labelled_photographs_pass(photo_check: Any) -> None:
    photo_check(photos())
    assert photo_check.result()["samples"] == 24


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda images, labels: (images * 0.5, labels), "pixels are"),
        (lambda images, labels: (images + 0.5, labels), "pixels are"),
        (lambda images, labels: (images.roll(1, 0), labels), "labels do not go"),
        (lambda images, labels: (images.sort(-1)[0], labels), "sharpness"),
        (lambda images, labels: (images[labels.clone()], labels), "only 3 of 24"),
        (lambda images, labels: (black_corners(images), labels), "corners are"),
    ],
    ids=["not normalised", "another mean", "mixed up", "smooth", "one a class", "turned"],
)
def test_other_photographs_are_caught(spoil: Any, why: str, photo_check: Any) -> None:
    photo_check(spoil(*photos()))
    with pytest.raises(ValueError, match=why):
        photo_check.result()


def black_corners(images: Tensor) -> Tensor:
    """Return images as if they were turned, or not turned where all others are."""
    images = images.clone()
    images[..., :2, :2] = images[..., -2:, -2:] = -2.0
    return images


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda images, labels: (images, labels), None),
        (lambda images, labels: (images[labels.clone()], labels), None),
        (lambda images, labels: (images + 0.5, labels), "pixels are"),
        (lambda images, labels: (images.roll(1, 0), labels), "labels do not go"),
    ],
    ids=["as they are", "again", "another mean", "mixed up"],
)
def test_images_that_are_only_decoded_may_come_again(
    spoil: Any, why: str | None, photo_check: Any, module: Callable[[str], Any], tmp_path: Path
) -> None:
    check = module("photos.check").CheckFew(str(tmp_path / "reference.json"), batch=24, size=32)
    check(spoil(*photos()))
    if why is None:
        assert check.result()["samples"] == 24
        return
    with pytest.raises(ValueError, match=why):
        check.result()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda images, labels: (images.half(), labels),
        lambda images, labels: (images[..., :-1], labels),
        lambda images, labels: (images.flip(-1).transpose(2, 3), labels),
        lambda images, labels: (images, labels + 1),
        lambda images, labels: (images, labels[:-1]),
    ],
    ids=["half", "smaller", "a view", "no such class", "too few labels"],
)
def test_other_batches_of_photographs_are_caught(spoil: Any, photo_check: Any) -> None:
    with pytest.raises(ValueError):
        photo_check(spoil(*photos()))
