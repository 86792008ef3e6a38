"""Fetch the public files of a source: what is right stays, what comes is checked before its name.

A file on its way is NAME.part and goes on from there. One that turns out wrong is never under its
own name: it is put aside as NAME.bad, to be looked at (a web page, often).
"""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote, urlsplit

from dataprep import checksums, fetch, plain, sources
from dataprep.manifest import DataError
from dataprep.sources import Download, PublicFile

LOCK = ".download.lock"
# A file above this takes seconds to hash: say so.
SLOW_BYTES = 10**9
UNITS = ("B", "kB", "MB", "GB", "TB")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Standing:
    """How one file stands: `here_bytes` is None where it is not there, `sha256` "" where not read.

    fault: why what is there is not right.
    """

    file: PublicFile
    is_wanted: bool
    here_bytes: int | None
    part_bytes: int
    fault: str = ""
    sha256: str = ""

    @property
    def exists(self) -> bool:
        """Whether a file of this name is there."""
        return self.here_bytes is not None

    @property
    def is_todo(self) -> bool:
        """Whether it is to be fetched."""
        return self.is_wanted and (not self.exists or bool(self.fault))

    @property
    def missing_bytes(self) -> int | None:
        """What is to come of it, None where nobody knows."""
        size = self.file.size_bytes or self.file.about_bytes
        return None if size is None else max(size - self.part_bytes, 0)


def offer(source: str, mirror: str | None = None) -> Download:
    """Return what a source declares, its addresses replaced by a mirror's; ValueError for no such.

    mirror: a base address; the files' names are put behind it.
    """
    if source not in sources.names():
        raise ValueError(f"no such source: {source}; there are {', '.join(sources.names())}")
    found = sources.load(source).downloads()
    if mirror:
        base = mirror.rstrip("/")
        files = (replace(file, urls=(f"{base}/{quote(file.name)}",)) for file in found.files)
        found = replace(found, files=tuple(files))
    for file in found.files:
        _check(file)
    return found


def survey(
    files: Sequence[PublicFile], folder: Path, only: Sequence[str], hashed: bool, say: Say
) -> list[Standing]:
    """Look at what is there, by size alone or by every byte; ValueError for an unknown name."""
    names = [file.name for file in files]
    for name in only:
        if name not in names:
            raise ValueError(f"--only {name}: no such file; there are {', '.join(names)}")
    if folder.exists() and not folder.is_dir():
        raise DataError(folder, "", "is a file, not a folder")
    known = checksums.load(folder)
    standings = []
    for file in files:
        path, part = folder / file.name, fetch.part_path(folder, file)
        is_wanted = file.name in only if only else not file.optional
        fault = sha256 = ""
        exists = plain.is_there(path)
        if exists and hashed and is_wanted:
            fault, sha256 = _judge(file, path, known.get(file.name), say)
        elif exists:
            fault = checksums.wrong_size(file, path, known.get(file.name))
        part_bytes = part.stat().st_size if plain.is_there(part) else 0
        here_bytes = path.stat().st_size if exists else None
        standings.append(Standing(file, is_wanted, here_bytes, part_bytes, fault, sha256))
    return standings


def table(standings: Sequence[Standing], folder: Path) -> str:
    """Return the list in words, with what is to come and what is free."""
    rows = [_row(one) for one in standings]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    for one in standings:
        if one.is_todo and one.fault:
            lines.append(f"{one.file.name} {one.fault}: it is put aside and fetched anew")
    return "\n".join([*lines, f"{_total(standings)}; {amount(_free(folder))} free in {folder}"])


def bring(standings: Sequence[Standing], folder: Path, retries: int, say: Say) -> None:
    """Fetch what is to be fetched; DataError, at the end, names each file that did not come."""
    todo = [one for one in standings if one.is_todo]
    unrecorded = [one for one in standings if one.sha256 and not one.fault and not one.is_todo]
    if not todo and not (unrecorded and os.access(folder, os.W_OK)):
        return
    need = sum(one.missing_bytes or 0 for one in todo)
    if need > _free(folder):
        free = f"about {amount(need)} are needed, {amount(_free(folder))} are free"
        raise DataError(folder, "", f"the disk is too full: {free}")
    failed = []
    with _locked(folder):
        known = checksums.load(folder)
        for one in unrecorded:
            if one.file.name not in known:
                checksums.record(folder, folder / one.file.name, "", one.sha256)
        for one in todo:
            try:
                _bring(one.file, folder, retries, say)
            except fetch.Refused as error:
                failed.append(f"{one.file.name}: {error}")
                if one is not todo[-1]:
                    say(f"{failed[-1]}; on with the next file")
            except KeyboardInterrupt:
                say(f"{one.file.name}: what is there stays, the same command goes on with it")
                raise
    if failed:
        raise DataError(folder, "", "; ".join(failed))


def closing(source: str, found: Download, folder: Path, step: str) -> str:
    """Return what is left to do by hand, and the command that builds."""
    files = (file for file in found.files if not file.optional)
    missing = [file.name for file in files if not (folder / file.name).exists()]
    lines = [f"not there yet: {', '.join(missing)}"] if missing else []
    return "\n".join([*lines, *found.steps.splitlines(), "next:", f"  {step}"])


