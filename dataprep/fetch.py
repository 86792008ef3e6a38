"""One file over HTTP: goes on where it stopped, tries again, never glues two versions together.

A file on its way is NAME.part; the hidden .NAME.part.json beside it says which version at which
address that is (ETag, Last-Modified, bytes). The rest is asked for with Range and If-Range. A part
whose version cannot be told goes on only where a checksum will judge the whole.

What pooch (1.9) brings starts over after each cut, knows one address a file, and overwrites: with
a downloader of our own in it nothing of it would be left but a hash, so this is requests alone.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from http import HTTPStatus
from pathlib import Path

import requests
from urllib3.exceptions import HTTPError, InvalidHeader
from urllib3.util import Retry

from dataprep import plain
from dataprep.manifest import DataError, atomic
from dataprep.progress import Transfer
from dataprep.sources import PublicFile

CHUNK = 1 << 16
TIMEOUT_S = (15.0, 60.0)  # to connect, and between two chunks
# The first wait, doubled each time up to the longest; a server that asks for more is refused.
WAIT_S, LONGEST_WAIT_S, LONGEST_ASKED_S = 1.0, 60.0, 600.0
PARTIAL = (HTTPStatus.PARTIAL_CONTENT, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
PASSING = (408, 425, 429, 500, 502, 503, 504)
# As they are: nothing compressed on the way, or bytes would not count.
HEADERS = {"User-Agent": "nostall", "Accept": "*/*", "Accept-Encoding": "identity"}
RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)")
# What the libraries wrap several times over, in words.
REASONS = (
    (re.compile(r"CERTIFICATE_VERIFY_FAILED"), "its certificate is not good"),
    (re.compile(r"IncompleteRead|InvalidChunk"), "the connection was cut"),
    (re.compile(r"Remote end closed"), "the server closed the connection"),
    (re.compile(r"timed out"), "no answer in time"),
    (re.compile(r"\[Errno -?\d+\] ([^'\")]+)|Error\(\d+, '([^']+)"), "no connection ({})"),
)


class Refused(Exception):
    """This address does not give the file; another one may."""


class _Passing(Exception):
    """A failure that may pass; `wait_s` is what the server asks for, None for the usual."""

    def __init__(self, why: str, wait_s: float | None = None) -> None:
        super().__init__(why)
        self.wait_s = wait_s


class _Dropped(Exception):
    """The part that was kept is of another file and gone: ask again at once."""


@dataclass(frozen=True)
class _Version:
    """Which version of the file a part is of."""

    url: str
    etag: str
    modified: str
    size_bytes: int | None

    @property
    def validator(self) -> str:
        """What If-Range may carry: a strong ETag, else the date."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.modified

    def differs(self, other: _Version) -> bool:
        """Return whether anything is different that both tell and that addresses share."""
        names = ("etag", "modified", "size_bytes") if self.url == other.url else ("size_bytes",)
        pairs = [(getattr(self, name), getattr(other, name)) for name in names]
        return any(ours and theirs and ours != theirs for ours, theirs in pairs)


@dataclass(frozen=True)
class _Job:
    file: PublicFile
    url: str
    part: Path
    say: Callable[[str], None]

    def kept(self) -> int:
        return self.part.stat().st_size if plain.is_there(self.part) else 0

    def version(self) -> _Version | None:
        note = _note(self.part)
        try:
            return _Version(**json.loads(note.read_text())) if plain.is_there(note) else None
        except (OSError, ValueError, TypeError):
            return None


def fetch(
    file: PublicFile, url: str, folder: Path, retries: int, say: Callable[[str], None]
) -> bool:
    """Bring a file whole to its part path; return whether bytes of an earlier answer are in it.

    Refused after more than `retries` failures without a new byte, DataError for a full disk.
    """
    job = _Job(file, url, part_path(folder, file), say)
    try:
        with requests.Session() as session:
            session.headers.update(HEADERS)
            is_rest = _fetch(session, job, retries)
        if not job.kept():
            raise Refused("the server sends an empty file")
        return is_rest
    finally:
        if not job.kept():
            drop(job.part)


def part_path(folder: Path, file: PublicFile) -> Path:
    """Return where a file is while it is not whole."""
    return folder / f"{file.name}.part"


def drop(part: Path) -> None:
    """Forget a part; what says its version goes last, so that it is never said of another one."""
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)


def finish(part: Path, path: Path) -> None:
    """Give a whole part its name."""
    with open(part, "rb") as file:
        os.fsync(file.fileno())
    part.replace(path)
    _note(part).unlink(missing_ok=True)


def _fetch(session: requests.Session, job: _Job, retries: int) -> bool:
    failures, most = 0, job.kept()
    while True:
        try:
            return _attempt(session, job)
        except _Dropped:
            job.say(f"{job.file.name}: changed on the server; starts anew")
        except _Passing as error:
            # A line that breaks every minute still gets there.
            failures = 1 if job.kept() > most else failures + 1
            most = max(most, job.kept())
            if failures > retries:
                raise Refused(str(error)) from None
            wait_s = min(WAIT_S * 2 ** (failures - 1), LONGEST_WAIT_S)
            wait_s = wait_s if error.wait_s is None else error.wait_s
            tries = f"again in {wait_s:.0f} s ({failures} of {retries})"
            job.say(f"{job.file.name}: {error}; {tries}")
            time.sleep(wait_s)


