"""HAM10000's lesion masks: of their images, of their size, and moved with them by the loader."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ham_sets import built
from PIL import Image
from raw import ham10000 as small
from raw.ham10000 import FIRST, IMAGES, TEST, mask

from dataprep import index
from dataprep.build import build
from dataprep.manifest import DataError
from dataprep.preview import read
from dataprep.raw import Raw
from dataprep.sources.ham10000 import Source
from loaders import Dataset, Loader
from loaders.stages.centre_crop import CentreCrop
from loaders.stages.flip import Flip
from loaders.stages.resize import Resize


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    small.write(tmp_path / "raw")
    return tmp_path / "raw"


def test_masks_are_those_of_the_images(raw: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    first = f"ISIC_{FIRST:07d}"
    large = Image.fromarray(np.pad(np.full((20, 40), 200, np.uint8), 40)[:90, :120])
    large.save(raw / "masks" / f"{first}_segmentation.png")
    facts, said = built(Source(allow_partial=True, masks=str(raw / "masks")), raw, folder)
    field = facts.fields["mask"]
    assert (field.kind, field.shape, field.codec) == ("map", (None, None, 1), "encoded")
    assert facts.notes["mask: resized to its image"] == 1
    assert facts.notes["mask: none there, an empty one stored"] == 2
    assert "isic2018_test has no masks: its samples get empty ones" in said
    keys = index.Names(folder / "index", "key", facts.samples)
    for i in range(facts.samples):
        got, number = read(folder, facts, "mask", i)[..., 0], int(keys[i][5:])
        if number >= TEST:
            assert got.shape == (45, 60) and not got.any()
        elif keys[i] == first:
            assert set(np.unique(got)) == {0, 255} and (got == 255).sum() == 200
            assert (got[20:30, 20:40] == 255).all()
        else:
            path = raw / "masks" / f"{keys[i]}_segmentation.png"
            assert (got == np.asarray(Image.open(path))).all()


@pytest.mark.parametrize(
    "options", [{"resize_short": 30}, {"raw_pixels": True, "resize_short": 30}]
)
def test_masks_follow_the_size(options: dict[str, Any], raw: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    source = Source(allow_partial=True, masks=str(raw / "masks"), **options)
    facts, _ = built(source, raw, folder)
    for i in range(0, facts.samples, 5):
        picture, mask = (read(folder, facts, name, i) for name in ("image", "mask"))
        assert picture.shape[:2] == mask.shape[:2] == (30, 40)
        assert set(np.unique(mask)) == {0, 255}


@pytest.mark.parametrize("engine", ["host", "dali"])
def test_the_loader_moves_image_and_mask_together(engine: Any, raw: Path, tmp_path: Path) -> None:
    for path in (raw / IMAGES).iterdir():  # the image shows its mask
        pixels = np.asarray(Image.open(raw / "masks" / f"{path.stem}_segmentation.png"))
        Image.fromarray(pixels).convert("RGB").save(path, quality=98, subsampling="4:4:4")
    build(Source(allow_partial=True, masks=str(raw / "masks")), raw, tmp_path / "set", workers=1)
    stages = [Resize(height=45, width=60), CentreCrop(height=40, width=32), Flip()]
    loader = Loader(
        Dataset(tmp_path / "set"),
        stages=stages,
        fields=["image", "mask"],
        global_batch_size=4,
        epochs=3,
        engine=engine,
        threads=2,
    )
    filled = 0
    with closing(loader):
        for batch in loader:
            image, mask = batch["image"].numpy(), batch["mask"].numpy()
            assert image.shape == (4, 40, 32, 3) and mask.shape == (4, 40, 32, 1)
            assert np.abs(image.astype(int) - mask).mean() < 3
            filled += int((mask == 255).sum() > 100)
    assert filled > 3


def test_a_grey_map_is_what_pillow_reads(raw: Path, tmp_path: Path) -> None:
    build(Source(allow_partial=True, masks=str(raw / "masks")), raw, tmp_path / "set", workers=1)
    dataset = Dataset(tmp_path / "set")
    keys, settings = dataset.keys(), {"shuffle": False, "epochs": 1, "global_batch_size": 3}
    with closing(Loader(dataset, fields=["mask"], engine="host", threads=1, **settings)) as loader:
        for batch in loader:
            for i, got in zip(batch.id.tolist(), batch["mask"].numpy(), strict=True):
                assert got.dtype == np.uint8 and got.shape == (45, 60, 1)
                wanted = raw / "masks" / f"{keys[i]}_segmentation.png"
                assert (got[..., 0] == np.asarray(Image.open(wanted))).all()


def test_missing_masks(raw: Path, tmp_path: Path) -> None:
    one = f"ISIC_{FIRST:07d}"
    (raw / "masks" / f"{one}_segmentation.png").unlink()
    facts, said = built(Source(allow_partial=True, masks=str(raw / "masks")), raw, tmp_path / "a")
    assert "1 images have no mask: an empty one is stored" in said
    assert facts.checks["complete"]["maskless"] == 1
    with pytest.raises(DataError, match=r"part_1: no masks in it \(like ISIC_0024306_segmentation"):
        Source(allow_partial=True, masks=str(raw / IMAGES)).entries(Raw(raw))
    (raw / "masks" / f"ISIC_{FIRST + 1:07d}_segmentation.png").write_bytes(mask(1, 60, 45))
    with pytest.raises(DataError, match=r"is of 60×45 pixels, its image of 45×60: another shape"):
        build(Source(allow_partial=True, masks=str(raw / "masks")), raw, tmp_path / "b", workers=1)