def build_command(source: str, folder: Path, data_root: str | None) -> str:
    """Return the command that builds a set from what is in the folder."""
    raw = ("--raw", str(folder)) if sources.load(source).needs_raw else ()
    root = ("--data-root", data_root) if data_root else ()
    return shlex.join(["python", "-m", "dataprep", "build", source, *raw, *root])


def amount(size_bytes: int) -> str:
    """Return bytes in three digits: 12 B, 3.41 kB, 235 MB."""
    power = max(0, min((len(str(size_bytes)) - 1) // 3, len(UNITS) - 1))
    digits = 3 * power + 3 - len(str(size_bytes)) if power else 0
    return f"{size_bytes / 1000**power:.{max(digits, 0)}f} {UNITS[power]}"


def _bring(file: PublicFile, folder: Path, retries: int, say: Say) -> None:
    path, known = folder / file.name, checksums.load(folder).get(file.name)
    if plain.is_there(path):  # wrong, or brought by another process since it was looked for
        fault, _ = _judge(file, path, known, say)
        if not fault:
            return
        say(f"{file.name} {fault}: put aside as {_put_aside(path).name}")
    whys = []
    for url in file.urls:
        try:
            sha256 = _bring_from(file, url, path, known, retries, say)
        except fetch.Refused as error:
            whys.append(f"{url}: {error}")
            if url != file.urls[-1]:
                say(f"{file.name}: {whys[-1]}; the next address is tried")
            continue
        checksums.record(folder, path, url, sha256)
        by = f"{file.checksum.partition(':')[0]} as published" if file.checksum else ""
        by = by or ("sha256 as recorded" if known else f"sha256 recorded in {checksums.FILE_NAME}")
        say(f"{file.name}: {path.stat().st_size:,} bytes, {by}")
        return
    raise fetch.Refused("; ".join(whys))


def _bring_from(
    file: PublicFile,
    url: str,
    path: Path,
    known: checksums.Record | None,
    retries: int,
    say: Say,
) -> str:
    """Fetch from one address, check, give the file its name; return its sha256."""
    part = fetch.part_path(path.parent, file)
    while True:
        is_rest = fetch.fetch(file, url, path.parent, retries, say)
        fault, sha256 = _judge(file, part, known, say)
        if not fault:
            fetch.finish(part, path)
            return sha256
        if not is_rest:
            bad = _put_aside(part, path)
            raise fetch.Refused(f"what came from there {fault}; it is kept as {bad.name}")
        # Perhaps of two versions; what comes in one piece tells.
        say(f"{file.name}: {fault}; starts anew")
        fetch.drop(part)


def _judge(
    file: PublicFile, path: Path, known: checksums.Record | None, say: Say
) -> tuple[str, str]:
    size = path.stat().st_size
    if size > SLOW_BYTES:
        say(f"{file.name}: its {amount(size)} are checked")
    return checksums.judge(file, path, known)


def _put_aside(wrong: Path, path: Path | None = None) -> Path:
    bad = (path or wrong).with_name(f"{(path or wrong).name}.bad")
    plain.is_there(bad)  # only a file is replaced
    wrong.replace(bad)
    if path:
        fetch.drop(wrong)
    return bad


def _row(one: Standing) -> tuple[str, str, str, str, str]:
    file = one.file
    state = "wrong" if one.fault else "there" if one.exists else "to fetch"
    if one.is_todo and one.part_bytes:
        state = f"{amount(one.part_bytes)} there"
    if not one.is_wanted and not one.exists:
        state = "optional" if file.optional else "left out"
    size = amount(file.size_bytes or file.about_bytes or 0) if _is_sized(file) else "size unknown"
    size = f"about {size}" if file.size_bytes is None and file.about_bytes else size
    size = amount(one.here_bytes) if one.here_bytes is not None else size
    kind = (file.checksum or "no checksum").partition(":")[0]
    return state, file.name, size, kind, file.what


def _total(standings: Sequence[Standing]) -> str:
    todo = [one for one in standings if one.is_todo]
    sizes = [one.missing_bytes for one in todo]
    about = "about " if any(one.file.size_bytes is None for one in todo) else ""
    known = [about + amount(sum(filter(None, sizes)))] if any(sizes) else []
    unknown = [f"{sizes.count(None)} of unknown size"] if None in sizes else []
    return f"to fetch: {' and '.join([*known, *unknown])}" if todo else "nothing to fetch"


def _is_sized(file: PublicFile) -> bool:
    return file.size_bytes is not None or file.about_bytes is not None


def _free(folder: Path) -> int:
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    return shutil.disk_usage(there).free


def _check(file: PublicFile) -> None:
    """Raise ValueError for a name that leads out of the folder and for an address of other kind."""
    name = file.name
    ours = name.endswith((".part", ".bad")) or name == checksums.FILE_NAME
    if not name or name.startswith(".") or "/" in name or "\\" in name or ours:
        raise ValueError(f"{name!r} is no name for a download")
    for url in file.urls:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url}: want an address that begins with http:// or https://")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder for one download; leave no empty one behind."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK
    plain.is_there(path)
    with open(path, "w", opener=plain.opener) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(lock.fileno()).st_ino != path.stat().st_ino:
                raise BlockingIOError  # that of a download which has just ended
        except OSError:
            raise DataError(folder, "", "another download is at work in this folder") from None
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            if not any(folder.iterdir()):
                folder.rmdir()
