"""Read-ahead: what storage is asked for is what comes, in time, and nothing depends on it."""

from __future__ import annotations

import gc
import os
import resource
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pytest
from raw.imagefolder import jpeg, picture
from toys import PIXEL, Labelled, Toy, built

from dataprep import index
from dataprep.manifest import DataError, Field
from dataprep.raw import Raw
from dataprep.sources import Entry
from loaders import Dataset, Loader, World, readahead
from loaders.order import Block, Order
from loaders.readahead import ReadAhead

ROWS = 90


@dataclass(frozen=True, kw_only=True)
class Files(Toy):
    """Encoded images of several sizes beside raw ones."""

    shard_entries: ClassVar[int] = 4

    def fields(self) -> dict[str, Field]:
        image = Field(
            kind="image", dtype="uint8", shape=(None, None, 3), codec="encoded", scale=PIXEL
        )
        return {"image": image, "mask": Field(kind="map", dtype="uint8", shape=(None, None, 1))}

    def one(self, i: int) -> dict[str, Any]:
        pixels = picture(i, 40 + i, 50)
        return {"image": jpeg(pixels), "mask": pixels[..., :1]}


@dataclass(frozen=True, kw_only=True)
class Many(Labelled):
    """Ninety small samples, one a shard or ten."""

    shard_entries: ClassVar[int] = 10

    def entries(self, raw: Raw) -> list[Entry]:
        return [Entry(f"{i:03d}", "train", {}) for i in range(ROWS)]


@dataclass(frozen=True, kw_only=True)
class Scattered(Many):
    shard_entries: ClassVar[int] = 1


class Asked(NamedTuple):
    path: str
    start: int
    end: int


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Asked]:
    """Return the list that every request to the system is added to."""
    found: list[Asked] = []

    def note(fd: int, start: int, size: int, advice: int) -> None:
        assert advice == os.POSIX_FADV_WILLNEED and start >= 0 and size > 0
        path = os.readlink(f"/proc/self/fd/{fd}")
        assert start + size <= os.fstat(fd).st_size
        found.append(Asked("/".join(Path(path).parts[-2:]), start, start + size))

    monkeypatch.setattr(os, "posix_fadvise", note)
    return found


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Dataset]:
    root = tmp_path_factory.mktemp("sets")
    sources: dict[str, Toy] = {"files": Files(), "many": Many(), "scattered": Scattered()}
    return {name: built(source, root / name) for name, source in sources.items()}


def spans(dataset: Dataset, name: str, ids: Any) -> list[Asked]:
    """Return where the samples lie, worked out from the columns and the shape."""
    field, columns = dataset.fields[name], dataset.folder / "index"
    load = {what: np.load(columns / f"{name}.{what}.npy") for what in ("shard", "offset")}
    if field.codec == "encoded":
        sizes = np.load(columns / f"{name}.size.npy")
    else:
        sides = [np.load(columns / f"{name}.{what}.npy") for what in ("height", "width")]
        sizes = sides[0].astype(int) * sides[1] * int(field.shape[2] or 0)
    found = []
    for i in ids:
        shard = int(load["shard"][i])
        suffix = ".0.0.0" if field.is_uniform else ""
        path = f"shards/{shard:06d}.tar" if field.codec == "encoded" else f"{name}.zarr/c.{shard}"
        start = int(load["offset"][i])
        found.append(Asked(path + suffix, start, start + int(sizes[i])))
    return found


def loader_of(dataset: Dataset, **other: Any) -> Loader:
    settings: dict[str, Any] = {"global_batch_size": 1, "seed": 3, "threads": 1, "epochs": 1}
    settings["hold_mb"] = 0
    return Loader(dataset, **(settings | other))


def ids_of(loader: Loader) -> list[int]:
    """Run a loader to its end and let it ask to the end; return the ids that count."""
    try:
        ids = [int(i) for b in loader for i, w in zip(b.id, b.weight, strict=True) if w > 0]
        if loader._ahead is not None:
            settle(loader._ahead)
    finally:
        loader.close()
    return ids


def settle(ahead: ReadAhead) -> None:
    """Wait until everything is asked for."""
    ahead._todo.put(None)
    ahead._thread.join()


