"""Exports: what other programs find in them, what builds again from them, what is refused."""

from __future__ import annotations

import csv
import fcntl
import gzip
import json
import resource
import subprocess
import sys
import tarfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from click.testing import CliRunner, Result
from PIL import Image
from raw import imagefolder as photographs
from shared import DATA
from toys import Labelled, N, RgbThermal, Stimuli, SuperResolution, Toy, built, noise

from dataprep import derived, index, preview, sources
from dataprep.__main__ import main
from dataprep.build import build
from dataprep.manifest import Field, load
from dataprep.sources import Entry
from dataprep.sources.imagefolder import Source as Folders
from loaders import Dataset

ROOT = Path(__file__).parents[1]
SHIRTS = ["T-shirt/top", "Trouser", ".Bag", "Ankle boot"]


@dataclass(frozen=True, kw_only=True)
class Shirts(Toy):
    """Small colour images; the order of class names is not that of their numbers."""

    def classes(self, entries: Any) -> list[str]:
        return SHIRTS

    def fields(self) -> dict[str, Field]:
        return {
            "image": Field(kind="image", dtype="uint8", shape=(6, 5, 3)),
            "label": Field(kind="value", dtype="int64"),
            "weight": Field(kind="value", dtype="float64"),
        }

    def one(self, i: int) -> dict[str, Any]:
        weight = np.nan if i == 3 else i / 8
        return {"image": noise(i, 6, 5, 3), "label": i % 4, "weight": weight}


def export(*asked: object) -> Result:
    return CliRunner().invoke(main, ["export", *map(str, asked)])


def done(*asked: object) -> Path:
    """Export and return the folder, the last argument."""
    result = export(*asked[:-1], "--out", asked[-1])
    assert result.exit_code == 0, result.output
    return Path(str(asked[-1]))


def refused(result: Result) -> str:
    assert result.exit_code == 2, (result.output, result.exception)
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
    return result.stderr


def split_of(i: int) -> str:
    return "val" if i % 5 == 4 else "train"


@pytest.fixture(scope="module")
def shirts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(Shirts(), tmp_path_factory.mktemp("sets") / "shirts").folder


def test_csv_is_the_origins(shirts: Path, tmp_path: Path) -> None:
    """A header, then the label and H, W, C flattened, in whole numbers; one file a split."""
    out = done(shirts, "--to", "csv", tmp_path / "out")
    assert sorted(path.name for path in out.iterdir()) == [
        "export.json",
        "shirts_train.csv",
        "shirts_val.csv",
    ]
    for split in ("train", "val"):
        with open(out / f"shirts_{split}.csv", newline="") as file:
            header, *rows = csv.reader(file)
        assert header == ["label", *(f"pixel{i}" for i in range(90))]
        ids = [i for i in range(N) if split_of(i) == split]
        wanted = [[i % 4, *noise(i, 6, 5, 3).reshape(-1).tolist()] for i in ids]
        assert [[int(value) for value in row] for row in rows] == wanted
    about = json.loads((out / "export.json").read_text())
    assert about["fingerprint"] == load(shirts).fingerprint
    assert about["splits"] == {"train": 16, "val": 4}


def test_csv_of_real_digits(tmp_path: Path) -> None:
    """What numpy reads of the CSV are the bytes of the official file, and it builds again."""
    raw, folder = DATA / "mnist", tmp_path / "raw"
    if not raw.is_dir():
        pytest.skip("no sample data of mnist")
    folder.mkdir()
    parts = []
    for what, axes in (("images", 3), ("labels", 1)):
        data = gzip.decompress((raw / f"t10k-{what}-idx{axes}-ubyte.gz").read_bytes())
        head, size = 4 + 4 * axes, 300 * (784 if axes == 3 else 1)
        data = data[:4] + (300).to_bytes(4, "big") + data[8 : head + size]
        (folder / f"t10k-{what}-idx{axes}-ubyte").write_bytes(data)
        parts.append(np.frombuffer(data, np.uint8, offset=head))
    build(sources.load("mnist")(), folder, tmp_path / "mnist", workers=1)
    out = done(tmp_path / "mnist", "--to", "csv", "--split", "test", tmp_path / "out")
    found = np.loadtxt(out / "mnist_test.csv", np.uint8, delimiter=",", skiprows=1)
    assert len(found) == 300 and (found[:, 0] == parts[1]).all()
    assert (found[:, 1:] == parts[0].reshape(-1, 784)).all()
    build(sources.load("digits_csv")(), out, tmp_path / "again", workers=1)
    before, again = (contents(tmp_path / name) for name in ("mnist", "again"))
    assert again.keys() == before.keys() == {"test"}
    for one, other in zip(before["test"], again["test"], strict=True):
        assert (one == other).all()


