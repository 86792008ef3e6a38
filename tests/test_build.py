"""The builder: the same bytes for any number of workers and wherever it was stopped."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from raw.imagefolder import jpeg, picture

from dataprep import build as builds
from dataprep import manifest
from dataprep.build import build
from dataprep.manifest import DataError
from dataprep.raw import Raw
from dataprep.sources import Entry, Sample, imagefolder, images
from dataprep.verify import verify

KILLS = int(os.environ.get("NOSTALL_KILLS", "3"))
SLOW = Path(__file__).with_name("slow_build.py")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write 40 images of many sizes, one of them corrupt."""
    folder = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for i in range(40):
        height, width = rng.integers(20, 90, 2)
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:02d}.png")
    bad = folder / "17.png"
    bad.write_bytes(bad.read_bytes()[:-30])
    return folder


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write 40 JPEGs of two classes, one of them cut short."""
    folder = tmp_path_factory.mktemp("folders")
    for i in range(40):
        path = folder / ("cat" if i % 3 else "dog") / f"{i:02d}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(jpeg(picture(i, 60 + i, 130 - i)))
    path.write_bytes(path.read_bytes()[:-9])
    return folder


def slow(raw: Path, folder: Path, workers: int, source: str = "images") -> subprocess.Popen[bytes]:
    command = [sys.executable, str(SLOW), str(raw), str(folder), str(workers), source]
    return subprocess.Popen(command, start_new_session=True)


def timed(raw: Path, folder: Path, source: str) -> tuple[Path, float]:
    """Build in one process; return the set and the seconds that it took."""
    start = time.monotonic()
    assert slow(raw, folder, 1, source).wait() == 0
    return folder, time.monotonic() - start


@pytest.fixture(scope="module")
def whole(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """Build zarr shards without a stop."""
    return timed(photographs, tmp_path_factory.mktemp("whole") / "set", "images")


@pytest.fixture(scope="module")
def whole_tars(folders: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """Build tar shards without a stop."""
    return timed(folders, tmp_path_factory.mktemp("tars") / "set", "imagefolder")


# Source -> the fixtures of its raw data and of a set that was built without a stop.
KINDS = {"images": ("photographs", "whole"), "imagefolder": ("folders", "whole_tars")}


@pytest.mark.parametrize("source", KINDS)
def test_workers_make_no_difference(source: str, request: Any, tmp_path: Path) -> None:
    raw, whole = map(request.getfixturevalue, KINDS[source])
    assert slow(raw, tmp_path / "set", 2, source).wait() == 0
    assert hashes(tmp_path / "set") == hashes(whole[0])
    assert manifest.load(whole[0]).samples == 39 and list(verify(whole[0], decode=True)) == []
    assert len(manifest.load(whole[0]).skipped) == 1


@pytest.mark.parametrize("source", KINDS)
@pytest.mark.parametrize("kill", range(KILLS))
def test_killed_and_resumed(source: str, request: Any, tmp_path: Path, kill: int) -> None:
    rng = random.Random(kill)
    raw, whole = map(request.getfixturevalue, KINDS[source])
    folder = tmp_path / "set"
    building = slow(raw, folder, 2, source)
    time.sleep(rng.uniform(0.2, 1.0) * whole[1])
    building.kill()  # the parent alone: its workers must end by themselves
    building.wait()
    assert group_ends(building.pid)
    if not (folder / "manifest.json").exists():
        with pytest.raises(DataError):
            manifest.load(folder)
    assert slow(raw, folder, 2, source).wait() == 0
    assert hashes(folder) == hashes(whole[0])


def group_ends(group: int) -> bool:
    """Wait until no process of the group is left."""
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_resume_does_not_repeat_finished_shards(photographs: Path, tmp_path: Path) -> None:
    folder, said = tmp_path / "set", []
    with pytest.raises(DataError, match=r"17\.png: corrupt image \(the PNG ends before"):
        build(images.Source(), photographs, folder, workers=1)
    before = {path: path.stat().st_mtime_ns for path in (folder / "hr.zarr").iterdir()}
    assert len(before) == 5  # shards of 3; 17 is in the sixth
    build(images.Source(), photographs, folder, workers=1, on_error="skip", say=said.append)
    assert said == ["goes on: 5 of 14 shards were finished"]
    skipped = manifest.load(folder).skipped
    assert [skip["name"] for skip in skipped] == ["17.png"] and "corrupt" in skipped[0]["why"]
    assert build(images.Source(), photographs, folder, on_error="skip").samples == 39


def test_skipped_records_are_read_again_without_skip(photographs: Path, tmp_path: Path) -> None:
    class Stop(Exception): ...

    def stop(*_: object) -> None:
        raise Stop

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stop):
        patch.setattr(builds, "finish", stop)
        build(images.Source(), photographs, tmp_path / "set", workers=1, on_error="skip")
    with pytest.raises(DataError, match=r"17\.png"):
        build(images.Source(), photographs, tmp_path / "set", workers=1)


def test_workers_report_bad_files_too(photographs: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"17\.png: corrupt image"):
        build(images.Source(), photographs, tmp_path / "set", workers=2)


def test_a_shard_whose_tar_is_gone_is_written_again(folders: Path, tmp_path: Path) -> None:
    class Stop(Exception): ...

    def stop(*_: object) -> None:
        raise Stop

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stop):
        patch.setattr(builds, "finish", stop)
        build(imagefolder.Source(), folders, tmp_path / "set", workers=1, on_error="skip")
    (tmp_path / "set" / "shards" / "000003.tar").unlink()
    (tmp_path / "set" / "shards" / "000004.idx").unlink()
    (tmp_path / "set" / "building" / "shard-000005.npz").unlink()
    said: list[str] = []
    source = imagefolder.Source()
    build(source, folders, tmp_path / "set", workers=1, on_error="skip", say=said.append)
    assert said == ["goes on: 11 of 14 shards were finished"]
    assert list(verify(tmp_path / "set", decode=True)) == []


def test_shards_of_nothing_but_bad_files_have_no_tar(tmp_path: Path) -> None:
    raw = tmp_path / "raw" / "cat"
    raw.mkdir(parents=True)
    for i in range(3):
        (raw / f"{i}.jpg").write_bytes(jpeg(picture(i, 20, 20))[: None if i == 1 else 40])
    facts = build(imagefolder.Source(), raw.parent, tmp_path / "set", workers=1, on_error="skip")
    assert facts.samples == 1 and [skip["name"] for skip in facts.skipped] == [
        "cat/0.jpg",
        "cat/2.jpg",
    ]
    names = sorted(path.name for path in (tmp_path / "set" / "shards").iterdir())
    assert names == ["000001.idx", "000001.tar"] and list(verify(tmp_path / "set")) == []


def test_another_plan_is_refused(photographs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    with pytest.raises(DataError, match="corrupt"):
        build(images.Source(), photographs, folder, workers=1)
    with pytest.raises(DataError, match=r"unfinished build of other options.*--overwrite"):
        build(images.Source(scales=(2,)), photographs, folder, workers=1, on_error="skip")
    build(images.Source(), photographs, folder, workers=1, on_error="skip")
    with pytest.raises(DataError, match=r"made from other options.*--name"):
        build(images.Source(scales=(2,)), photographs, folder, workers=1, on_error="skip")
    assert not (folder / "building").exists()  # a refusal leaves a set as it was
    assert list(verify(folder)) == []
    facts = build(
        images.Source(scales=(2,)), photographs, folder, workers=1, on_error="skip", overwrite=True
    )
    assert list(facts.fields) == ["hr", "lr_x2"] and not (folder / "lr_x3.zarr").exists()
    assert list(verify(folder)) == []


def test_upgraded_libraries(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A complete set stays good; one that was begun is not mixed."""
    done, begun = tmp_path / "done", tmp_path / "begun"
    build(images.Source(), photographs, done, workers=1, on_error="skip")
    with pytest.raises(DataError, match="corrupt"):
        build(images.Source(), photographs, begun, workers=1)
    monkeypatch.setattr("PIL.__version__", "99")
    build(images.Source(), photographs, done, workers=1, on_error="skip")
    with pytest.raises(DataError, match=r"unfinished build of pillow [\d.]+: choose"):
        build(images.Source(), photographs, begun, workers=1, on_error="skip")


