"""Five families of 20 samples in small: what the contracts must carry, before there is real data.

Each toy is a source (built by the real builder), the loader settings of its task and what can be
checked of a batch without looking at the loader's code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from dataprep.bicubic import downscale
from dataprep.build import build
from dataprep.manifest import Field
from dataprep.raw import Raw
from dataprep.sources import Base, Entry, Sample
from loaders import Batch, Dataset, strategies
from loaders.order import Order
from loaders.stages import Normalise, Photometric, Views
from loaders.stages.crop import Crop
from loaders.stages.dihedral import Dihedral

N = 20
PIXEL = 1 / 255


def noise(i: int, *shape: int, dtype: Any = np.uint8) -> Any:
    """Return pixels that no two samples share."""
    return np.random.default_rng(i).integers(0, np.iinfo(dtype).max, shape, dtype=dtype)


@dataclass(frozen=True, kw_only=True)
class Toy(Base):
    """Twenty samples, 16 to train on and 4 to validate, in shards of 8."""

    summary: ClassVar[str] = "toy"
    needs_raw: ClassVar[bool] = False
    shard_entries: ClassVar[int] = 8

    def entries(self, raw: Raw) -> list[Entry]:
        return [Entry(f"{i:03d}", "val" if i % 5 == 4 else "train", {}) for i in range(N)]

    def read(self, raw: Raw, entry: Entry) -> Iterator[Sample]:
        yield Sample(entry.name, self.one(int(entry.name)))

    def one(self, i: int) -> dict[str, Any]:
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class LowHigh(Toy):
    """LR/HR pairs of different sizes, HR not a multiple of the scale."""

    def fields(self) -> dict[str, Field]:
        image = {"kind": "image", "dtype": "uint8", "shape": (None, None, 3), "scale": PIXEL}
        return {"hr": Field(**image, pitch=1), "lr": Field(**image, pitch=4)}

    def one(self, i: int) -> dict[str, Any]:
        hr = noise(i, 50 + i, 61 - i, 3)
        return {"hr": hr, "lr": downscale(hr, 4)}


@dataclass(frozen=True, kw_only=True)
class ImagePoints(Toy):
    """Images of three sizes with points on marked pixels; some images have none."""

    def fields(self) -> dict[str, Field]:
        return {
            "image": Field(kind="image", dtype="uint8", shape=(None, None, 3)),
            "points": Field(kind="points", dtype="float64", shape=(None, 3)),
        }

    def one(self, i: int) -> dict[str, Any]:
        height, width = ((24, 32), (32, 24), (28, 28))[i % 3]
        image = np.zeros((height, width, 3), np.uint8)
        places = np.random.default_rng(i).permutation(height * width)[: i % 4]
        ys, xs = places // width, places % width
        image[ys, xs] = 255  # a point lies on each white pixel and nowhere else
        return {"image": image, "points": np.stack([xs + 0.5, ys + 0.5, ys * 0.0 + i], axis=1)}


@dataclass(frozen=True, kw_only=True)
class RgbThermal(Toy):
    """RGB and 16-bit thermal of half the size, one geometry; thermal is stored in 0.04 K steps."""

    def fields(self) -> dict[str, Field]:
        return {
            "rgb": Field(kind="image", dtype="uint8", shape=(40, 56, 3), scale=PIXEL),
            "thermal": Field(
                kind="map", dtype="uint16", shape=(20, 28, 1), scale=0.04, offset=-273.15, unit="C"
            ),
        }

    def one(self, i: int) -> dict[str, Any]:
        thermal = noise(i, 20, 28, 1, dtype=np.uint16)
        low = (thermal >> 8).astype(np.uint8)  # each RGB pixel names the thermal pixel below it
        return {"rgb": np.repeat(np.repeat(low, 2, 0), 2, 1).repeat(3, 2), "thermal": thermal}


@dataclass(frozen=True, kw_only=True)
class Labelled(Toy):
    """Small grey images with a class."""

    def classes(self, entries: Any) -> list[str]:
        return ["even", "odd"]

    def fields(self) -> dict[str, Field]:
        return {
            "image": Field(kind="image", dtype="uint8", shape=(8, 8, 1), scale=PIXEL),
            "label": Field(kind="value", dtype="int64"),
        }

    def one(self, i: int) -> dict[str, Any]:
        return {"image": noise(i, 8, 8, 1), "label": i % 2}


@dataclass(frozen=True, kw_only=True)
class OneImage(Toy):
    """One image; two views are made of it."""

    def fields(self) -> dict[str, Field]:
        return {"image": Field(kind="image", dtype="uint8", shape=(None, None, 3), scale=PIXEL)}

    def one(self, i: int) -> dict[str, Any]:
        return {"image": noise(i, 30 + i, 30, 3)}


@dataclass(frozen=True, kw_only=True)
class Brighten(Photometric):
    """Add a drawn number of grey levels: the least a photometric stage can do, on both faces."""

    def check(self, name: str, field: Field) -> None:
        """Take any 8-bit image, also a grey one."""

    def draw(self, keys: Any) -> dict[str, Any]:
        return {"levels": keys.integers(50).astype(np.float32)}

    def host(self, image: Any, drawn: dict[str, Any]) -> Any:
        return np.clip(image + drawn["levels"], 0, 255).astype(image.dtype)

    def graph(self, image: Any, drawn: dict[str, Any]) -> Any:
        from nvidia.dali import fn, types

        sum_ = fn.cast(image, dtype=types.FLOAT) + drawn["levels"]
        return fn.cast_like(fn.cast(sum_, dtype=types.UINT8), image)


class Hardest(strategies.Strategy):
    """Choose, batch by batch, the rows with the largest loss seen; unseen ones first."""

    needs = ("loss",)

    def __init__(self, order: Order, *, decay: float = 0.5) -> None:
        super().__init__(order)
        self.decay = decay
        self.losses = np.full(order.rows, np.inf)
        self.used = np.zeros(order.rows, bool)

    def begin(self, epoch: int, progress: float) -> int:
        self.used[:] = False
        return self.order.steps

    def choose(self, epoch: int, step: int) -> Any:
        left = np.flatnonzero(~self.used)
        rows = left[np.argsort(-self.losses[left], kind="stable")][: self.order.batch]
        self.used[rows] = True
        return rows

    def observe(self, rows: Any, scores: Any) -> None:
        old = np.where(np.isinf(self.losses[rows]), scores["loss"], self.losses[rows])
        self.losses[rows] = self.decay * old + (1 - self.decay) * scores["loss"]

    def state(self) -> dict[str, Any]:
        return {"losses": self.losses.copy(), "used": self.used.copy()}

    def load(self, state: Any) -> None:
        self.losses, self.used = np.array(state["losses"]), np.array(state["used"])


@dataclass(frozen=True, kw_only=True)
class SuperResolution(Toy):
    """What the superres task wants, tiny: 9 pictures to train on, 3 to validate."""

    def entries(self, raw: Raw) -> list[Entry]:
        return [Entry(f"{i:03d}", "val" if i > 8 else "train", {}) for i in range(12)]

    def fields(self) -> dict[str, Field]:
        image = {"kind": "image", "dtype": "uint8", "shape": (None, None, 3), "scale": PIXEL}
        return {"hr": Field(**image, pitch=1), "lr_x2": Field(**image, pitch=2)}

    def one(self, i: int) -> dict[str, Any]:
        y, x = np.mgrid[0 : 40 + i, 0 : 47 - i]
        waves = [np.sin(y / (2 + c) + i) * np.cos(x / (3 + i % 4)) for c in range(3)]
        hr = np.round(127 + 120 * np.stack(waves, axis=-1)).astype(np.uint8)
        return {"hr": hr, "lr_x2": downscale(hr, 2)}


@dataclass(frozen=True, kw_only=True)
class Stimuli(Toy):
    """What the saliency task wants, tiny: people look at the one bright spot of each picture."""

    sigma_px: float = 4.0

    def fields(self) -> dict[str, Field]:
        return {
            "image": Field(kind="image", dtype="uint8", shape=(None, None, 3), scale=PIXEL),
            "fixations": Field(kind="points", dtype="float64", shape=(None, 6)),
        }

    def one(self, i: int) -> dict[str, Any]:
        height, width = ((48, 64), (64, 48), (56, 56))[i % 3]
        rng = np.random.default_rng(i)
        centre = rng.uniform(0.25, 0.75, 2) * (width, height)
        points = np.full((20 + i, 6), np.nan)
        points[:, :2] = (centre + rng.normal(0, 4, (20 + i, 2))).clip(0, (width - 1, height - 1))
        y, x = np.mgrid[:height, :width]
        spot = np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / 50)
        image = 60 + 150 * spot[..., None] + rng.normal(0, 8, (height, width, 3))
        return {"image": image.clip(0, 255).astype(np.uint8), "fixations": points}


def built(source: Base, folder: Path, workers: int = 1) -> Dataset:
    """Build a toy into a folder, or open it where it is built."""
    if not (folder / "manifest.json").exists():
        build(source, None, folder, workers=workers)
    return Dataset(folder)


@dataclass(frozen=True)
class Family:
    """A toy source, how it is loaded and what must hold for each batch."""

    source: Toy
    check: Callable[[Batch, Dataset], None]
    settings: dict[str, Any] = field(default_factory=dict)


def check_pairs(batch: Batch, dataset: Dataset) -> None:
    """HR, downscaled, is LR but for two pixels at its border, which see beyond the crop."""
    for hr, lr in zip(batch["hr"], batch["lr"], strict=True):
        pixels = np.round(hr.numpy().transpose(1, 2, 0) * 255).astype(np.uint8)
        again = downscale(np.ascontiguousarray(pixels), 4)[2:-2, 2:-2]
        stored = np.round(lr.numpy().transpose(1, 2, 0) * 255).astype(np.uint8)[2:-2, 2:-2]
        # Turned images round their two passes in another order: one level at the most.
        assert np.abs(again.astype(int) - stored).max() <= 2


def check_points(batch: Batch, dataset: Dataset) -> None:
    """After any turn a point lies on each white pixel and nowhere else."""
    points: Any = batch.fields["points"]
    for i in range(len(batch)):
        white = np.argwhere(batch["image"][i].numpy()[..., 0] == 255)
        moved = points.values[points.starts[i] : points.starts[i + 1]].numpy()
        assert sorted(map(tuple, np.floor(moved[:, 1::-1]).astype(int))) == sorted(
            map(tuple, white)
        )
        assert (moved[:, 2] == int(batch.id[i])).all()  # further columns travel untouched


def check_thermal(batch: Batch, dataset: Dataset) -> None:
    """Each RGB pixel still names the thermal pixel below it; °C are the stored numbers'."""
    counts = np.round((batch["thermal"].numpy() + 273.15) / 0.04).astype(int)
    low = np.round(batch["rgb"].numpy()[:, 0] * 255).astype(int)
    assert (low == np.repeat(np.repeat(counts[:, 0] >> 8, 2, 1), 2, 2)).all()


