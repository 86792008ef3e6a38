"""Raw data as a flat list of names: a folder, a zip or a tar, read in place.

A folder that holds archives shows their members as `archive.zip/member`, so a source never needs
to know whether its user has unpacked a download. Members are read, never extracted to disk.
A compressed tar must be read from its start to reach a member: unpack it, or use a zip, for speed.
"""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
import zlib
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from dataprep.manifest import DataError

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
IGNORED = ("__MACOSX", "Thumbs.db", "desktop.ini")


class Raw:
    """Read-only view of raw data. Picklable: files are opened anew in each process.

    DataError where the path does not exist or an archive is damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise DataError(self.path, "", "no such file or folder")
        if not self.path.is_dir() and not is_archive(self.path.name):
            raise DataError(self.path, "", f"neither a folder nor one of {', '.join(ARCHIVES)}")
        self._archives: dict[str, _Archive] = {}

    def names(self) -> list[str]:
        """Return the names of all files, sorted, separated by "/"."""
        return list(self._sizes)

    def size(self, name: str) -> int:
        """Return the bytes of one file."""
        try:
            return self._sizes[name]
        except KeyError:
            raise DataError(self.path, name, "no such file") from None

    def read(self, name: str) -> bytes:
        """Return the content of one file; DataError where it is missing or damaged."""
        archive, member = self._split(name)
        if archive:
            return archive.read(member)
        try:
            return (self.path / name).read_bytes()
        except OSError as error:
            raise DataError(self.path, name, f"cannot be read ({error.strerror})") from None

    def open(self, name: str) -> BinaryIO:
        """Return the content of one file as a stream; an archive's member is read whole."""
        archive, _ = self._split(name)
        if archive:
            return io.BytesIO(self.read(name))
        try:
            return open(self.path / name, "rb")
        except OSError as error:
            raise DataError(self.path, name, f"cannot be read ({error.strerror})") from None

    def place(self, name: str) -> tuple[str, int] | None:
        """Return the compressed tar that a file lies in and where, None for what is read directly.

        Read several in this order: going back means going through the tar from its start.
        """
        archive, member = self._split(name)
        at = archive.place(member) if isinstance(archive, _Tar) else None
        return None if at is None else (name.removesuffix(member), at)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_archives": self._archives}

    @cached_property
    def _sizes(self) -> dict[str, int]:
        if not self.path.is_dir():
            return dict(sorted(self._archive("").sizes().items()))
        sizes: dict[str, int] = {}
        for file in _walk(self.path):
            name = file.relative_to(self.path).as_posix()
            if is_archive(name):
                members = self._archive(name).sizes()
                sizes |= {f"{name}/{member}": size for member, size in members.items()}
            else:
                sizes[name] = file.stat().st_size
        return dict(sorted(sizes.items()))

    def _split(self, name: str) -> tuple[_Archive | None, str]:
        """Return the archive that a name lies in, None for a plain file, and the rest of it."""
        if not self.path.is_dir():
            return self._archive(""), name
        parts = name.split("/")
        for depth in range(1, len(parts)):
            prefix = "/".join(parts[:depth])
            if is_archive(prefix) and (self.path / prefix).is_file():
                return self._archive(prefix), "/".join(parts[depth:])
        return None, name

    def _archive(self, name: str) -> _Archive:
        if name not in self._archives:
            path = self.path / name if name else self.path
            self._archives[name] = _Zip(path) if path.name.lower().endswith(".zip") else _Tar(path)
        return self._archives[name]


def is_archive(name: str) -> bool:
    """Return whether a file of this name is read as an archive."""
    return name.lower().endswith(ARCHIVES)


class _Archive(Protocol):
    def sizes(self) -> dict[str, int]: ...

    def read(self, member: str) -> bytes: ...


class _Zip:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __getstate__(self) -> dict[str, Any]:
        return {"_path": self._path}

    @cached_property
    def _file(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self._path)
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            raise DataError(self._path, "", f"damaged or not a zip ({error})") from None

    @cached_property
    def _members(self) -> dict[str, zipfile.ZipInfo]:
        infos = (info for info in self._file.infolist() if not info.is_dir())
        named = {_checked(self._path, info.filename): info for info in infos}
        return {name: info for name, info in named.items() if is_wanted(name)}

    def sizes(self) -> dict[str, int]:
        return {name: info.file_size for name, info in self._members.items()}

    def read(self, member: str) -> bytes:
        if member not in self._members:
            raise DataError(self._path, member, "no such member")
        try:
            return self._file.read(self._members[member])
        # RuntimeError is what zipfile raises for a member that wants a password.
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
            raise DataError(self._path, member, f"damaged member ({error})") from None


class _Tar:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __del__(self) -> None:
        if "_file" in self.__dict__:
            self._file.close()

    def __getstate__(self) -> dict[str, Any]:
        # The members go along: listing them means reading through the whole file.
        return {"_path": self._path} | (
            {"_members": self.__dict__["_members"]} if "_members" in self.__dict__ else {}
        )

    @cached_property
    def _file(self) -> tarfile.TarFile:
        try:
            return tarfile.open(self._path)
        except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
            raise DataError(self._path, "", f"damaged or not a tar ({error})") from None

    @cached_property
    def _members(self) -> dict[str, tuple[int, int]]:
        """Name -> (offset, bytes). Links and devices are left out: they point elsewhere."""
        try:
            infos = [info for info in self._file.getmembers() if info.isreg()]
        except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
            raise DataError(self._path, "", f"damaged or cut short ({error})") from None
        named = {_checked(self._path, i.name): (i.offset_data, i.size) for i in infos}
        return {name: place for name, place in named.items() if is_wanted(name)}

    def sizes(self) -> dict[str, int]:
        return {name: size for name, (_, size) in self._members.items()}

    def place(self, member: str) -> int | None:
        """Return a member's byte in the stream where the tar is compressed."""
        is_compressed = not self._path.name.lower().endswith(".tar")
        return self._members[member][0] if is_compressed and member in self._members else None

    def read(self, member: str) -> bytes:
        if member not in self._members:
            raise DataError(self._path, member, "no such member")
        offset, size = self._members[member]
        try:
            file = self._file.fileobj
            assert file is not None
            file.seek(offset)
            data: bytes = file.read(size)
        except (EOFError, OSError, zlib.error) as error:
            raise DataError(self._path, member, f"damaged member ({error})") from None
        if len(data) != size:
            raise DataError(self._path, member, "the archive is cut short")
        return data


def is_wanted(name: str) -> bool:
    """Return False for hidden files and the leftovers of desktop systems."""
    parts = name.split("/")
    return not any(part.startswith(".") or part in IGNORED for part in parts)


def _walk(folder: Path) -> list[Path]:
    files: list[Path] = []
    seen = set()
    for root, folders, here in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        # A link may lead back to a folder above it.
        folders[:] = [] if real in seen else sorted(filter(is_wanted, folders))
        if real not in seen:
            files += [Path(root, name) for name in here if is_wanted(name)]
        seen.add(real)
    return [file for file in files if file.is_file()]


def _checked(archive: Path, name: str) -> str:
    """Return a member's name with forward slashes; DataError where it leads out of the archive."""
    path = name.replace("\\", "/")
    if path.startswith("/") or ".." in path.split("/") or path[1:2] == ":":
        raise DataError(archive, name, "this member's path leads out of the archive: refused")
    return path.removeprefix("./")
