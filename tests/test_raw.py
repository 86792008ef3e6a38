"""Folders, zips and tars read alike, and nothing escapes from an archive."""

from __future__ import annotations

import io
import pickle
import tarfile
import zipfile
from pathlib import Path

import pytest

from dataprep.manifest import DataError
from dataprep.raw import Raw

FILES = {"b/two.txt": b"two", "a.txt": b"one", "b/c/three.txt": b"three" * 1000}
CLUTTER = {".hidden": b"", "__MACOSX/a.txt": b"", "b/Thumbs.db": b"", ".git/config": b""}


def as_folder(path: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def as_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def as_tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture(params=["folder", "x.zip", "x.tar", "x.tar.gz", "x.tgz"])
def packed(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    files = FILES | CLUTTER
    if request.param == "folder":
        return as_folder(tmp_path / "folder", files)
    write = as_zip if request.param.endswith("zip") else as_tar
    return write(tmp_path / request.param, files)


def test_all_kinds_read_alike(packed: Path) -> None:
    raw = Raw(packed)
    assert raw.names() == sorted(FILES)
    again = pickle.loads(pickle.dumps(raw))
    for name, data in FILES.items():
        assert raw.read(name) == again.read(name) == data
        assert raw.size(name) == len(data)


def test_missing_names_are_said(packed: Path) -> None:
    with pytest.raises(DataError, match="nothing"):
        Raw(packed).read("nothing")
    with pytest.raises(DataError, match="nothing"):
        Raw(packed).size("nothing")


def test_archives_inside_a_folder_show_their_members(tmp_path: Path) -> None:
    as_folder(tmp_path / "raw", {"plain.txt": b"plain"})
    as_zip(tmp_path / "raw" / "first.zip", FILES)
    as_folder(tmp_path / "raw", {"deep/x.txt": b"x"})
    as_tar(tmp_path / "raw" / "deep" / "second.tar", FILES)
    raw = Raw(tmp_path / "raw")
    inside = [f"first.zip/{name}" for name in FILES] + [f"deep/second.tar/{n}" for n in FILES]
    assert raw.names() == sorted([*inside, "plain.txt", "deep/x.txt"])
    again = pickle.loads(pickle.dumps(raw))
    assert all(
        again.read(name) == FILES[name.split("/", name.count(".tar/") + 1)[-1]] for name in inside
    )


@pytest.mark.parametrize("name", ["../out.txt", "/etc/out.txt", "a/../../out.txt", "C:/out.txt"])
@pytest.mark.parametrize("write", [as_zip, as_tar])
def test_members_that_lead_out_are_refused(tmp_path: Path, name: str, write: object) -> None:
    path = tmp_path / ("x.zip" if write is as_zip else "x.tar")
    write(path, {"fine.txt": b"", name: b""})  # type: ignore[operator]
    with pytest.raises(DataError, match="out of the archive"):
        Raw(path).names()


def test_links_in_a_tar_are_left_out(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        link = tarfile.TarInfo("link.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    assert Raw(tmp_path / "x.tar").names() == []


def test_a_folder_linked_into_itself_ends(tmp_path: Path) -> None:
    as_folder(tmp_path, {"a.txt": b""})
    (tmp_path / "loop").symlink_to(tmp_path)
    assert Raw(tmp_path).names() == ["a.txt"]


def test_bad_paths(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        Raw(tmp_path / "nothing")
    (tmp_path / "x.png").touch()
    with pytest.raises(DataError, match="neither a folder"):
        Raw(tmp_path / "x.png")


@pytest.mark.parametrize("suffix", ["zip", "tar", "tar.gz"])
def test_damaged_archives(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(b"\x1f\x8b not an archive" * 40)
    with pytest.raises(DataError, match="damaged"):
        Raw(path).names()


@pytest.mark.parametrize("suffix", ["zip", "tar", "tar.gz"])
def test_cut_archives(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    (as_zip if suffix == "zip" else as_tar)(path, FILES)
    raw = Raw(path)
    raw.names()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError):
        fresh = Raw(path)
        for name in raw.names():
            fresh.read(name)


def test_damaged_member(tmp_path: Path) -> None:
    path = as_zip(tmp_path / "x.zip", FILES)
    data = bytearray(path.read_bytes())
    data[data.index(b"three.txt") + 15] ^= 0xFF
    path.write_bytes(bytes(data))
    with pytest.raises(DataError, match=r"three\.txt: damaged member"):
        Raw(path).read("b/c/three.txt")
