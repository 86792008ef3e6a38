"""Every kind of field through the builder: what goes in is what any reader gets out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import zarr

from dataprep import index
from dataprep.build import build
from dataprep.manifest import DataError, Field
from dataprep.raw import Raw
from dataprep.sources import Base, Entry, Sample
from dataprep.verify import verify


@dataclass(frozen=True, kw_only=True)
class Toy(Base):
    """Every kind of field; entries with several samples and with none."""

    summary: ClassVar[str] = "toy"
    needs_raw: ClassVar[bool] = False
    shard_entries: ClassVar[int] = 4
    same_keys: bool = False
    wrong: str = ""

    def fields(self) -> dict[str, Field]:
        return {
            "small": Field(kind="image", dtype="uint8", shape=(3, 5, 3), scale=1 / 255),
            "thermal": Field(kind="map", dtype="uint16", shape=(None, None), scale=0.1, offset=-9),
            "depth": Field(kind="map", dtype="float32", shape=(2, 2, 1)),
            "label": Field(kind="value", dtype="int64"),
            "pose": Field(kind="value", dtype="float32", shape=(3,)),
            "points": Field(kind="points", dtype="float64", shape=(None, 2)),
        }

    def entries(self, raw: Raw) -> list[Entry]:
        return [Entry(f"{i}", "train" if i % 3 else "val", {}) for i in range(10)]

    def read(self, raw: Raw, entry: Entry) -> Iterator[Sample]:
        i = int(entry.name)
        if i == 5:
            raise DataError(raw.path, entry.name, "bad")
        for part in range(2 if i == 2 else 1):
            fields = toy_fields(i * 10 + part)
            if self.wrong:
                fields[self.wrong] = np.zeros((1, 1), np.int8)
            yield Sample("same" if self.same_keys else f"{i}_{part}", fields, ("note",))


def toy_fields(seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 9, 2)
    return {
        "small": rng.integers(0, 256, (3, 5, 3), dtype=np.uint8),
        "thermal": rng.integers(0, 65536, (height, width), dtype=np.uint16),
        "depth": rng.normal(size=(2, 2, 1)).astype(np.float32),
        "label": seed % 7,
        "pose": rng.normal(size=3).astype(np.float32),
        "points": rng.normal(size=(seed % 3, 2)),
    }


def test_every_kind_of_field(tmp_path: Path) -> None:
    facts = build(Toy(), None, tmp_path, workers=1, on_error="skip")
    seeds = [0, 10, 20, 21, 30, 40, 60, 70, 80, 90]
    rows = [toy_fields(seed) for seed in seeds]
    assert facts.samples == 10 and facts.notes == {"note": 10} and list(verify(tmp_path)) == []
    assert facts.splits == {"train": 6, "val": 4}
    assert np.load(tmp_path / "splits" / "val.npy").tolist() == [0, 4, 6, 9]
    columns = tmp_path / "index"
    assert np.load(columns / "label.npy").tolist() == [row["label"] for row in rows]
    assert (np.load(columns / "pose.npy") == [row["pose"] for row in rows]).all()
    points = index.Ragged(columns, "points", 10)
    assert all((points[i] == row["points"]).all() for i, row in enumerate(rows))
    small = zarr.open_array(tmp_path / "small.zarr", mode="r")
    assert small.chunks == (5, 3, 5, 3) and small.shape == (12, 3, 5, 3)
    shard, offset = (np.load(columns / f"small.{what}.npy") for what in ("shard", "offset"))
    assert shard.dtype == np.uint32 and offset.dtype == np.uint64
    slots = shard * 5 + offset // 45
    assert (small[:][slots] == [row["small"] for row in rows]).all()
    depth = zarr.open_array(tmp_path / "depth.zarr", mode="r")
    assert (depth[:][slots] == [row["depth"] for row in rows]).all()


def test_statistics_are_exact(tmp_path: Path) -> None:
    facts = build(Toy(), None, tmp_path, workers=1, on_error="skip")
    seeds = [0, 10, 20, 21, 30, 40, 60, 70, 80, 90]
    for name in ("small", "thermal", "depth"):
        pixels = np.concatenate(
            [
                row.reshape(-1, row.shape[2] if row.ndim == 3 else 1).astype(np.float64)
                for row in (toy_fields(seed)[name] for seed in seeds)
            ]
        )
        field = facts.fields[name]
        mean = pixels.mean(0) * field.scale + field.offset
        assert np.allclose(facts.statistics[name]["mean"], mean, rtol=1e-12, atol=1e-12)
        std = pixels.std(0) * field.scale
        assert np.allclose(facts.statistics[name]["std"], std, rtol=1e-9)


def test_equal_keys_are_refused_naming_both(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="same: the key of both 0 and 1"):
        build(Toy(same_keys=True), None, tmp_path, workers=1, on_error="skip")


@pytest.mark.parametrize("name", ["small", "thermal", "label"])
def test_a_source_that_breaks_its_word_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=f"0: field {name} is int"):
        build(Toy(wrong=name), None, tmp_path, workers=1)
