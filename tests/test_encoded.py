"""Encoded images through the loader, on both engines: the pixels are those of the stored files.

The set holds every kind of file (tests/raw/imagefolder.py) and some photographs; what is cut and
resized is compared with Pillow's crop and resize of the whole decoded image.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
from PIL import Image
from raw.imagefolder import jpeg, picture, turned
from toys import PIXEL, Toy, built

from dataprep import encode, image, index
from dataprep.build import build
from dataprep.manifest import DataError, Field
from dataprep.raw import Raw
from dataprep.sources import Entry, Sample
from dataprep.sources.imagefolder import Source
from loaders import Batch, Dataset, Loader, cut
from loaders.buffers import Scratch
from loaders.chooser import Choice
from loaders.decode import decode
from loaders.program import Drawn
from loaders.stages import Geometric, Normalise, Stage, Views
from loaders.stages.centre_crop import CentreCrop
from loaders.stages.crop import Crop
from loaders.stages.dihedral import Dihedral
from loaders.stages.flip import Flip
from loaders.stages.random_resized_crop import RandomResizedCrop
from loaders.stages.resize import Resize
from loaders.stages.rotate import Rotate
from loaders.tar import Fetched

ENGINES = ("host", "dali")
NORMALISE = Normalise(field="image")


def photographs() -> dict[str, bytes]:
    """Return larger files of every sampling; two are stored turned, one is stored whole."""
    astronaut, coffee = skimage.data.astronaut(), skimage.data.coffee()
    flat = np.ascontiguousarray(astronaut[:200, :333])
    cmyk = io.BytesIO()
    Image.fromarray(coffee[:180, :260]).convert("CMYK").save(cmyk, "JPEG", quality=90)
    return {
        "444": jpeg(flat, subsampling="4:4:4"),
        "422": jpeg(np.ascontiguousarray(coffee[:223, :301]), subsampling="4:2:2"),
        "420": jpeg(np.ascontiguousarray(coffee[100:, 200:]), quality=95),
        "grey": jpeg(np.ascontiguousarray(astronaut[..., 1])),
        "progressive": jpeg(flat, progressive=True),
        "mirrored": jpeg(np.ascontiguousarray(coffee[:250, :190]), exif=turned(5)),
        "upside_down": jpeg(np.ascontiguousarray(coffee[:190, :250]), exif=turned(3)),
        "cmyk": cmyk.getvalue(),
    }


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    root = tmp_path_factory.mktemp("encoded")
    import_module("raw.imagefolder").write(root / "raw")
    (root / "raw" / "train" / "photo").mkdir()
    for name, data in photographs().items():
        (root / "raw" / "train" / "photo" / f"{name}.jpg").write_bytes(data)
    facts = build(Source(), root / "raw", root / "set", workers=1)
    assert facts.encoded["image"]["transcoded"] > 10 and len(facts.encoded["image"]["whole"]) > 3
    return Dataset(root / "set")


def loader_of(dataset: Dataset, *stages: Stage, **other: Any) -> Loader:
    settings = {"global_batch_size": 1, "seed": 5, "shuffle": False, "epochs": 1, "threads": 2}
    return Loader(dataset, stages=stages, **(settings | other))


def batches(loader: Loader) -> Iterator[Batch]:
    """Yield every batch, then close."""
    try:
        for batch in loader:
            yield batch.clone()
    finally:
        loader.close()


def drawn_for(loader: Loader, batch: Batch) -> Sequence[Drawn]:
    """Return the draws of a batch that came from the loader."""
    rows = loader.order.take(batch.epoch, batch.step)
    plan = loader.planner.plan([Choice(batch.epoch, batch.step, rows)])
    np.testing.assert_array_equal(plan.keys.ids, batch.id.numpy())
    return plan.drawn


def pillow(pixels: Any, box: Any, code: int, height: int, width: int) -> Any:
    """Return PIL's crop of a whole-pixel box, resized, then turned by the code, (H, W, 3)."""
    y, x, h, w = (round(float(side)) for side in box)
    size = (height, width) if code & 4 else (width, height)
    part = Image.fromarray(pixels).crop((x, y, x + w, y + h))
    return image.turned(np.asarray(part.resize(size, Image.Resampling.BILINEAR)), code)


def stored_pixels(dataset: Dataset, sample: int) -> Any:
    return np.ascontiguousarray(
        image.decode(dataset.tar("image").read(sample), upright=False).pixels
    )


