"""Geometric stages through a loader: both engines on one encoded set, against torchvision.

The set holds real photographs of one size as JPEGs, two of them turned by EXIF.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image, ImageOps
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from dataprep.build import build
from dataprep.sources.imagefolder import Source
from loaders import Dataset, Loader
from loaders.draw import Keys
from loaders.stages import Geometric, Normalise, Stage
from loaders.stages.blur import Blur
from loaders.stages.centre_crop import CentreCrop
from loaders.stages.colour_jitter import ColourJitter
from loaders.stages.crop import Crop
from loaders.stages.dihedral import Dihedral
from loaders.stages.flip import Flip
from loaders.stages.grey import Grey
from loaders.stages.random_resized_crop import RandomResizedCrop
from loaders.stages.resize import Resize
from loaders.stages.rotate import Rotate
from loaders.stages.solarise import Solarise

COUNT, HEIGHT, WIDTH, SEED = 16, 176, 224, 3
FILLS = {
    "linear": v2.InterpolationMode.BILINEAR,
    "cubic": v2.InterpolationMode.BICUBIC,
    "nearest": v2.InterpolationMode.NEAREST_EXACT,
}
CROPPED = RandomResizedCrop(height=96, width=80, scale=(0.1, 1.0))
CHAINS: dict[str, tuple[Geometric, ...]] = {
    "crop": (Crop(height=64, width=96),),
    "centre crop": (CentreCrop(height=63, width=97),),
    "flip": (Flip(horizontal=0.5, vertical=0.5),),
    "dihedral": (Crop(height=64, width=64), Dihedral()),
    "random resized crop": (CROPPED,),
    "random resized crop, cubic": (
        RandomResizedCrop(height=96, width=80, scale=(0.02, 0.3), interpolation="cubic"),
    ),
    "shrink": (Resize(height=50, width=70),),
    "enlarge": (Resize(height=300, width=400),),
    # Of sizes where no centre falls between two pixels: there a turned file takes the other one.
    "nearest": (Resize(height=96, width=320, interpolation="nearest"),),
    "rotate": (Rotate(degrees=30.0),),
    "validation": (Resize(short=100), CentreCrop(height=88, width=88)),
    "training": (CROPPED, Flip()),
    "turned crops": (Crop(height=100, width=120), Rotate(degrees=(-180.0, 180.0))),
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    root = tmp_path_factory.mktemp("photographs")
    (root / "raw" / "train" / "photo").mkdir(parents=True)
    for i in range(COUNT):
        (root / "raw" / "train" / "photo" / f"{i:02d}.jpg").write_bytes(photograph(i))
    build(Source(), root / "raw", root / "set", workers=1)
    return Dataset(root / "set")


def photograph(i: int) -> bytes:
    """Return a part of a photograph as a JPEG; the last two are stored turned."""
    pictures = (skimage.data.astronaut, skimage.data.coffee, skimage.data.chelsea)
    whole = pictures[i % 3]()
    top, left = 7 * i, 13 * (i % 6)
    picture = Image.fromarray(whole[top : top + HEIGHT, left : left + WIDTH])
    exif = Image.Exif()
    if i >= COUNT - 2:
        kept = {14: Image.Transpose.ROTATE_90, 15: Image.Transpose.ROTATE_180}[i]
        exif[0x0112] = {14: 6, 15: 3}[i]
        picture = picture.transpose(kept)
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=92, subsampling=(0, 2)[i % 2], exif=exif)
    return out.getvalue()


def loaded(dataset: Dataset, stages: tuple[Stage, ...], engine: str, **other: Any) -> Any:
    """Return the grey levels (B, C, H, W) of one batch that is the whole set, and its ids."""
    loader = Loader(
        dataset,
        stages=(*stages, Normalise(field="image")),
        engine=engine,
        global_batch_size=COUNT,
        shuffle=False,
        seed=SEED,
        threads=2,
        epochs=1,
        **other,
    )
    batch = next(iter(loader)).clone()
    return batch["image"].numpy() * 255, batch.id.numpy()


def assert_near(got: Any, want: Any, mean: float, most: float) -> None:
    """Hold the differences to a mean and to a 99th percentile (grey levels), for every image."""
    assert got.shape == want.shape
    differences = np.abs(got.astype(float) - want).reshape(len(got), -1)
    assert differences.mean(axis=1).max() <= mean
    assert np.percentile(differences, 99, axis=1).max() <= most


def outside(stage: Geometric, image: torch.Tensor, matrix: Any) -> torch.Tensor:
    """Return what torchvision makes of one image (C, H, W float64) by the same draw."""
    fill = FILLS[getattr(stage, "interpolation", "linear")]
    if isinstance(stage, Crop):
        left, top = matrix[:2, 2].astype(int).tolist()
        return functional.crop(image, top, left, stage.height, stage.width)
    if isinstance(stage, Flip):
        image = functional.horizontal_flip(image) if matrix[0, 0] < 0 else image
        return functional.vertical_flip(image) if matrix[1, 1] < 0 else image
    if isinstance(stage, Resize):
        size = [stage.short] if stage.short else [stage.height, stage.width]
        return functional.resize(image, size, fill, antialias=True)
    if isinstance(stage, Rotate):
        angle = np.rad2deg(np.arctan2(matrix[1, 0], matrix[0, 0]))
        return functional.rotate(image, angle, fill)
    assert isinstance(stage, RandomResizedCrop)
    size = [stage.height, stage.width]
    (left, top), corner = matrix[:2, 2], matrix @ (size[1], size[0], 1)
    top, left, bottom, right = (round(float(v)) for v in (top, left, corner[1], corner[0]))
    box = (top, left, bottom - top, right - left)
    return functional.resized_crop(image, *box, size, fill, antialias=True)


@pytest.mark.parametrize(("engine", "mean", "most"), [("host", 0.3, 0.51), ("dali", 0.5, 4)])
@pytest.mark.parametrize("name", [name for name in CHAINS if name != "dihedral"])
def test_engines_do_what_torchvision_does(
    name: str, engine: str, mean: float, most: float, dataset: Dataset
) -> None:
    """The host engine rounds where it rotates, and nowhere else."""
    got, ids = loaded(dataset, CHAINS[name], engine)
    images = []
    for i in ids:
        with Image.open(io.BytesIO(photograph(int(i)))) as file:
            images.append(functional.pil_to_tensor(ImageOps.exif_transpose(file)).double())
    for slot, stage in enumerate(CHAINS[name]):
        keys = Keys(SEED, 0, np.arange(COUNT), ids.astype(np.int64), slot)
        sizes = np.array([image.shape[1:] for image in images])
        matrices, _ = stage.draw(keys, sizes)
        images = [outside(stage, *pair) for pair in zip(images, matrices, strict=True)]
    want = torch.stack(images).clamp(0, 255).numpy()
    assert_near(got, want, mean, most)


@pytest.mark.parametrize("name", CHAINS)
def test_engines_agree(name: str, dataset: Dataset) -> None:
    """DESIGN's tolerance, geometry alone."""
    (host, ids), (dali, same) = (loaded(dataset, CHAINS[name], e) for e in ("host", "dali"))
    np.testing.assert_array_equal(ids, same)
    assert_near(dali, host, 0.5, 4)


COLOURS = {
    "jitter": ColourJitter(
        fields=("image",), brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, probability=0.8
    ),
    "grey": Grey(fields=("image",), probability=0.5),
    "blur": Blur(fields=("image",)),
    "solarise": Solarise(fields=("image",)),
}


@pytest.mark.parametrize("before", [(Crop(height=80, width=80),), (CROPPED, Flip())])
@pytest.mark.parametrize("name", COLOURS)
def test_engines_agree_on_colours(
    name: str, before: tuple[Geometric, ...], dataset: Dataset
) -> None:
    host, dali = (
        loaded(dataset, (*before, COLOURS[name]), engine)[0] for engine in ("host", "dali")
    )
    plain, _ = loaded(dataset, before, "host")
    assert np.abs(host - plain).mean() > 0.5
    assert_near(dali, host, 0.5, 4)
