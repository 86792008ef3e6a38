"""A hundred million samples: a set opens, a loader starts and resumes without reading them.

The columns are sparse files of the right length: they take no disk, and hold zeros but in the few
rows that the test asks for.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dataprep.manifest import Field, Manifest
from loaders import Dataset, Loader
from loaders.mixing import mixing
from loaders.order import Block

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
ROWS = 10**8
MOST_BYTES = 64 << 20
PLANS = 5
SIDE = 4  # of the images, which all lie in the same place


def sparse(path: Path, dtype: str, rows: int, last: int = 0) -> None:
    """Write a column of zeros that ends with one number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = np.dtype(dtype)
    with open(path, "wb") as file:
        facts = {"descr": kind.str, "fortran_order": False, "shape": (rows,)}
        np.lib.format.write_array_header_1_0(file, facts)
        os.truncate(path, file.tell() + rows * kind.itemsize)
    with open(path, "r+b") as file:
        file.seek(-kind.itemsize, os.SEEK_END)
        file.write(kind.type(last).tobytes())


def write_set(folder: Path, rows: int) -> None:
    """Write a set of `rows` samples, each two images, a label, an empty key and no points."""
    columns = {"label": "i8"}
    for name in ("image", "photo"):
        columns |= {f"{name}.shard": "u4", f"{name}.offset": "u8"}
        columns |= {f"{name}.height": "u4", f"{name}.width": "u4"}
    columns |= {"photo.size": "u4", "photo.turn": "u1"}
    ragged = {"key": "u1", "points": "f4", "photo.rows": "u4"}
    for name, dtype in (
        columns.items() | {f"{name}.values": ragged[name] for name in ragged}.items()
    ):
        sparse(folder / "index" / f"{name}.npy", dtype, rows)
    for name in ragged:
        sparse(folder / "index" / f"{name}.starts.npy", "i8", rows + 1, last=rows)
    sparse(folder / "splits" / "train.npy", "i8", rows, last=rows - 1)
    Manifest(
        name="large",
        source="toy",
        options={},
        versions={},
        fields={
            "image": Field(kind="image", dtype="uint8", shape=(None, None, 3)),
            "photo": Field(kind="image", dtype="uint8", shape=(None, None, 3), codec="encoded"),
            "label": Field(kind="value", dtype="int64"),
        },
        samples=rows,
        splits={"train": rows},
        files={
            name: {"bytes": SIDE * SIDE * 3, "sha256": ""}
            for name in ("image.zarr/c.0", "shards/000000.tar")
        },
    ).save(folder)


def fill(folder: Path, rows: Any) -> None:
    """Make a split's rows name the samples of the same number, and give these a size."""
    np.load(folder / "splits" / "train.npy", mmap_mode="r+")[rows] = rows
    for name in ("image.height", "image.width", "photo.height", "photo.width"):
        np.load(folder / "index" / f"{name}.npy", mmap_mode="r+")[rows] = SIDE


def touched(loader: Loader) -> Any:
    """Return the rows that a test of this loader reads."""
    steps = [(0, step) for step in range(PLANS)] + [(3, loader.steps - 2)]
    return np.concatenate([loader.order.take(*one) for one in steps])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("large") / "set"
    write_set(folder, ROWS)
    return folder


@pytest.fixture(scope="module", autouse=True)
def warm(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Load and compile everything, so that what is measured is the size of the set."""
    folder = tmp_path_factory.mktemp("large") / "small"
    write_set(folder, 3 * 10**6)  # columns larger than those that are held
    for shuffle in (True, Block(9, 4)):
        loader = open_loader(Dataset(folder), shuffle)
        fill(folder, touched(loader))
        loader._plan()
        mixing(loader.order)
        loader.load(loader.state())
        loader.close()


def memory(which: str) -> int:
    """Return the process's VmRSS (now) or VmHWM (the most since the last reset) in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(which))


@contextmanager
def small(what: str) -> Iterator[None]:
    """Check that what is done inside takes little memory; print its time for the reader."""
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
    before, began = memory("VmRSS"), time.perf_counter()
    yield
    took, grown = time.perf_counter() - began, memory("VmHWM") - before
    print(f"{what}: {took:.3f} s, {grown / 2**20:.1f} MiB")
    assert grown < MOST_BYTES, what


@pytest.mark.parametrize("shuffle", [True, False, Block(90, 64)])
def test_start_and_resume_do_not_grow(folder: Path, shuffle: bool | Block) -> None:
    loader = open_loader(Dataset(folder), shuffle)
    fill(folder, touched(loader))
    with small("open"):
        dataset = Dataset(folder)
    with small("loader"):
        loader = open_loader(dataset, shuffle)
    with small("first plan"):
        plan = loader._plan()
    with small("more plans"):
        for _ in range(PLANS - 1):
            loader._plan()
    with small("mixing"):
        mixing(loader.order)
    with small("state"):
        state = loader.state()
    assert len(json.dumps(state)) < 1000
    state["chooser"] |= {"epoch": 3, "step": loader.steps - 2, "made": 4 * loader.steps - 2}
    with small("resume"):
        other = open_loader(Dataset(folder), shuffle)
        other.load(state)
        late = other._plan()
    assert plan is not None and late is not None and late.choices[0].epoch == 3
    assert late.keys.ids.tolist() == other.order.take(3, other.steps - 2).tolist()
    with small("rows of ids"):
        assert len(other.rows(late.keys.ids)) == 64
    loader.close()
    other.close()


def open_loader(dataset: Dataset, shuffle: bool | Block) -> Loader:
    options: dict[str, Any] = {"global_batch_size": 64, "threads": 1, "hold_mb": 0}
    return Loader(dataset, shuffle=shuffle, **options)


def test_single_rows_are_read_without_the_rest(folder: Path) -> None:
    dataset = Dataset(folder)
    with small("keys, points and labels"):
        keys, points, labels = dataset.keys(), dataset.points("points"), dataset.values("label")
        assert len(keys) == len(points) == len(labels) == dataset.samples
        assert keys[0] == "" and len(points[17]) == 0
        assert np.asarray(labels[np.array([0, dataset.samples - 1])]).tolist() == [0, 0]
