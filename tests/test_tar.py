"""Tar shards: WebDataset and DALI read the same images, labels and order from them as we do."""

from __future__ import annotations

import errno
import gc
import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image
from raw.imagefolder import jpeg, picture, turned

from dataprep import encode, index, tar
from dataprep.arrays import ShardFile
from dataprep.build import build
from dataprep.finish import hashes
from dataprep.manifest import DataError, Field, Manifest
from dataprep.preview import read
from dataprep.raw import Raw
from dataprep.sources import Base, Entry, Sample, imagefolder
from dataprep.verify import verify


def written(folder: Path, members: list[tuple[str, str, bytes]]) -> tuple[Path, list[int]]:
    """Write members (key, extension, data); return the tar and where their data lies."""
    path = folder / "shards" / "000000.tar"
    with (
        ShardFile(folder / "t", path) as file,
        ShardFile(folder / "i", path.with_suffix(".idx")) as i,
    ):
        archive = tar.Tar(file)
        offsets = [archive.add(*member) for member in members]
        archive.seal()
        i.write(bytes(archive.idx))
        i.seal()
    return path, offsets


def nvidia_s_index(path: Path, to: Path) -> str:
    """Return what DALI's own wds2idx writes."""
    creator = import_module("wds2idx").IndexCreator(str(path), str(to), verbose=False)
    creator.create_index()
    creator.close()
    return to.read_text()


def test_members_and_dali_s_own_index(tmp_path: Path) -> None:
    members = [
        (f"key{i}", extension, bytes([i]) * size)
        for i, size in enumerate([0, 1, 511, 512, 513, 5000])
        for extension in ("jpg", "cls", "points.json")
    ]
    path, offsets = written(tmp_path, members)
    data = path.read_bytes()
    assert len(data) % 512 == 0 and data.endswith(bytes(1024))
    with tarfile.open(path) as archive:
        infos = archive.getmembers()
    assert [info.name for info in infos] == [f"{key}.{kind}" for key, kind, _ in members]
    assert [info.offset_data for info in infos] == offsets
    for info, (_, _, content) in zip(infos, members, strict=True):
        assert data[info.offset_data : info.offset_data + info.size] == content
        facts = (info.mtime, info.uid, info.gid, info.mode, info.uname, info.gname)
        assert facts == (0, 0, 0, 0o644, "", "")
    assert path.with_suffix(".idx").read_text() == nvidia_s_index(path, tmp_path / "x.idx")


@pytest.mark.parametrize("key", ["k" * 96, "k" * 97, "k" * 300, "漢字" * 60])
def test_long_names(key: str, tmp_path: Path) -> None:
    path, offsets = written(tmp_path, [(key, "jpg", b"one"), ("short", "jpg", b"two")])
    with tarfile.open(path) as archive:
        infos = archive.getmembers()
    assert [info.name for info in infos] == [f"{key}.jpg", "short.jpg"]
    assert [info.offset_data for info in infos] == offsets
    assert f"jpg {offsets[0]} 3 {key}.jpg\n" in path.with_suffix(".idx").read_text()


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr("dataprep.arrays.open", lambda *_, **__: Full(), raising=False)
    file = ShardFile(tmp_path / "t", tmp_path / "000000.tar")
    with pytest.raises(DataError, match=r"000000\.tar: no space left on device, 1,024 bytes more"):
        tar.Tar(file).add("key", "jpg", b"data")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    raw, folder = tmp_path_factory.mktemp("raw"), tmp_path_factory.mktemp("tar") / "set"
    import_module("raw.imagefolder").write(raw)
    return folder, build(imagefolder.Source(), raw, folder, workers=1)


def ours(folder: Path, facts: Manifest) -> list[tuple[str, int]]:
    keys = index.Names(folder / "index", "key", facts.samples)
    labels = np.load(folder / "index" / "label.npy")
    return [(keys[i], int(labels[i])) for i in range(facts.samples)]


def shown(folder: Path, facts: Manifest, sample: int) -> Any:
    """Return the pixels of a sample as other libraries show them: not turned."""
    turn = int(np.load(folder / "index" / "image.turn.npy")[sample])
    assert turn in (0, 6)  # 6: flipped top to bottom, then transposed
    pixels = read(folder, facts, "image", sample)
    return pixels.transpose(1, 0, 2)[::-1] if turn else pixels


# It leaves its files to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_webdataset_reads_them(built: tuple[Path, Manifest]) -> None:
    webdataset = pytest.importorskip("webdataset")
    folder, facts = built
    urls = [str(path) for path in sorted((folder / "shards").glob("*.tar"))]
    data = webdataset.WebDataset(urls, shardshuffle=False, empty_check=False)
    samples = list(data.decode("pil").to_tuple("__key__", "jpg;png;webp", "cls"))
    assert [(key, label) for key, _, label in samples] == ours(folder, facts)
    for i, (_, image, _) in enumerate(samples):
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), shown(folder, facts, i))
    gc.collect()


def test_dali_reads_them(built: tuple[Path, Manifest]) -> None:
    dali = pytest.importorskip("nvidia.dali")
    folder, facts = built
    paths = sorted(map(str, (folder / "shards").glob("*.tar")))

    @dali.pipeline_def(batch_size=1, num_threads=1, device_id=None)
    def pipeline() -> Any:
        files, labels = dali.fn.readers.webdataset(
            paths=paths,
            index_paths=[path.replace(".tar", ".idx") for path in paths],
            ext=["jpg;png;webp", "cls"],
            missing_component_behavior="error",
        )
        image = dali.fn.decoders.image(files, adjust_orientation=False)
        return image, labels

    pipe = pipeline()
    pipe.build()
    for i, (_, label) in enumerate(ours(folder, facts)):
        image, text = pipe.run()
        assert int(bytes(text.as_array()[0])) == label
        np.testing.assert_array_equal(image.as_array()[0], shown(folder, facts, i))