@dataclass(frozen=True, kw_only=True)
class Tiles(Toy):
    """Colour images of CIFAR's size in three splits."""

    def entries(self, raw: Any) -> list[Entry]:
        parts = ("train", "train", "val", "test")
        return [
            Entry(f"{i:03d}", parts[i % 4], {}, {}, ("train_all",) * (i % 4 < 3)) for i in range(N)
        ]

    def fields(self) -> dict[str, Field]:
        return {
            "image": Field(kind="image", dtype="uint8", shape=(32, 32, 3)),
            "label": Field(kind="value", dtype="int64"),
        }

    def one(self, i: int) -> dict[str, Any]:
        return {"image": noise(i, 32, 32, 3), "label": (7 * i) % 10}


def test_a_csv_builds_again(tmp_path: Path) -> None:
    """Colour too: the same splits, labels and pixels in the same order."""
    folder = built(Tiles(), tmp_path / "tiles").folder
    out = done(folder, "--to", "csv", tmp_path / "out")
    source = sources.load("digits_csv")(pixels="32x32x3")  # type: ignore[call-arg]
    build(source, out, tmp_path / "again", workers=1)
    before, again = contents(folder), contents(tmp_path / "again")
    assert again.keys() == before.keys() == {"train", "val", "test", "train_all"}
    for split in ("train", "val", "test"):
        assert (before[split][0] == again[split][0]).all()
        assert (before[split][1] == again[split][1]).all()


def contents(folder: Path) -> dict[str, tuple[Any, Any]]:
    """Return split -> labels and pixels, in the order of ids."""
    dataset = Dataset(folder)
    labels = np.asarray(dataset.values("label"))
    splits = {name: np.asarray(dataset.split(name)) for name in dataset.manifest.splits}
    whole = zarr.open_array(folder / "image.zarr", mode="r")[:]
    return {name: (labels[ids], whole[ids]) for name, ids in splits.items()}


def stored(folder: Path) -> dict[str, tuple[str, int, Any]]:
    """Return key -> split, label and pixels of every sample of a set."""
    facts = load(folder)
    keys = index.Names(folder / "index", "key", facts.samples)
    labels = np.load(folder / "index" / "label.npy")
    return {
        keys[i]: (split, int(labels[i]), preview.read(folder, facts, "image", i))
        for split in facts.splits
        for i in np.load(folder / "splits" / f"{split}.npy").tolist()
    }


@pytest.mark.parametrize("source", [Shirts(), Labelled()])
def test_a_folder_builds_again(source: Toy, tmp_path: Path) -> None:
    """The same pixels, labels and splits, by a source that knows nothing of where it is from."""
    folder = built(source, tmp_path / "set").folder
    out = done(folder, "--to", "folder", tmp_path / "out")
    build(Folders(), out, tmp_path / "again", workers=1)
    again = {key.rpartition("__")[2]: sample for key, sample in stored(tmp_path / "again").items()}
    before = stored(folder)
    assert again.keys() == before.keys() and len(before) == N
    for key, (split, label, pixels) in before.items():
        assert again[key][:2] == (split, label)
        assert (again[key][2] == np.broadcast_to(pixels, again[key][2].shape)).all()


