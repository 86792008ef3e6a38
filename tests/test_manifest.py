"""The manifest and the index columns: what is written is what is read, or it is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dataprep import index
from dataprep.manifest import DataError, Field, Manifest, atomic, data_root, load, locate

FACTS = Manifest(
    name="x",
    source="toy",
    options={"scales": [2, 3]},
    versions={"numpy": "2"},
    fields={"hr": Field(kind="image", dtype="uint8", shape=(None, None, 3), pitch=1.0)},
    samples=2,
    splits={"train": 2},
    files={"hr.zarr/c.0": {"bytes": 3, "sha256": "0"}},
    skipped=[{"name": "a", "why": "b"}],
)


def test_sets_of_before_there_were_encoded_fields_stay_good(tmp_path: Path) -> None:
    """Fingerprint and keys of a manifest without any are what they always were."""
    FACTS.save(tmp_path)
    facts = json.loads((tmp_path / "manifest.json").read_text())
    assert facts["fingerprint"] == (
        "e7efb84be7bc83166aa4843a1e691596e2fe090c0a60e1f430a105758e5009ba"
    )
    assert "encoded" not in facts and load(tmp_path).encoded == {}


def test_encoded_fields_are_kept(tmp_path: Path) -> None:
    field = Field(kind="image", dtype="uint8", shape=(None, None, 3), codec="encoded")
    assert field.is_encoded and field.is_pixels and not FACTS.fields["hr"].is_encoded
    costs = {"image": {"source_bytes": 3, "whole": {"PNG": 1}}}
    facts = replace(FACTS, fields={"image": field}, encoded=costs)
    facts.save(tmp_path)
    assert load(tmp_path) == facts and facts.fingerprint != FACTS.fingerprint


def test_round_trip(tmp_path: Path) -> None:
    FACTS.save(tmp_path)
    again = load(tmp_path)
    assert again == FACTS and again.fingerprint == FACTS.fingerprint
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda facts: facts.update(samples=3), "edited"),
        (lambda facts: facts.update(format=99), "is 99, this version reads 1"),
        (lambda facts: facts.pop("fields"), "not a manifest"),
        (lambda facts: facts.update(unknown=1), "not a manifest"),
    ],
)
def test_other_content_is_refused(tmp_path: Path, change: object, why: str) -> None:
    FACTS.save(tmp_path)
    path = tmp_path / "manifest.json"
    facts = json.loads(path.read_text())
    change(facts)  # type: ignore[operator]
    path.write_text(json.dumps(facts))
    with pytest.raises(DataError, match=why):
        load(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{", "null", '{"format": 1}'])
def test_damaged_text_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(DataError):
        load(tmp_path)


def test_missing_set_and_unfinished_set(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such set"):
        load(tmp_path / "nothing")
    with pytest.raises(DataError, match="not a complete set"):
        load(tmp_path)


def test_atomic_leaves_the_old_file_where_writing_fails(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_where_a_set_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOSTALL_DATA", raising=False)
    assert data_root() == Path("data")
    monkeypatch.setenv("NOSTALL_DATA", "/sets")
    assert locate("x") == Path("/sets/x") and locate("x", "/other") == Path("/other/x")
    assert locate("./x") == Path("x") or locate("./x") == Path("/sets/x")
    assert locate("here/x") == Path("here/x") and locate("/abs") == Path("/abs")


def test_error_is_one_line() -> None:
    assert str(DataError("a.zip", "b.png", "corrupt")) == "a.zip: b.png: corrupt"
    assert str(DataError("a.zip", "", "corrupt")) == "a.zip: corrupt"


def test_columns(tmp_path: Path) -> None:
    rows = [np.zeros((0, 2)), np.ones((3, 2)), np.full((1, 2), 7.0)]
    index.write_ragged(tmp_path, "points", rows)
    ragged = index.Ragged(tmp_path, "points", 3)
    assert [row.tolist() for row in ragged] == [row.tolist() for row in rows]
    index.write_names(tmp_path, "key", ["ä", "", "漢字"])
    names = index.Names(tmp_path, "key", 3)
    assert [names[i] for i in range(3)] == ["ä", "", "漢字"]
    with pytest.raises(DataError, match="has 4 rows, the manifest says 5"):
        index.Names(tmp_path, "key", 4)


def test_cut_and_missing_columns_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    with pytest.raises(DataError, match="unreadable"):
        index.read(path)
    index.write(path, np.arange(100))
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(DataError, match="unreadable"):
        index.read(path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match="unreadable"):
        index.read(path)