def check_labels(batch: Batch, dataset: Dataset) -> None:
    """Label and pixels belong to the id."""
    for i, sample in enumerate(batch.id.tolist()):
        assert int(batch["label"][i]) == sample % 2
        stored = np.round(batch["image"][i, 0].numpy() * 255).astype(np.uint8)
        assert (stored == noise(sample, 8, 8, 1)[..., 0]).all()


def check_views(batch: Batch, dataset: Dataset) -> None:
    """Both views are cut from the same image, at places of their own."""
    same = 0
    for i, sample in enumerate(batch.id.tolist()):
        values = set(noise(sample, 30 + sample, 30, 3)[..., 0].ravel().tolist())
        views = [np.round(batch[f"image.{name}"][i, 0].numpy() * 255) for name in "ab"]
        assert all(set(view.ravel().astype(int).tolist()) <= values for view in views)
        same += (views[0] == views[1]).all()
    assert same < len(batch)


FAMILIES = {
    "pairs": Family(
        LowHigh(),
        check_pairs,
        {
            "stages": (
                Crop(height=8, width=8),
                Dihedral(),
                Normalise(field="lr"),
                Normalise(field="hr"),
            ),
            "reference": "lr",
        },
    ),
    "points": Family(
        ImagePoints(), check_points, {"stages": (Dihedral(transpose=False),), "groups": "size"}
    ),
    "thermal": Family(
        RgbThermal(),
        check_thermal,
        {
            "stages": (
                Crop(height=12, width=12),
                Dihedral(),
                Normalise(field="rgb"),
                Normalise(field="thermal"),
            ),
            "reference": "thermal",
        },
    ),
    "labels": Family(
        Labelled(),
        check_labels,
        {"stages": (Normalise(field="image"),), "strategy": Hardest, "feedback_lag": 3},
    ),
    "views": Family(
        OneImage(),
        check_views,
        {
            "stages": (
                Views(
                    names=("a", "b"),
                    fields=("image",),
                    stages=((Crop(height=16, width=16), Dihedral()),) * 2,
                ),
                Normalise(field="image"),
            )
        },
    ),
}