def test_folders_are_classes(shirts: Path, tmp_path: Path) -> None:
    """Their names in order, else with the number before them; none leads elsewhere or is hidden."""
    out = done(shirts, "--to", "folder", "--split", "train", tmp_path / "out")
    names = ["0_T-shirt_top", "1_Trouser", "2__.Bag", "3_Ankle boot"]
    assert sorted(path.name for path in (out / "train").iterdir()) == names
    toy = built(Labelled(), tmp_path / "set").folder
    out = done(toy, "--to", "folder", tmp_path / "plain")
    assert sorted(path.name for path in (out / "val").iterdir()) == ["even", "odd"]
    assert np.asarray(Image.open(out / "val" / "even" / "004.png")).shape == (8, 8)


@pytest.mark.parametrize("to", ["folder", "jsonl"])
def test_image_files_stay_what_they_are(to: str, tmp_path: Path) -> None:
    """A kept file is exported byte for byte, under the suffix of its kind, and builds again."""
    (tmp_path / "raw").mkdir()
    photographs.write(tmp_path / "raw")
    facts = build(Folders(restart=False), tmp_path / "raw", tmp_path / "set", workers=1)
    members = {}
    for path in (tmp_path / "set" / "shards").glob("*.tar"):
        with tarfile.open(path) as archive:
            members |= {one.name: archive.extractfile(one).read() for one in archive}
    kept = {name: data for name, data in members.items() if not name.endswith(".cls")}
    out = done(tmp_path / "set", "--to", to, tmp_path / "out")
    files = {path.name: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert {name: data for name, data in files.items() if "json" not in name} == kept
    assert len(kept) == facts.samples and {name[-4:] for name in kept} >= {".jpg", ".png", "webp"}
    if to == "folder":
        build(Folders(restart=False), out, tmp_path / "again", workers=1)
        again, before = stored(tmp_path / "again"), stored(tmp_path / "set")
        for key, (split, label, pixels) in before.items():
            found = next(one for name, one in again.items() if name.endswith(key))
            assert found[:2] == (split, label) and (found[2] == pixels).all()


def lines(out: Path) -> list[dict[str, Any]]:
    (path,) = out.glob("*.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_json_lines(shirts: Path, tmp_path: Path) -> None:
    out = done(shirts, "--to", "jsonl", tmp_path / "out")
    found = lines(out)
    order = [i for split in ("train", "val") for i in range(N) if split_of(i) == split]
    assert [line["key"] for line in found] == [f"{i:03d}" for i in order]
    for i, line in zip(order, found, strict=True):
        facts = (line["split"], line["label"], line["class"], line["weight"])
        assert facts == (split_of(i), i % 4, SHIRTS[i % 4], None if i == 3 else i / 8)
        assert (np.asarray(Image.open(out / line["image"])) == noise(i, 6, 5, 3)).all()
    assert sum(path.suffix == ".png" for path in out.rglob("*")) == N


def test_json_lines_of_several_fields(tmp_path: Path) -> None:
    """Every pixel field has its file, 16 bit too; points are lists."""
    thermal = built(RgbThermal(), tmp_path / "thermal").folder
    out = done(thermal, "--to", "jsonl", tmp_path / "t")
    for line in lines(out):
        sample = RgbThermal().one(int(line["key"]))
        for name, pixels in sample.items():
            found = np.asarray(Image.open(out / line[name]))
            assert found.dtype == pixels.dtype and (found == np.squeeze(pixels)).all()
    people = built(Stimuli(), tmp_path / "people").folder
    for line in lines(done(people, "--to", "jsonl", tmp_path / "p")):
        points = Stimuli().one(int(line["key"]))["fixations"]
        again = np.array(line["fixations"], np.float64)  # null is no number
        np.testing.assert_array_equal(again, points)


def test_default_splits_hold_each_sample_once(tmp_path: Path) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Folds(Labelled):
        def entries(self, raw: Any) -> Any:
            return [
                type(entry)(entry.name, entry.split, {}, {}, ("all", f"fold{i % 2}"))
                for i, entry in enumerate(super().entries(raw))
            ]

    folder = built(Folds(), tmp_path / "set").folder
    assert set(load(folder).splits) == {"all", "fold0", "fold1", "train", "val"}
    found = lines(done(folder, "--to", "jsonl", tmp_path / "out"))
    assert len({line["key"] for line in found}) == len(found) == N
    assert {line["split"] for line in found} == {"train", "val"}
    asked = done(folder, "--to", "jsonl", "--split", "fold1", "--split", "all", tmp_path / "two")
    assert [line["split"] for line in lines(asked)] == ["fold1"] * 10 + ["all"] * 20


def test_a_derived_split(tmp_path: Path) -> None:
    dataset = built(Labelled(), tmp_path / "set")
    made_from = {"data": dataset.manifest.fingerprint}
    path = derived.place(dataset.folder, "hard", made_from)
    derived.write(path, "ids", np.array([2, 9]), made_from)
    out = done(dataset.folder, "--to", "csv", "--split", "hard", tmp_path / "out")
    assert len((out / "set_hard.csv").read_text().splitlines()) == 3


def test_what_does_not_fit_is_refused(shirts: Path, tmp_path: Path) -> None:
    pairs = built(SuperResolution(), tmp_path / "pairs").folder
    thermal = built(RgbThermal(), tmp_path / "thermal").folder
    out = ("--out", tmp_path / "out")
    for asked, why in (
        ((pairs, "--to", "csv"), "--to csv writes one image field; name it by --field: hr, lr_x2"),
        ((pairs, "--to", "csv", "--field", "hr"), "csv takes stored uint8 pixels of one size"),
        ((pairs, "--to", "folder", "--field", "hr"), "label: no such field of whole numbers"),
        ((thermal, "--to", "csv"), "label: no such field of whole numbers"),
        ((thermal, "--to", "csv", "--field", "thermal"), "csv takes stored uint8 pixels"),
        ((shirts, "--to", "csv", "--field", "label"), "no such field of pixels; there are: image"),
        ((shirts, "--to", "csv", "--split", "dev"), "no such split; there are: train, val"),
        ((tmp_path / "none", "--to", "csv"), "no such set"),
        ((shirts, "--to", "hdf5"), "'hdf5' is not one of 'csv', 'folder', 'jsonl'"),
        ((shirts,), "Missing option '--to'"),
    ):
        assert why in refused(export(*asked, *out)), asked
        assert not list(tmp_path.glob("*out*")), asked
    assert "lies inside the set" in refused(export(shirts, "--to", "csv", "--out", shirts / "csv"))


@pytest.mark.parametrize("key", ["../../../E", "/none/E", "a/b", "a\\b", "..", ".", "", "a\0b"])
@pytest.mark.parametrize("to", ["folder", "jsonl"])
def test_keys_lead_nowhere_else(key: str, to: str, tmp_path: Path) -> None:
    """A set of another's making may name anything."""
    folder = built(Labelled(), tmp_path / "sets" / "set").folder
    index.write_names(folder / "index", "key", [f"{i:03d}" for i in range(N - 1)] + [key])
    before = sorted(tmp_path.rglob("*"))
    line = refused(export(folder, "--to", to, "--out", tmp_path / "sets" / "out"))
    assert f"sample 19: its key: is {key!r}, which is no file name: refused" in line
    assert sorted(tmp_path.rglob("*")) == before
    index.write_names(folder / "index", "key", [f"{i:03d}" for i in range(N - 1)] + ["..a b.c"])
    out = done(folder, "--to", to, tmp_path / "sets" / "out")
    assert any(path.name == "..a b.c.png" for path in out.rglob("*"))


@pytest.mark.parametrize("name", ["../E", "/none/E", "a/b", "a\\b", "..", ".", "", "a\0b"])
def test_the_name_of_a_set_leads_nowhere_else(name: str, tmp_path: Path) -> None:
    folder = built(Labelled(), tmp_path / "sets" / "set").folder
    replace(load(folder), name=name).save(folder)
    before = sorted(tmp_path.rglob("*"))
    for to in ("csv", "jsonl", "folder"):
        line = refused(export(folder, "--to", to, "--out", tmp_path / "sets" / "out"))
        assert f"its name: is {name!r}, which is no file name: refused" in line
    assert sorted(tmp_path.rglob("*")) == before


def test_nothing_is_overwritten_but_an_export(shirts: Path, tmp_path: Path) -> None:
    out = done(shirts, "--to", "csv", tmp_path / "out")
    before = sorted(out.iterdir())
    again = (shirts, "--to", "jsonl", "--out", out)
    assert "is there already: choose another --out, or --overwrite" in refused(export(*again))
    assert sorted(out.iterdir()) == before
    assert export(*again, "--overwrite").exit_code == 0
    assert len(lines(out)) == N and not list(out.glob("*.csv"))
    for name, content in (("a.txt", "mine"), ("export.json", "[]"), ("export.json", "{}")):
        mine = tmp_path / f"mine-{content}"
        mine.mkdir()
        (mine / name).write_text(content)
        line = refused(export(shirts, "--to", "csv", "--out", mine, "--overwrite"))
        assert "is not of this kind, so it is not overwritten" in line
        assert (mine / name).read_text() == content
    (tmp_path / "file").touch()
    assert "is there already" in refused(export(shirts, "--to", "csv", "--out", tmp_path / "file"))
    (tmp_path / "empty").mkdir()
    done(shirts, "--to", "csv", tmp_path / "empty")


@pytest.mark.parametrize("to", ["csv", "folder", "jsonl"])
def test_a_damaged_set_leaves_no_export(to: str, tmp_path: Path) -> None:
    folder = built(Shirts(), tmp_path / "set").folder
    shard = next(path for path in sorted(folder.glob("image.zarr/c.1*")))
    whole = shard.read_bytes()
    shard.write_bytes(whole[:100])
    line = refused(export(folder, "--to", to, "--out", tmp_path / "out"))
    assert "c.1.0.0.0: sample 10: lies beyond the end of its shard: damaged" in line
    shard.unlink()
    assert "unreadable (No such file" in refused(
        export(folder, "--to", to, "--out", tmp_path / "out")
    )
    assert not list(tmp_path.glob("*out*"))


def test_a_full_disk_is_one_line(shirts: Path, tmp_path: Path) -> None:
    """A limit of file sizes stands for it: the same error from the same call."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    command = [sys.executable, "-B", "-m", "dataprep", "export", str(shirts), "--to", "csv"]
    ended = subprocess.run(
        [*command, "--out", str(tmp_path / "out")],
        cwd=ROOT,
        preexec_fn=limit,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2 and "out: file too large: nothing was kept" in ended.stderr
    assert ended.stderr.count("\n") == 1 and not list(tmp_path.iterdir())


def test_what_a_killed_export_left(shirts: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """It looks like nothing that is finished, and the next one clears it away."""
    left = tmp_path / ".out.part"
    (left / "image").mkdir(parents=True)
    (left / "shirts_old.csv").touch()
    with open(left / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # it is not dead: it is at work
        line = refused(export(shirts, "--to", "csv", "--out", tmp_path / "out"))
        assert "out: another process is writing it" in line and left.is_dir()
    done(shirts, "--to", "csv", tmp_path / "out")
    names = ["export.json", "shirts_train.csv", "shirts_val.csv"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    monkeypatch.setattr("dataprep.export._class_name", lambda *_: 1 / 0)  # as if killed half-way
    with pytest.raises(ZeroDivisionError):
        CliRunner().invoke(
            main,
            ["export", str(shirts), "--to", "jsonl", "--out", str(tmp_path / "two")],
            catch_exceptions=False,
        )
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_help_teaches() -> None:
    text = CliRunner().invoke(main, ["export", "--help"]).output
    assert "python -m dataprep export mnist --to csv" in text and "[csv|folder|jsonl]" in text
