"""What all sets of small images share: splits, keys, one reading of each file, any worker."""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from raw import cifar10 as raw_cifar10
from raw import digits_csv as raw_csv
from raw.mnist import digits, idx

from dataprep import index, manifest, pickles, small_images
from dataprep.__main__ import main
from dataprep.build import build
from dataprep.manifest import DataError
from dataprep.raw import Raw
from dataprep.small_images import SmallImages
from dataprep.sources import cifar10, digits_csv, fashion_mnist, imagefolder, mnist
from dataprep.verify import verify

COUNTS = [40, 30, 25, 20, 20, 20, 15, 15, 10, 5]


def write(folder: Path) -> tuple[Any, Any]:
    """Write MNIST's files with 200 training images of unequal classes; return those."""
    folder.mkdir(exist_ok=True)
    images = digits(200, seed=1)[0]
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(10), COUNTS))
    for part, some in (("train", 200), ("t10k", 12)):
        for what, array in (("images-idx3", images), ("labels-idx1", labels.astype(np.uint8))):
            (folder / f"{part}-{what}-ubyte").write_bytes(idx(array[:some]))
    return images, labels


def splits(source: SmallImages, raw: Path) -> dict[str, list[str]]:
    """Return the keys of each split."""
    found: dict[str, list[str]] = {}
    for entry in source.entries(Raw(raw)):
        for split in (entry.split, *entry.also):
            found.setdefault(split, []).append(entry.values["key"])
    return found


def test_val_is_a_tenth_of_each_class(tmp_path: Path) -> None:
    _, labels = write(tmp_path)
    found = splits(mnist.Source(), tmp_path)
    assert set(found) == {"train", "val", "train_all", "test"}
    own = {f"train_{i:05d}": label for i, label in enumerate(labels.tolist())}
    assert found["train_all"] == list(own) and len(found["test"]) == 12
    assert sorted(found["train"] + found["val"]) == found["train_all"]
    held_out = Counter(own[key] for key in found["val"])
    assert [held_out[i] for i in range(10)] == [round(count / 10) for count in COUNTS]


def test_options_choose_which_and_how_many(tmp_path: Path) -> None:
    write(tmp_path)
    one, same, other = (
        set(splits(mnist.Source(seed=seed), tmp_path)["val"]) for seed in (42, 42, 7)
    )
    assert one == same and len(one) == len(other) and one != other
    half = splits(mnist.Source(val_fraction=0.5), tmp_path)
    assert abs(len(half["val"]) - 100) <= 5 and one <= set(half["val"])
    assert set(splits(mnist.Source(val_fraction=0), tmp_path)) == {"train", "test"}
    with pytest.raises(ValueError, match="--val-fraction must be from 0 to below 1, not 1"):
        mnist.Source(val_fraction=1)


def test_held_out_are_those_that_imagefolder_holds_out(tmp_path: Path) -> None:
    """The same names in the same classes: one rule for all sources."""
    _, labels = write(tmp_path)
    files = [
        imagefolder.File(f"train_{i:05d}", "train", str(label), "")
        for i, label in enumerate(labels.tolist())
    ]
    theirs = imagefolder.Source(val_fraction=0.1, seed=42)._held_out(Raw(tmp_path), files)
    assert set(splits(mnist.Source(), tmp_path)["val"]) == theirs


def test_too_few_images_are_said(tmp_path: Path) -> None:
    for part in ("train", "t10k"):
        for what, array in zip(("images-idx3", "labels-idx1"), digits(4), strict=True):
            (tmp_path / f"{part}-{what}-ubyte").write_bytes(idx(array))
    source = mnist.Source()
    entries = source.entries(Raw(tmp_path))
    assert {entry.split for entry in entries} == {"train", "test"}
    assert "too few images of each class" in source.remarks(entries)[-1]
    assert mnist.Source(val_fraction=0).remarks(entries) == source.remarks(entries)[:-1]


def test_idx_and_csv_of_the_same_images_make_the_same_set(tmp_path: Path) -> None:
    images, labels = write(tmp_path / "idx")
    (tmp_path / "csv").mkdir()
    for part, some in (("train", 200), ("test", 12)):
        data = gzip.compress(raw_csv.csv(images[:some], labels[:some]))
        (tmp_path / "csv" / f"mnist_{part}.csv.gz").write_bytes(data)
    one = build(mnist.Source(), tmp_path / "idx", tmp_path / "one", workers=1)
    two = build(digits_csv.Source(), tmp_path / "csv", tmp_path / "two", workers=1)
    differing = {name for name in one.files if one.files[name] != two.files[name]}
    assert differing == {"index/name.values.npy", "index/name.starts.npy"}
    assert one.splits == two.splits and one.classes == two.classes and one.seeds == {"split": 42}