def assert_close(got: Any, want: Any, engine: str) -> None:
    """Hold the host to a level, and DALI to the project's tolerance."""
    assert got.shape == want.shape
    differences = np.abs(got.astype(float) - want)
    if engine == "host":
        assert differences.max() < 1.001
    else:
        assert differences.mean() <= 0.5 and np.percentile(differences, 99) <= 4


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("split", ["train", "val"])
def test_without_stages_every_file_is_what_it_decodes_to(
    split: str, engine: str, dataset: Dataset
) -> None:
    seen = 0
    for batch in batches(loader_of(dataset, split=split, engine=engine)):
        want = image.decode(dataset.tar("image").read(int(batch.id[0]))).pixels
        got = batch["image"][0].numpy()
        if engine == "host":
            np.testing.assert_array_equal(got, want)
        else:
            assert_close(got, want, engine)
        seen += 1
    assert seen == len(dataset.split(split))


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("engine", ENGINES)
def test_random_resized_crops_are_pillow_s(engine: str, threads: int, dataset: Dataset) -> None:
    """Of the whole decoded image; a batch mixes all kinds of files."""
    stages = (RandomResizedCrop(height=72, width=96, scale=(0.02, 1.0)), Flip(vertical=0.5))
    other = {"global_batch_size": 7, "threads": threads, "shuffle": True, "epochs": 2}
    loader = loader_of(dataset, *stages, NORMALISE, engine=engine, **other)
    seen: set[int] = set()
    for batch in batches(loader):
        (drawn,) = drawn_for(loader, batch)
        for i, sample in enumerate(batch.id.tolist()):
            pixels = stored_pixels(dataset, sample)
            want = pillow(pixels, drawn.boxes[i], int(drawn.codes[i]), 72, 96)
            assert_close(batch["image"][i].numpy().transpose(1, 2, 0) * 255, want, engine)
            seen.add(int(drawn.codes[i]))
    assert seen >= {0, 1, 2, 3} and max(seen) > 3  # turned files among them


@pytest.mark.parametrize("engine", ENGINES)
def test_validation_is_pillow_s(engine: str, dataset: Dataset) -> None:
    """Resize the short side, cut the middle: the filter sees beyond the cut."""
    stages = (Resize(short=80), CentreCrop(height=64, width=64), NORMALISE)
    for batch in batches(loader_of(dataset, *stages, engine=engine, global_batch_size=6)):
        for i, sample in enumerate(batch.id.tolist()):
            pixels = Image.fromarray(image.decode(dataset.tar("image").read(sample)).pixels)
            width, height = (int(80 * side / min(pixels.size)) for side in pixels.size)
            whole = pixels.resize((width, height), Image.Resampling.BILINEAR)
            top, left = round((height - 64) / 2), round((width - 64) / 2)
            want = np.asarray(whole.crop((left, top, left + 64, top + 64)))
            assert_close(batch["image"][i].numpy().transpose(1, 2, 0) * 255, want, engine)


@pytest.mark.parametrize("engine", ENGINES)
def test_crops_are_the_file_s_pixels(engine: str, dataset: Dataset) -> None:
    """Nothing is resampled: cut and turned pixels are those of the whole image, bit for bit."""
    stages = (Crop(height=29, width=29), Dihedral())
    loader = loader_of(dataset, *stages, engine=engine, global_batch_size=5, epochs=3)
    for batch in batches(loader):
        (drawn,) = drawn_for(loader, batch)
        for i, sample in enumerate(batch.id.tolist()):
            y, x, h, w = drawn.boxes[i].astype(int)
            part = stored_pixels(dataset, sample)[y : y + h, x : x + w]
            want = image.turned(part, int(drawn.codes[i]))
            np.testing.assert_array_equal(batch["image"][i].numpy(), want)


@pytest.mark.parametrize("engine", ENGINES)
def test_views_of_one_decode(engine: str, dataset: Dataset) -> None:
    """Two crops of the box that holds both: each as if its file had been cut for it alone."""
    large: tuple[Geometric, ...] = (RandomResizedCrop(height=96, width=96, scale=(0.3, 1)), Flip())
    small: tuple[Geometric, ...] = (RandomResizedCrop(height=64, width=64, scale=(0.02, 0.1)),)
    both = Views(names=("a", "b"), fields=("image",), stages=(large, small))
    alone = Views(names=("a",), fields=("image",), stages=(large,))
    options: Any = {"engine": engine, "global_batch_size": 4}
    shared = list(batches(loader_of(dataset, both, NORMALISE, **options)))
    single = list(batches(loader_of(dataset, alone, NORMALISE, **options)))
    loader = loader_of(dataset, both, NORMALISE, **options)
    for two, one in zip(shared, single, strict=True):
        np.testing.assert_array_equal(two["image.a"].numpy(), one["image.a"].numpy())
        for drawn in drawn_for(loader, two):
            for i, sample in enumerate(two.id.tolist()):
                pixels, size = stored_pixels(dataset, sample), (drawn.height, drawn.width)
                want = pillow(pixels, drawn.boxes[i], int(drawn.codes[i]), *size)
                got = two[drawn.route.name][i].numpy().transpose(1, 2, 0) * 255
                assert_close(got, want, engine)
    loader.close()