def test_other_people_s_folders_are_left_alone(photographs: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(DataError, match="not a built set"):
            build(images.Source(), photographs, tmp_path, overwrite=overwrite)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_two_builds_at_once_are_refused(photographs: Path, tmp_path: Path) -> None:
    with (
        builds._locked(tmp_path / "set"),
        pytest.raises(DataError, match="another build is at work"),
    ):
        build(images.Source(), photographs, tmp_path / "set", workers=1)


def test_a_refused_build_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    with pytest.raises(DataError, match="no images"):
        build(images.Source(), tmp_path / "raw", tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_too_little_disk_is_said_before(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(builds.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DataError, match=r"too full: about 0\.00 GB are needed, 0\.00 GB are free"):
        build(images.Source(), photographs, tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_a_full_disk_names_file_and_bytes_and_is_resumed(
    photographs: Path, whole: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    plenty = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(builds.shutil, "disk_usage", lambda path: plenty)
    try:
        with pytest.raises(
            DataError, match=r"c\.\d+: no space left on device, [\d,]+ bytes more were"
        ):
            build(images.Source(), photographs, folder / "set", workers=1, on_error="skip")
        assert list((folder / "set" / "building").glob("shard-*.json"))
        assert not list((folder / "set" / "building").glob("*.tmp"))
        subprocess.run(["mount", "-o", "remount,size=9m", str(folder)], check=True)
        build(images.Source(), photographs, folder / "set", workers=1, on_error="skip")
        assert hashes(folder / "set" / "hr.zarr") == hashes(whole[0] / "hr.zarr")
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_file_that_may_not_grow_is_named(photographs: Path, tmp_path: Path) -> None:
    """A quota by another name: the limit on a file's size."""
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (30000, 30000));"
        "sys.argv[0] = 'dataprep'; import runpy; runpy.run_module('dataprep', run_name='__main__')"
    )
    command = [sys.executable, "-B", "-c", code, "build", "images", "--raw", str(photographs)]
    result = subprocess.run(
        [*command, "--data-root", str(tmp_path), "--workers", "1", "--scales", "4"],
        capture_output=True,
        text=True,
        cwd=SLOW.parents[1],
        check=False,
    )
    assert result.returncode == 2, result.stderr
    assert result.stderr.count("\n") == 1 and ": file too large, " in result.stderr


def test_a_worker_that_dies_is_said(photographs: Path, tmp_path: Path) -> None:
    with pytest.raises(ChildProcessError, match="exit code"):
        build(Deadly(), photographs, tmp_path / "set", workers=2)


@dataclass(frozen=True, kw_only=True)
class Deadly(images.Source):
    """Dies as a process does that takes too much memory."""

    def read(self, raw: Raw, entry: Entry) -> Iterator[Sample]:
        os.kill(os.getpid(), signal.SIGKILL)
        yield from ()


def test_hole_takes_no_disk(whole: Any) -> None:
    shards = sorted((whole[0] / "hr.zarr").glob("c.*"))
    assert len({path.stat().st_size for path in shards}) == 1
    data = np.load(whole[0] / "index" / "hr.offset.npy")
    assert len(data) == 39 and all(path.stat().st_blocks * 512 <= 65536 for path in shards)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_is_not_a_set_keeps_its_files(
    photographs: Path, tmp_path: Path, overwrite: bool
) -> None:
    """Not even a file named manifest.json or *.tmp makes a user's folder ours to clear."""
    mine = tmp_path / "set" / "mine"
    mine.mkdir(parents=True)
    for path in (mine / "thesis.tmp", tmp_path / "set" / "manifest.json"):
        path.write_text('{"name": "web app"}')
    before = hashes(tmp_path)
    with pytest.raises(DataError):
        build(images.Source(), photographs, tmp_path / "set", workers=1, overwrite=overwrite)
    assert {name: sha for name, sha in hashes(tmp_path).items() if "building" not in name} == before