def test_any_number_of_workers_and_a_stop_make_the_same_set(tmp_path: Path) -> None:
    raw_cifar10.write(tmp_path)
    raw = tmp_path / "cifar-10-python.tar.gz"
    one, two = (build(cifar10.Source(), raw, tmp_path / str(n), workers=n) for n in (1, 2))
    assert one.files == two.files and list(verify(tmp_path / "2")) == []
    write_shard, done = small_images.SmallImages.read, 0

    def read(self: SmallImages, raw: Raw, entry: Any) -> Any:
        nonlocal done
        done += 1
        if done == 40:
            raise KeyboardInterrupt
        return write_shard(self, raw, entry)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(small_images.SmallImages, "read", read)
        with pytest.raises(KeyboardInterrupt):
            build(cifar10.Source(), raw, tmp_path / "stopped", workers=1)
    said: list[str] = []
    again = build(cifar10.Source(), raw, tmp_path / "stopped", workers=1, say=said.append)
    assert again.files == one.files and any("goes on" in line for line in said)


def test_a_compressed_tar_is_gone_through_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its batches lie in another order than that of their numbers; each is decoded in its turn."""
    raw_cifar10.write(tmp_path)
    asked: list[str] = []
    read = pickles.read
    monkeypatch.setattr(
        pickles, "read", lambda raw, name: asked.append(name.rsplit("/")[-1]) or read(raw, name)
    )
    raw, source = Raw(tmp_path / "cifar-10-python.tar.gz"), cifar10.Source()
    entries = source.entries(raw)
    samples = [sample for entry in entries for sample in source.read(raw, entry)]
    assert len(samples) == 84 and [name for name in asked if name != "batches.meta"] == [
        *raw_cifar10.ORDER,
        "data_batch_1",
    ]


def test_only_so_much_stays_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path)
    monkeypatch.setattr(small_images, "HELD_BYTES", 200 * 784)
    raw, source = Raw(tmp_path), mnist.Source()
    entries = source.entries(raw)
    for entry in (entries[0], entries[-1], entries[0]):
        next(source.read(raw, entry))
        held = small_images._HELD[raw].values()
        assert sum(content.images.nbytes for content in held) <= 200 * 784


def test_keys_and_names_are_official_whatever_is_held_out(tmp_path: Path) -> None:
    images, labels = write(tmp_path / "raw")
    facts = build(mnist.Source(), tmp_path / "raw", tmp_path / "set", workers=1)
    keys, names = (
        index.Names(tmp_path / "set" / "index", w, facts.samples) for w in ("key", "name")
    )
    ids = np.load(tmp_path / "set" / "splits" / "val.npy")
    assert {keys[i] for i in ids} == {f"train_{i:05d}" for i in ids}
    assert {names[i] for i in ids} == {f"train-images[{i}]" for i in ids}
    assert (np.load(tmp_path / "set" / "index" / "label.npy")[:200] == labels).all()
    assert manifest.load(tmp_path / "set").statistics["image"]["mean"] == [
        pytest.approx(np.concatenate([images, images[:12]]).mean() / 255)
    ]


def test_commands_teach_and_refuse(tmp_path: Path) -> None:
    write(tmp_path)
    text = CliRunner().invoke(main, ["build", "fashion_mnist", "--help"]).stdout
    assert "--val-fraction" in text and "[default: 0.1]" in text and "[default: 42]" in text
    options = ["build", "mnist", "--raw", str(tmp_path), "--data-root", str(tmp_path)]
    result = CliRunner().invoke(main, [*options, "--val-fraction", "1.5"])
    assert result.exit_code == 2 and result.stderr.count("\n") == 1
    with pytest.raises(DataError, match="holds no CIFAR-10 batches; wanted are data_batch_1"):
        cifar10.Source().entries(Raw(tmp_path))
    with pytest.raises(DataError, match="holds no Fashion-MNIST files"):
        fashion_mnist.Source().entries(Raw(Path(__file__).parent))