# ---- points, and a raw field beside an encoded one

SPOTS = [(30, 30), (30, 110), (90, 60), (90, 160), (130, 110), (40, 180), (135, 25)]  # (y, x)
EXIF_TURNS = {1: 6, 2: 3, 3: 8, 5: 5, 6: 2, 7: 7, 8: 4}
HEIGHT, WIDTH = 160, 208


def spotted() -> Any:
    """Return a dark image with a bright spot at each point, (H, W, 3)."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    spots = [np.exp(-((y - b) ** 2 + (x - a) ** 2) / 18) for b, a in SPOTS]
    return np.repeat(np.uint8(np.rint(250 * np.sum(spots, axis=0)))[..., None], 3, axis=2)


@dataclass(frozen=True, kw_only=True)
class Spots(Toy):
    """Encoded images with points on bright spots, held as cameras do, and a raw map beside.

    half: what has half the size, the raw map or the encoded image.
    """

    half: str = "raw"

    def fields(self) -> dict[str, Field]:
        shape = (None, None, 3)
        return {
            "image": Field(kind="image", dtype="uint8", shape=shape, codec="encoded", scale=PIXEL),
            "map": Field(kind="map", dtype="uint8", shape=shape),
            "points": Field(kind="points", dtype="float64", shape=(None, 3)),
        }

    def entries(self, raw: Raw) -> list[Entry]:
        return [Entry(f"{i:03d}", "train", {}) for i in range(12)]

    def read(self, raw: Raw, entry: Entry) -> Iterator[Sample]:
        i = int(entry.name)
        whole = spotted()
        small = np.asarray(Image.fromarray(whole).resize((WIDTH // 2, HEIGHT // 2)))
        pixels, other = (whole, small) if self.half == "raw" else (small, whole)
        orientation = EXIF_TURNS.get(i, 1)
        inverse = {6: 8, 8: 6}.get(orientation, orientation)
        held = image.TURNS.get(inverse, lambda x: x)(pixels)
        options = {"exif": turned(orientation)} if orientation > 1 else {}
        data = jpeg(np.ascontiguousarray(held), quality=95, **options)
        points = np.array([(x, y, i) for y, x in SPOTS], float)
        if self.half != "raw":
            points[:, :2] /= 2
        stored = data if i == 11 else encode.keep(data, restart=i % 4 != 0)[0]
        yield Sample(entry.name, {"image": stored, "map": other, "points": points})


@pytest.fixture(scope="module")
def spots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Dataset]:
    root = tmp_path_factory.mktemp("spots")
    return {half: built(Spots(half=half), root / half) for half in ("raw", "encoded")}


MOVES: dict[str, tuple[Stage, ...]] = {
    "nothing": (),
    "random resized crop": (RandomResizedCrop(height=96, width=112, scale=(0.3, 1)),),
    "rotate": (Rotate(degrees=180.0),),
    "flip": (Flip(horizontal=0.5, vertical=0.5),),
    "all": (
        RandomResizedCrop(height=128, width=128, scale=(0.5, 1)),
        Rotate(degrees=30.0),
        Dihedral(),
        Crop(height=100, width=100),
    ),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", MOVES)
def test_points_stay_on_their_spots(name: str, engine: str, spots: dict[str, Dataset]) -> None:
    """Under every stage, and whatever turn the file is stored with."""
    options: Any = {"engine": engine, "fields": ("image", "points"), "global_batch_size": 6}
    kept = 0
    for batch in batches(loader_of(spots["raw"], *MOVES[name], NORMALISE, **options)):
        points: Any = batch.fields["points"]
        for i in range(len(batch)):
            light = batch["image"][i, 0].numpy()
            mine = points.values[points.starts[i] : points.starts[i + 1]].numpy()
            assert (mine[:, 2] == int(batch.id[i])).all()
            height, width = light.shape
            inner = [p for p in mine if 9 <= p[0] < width - 9 and 9 <= p[1] < height - 9]
            kept += len(inner)
            for x, y, _ in inner:
                top, left = int(y) - 6, int(x) - 6
                part = light[top : top + 13, left : left + 13].astype(float) ** 2
                rows, columns = np.mgrid[top : top + 13, left : left + 13] + 0.5
                assert part.max() > 0.6
                centre = [(part * side).sum() / part.sum() for side in (columns, rows)]
                assert np.abs(np.array([x, y]) - centre).max() < 0.4
    assert kept > 20


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("half", ["raw", "encoded"])
def test_one_geometry_for_a_raw_and_an_encoded_field(
    half: str, engine: str, spots: dict[str, Dataset]
) -> None:
    """The field of half the size shows the same part of the scene at half the output size."""
    stages = (RandomResizedCrop(height=128, width=144, scale=(0.3, 1)), Dihedral(transpose=False))
    ends = (NORMALISE, Normalise(field="map", std=(255.0,)))
    reference = "image" if half == "raw" else "map"
    loader = loader_of(
        spots[half], *stages, *ends, engine=engine, reference=reference, global_batch_size=6
    )
    for batch in batches(loader):
        large, small = (batch[n].numpy() for n in ("image", "map")[:: 1 if half == "raw" else -1])
        assert large.shape == (6, 3, 128, 144) and small.shape == (6, 3, 64, 72)
        mean = large.reshape(6, 3, 64, 2, 72, 2).mean((3, 5))
        assert np.abs(mean - small).max() < 0.15 and np.abs(mean - small).mean() < 0.006
        shifted = np.roll(mean, 1, axis=3)
        assert np.abs(shifted - small).mean() > 2 * np.abs(mean - small).mean()


# ---- what the index says is not what the files are


def damaged(dataset: Dataset, folder: Path, column: str, row: int, value: int) -> Dataset:
    """Return a copy of the set with one number of a column changed."""
    shutil.copytree(dataset.folder, folder)
    path = folder / "index" / f"image.{column}.npy"
    values = np.load(path)
    values[row] = value
    index.write(path, values)
    return Dataset(folder)


def find(dataset: Dataset, whole: bool) -> int:
    """Return a JPEG of the train split that is stored whole, or with a row index."""
    tar, keys = dataset.tar("image"), dataset.keys()
    wanted = "progressive" if whole else "__420"
    return next(
        i
        for i in np.asarray(dataset.split("train")).tolist()
        if wanted in keys[i] and min(tar.sizes(np.array([i]))[0]) > 100
    )


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(
    ("column", "change"),
    [
        ("height", -1),
        ("height", 1),
        ("width", -40),
        ("width", 300),
        ("height", 65_000),
        ("size", -900),
        ("size", 1 << 30),
        ("offset", 1 << 62),
        ("offset", 512),
        ("shard", 1 << 31),
    ],
)
def test_an_index_that_lies_is_named(
    column: str, change: int, whole: bool, engine: str, dataset: Dataset, tmp_path: Path
) -> None:
    sample = find(dataset, whole)
    old = int(np.load(dataset.folder / "index" / f"image.{column}.npy")[sample])
    wrong = damaged(dataset, tmp_path / "set", column, sample, old + change)
    stages = (RandomResizedCrop(height=64, width=64, scale=(0.9, 1)), NORMALISE)
    with pytest.raises(DataError, match=f"sample {sample}:"):
        for _ in batches(loader_of(wrong, *stages, engine=engine, global_batch_size=4)):
            pass


@pytest.mark.parametrize("which", [0, 1, -1])
@pytest.mark.parametrize("value", [0, 3, 1 << 20, (1 << 32) - 1])
def test_a_row_index_that_lies_is_named(
    value: int, which: int, dataset: Dataset, tmp_path: Path
) -> None:
    sample = find(dataset, whole=False)
    first, last = np.load(dataset.folder / "index" / "image.rows.starts.npy")[[sample, sample + 1]]
    at = int(last) - 1 if which < 0 else int(first) + which
    wrong = damaged(dataset, tmp_path / "set", "rows.values", at, value)
    whole = loader_of(wrong, Resize(height=32, width=32), NORMALISE)
    with pytest.raises(DataError, match=f"sample {sample}:"):
        for _ in batches(whole):
            pass


def test_a_tar_alone(dataset: Dataset) -> None:
    """Without a loader: whole files by id, and cuts of them, which decode to the same pixels."""
    tar, rng = dataset.tar("image"), np.random.default_rng(0)
    rows, cuts = index.Ragged(dataset.folder / "index", "image.rows", dataset.samples), 0
    for sample in range(dataset.samples):
        data = tar.read(sample)
        assert image.kind(data) in ("jpg", "png", "webp")
        decoded = image.decode(data, upright=False).pixels
        upright = image.turned(decoded, int(tar.turns(np.array([sample]))[0]))
        assert upright.shape[:2] == tuple(tar.sizes(np.array([sample]))[0])
        if image.kind(data) != "jpg":
            continue
        for _ in range(5):
            height, width = decoded.shape[:2]
            h, w = (int(rng.integers(1, side + 1)) for side in (height, width))
            y, x = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
            part = cut.crop(data, rows[sample], (y, x, h, w))
            pixels = image.decode(part.data, upright=False).pixels
            assert pixels.shape[:2] == (part.height, part.width)
            got = pixels[part.top : part.top + h, part.left : part.left + w]
            np.testing.assert_array_equal(got, decoded[y : y + h, x : x + w])
            cuts += len(part.data) < len(data)
    assert cuts > 50
    with pytest.raises((DataError, IndexError)):
        tar.read(dataset.samples)
    tar.close()


def rare_files() -> dict[str, bytes]:
    """Return files of kinds that Pillow or OpenCV decode, all of one picture."""
    pixels, files = picture(1, 60, 80), {}
    for kind, options in (("TIFF", {"compression": "tiff_lzw"}), ("WEBP", {}), ("BMP", {})):
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, kind, **options)
        files[kind] = out.getvalue()
    for name, one in (
        ("deep", Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)),
        ("CMYK", Image.fromarray(pixels).convert("CMYK")),
    ):
        out = io.BytesIO()
        one.save(out, "JPEG" if name == "CMYK" else "TIFF")
        files[name] = out.getvalue()
    return files | {"progressive": jpeg(pixels, progressive=True), "PNG": png(pixels)}


def png(pixels: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", rare_files())
def test_a_mangled_file_is_pixels_or_a_value_error(kind: str) -> None:
    """Whatever a reader of a rare format raises: the loader must be able to go on."""
    data, rng, scratch = rare_files()[kind], np.random.default_rng(0), Scratch()
    refused = 0
    for number in range(300):
        mangled = np.frombuffer(data, np.uint8).copy()
        at = int(rng.integers(min(len(mangled), 300) if number % 2 else len(mangled)))
        some = mangled[at : at + int(rng.choice([1, 2, 8, 64]))]
        some[:] = rng.integers(0, 256, len(some))
        length = int(rng.integers(1, len(data))) if number % 5 == 0 else len(data)
        try:
            rows = decode(Fetched(mangled[:length], 0, 0, 60, 80, False), scratch)
            assert rows.shape == (60, 240)
        except ValueError as error:
            refused += 1
            assert str(error)
    assert refused > 50


def test_rotated_out_of_the_image(dataset: Dataset) -> None:
    """A crop of a rotated image may show no pixel of it at all: it is black, and no error."""
    stages = (Resize(height=300, width=300), Rotate(degrees=(45.0, 45.0)), Crop(height=9, width=9))
    loader = loader_of(dataset, *stages, global_batch_size=4, epochs=12)
    dark, tar = 0, dataset.tar("image")
    for batch in batches(loader):
        (drawn,) = drawn_for(loader, batch)
        ids = batch.id.numpy()
        turned_sizes = [
            tar.sizes(ids)[i][:: -1 if t & 4 else 1] for i, t in enumerate(tar.turns(ids))
        ]
        assert (drawn.covers[:, :2] >= 0).all()
        assert (drawn.covers[:, :2] + drawn.covers[:, 2:] <= np.array(turned_sizes)).all()
        dark += int((batch["image"].flatten(1).amax(1) == 0).sum())
    assert dark > 3


def test_two_loaders_at_once(dataset: Dataset) -> None:
    """Of one set, in one process, step by step: each as if alone."""
    stages = (RandomResizedCrop(height=64, width=64), NORMALISE)
    options: list[dict[str, Any]] = [
        {"seed": 1, "engine": "host", "global_batch_size": 3},
        {"seed": 2, "engine": "dali", "global_batch_size": 5},
        {"seed": 3, "engine": "host", "split": "val", "threads": 1},
    ]
    alone = [list(batches(loader_of(dataset, *stages, **one))) for one in options]
    together = [batches(loader_of(dataset, *stages, **one)) for one in options]
    found: list[list[Batch]] = [[] for _ in options]
    for _ in range(max(map(len, alone)) + 1):
        for iterator, mine in zip(together, found, strict=True):
            mine += [batch for batch in [next(iterator, None)] if batch is not None]
    for one, other in zip(alone, found, strict=True):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a["image"].numpy(), b["image"].numpy())