@pytest.mark.parametrize("shuffle", [True, False])
def test_asked_is_what_comes(
    shuffle: bool, asked: list[Asked], sets: dict[str, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sample by sample, every field, not a byte more, in the order of the batches."""
    monkeypatch.setattr(readahead, "_GAP_BYTES", -1)
    ids = ids_of(loader_of(sets["files"], shuffle=shuffle))
    for name in ("image", "mask"):
        wanted = spans(sets["files"], name, ids)
        prefix = wanted[0].path.split("/")[0]
        assert [one for one in asked if one.path.startswith(prefix)] == wanted
    assert len(asked) == 2 * len(ids) == 32


def test_neighbours_are_asked_for_as_one(asked: list[Asked], sets: dict[str, Dataset]) -> None:
    loader = loader_of(sets["many"], global_batch_size=30)
    ids = ids_of(loader)
    wanted = spans(sets["many"], "image", ids)
    assert {one.path for one in asked} == {one.path for one in wanted}
    assert len(asked) < len(wanted)
    for one in wanted:
        assert any(a.path == one.path and a.start <= one.start and one.end <= a.end for a in asked)
    edges = {(w.path, w.start) for w in wanted}, {(w.path, w.end) for w in wanted}
    for a in asked:  # whole members, from the first to the last
        assert (a.path, a.start) in edges[0] and (a.path, a.end) in edges[1]


def test_a_wide_gap_is_not_asked_for(
    asked: list[Asked], sets: dict[str, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image has 64 bytes: with a gap of 64, one sample between two others is read along."""
    monkeypatch.setattr(readahead, "_GAP_BYTES", 64)
    fields = {"image": sets["many"].pixels("image")}
    ahead = ReadAhead(fields, Order(ROWS, 1), sets["many"].split("train"))
    ahead.ask(np.array([7, 0, 2, 3, 14, 12]))
    settle(ahead)
    assert asked == [
        Asked("image.zarr/c.0.0.0.0", 0, 4 * 64),
        Asked("image.zarr/c.0.0.0.0", 7 * 64, 8 * 64),
        Asked("image.zarr/c.1.0.0.0", 2 * 64, 5 * 64),
    ]
    ahead.close()
    fields["image"].close()


def test_a_rank_asks_for_its_own(
    asked: list[Asked], sets: dict[str, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readahead, "_GAP_BYTES", -1)
    for rank in (0, 1):
        asked.clear()
        other: Any = {"global_batch_size": 6, "world": World(rank=rank, size=2)}
        ids = ids_of(loader_of(sets["many"], **other))
        assert len(ids) == ROWS // 2
        assert set(asked) == set(spans(sets["many"], "image", ids))


def rows_of(ranges: Any) -> set[int]:
    return {row for first, end in np.asarray(ranges).tolist() for row in range(first, end)}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("batch", "rows", "window"), [(4, 3, 6), (5, 2, 16), (7, 7, 3), (1, 10, 4), (9, 1, 30)]
)
def test_blocks_of_the_next_window_are_asked_for_in_time(
    batch: int, rows: int, window: int, seed: int, sets: dict[str, Dataset]
) -> None:
    """While the window before is read, and a few at a time; over the end of an epoch, too."""
    order = Order(ROWS, batch, seed, Block(rows, window))
    ahead = ReadAhead({}, order, sets["many"].split("train"))
    hints: list[list[Any]] = []
    ahead.ask = lambda wanted: hints[-1].append(wanted)  # type: ignore[method-assign]
    current, began, seen = rows_of(order.ahead(0, -1)), 0, set()
    for number in range(3 * order.steps):
        epoch, step = divmod(number, order.steps)
        hints.append([])
        ahead.step(epoch, step)
        if order.take(epoch, step)[0] not in current or (number and step == 0):
            recent = rows_of([one for some in hints[began:-1] for one in some])
            current = rows_of(order.ahead(epoch, step - 1))
            assert order.take(epoch, step)[0] in current
            assert current <= recent, (epoch, step)
            began, seen = number, seen | {epoch}
        if number == 0:
            assert current <= rows_of(hints[0])
        elif rows * window > 8 * batch:
            assert len(hints[-1]) <= window / 2
    assert seen == {0, 1, 2} or seen == {1, 2}
    ahead.close()


@pytest.mark.parametrize("shuffle", [True, False, Block(3, 4)])
@pytest.mark.parametrize("name", ["files", "many"])
def test_results_do_not_depend_on_it(name: str, shuffle: Any, sets: dict[str, Dataset]) -> None:
    runs: list[list[Any]] = []
    for read_ahead in (True, False):
        loader = loader_of(sets[name], shuffle=shuffle, read_ahead=read_ahead, epochs=2)
        runs.append([batch.clone() for batch in loader])
        loader.close()
    for one, other in zip(*runs, strict=True):
        np.testing.assert_array_equal(one.id.numpy(), other.id.numpy())
        np.testing.assert_array_equal(one["image"].numpy(), other["image"].numpy())


def open_files(folder: Path) -> int:
    """Return how many files below a folder this process holds open, columns left out."""
    links = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{fd}"))
        except FileNotFoundError:  # the one that lists them
            continue
    return sum(link.startswith(str(folder)) and "/index/" not in link for link in links)


def test_open_files_are_bounded(sets: dict[str, Dataset], monkeypatch: pytest.MonkeyPatch) -> None:
    """Ninety shards, but no more files than the least limit each for reading and asking."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (128, 128))
    most = 0
    for shuffle in (True, Block(5, 4)):
        loader = loader_of(sets["scattered"], shuffle=shuffle, global_batch_size=3, epochs=2)
        for _ in loader:
            most = max(most, open_files(sets["scattered"].folder))
        loader.close()
        assert open_files(sets["scattered"].folder) == 0
    # Each may hold a batch more for a moment, before it closes the oldest.
    assert 16 < most <= 2 * (16 + 3)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("shuffle", [True, Block(5, 4)])
def test_closed_while_it_reads_ahead(shuffle: Any, threads: int, sets: dict[str, Dataset]) -> None:
    """At any batch, many times: nothing hangs, no file stays open."""
    for stop in range(12):
        loader = loader_of(
            sets["scattered"], shuffle=shuffle, threads=threads, prefetch=5, global_batch_size=4
        )
        batches = iter(loader)
        for _ in range(stop):
            next(batches)
        batches.close()
        loader.close()
    gc.collect()
    assert open_files(sets["scattered"].folder) == 0


def test_a_dropped_loader_ends_its_thread(sets: dict[str, Dataset]) -> None:
    """Not closed: neither the thread nor its files outlive it."""
    loader = loader_of(sets["scattered"], global_batch_size=4)
    assert loader._ahead is not None
    thread = loader._ahead._thread
    assert len(next(iter(loader))) == 4
    del loader
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()


def test_closing_does_not_wait_for_the_disk(
    sets: dict[str, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is still to be asked for is dropped; one request may be under way."""
    entered, leave, count = threading.Event(), threading.Event(), [0]

    def slow(*_: Any) -> None:
        count[0] += 1
        entered.set()
        leave.wait(10)

    monkeypatch.setattr(os, "posix_fadvise", slow)
    fields = {"image": sets["many"].pixels("image")}
    ahead = ReadAhead(fields, Order(ROWS, 1), sets["many"].split("train"))
    for _ in range(readahead._MOST + 10):  # more than it will keep
        ahead.ask(np.array([1]))
    assert entered.wait(10)
    closing = threading.Thread(target=ahead.close)
    closing.start()
    assert ahead._stopped.wait(10)
    leave.set()
    closing.join(10)
    assert not closing.is_alive() and count[0] <= 2
    fields["image"].close()


def test_systems_without_it(sets: dict[str, Dataset], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "posix_fadvise")
    monkeypatch.delattr(os, "POSIX_FADV_WILLNEED")
    assert sorted(ids_of(loader_of(sets["many"], shuffle=Block(4, 4)))) == list(range(ROWS))


def test_a_refused_hint_is_no_error(
    sets: dict[str, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "posix_fadvise", refuse)
    assert sorted(ids_of(loader_of(sets["many"]))) == list(range(ROWS))


@pytest.fixture
def copy(tmp_path: Path) -> Iterator[Dataset]:
    yield built(Many(), tmp_path / "set")


@pytest.mark.parametrize("damage", ["gone", "short", "offset", "shard"])
def test_what_is_wrong_is_named_by_who_reads_it(damage: str, copy: Dataset) -> None:
    """Asking finds it first, and says nothing."""
    if damage in ("gone", "short"):
        path = copy.folder / "image.zarr" / "c.4.0.0.0"
        path.unlink() if damage == "gone" else os.truncate(path, 100)
    else:
        path = copy.folder / "index" / f"image.{damage}.npy"
        column = np.load(path)
        column[44] = np.iinfo(column.dtype).max
        index.write(path, column)
    for shuffle in (True, Block(3, 3)):
        loader = loader_of(Dataset(copy.folder), shuffle=shuffle, global_batch_size=4)
        named = r"c\.4\.0\.0\.0: (cannot be opened|has 100 bytes)|sample 44: "
        with pytest.raises(DataError, match=named):
            ids_of(loader)
        loader.close()
