"""Derived results: found by name, read back as written, refused where not whole or foreign."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toys import Labelled, N, built

from dataprep import derived
from dataprep.build import build
from dataprep.manifest import DataError
from dataprep.verify import verify
from loaders import Dataset, Loader

SCORES = np.where(np.arange(N) % 5 == 4, np.nan, np.arange(N) / 7)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return built(Labelled(), tmp_path / "set")


def kept(dataset: Dataset, name: str, kind: derived.Kind, array: Any, **made_from: Any) -> Path:
    made_from = {"data": dataset.manifest.fingerprint} | made_from
    path = derived.place(dataset.folder, name, made_from)
    return derived.write(path, kind, np.asarray(array), made_from, note="kept")


def test_tables_and_splits_come_back_as_written(dataset: Dataset) -> None:
    table = kept(dataset, "irreducible_loss", "values", SCORES)
    split = kept(dataset, "el2n_keep50", "ids", [0, 3, 7, 12])
    np.testing.assert_array_equal(dataset.table("irreducible_loss"), SCORES)
    np.testing.assert_array_equal(dataset.table(table.name), SCORES)
    for name in ("el2n_keep50", split.name):
        assert np.asarray(dataset.split(name)).tolist() == [0, 3, 7, 12]
    assert len(dataset.split("train")) == 16  # the set's own come first
    assert np.load(table / "values.npy").dtype == np.float64  # for numpy alone
    assert json.loads((table / "origin.json").read_text())["note"] == "kept"
    assert list(verify(dataset.folder)) == []  # the set is what it was


def test_the_loader_serves_a_derived_split(dataset: Dataset) -> None:
    kept(dataset, "hard", "ids", [1, 2, 8])
    loader = Loader(dataset, split="hard", global_batch_size=2, epochs=1, shuffle=False)
    served = [i for batch in loader for i in batch.id[batch.weight > 0].tolist()]
    loader.close()
    assert served == [1, 2, 8]


def test_a_fingerprint_tells_results_apart(dataset: Dataset) -> None:
    one = kept(dataset, "hard", "ids", [1, 2], keep=0.1)
    other = kept(dataset, "hard", "ids", [1, 3], keep=0.2)
    assert one != other and derived.fingerprint(one) != derived.fingerprint(other)
    with pytest.raises(DataError, match="which split") as error:
        dataset.split("hard")
    assert one.name in str(error.value) and other.name in str(error.value)
    assert np.asarray(dataset.split(other.name)).tolist() == [1, 3]
    again = kept(dataset, "hard", "ids", [1, 3], keep=0.2)  # the same: replaced
    assert again == other and len(list(again.parent.iterdir())) == 2


def test_what_is_not_there(dataset: Dataset) -> None:
    with pytest.raises(DataError, match=r"no such split; there are: train, val$"):
        dataset.split("hard")
    with pytest.raises(DataError, match="no such table; there is none yet under derived/"):
        dataset.table("el2n")
    path = kept(dataset, "hard", "ids", [1, 2])
    kept(dataset, "el2n", "values", SCORES)
    with pytest.raises(DataError, match=f"there are: train, val, {path.name}$"):
        dataset.split("el2n")
    with pytest.raises(DataError, match="no such table; there are: el2n-"):
        dataset.table("hard")


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "../a", "a b", "el2n-0123456789ab"])
def test_names_that_are_none(dataset: Dataset, name: str) -> None:
    with pytest.raises(ValueError, match="is no name for a result"):
        derived.place(dataset.folder, name, {})


def refused(dataset: Dataset, why: str) -> None:
    """Both kinds of result are refused: by name, and by the loader."""
    for call in (lambda: dataset.split("hard"), lambda: dataset.table("el2n")):
        with pytest.raises(DataError, match=why) as error:
            call()
        assert "derived/" in error.value.path and "\n" not in str(error.value)


def both(dataset: Dataset) -> tuple[Path, Path]:
    return kept(dataset, "hard", "ids", [1, 2]), kept(dataset, "el2n", "values", SCORES)


@pytest.mark.parametrize("missing", ["origin.json", "*"])
def test_half_written(dataset: Dataset, missing: str) -> None:
    for path in both(dataset):
        for file in path.glob(missing):
            file.unlink()
    refused(dataset, "half written .no origin.json.")


def test_without_its_numbers(dataset: Dataset) -> None:
    for path in both(dataset):
        next(path.glob("*.npy")).unlink()
    refused(dataset, "npy: unreadable column")


def test_every_flipped_bit_of_the_numbers_is_seen(dataset: Dataset) -> None:
    files = [next(path.glob("*.npy")) for path in both(dataset)]
    whole = [file.read_bytes() for file in files]
    for at in (0, 60, -9, -1):
        for file, data in zip(files, whole, strict=True):
            changed = bytearray(data)
            changed[at] ^= 4
            file.write_bytes(changed)
        refused(dataset, "damaged|unreadable column")
    for file, data in zip(files, whole, strict=True):
        file.write_bytes(data[:-8])
    refused(dataset, "unreadable column")


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "{}", '{"kind": "ids"}', '{"made_from": 3, "kind": [], "rows": 1}'],
)
def test_an_origin_that_is_none(dataset: Dataset, text: str) -> None:
    for path in both(dataset):
        (path / "origin.json").write_text(text)
    refused(dataset, "damaged|does not match the folder's name")


def test_an_edited_origin(dataset: Dataset) -> None:
    for path in both(dataset):
        facts = json.loads((path / "origin.json").read_text())
        facts["made_from"]["keep"] = 0.9
        (path / "origin.json").write_text(json.dumps(facts))
    refused(dataset, "does not match the folder's name: edited or renamed")


def test_of_another_set(dataset: Dataset, tmp_path: Path) -> None:
    both(dataset)
    (tmp_path / "raw").mkdir()
    build(Labelled(), None, tmp_path / "other", workers=1)
    shutil.copytree(dataset.folder / "derived", tmp_path / "other" / "derived")
    # The same content under another name is another set.
    other = Dataset(tmp_path / "other")
    assert other.manifest.fingerprint != dataset.manifest.fingerprint
    refused(other, "was computed from another set or another build of this one")


def test_ids_that_cannot_be(dataset: Dataset) -> None:
    for name, ids in {"far": [1, N], "below": [-1, 2], "twice": [3, 3], "back": [3, 2]}.items():
        kept(dataset, name, "ids", ids)
        with pytest.raises(DataError, match=r"ids do not ascend inside 0…19: damaged"):
            dataset.split(name)
    kept(dataset, "none", "ids", np.zeros(0, np.int64))
    with pytest.raises(DataError, match="this split is empty"):
        dataset.split("none")
    kept(dataset, "short", "values", np.zeros(3))
    with pytest.raises(DataError, match="has 3 rows, the manifest says 20"):
        dataset.table("short")


def test_a_write_that_fails_leaves_nothing(dataset: Dataset, monkeypatch: Any) -> None:
    path = kept(dataset, "hard", "ids", [1, 2])
    monkeypatch.setattr("os.rename", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(DataError, match=r"cannot be written \(No space left"):
        kept(dataset, "more", "ids", [1, 2])
    assert list(path.parent.iterdir()) == [path]


def test_a_build_goes_on_beside_what_a_killed_write_left(dataset: Dataset) -> None:
    """Its temporary folder is no result, and no part of the set."""
    left = dataset.folder / "derived" / ".hard-0123456789ab.1.part"
    left.mkdir(parents=True)
    (left / ".origin.json.1.tmp").touch()
    assert derived.names(dataset.folder, "ids") == []
    build(Labelled(), None, dataset.folder, workers=1)
    assert list(verify(dataset.folder)) == []
