"""Photographs at a classifier's size: judged as timm judges them, varied as each way says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image
from timm.data import create_transform
from torch import nn

from dataprep.build import build
from dataprep.sources.imagefolder import Source
from loaders import Dataset, Loader
from models import Input
from tasks.classes import inputs
from tasks.classes.augment import WAYS, Augment
from tasks.classify import Task

PICTURES = {"cat": skimage.data.chelsea()[:300, :400], "cup": skimage.data.coffee()[:400, :300]}
SIZE = 64
WANTED = Input(size=(SIZE, SIZE), mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))


class Toy(nn.Module):
    """A classifier's face, without a network behind it."""

    def __init__(self, wanted: Input) -> None:
        super().__init__()
        self.inputs, self.classes = {"image": wanted}, 2
        self.weight = nn.Parameter(torch.zeros(1))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("photos")
    for name, pixels in PICTURES.items():
        for split in ("train", "val"):
            (folder / "raw" / split / name).mkdir(parents=True)
            Image.fromarray(pixels).save(folder / "raw" / split / name / f"{name}.png")
    build(Source(), folder / "raw", folder / "photos", workers=1)
    return Dataset(folder / "photos")


def shown(task: Task, training: bool, engine: Any = "host", epochs: int = 1) -> np.ndarray:
    """Return images (n, H, W, 3) as grey levels, in the order of ids or of an epoch."""
    split = "train" if training else "val"
    feed = task.feed(training)
    loader = Loader(
        task.dataset,
        split=split,
        **vars(feed),
        global_batch_size=2,
        shuffle=training,
        epochs=epochs,
        engine=engine,
        seed=1,
    )
    batches = [batch["image"].permute(0, 2, 3, 1).numpy().copy() for batch in loader]
    return np.asarray(255 * (np.concatenate(batches) * task.input.std + task.input.mean))


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
@pytest.mark.parametrize("crop", [0.875, 0.95, 1.0])
def test_photographs_are_judged_as_timm_judges_them(
    dataset: Dataset, crop: float, interpolation: Any
) -> None:
    """The same short side, the same middle, the same pixels to within rounding of grey levels."""
    wanted = replace(WANTED, crop=crop, interpolation=interpolation)
    task = Task(dataset, Toy(wanted))
    change = create_transform(
        (3, SIZE, SIZE),
        interpolation={"linear": "bilinear", "cubic": "bicubic"}[interpolation],
        mean=(0, 0, 0),
        std=(1, 1, 1),
        crop_pct=crop,
    )
    for name, ours in zip(PICTURES, shown(task, training=False), strict=True):
        image = Image.fromarray(PICTURES[name])
        theirs = 255 * change(image).permute(1, 2, 0).numpy()
        assert np.abs(ours - theirs).mean() < 0.5
        assert np.quantile(np.abs(ours - theirs), 0.99) <= 2
        assert np.abs(inputs.fitted(image, wanted) - ours).max() < 0.01  # alone, by predict


def test_squashed_photographs_are_whole(dataset: Dataset) -> None:
    task = Task(dataset, Toy(WANTED), fit="squash")
    for name, ours in zip(PICTURES, shown(task, training=False), strict=True):
        image = Image.fromarray(PICTURES[name])
        theirs = np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BILINEAR))
        assert np.abs(ours - theirs).mean() < 0.5
        assert np.abs(inputs.fitted(image, WANTED, "squash") - ours).max() < 0.01


@pytest.mark.parametrize("way", sorted(WAYS))
def test_each_way_varies_training_alone(dataset: Dataset, way: Augment) -> None:
    """Every epoch shows each photograph anew (but where nothing is varied), at the wanted size."""
    task = Task(dataset, Toy(WANTED), augment=way)
    plain = Task(dataset, Toy(WANTED))
    assert (shown(task, training=False) == shown(plain, training=False)).all()
    seen = shown(task, training=True, epochs=12)
    assert seen.shape == (24, SIZE, SIZE, 3)
    kinds = len(np.unique(seen.reshape(24, -1).round(3), axis=0))
    assert {"none": kinds == 2, "flip": kinds == 4}.get(way, kinds == 24)


def test_turned_photographs_have_black_corners_and_both_mirrors(dataset: Dataset) -> None:
    """Turned by up to 20 degrees: a corner comes from outside, the middle never."""
    seen = shown(Task(dataset, Toy(WANTED), augment="whole"), training=True, epochs=24)
    corners = seen[:, [0, 0, -1, -1], [0, -1, 0, -1]].max(axis=-1)
    assert 0.5 < (corners < 4).any(axis=1).mean()
    assert (seen[:, 24:40, 24:40].mean(axis=(1, 2, 3)) > 20).all()


def test_no_lesion_is_cut_to_a_sliver(dataset: Dataset) -> None:
    """Boxes of two fifths of the area at least: the mean colour stays near the photograph's."""
    seen = shown(Task(dataset, Toy(WANTED), augment="lesion"), training=True, epochs=24)
    whole = np.array([PICTURES[name].mean(axis=(0, 1)) for name in PICTURES])
    nearest = np.abs(seen.mean(axis=(1, 2))[:, None] - whole).mean(axis=2).min(axis=1)
    assert nearest.max() < 60


def test_ways_are_those_that_can_be_named() -> None:
    assert set(WAYS) == set(get_args(Augment))


def test_a_crop_of_no_size_is_refused(dataset: Dataset) -> None:
    task = Task(dataset, Toy(replace(WANTED, size=None)), augment="crop")
    with pytest.raises(ValueError, match="takes images of any size: a crop has none"):
        task.feed(training=True)


def test_operating_points_want_a_class_that_is_there(dataset: Dataset) -> None:
    assert Task(dataset, Toy(WANTED), positive="cup").positive == "cup"
    with pytest.raises(ValueError, match="positive=mel: no such class: cat, cup"):
        Task(dataset, Toy(WANTED), positive="mel")


def test_grey_networks_get_grey_pictures() -> None:
    image = Image.fromarray(PICTURES["cat"]).convert("L")
    assert inputs.fitted(image, replace(WANTED, channels=1)).shape == (SIZE, SIZE, 1)