def _note(part: Path) -> Path:
    return part.with_name(f".{part.name}.json")


def _attempt(session: requests.Session, job: _Job) -> bool:
    """Ask once for what is missing; return whether it was only a rest."""
    headers = _rest(job)
    try:
        with session.get(job.url, headers=headers, stream=True, timeout=TIMEOUT_S) as response:
            start, total = _settle(job, response, "Range" in headers)
            if start != total:
                _receive(job, response, start, total)
            return start > 0
    except (requests.ConnectionError, requests.Timeout, HTTPError) as error:
        why = _reason(error)
        raise (Refused if "certificate" in why else _Passing)(why) from None
    except requests.RequestException as error:
        raise Refused(f"cannot be asked ({error})") from None


def _rest(job: _Job) -> dict[str, str]:
    """Return the headers that ask for the rest of a part, none where all is wanted."""
    kept, version = job.kept(), job.version()
    if kept and version and version.url == job.url and version.validator:
        return {"Range": f"bytes={kept}-", "If-Range": version.validator}
    return {"Range": f"bytes={kept}-"} if kept and job.file.checksum else {}


def _settle(job: _Job, response: requests.Response, asked_rest: bool) -> tuple[int, int | None]:
    """Return where the answer's bytes begin and how many the whole file has."""
    status, kept, old = response.status_code, job.kept(), job.version()
    if status == HTTPStatus.OK:
        return 0, _begin(job, response)
    if asked_rest and status in PARTIAL:
        match = RANGE.fullmatch(response.headers.get("Content-Range", ""))
        total = int(match[2]) if match and match[2] != "*" else None
        # 416 tells where its file ends: there, nothing is missing.
        start = None if match is None else int(match[1]) if match[1] else total
        changed = old is not None and old.differs(_version(job.url, response, total))
        if start == kept and not changed:
            return kept, total
        drop(job.part)
        raise _Dropped
    if status in PASSING:
        raise _Passing(f"the server answers {_status(response)}", _asked_wait(response))
    raise Refused(f"the server answers {_status(response)}")


def _begin(job: _Job, response: requests.Response) -> int | None:
    """Start a part anew for a whole answer; Refused where that is seen not to be the file."""
    length = response.headers.get("Content-Length", "")
    total = int(length) if length.isdigit() else None
    kind = response.headers.get("Content-Type", "")
    if kind.startswith("text/html") and not job.file.name.endswith((".html", ".htm")):
        raise Refused("the server answers with a web page, not with the file: has it moved?")
    if job.file.size_bytes is not None and total not in (None, job.file.size_bytes):
        raise Refused(f"has {total:,} bytes there, wanted are {job.file.size_bytes:,}: not fetched")
    new, old = _version(job.url, response, total), job.version()
    if job.kept():
        changed = old is not None and old.differs(new)
        why = "changed on the server" if changed else "what is there cannot be continued"
        job.say(f"{job.file.name}: {why}; starts anew")
    drop(job.part)
    with atomic(_note(job.part)) as path:
        path.write_text(json.dumps(asdict(new)))
    return total


def _receive(job: _Job, response: requests.Response, start: int, total: int | None) -> None:
    free = shutil.disk_usage(job.part.parent).free
    if total is not None and total - start > free:
        raise _unwritten(job, f"{total - start:,} bytes are needed, {free:,} are free")
    with Transfer(job.file.name, total or 0, start) as progress:
        try:
            with open(job.part, "ab", opener=plain.opener) as out:
                # As sent: requests' own iterator would unpack what a server calls gzip.
                for chunk in response.raw.stream(CHUNK, decode_content=False):
                    out.write(chunk)
                    progress.add(len(chunk), len(chunk))
        except OSError as error:  # of the disk: those of the line are no OSError here
            raise _unwritten(job, error.strerror or str(error)) from None
        if total is None:
            progress.total = progress.done
        elif progress.done != total:
            raise _Passing(f"the connection was cut at {progress.done:,} of {total:,} bytes")


def _unwritten(job: _Job, why: str) -> DataError:
    kept = f"the {job.kept():,} bytes that are there stay: the same command goes on with them"
    return DataError(job.part, "", f"cannot be written ({why}); {kept}")


def _version(url: str, response: requests.Response, total: int | None) -> _Version:
    told = response.headers
    return _Version(url, told.get("ETag", ""), told.get("Last-Modified", ""), total)


def _asked_wait(response: requests.Response) -> float | None:
    """Return the seconds of Retry-After; Refused where that is too long to sit and wait."""
    try:
        wait_s: float | None = Retry().get_retry_after(response.raw)
    except InvalidHeader:
        return None
    if wait_s is not None and wait_s > LONGEST_ASKED_S:
        raise Refused(f"the server answers {_status(response)} and to come back in {wait_s:.0f} s")
    return wait_s


def _status(response: requests.Response) -> str:
    return f"{response.status_code} {response.reason or ''}".strip()


def _reason(error: Exception) -> str:
    for pattern, words in REASONS:
        if match := pattern.search(f"{error!r} {error}"):
            return words.format(next(filter(None, match.groups()), "").strip())
    return f"the connection failed ({type(error).__name__})"