@dataclass(frozen=True, kw_only=True)
class Toy(Base):
    """Two encoded fields beside raw ones, points, values; one file as plain bytes."""

    summary: ClassVar[str] = "toy"
    needs_raw: ClassVar[bool] = False
    shard_entries: ClassVar[int] = 2
    wrong: str = ""

    def fields(self) -> dict[str, Field]:
        image = Field(kind="image", dtype="uint8", shape=(None, None, 3), codec="encoded")
        return {
            "thermal": Field(kind="map", dtype="uint16", shape=(None, None)),
            "points": Field(kind="points", dtype="float64", shape=(None, 2)),
            "image": image,
            "pose": Field(kind="value", dtype="float32", shape=(2,)),
            "mask": Field(kind="map", dtype="uint8", shape=(None, None, 3), codec="encoded"),
            "label": Field(kind="value", dtype="int64"),
        }

    def entries(self, raw: Raw) -> list[Entry]:
        return [Entry(f"{i}", "train", {}) for i in range(5)]

    def read(self, raw: Raw, entry: Entry) -> Iterator[Sample]:
        i = int(entry.name)
        pixels = picture(i, 64, 80)
        fields: dict[str, Any] = {
            "image": encode.keep(jpeg(pixels, exif=turned(8)))[0],
            "mask": png(pixels),
            "thermal": np.full((3, 4), i, np.uint16),
            "points": np.full((i, 2), i / 2),
            "pose": [i, 0.5],
            "label": -i,
        }
        if self.wrong == "bytes":
            fields["mask"] = b"<html>"
        elif self.wrong == "pixels":
            fields["mask"] = pixels
        yield Sample("a b" if self.wrong == "key" else f"k{i}", fields)


def png(pixels: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def test_all_fields_of_a_sample_in_one_tar(tmp_path: Path) -> None:
    facts = build(Toy(), None, tmp_path, workers=1)
    assert list(verify(tmp_path, decode=True)) == []
    names = ["jpg", "cls", "mask.png", "points.json", "pose.json"]
    with tarfile.open(tmp_path / "shards" / "000001.tar") as archive:
        assert archive.getnames() == [f"k{i}.{name}" for i in (2, 3) for name in names]
        content = {info.name: archive.extractfile(info).read() for info in archive}  # type: ignore[union-attr]
    assert content["k3.cls"] == b"-3" and json.loads(content["k3.pose.json"]) == [3.0, 0.5]
    assert json.loads(content["k2.points.json"]) == [[1.0, 1.0]] * 2
    assert content["k2.mask.png"] == png(picture(2, 64, 80))
    assert (tmp_path / "thermal.zarr" / "zarr.json").exists()
    assert facts.encoded["image"]["transcoded"] == 5
    assert facts.encoded["mask"]["whole"] == {"without --restart": 5}
    for i in range(5):
        np.testing.assert_array_equal(read(tmp_path, facts, "mask", i), picture(i, 64, 80))
        upright = Image.open(io.BytesIO(jpeg(picture(i, 64, 80)))).rotate(90, expand=True)
        np.testing.assert_array_equal(read(tmp_path, facts, "image", i), np.asarray(upright))
    assert np.load(tmp_path / "index" / "image.height.npy").tolist() == [80] * 5


@pytest.mark.parametrize(
    ("wrong", "why"),
    [("bytes", "0: not an image"), ("pixels", "0: field mask is no image"), ("key", "a blank")],
)
def test_a_source_that_breaks_its_word(wrong: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=why):
        build(Toy(wrong=wrong), None, tmp_path, workers=1)


@pytest.mark.parametrize(
    ("column", "row", "why"),
    [
        ("image.offset", 1, "sample 1, image: lies at another place"),
        ("image.size", 2, "sample 2, image: lies at another place"),
        ("image.rows.values", 3, "rows do not ascend"),
        ("key.values", 1, "is named k0"),
        ("image.turn", 4, "sample 4, image: is (64, 80) px, the index says otherwise"),
    ],
)
def test_verify_finds_an_index_that_is_not_the_tar_s(
    column: str, row: int, why: str, tmp_path: Path
) -> None:
    facts = build(Toy(), None, tmp_path, workers=1)
    path = tmp_path / "index" / f"{column}.npy"
    array = np.load(path)
    array[row] = 3 if column == "image.turn" else array[row] + 1
    index.write(path, array)
    resealed(tmp_path, facts)
    assert any(why in fault for fault in verify(tmp_path, decode=True))


def test_verify_finds_another_dali_index(tmp_path: Path) -> None:
    facts = build(Toy(), None, tmp_path, workers=1)
    path = tmp_path / "shards" / "000001.idx"
    path.write_text(path.read_text().replace("v1.2 2", "v1.2 1"))
    resealed(tmp_path, facts)
    assert list(verify(tmp_path)) == ["000001.idx: is not the index of 000001.tar"]


def resealed(folder: Path, facts: Manifest) -> None:
    """Write the manifest anew, as a build that was wrong from the start would have."""
    replace(facts, files=hashes(folder, list(facts.files), 1)).save(folder)
