"""Columns: whatever is asked of one is what numpy answers, and damage is an error by name."""

from __future__ import annotations

import gc
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dataprep import index
from dataprep.manifest import DataError

ARRAYS = {
    "ids": np.arange(5, 1005, dtype=np.int64),
    "shards": np.repeat(np.arange(10, dtype=np.uint32), 100),
    "offsets": np.arange(1000, dtype=np.uint64) * 2**40,
    "vectors": np.random.default_rng(0).normal(size=(1000, 3)).astype(np.float32),
    "boxes": np.random.default_rng(0).normal(size=(1000, 2, 2)),
    "flags": np.arange(1000) % 3 == 0,
    "big-endian": np.arange(1000, dtype=">i4"),
}


@pytest.fixture(params=["held", "read"])
def size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run once with columns in memory, once with columns that are read where asked for."""
    if request.param == "read":
        monkeypatch.setattr(index, "HELD_BYTES", 0)
    return str(request.param)


def written(path: Path, array: Any) -> index.Column:
    index.write(path, array)
    return index.read(path, len(array))


@pytest.mark.parametrize("name", ARRAYS)
def test_answers_as_numpy_does(name: str, size: str, tmp_path: Path) -> None:
    array = ARRAYS[name]
    column = written(tmp_path / "x.npy", array)
    assert np.load(tmp_path / "x.npy").tolist() == array.tolist()
    assert len(column) == 1000 and column.shape == array.shape and column.dtype == array.dtype
    rng = np.random.default_rng(1)
    for rows in (
        0,
        -1,
        np.int64(999),
        np.uint32(7),
        slice(None),
        slice(10, 20),
        slice(-5, None),
        slice(20, 10),
        slice(None, None, 7),
        slice(None, None, -1),
        rng.integers(0, 1000, 64),
        rng.integers(-1000, 1000, (4, 8)),
        rng.integers(0, 1000, 5).astype(np.uint64),
        np.arange(100, 300),
        [3, 3, 1],
        np.zeros(0, np.int64),
        array.reshape(1000, -1)[:, 0] > 0,
    ):
        got, want = column[rows], array[rows]
        assert np.shape(got) == np.shape(want) and got.dtype == want.dtype
        np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(np.asarray(column), array)
    assert np.array(column, np.float64).dtype == np.float64
    for beyond in (1000, -1001, np.array([1, 1000]), np.array([-1001])):
        with pytest.raises(IndexError):
            column[beyond]


def test_finds_values(size: str, tmp_path: Path) -> None:
    array = np.unique(np.random.default_rng(0).integers(0, 5000, 700))
    column = written(tmp_path / "x.npy", array)
    wanted = np.arange(-10, 5010)
    found = column.find(wanted)
    assert found.dtype == np.int64 and ((found >= 0) == np.isin(wanted, array)).all()
    np.testing.assert_array_equal(array[found[found >= 0]], wanted[found >= 0])
    assert column.find(array[:6].reshape(2, 3)).tolist() == [[0, 1, 2], [3, 4, 5]]
    empty = written(tmp_path / "empty.npy", np.zeros(0, np.int64))
    assert empty.find([1, 2]).tolist() == [-1, -1] and len(empty[:]) == 0


def test_large_columns_are_not_held(tmp_path: Path) -> None:
    array = np.arange(1_300_000)
    column = written(tmp_path / "x.npy", array)
    assert column._held is None and column[np.array([7, 1_299_999])].tolist() == [7, 1_299_999]
    gc.collect()  # what other tests left
    before = len(os.listdir("/proc/self/fd"))
    more = [index.read(tmp_path / "x.npy") for _ in range(5)]
    assert len(os.listdir("/proc/self/fd")) == before + 5
    del more
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def test_many_threads_read_one_column(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 2**60, 1_400_000)
    column = written(tmp_path / "x.npy", array)

    def same(seed: int) -> bool:
        ids = np.random.default_rng(seed).integers(0, len(array), 300)
        return bool((column[ids] == array[ids]).all())

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(same, range(200)))


@pytest.mark.parametrize("rows", [3, slice(None), np.array([5, 1_399_999]), slice(None, None, 9)])
def test_a_column_that_shrinks_is_named(rows: Any, tmp_path: Path) -> None:
    column = written(tmp_path / "x.npy", np.arange(1_400_000))
    os.truncate(tmp_path / "x.npy", 130)
    with pytest.raises(DataError, match=r"x\.npy: row \d+: cannot be read: the column was cut"):
        column[rows]


def test_every_changed_byte_of_a_head_is_noticed_or_harmless(tmp_path: Path) -> None:
    path, array = tmp_path / "x.npy", np.arange(50, dtype=np.uint32)
    index.write(path, array)
    whole = path.read_bytes()
    refused = 0
    for at in range(len(whole) - array.nbytes):
        for flip in (1, 0x20, 0x80):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ flip]) + whole[at + 1 :])
            try:
                column = index.read(path, 50)
            except DataError as error:
                refused += 1
                assert "x.npy" in str(error) and "\n" not in str(error)
            else:
                assert len(column[:]) == 50 and column[:].nbytes == array.nbytes
    assert refused > 200
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        with pytest.raises(DataError, match="unreadable column"):
            index.read(path)


@pytest.mark.parametrize(
    "array",
    [
        np.array([{}, 1], object),
        np.array(["a", "b"]),
        np.array([(1, 2.0)], [("a", "i4"), ("b", "f8")]),
        np.array(3),
        np.asfortranarray(np.ones((4, 5))),
        np.array([1, 2], "M8[s]"),
    ],
)
def test_other_arrays_are_refused(array: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(DataError, match="unreadable column"):
        index.read(tmp_path / "x.npy")


def test_missing_and_longer_columns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="unreadable column"):
        index.read(tmp_path / "nothing.npy")
    with pytest.raises(DataError, match="unreadable column"):
        index.read(tmp_path)
    index.write(tmp_path / "x.npy", np.arange(3))
    with open(tmp_path / "x.npy", "ab") as file:
        file.write(b"\0")
    with pytest.raises(DataError, match="unreadable column"):
        index.read(tmp_path / "x.npy")


@pytest.mark.parametrize("shape", [(), (2,)])
def test_ragged_rows(shape: tuple[int, ...], size: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [rng.normal(size=(int(n), *shape)) for n in rng.integers(0, 6, 200)]
    index.write_ragged(tmp_path, "r", rows)
    ragged = index.Ragged(tmp_path, "r", 200)
    for i, row in enumerate(rows):
        np.testing.assert_array_equal(ragged[i], row)
    for ids in (rng.integers(0, 200, 50), np.arange(200), np.zeros(0, np.int64), np.array([7])):
        values, starts = ragged.take(ids)
        assert len(starts) == len(ids) + 1 and starts[0] == 0 and starts[-1] == len(values)
        for place, i in enumerate(ids):
            np.testing.assert_array_equal(values[starts[place] : starts[place + 1]], rows[i])
    for beyond in ([200], [-1]):
        with pytest.raises(IndexError):
            ragged.take(np.array(beyond))


@pytest.mark.parametrize("value", [-1, 10**15, 2**62, 3])
def test_a_damaged_start_asks_for_no_memory(value: int, size: str, tmp_path: Path) -> None:
    index.write_ragged(tmp_path, "r", [np.arange(4)] * 10)
    starts = np.load(tmp_path / "r.starts.npy")
    starts[5] = value
    index.write(tmp_path / "r.starts.npy", starts)
    ragged = index.Ragged(tmp_path, "r", 10)
    bad = 4 if value < 16 else 5
    with pytest.raises(DataError, match=rf"r\.starts\.npy: row {bad}: starts outside"):
        ragged[bad]
    with pytest.raises(DataError, match=r"r\.starts\.npy: row \d: starts outside"):
        ragged.take(np.arange(10))
    assert ragged[0].tolist() == [0, 1, 2, 3]


def test_names_keep_bytes_that_are_no_utf8(tmp_path: Path) -> None:
    odd = b"caf\xe9.jpg".decode(errors="surrogateescape")
    index.write_names(tmp_path, "name", ["ä", odd])
    names = index.Names(tmp_path, "name", 2)
    assert [names[0], names[1]] == ["ä", odd]
