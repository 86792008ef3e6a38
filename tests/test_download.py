"""`dataprep download` against a server on this machine: cut, moved, changed, killed, full."""

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from file_server import Handler, Server, cut, polite, rest, serving, status, tag, whole
from shared import folder as shared_folder

from dataprep import checksums, fetch, sources
from dataprep.__main__ import main
from dataprep.progress import Transfer
from dataprep.sources import Download, PublicFile

DATA = random.Random(1).randbytes(300_000)
OTHER = random.Random(2).randbytes(300_000)
MD5, SHA256 = (f"{name}:{hashlib.new(name, DATA).hexdigest()}" for name in ("md5", "sha256"))
NAME = "a.zip"


MNIST = ("download", "mnist", "--list", "--to")


class Toy:
    """A source of one file, or of those that a test gives it."""

    summary, needs_raw, found = "toy", True, Download()

    @classmethod
    def downloads(cls) -> Download:
        return cls.found


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Serve DATA as /a.zip, which is what the source `toy` has."""
    load, names = sources.load, sources.names
    monkeypatch.setattr(sources, "load", lambda name: Toy if name == "toy" else load(name))
    monkeypatch.setattr(sources, "names", lambda: [*names(), "toy"])
    with serving() as state:
        state.files[f"/{NAME}"] = DATA
        declare(state)
        yield state


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Collect the seconds that would have been waited between two tries."""
    found: list[float] = []
    monkeypatch.setattr(fetch, "time", SimpleNamespace(sleep=found.append))
    return found


def declare(server: Server, *urls: str, **facts: Any) -> None:
    Toy.found = Download((PublicFile(NAME, urls or (f"{server.url}/{NAME}",), "a toy", **facts),))


def run(to: Path, *args: str, yes: bool = True) -> Any:
    more = ("--yes",) if yes else ()
    return CliRunner().invoke(main, ["download", "toy", "--to", str(to), *more, *args])


def fetched(to: Path, *args: str, data: bytes = DATA) -> str:
    """Run, and return what was said; the file must be there, and nothing half made beside it."""
    result = run(to, *args)
    assert result.exit_code == 0, result.output
    assert (to / NAME).read_bytes() == data
    left = {path.name for path in to.iterdir()}
    assert left <= {NAME, f"{NAME}.bad", checksums.FILE_NAME}, left
    return str(result.output)


def refused(result: Any) -> str:
    assert result.exit_code == 2, (result.exit_code, result.output, result.exception)
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and result.stderr.endswith(f"{lines[0]}\n"), result.stderr
    return str(lines[0])


def test_a_whole_download(server: Server, tmp_path: Path) -> None:
    to = tmp_path / "raw" / "to y"
    text = fetched(to)
    assert f"next:\n  python -m dataprep build toy --raw '{to}'" in text
    assert "to fetch  a.zip  size unknown  no checksum  a toy" in text and "free in" in text
    known = json.loads((to / "checksums.json").read_text())[NAME]
    assert known == {"sha256": SHA256[7:], "bytes": len(DATA), "url": f"{server.url}/{NAME}"}
    assert "there      a.zip" not in text and "nothing to fetch" in fetched(to)
    assert len(server.asked) == 1


@pytest.mark.parametrize("checksum", [None, MD5, SHA256])
def test_a_cut_connection_goes_on(
    server: Server, tmp_path: Path, waits: list[float], checksum: str | None
) -> None:
    declare(server, checksum=checksum)
    server.manners[f"/{NAME}"] = [cut(150_000), cut(0), cut(0), cut(100_000)]
    text = fetched(tmp_path)
    assert "a.zip: the connection was cut; again in 1 s (1 of 5)" in text
    starts = [int((wanted or "=0-").split("=")[1][:-1]) for wanted in server.ranges(f"/{NAME}")]
    assert starts[0] == 0 < starts[1] == starts[2] == starts[3] < starts[4]
    assert waits == [1, 2, 4, 1]  # a new byte counts as a new start


def test_cut_anywhere_any_number_of_times(server: Server, tmp_path: Path) -> None:
    draw = random.Random(3)
    for i in range(5):
        cuts = [cut(draw.choice([1, 65_536, draw.randrange(120_000)])) for _ in range(4)]
        server.manners[f"/{NAME}"] = list(cuts)
        fetched(tmp_path / str(i))


def test_gives_up_and_goes_on_later(server: Server, tmp_path: Path, waits: list[float]) -> None:
    server.manners[f"/{NAME}"] = [cut(150_000), cut(0), cut(0)]
    assert "the connection was cut" in refused(run(tmp_path, "--retries", "2"))
    assert waits == [1, 2] and not (tmp_path / NAME).exists()
    part = (tmp_path / f"{NAME}.part").read_bytes()
    assert DATA.startswith(part) and part
    assert f"{len(part) // 1000} kB there  a.zip" in run(tmp_path, "--list").output
    fetched(tmp_path)
    assert server.ranges(f"/{NAME}")[-1] == f"bytes={len(part)}-"


def test_a_server_that_cannot_resume(server: Server, tmp_path: Path) -> None:
    server.manners[f"/{NAME}"] = [cut(150_000), whole]
    assert "cannot be continued; starts anew" in fetched(tmp_path)


def no_version(handler: Handler, data: bytes) -> None:
    """Send the rest that is asked for, without a word on the version."""
    rest(handler, data, etag=False)


@pytest.mark.parametrize("manner", [polite, rest])
def test_a_changed_file_is_never_glued(server: Server, tmp_path: Path, manner: Any) -> None:
    """By If-Range, and where a server does not heed that, by the ETag of its answer."""
    server.manners[f"/{NAME}"] = [cut(150_000)]
    refused(run(tmp_path, "--retries", "0"))
    server.files[f"/{NAME}"] = OTHER
    server.manners[f"/{NAME}"] = [manner]
    assert "changed on the server; starts anew" in fetched(tmp_path, data=OTHER)
    assert server.ranges(f"/{NAME}")[1] is not None


@pytest.mark.parametrize(
    ("told", "condition"),
    [
        ({"ETag": '"1"', "Last-Modified": "a date"}, '"1"'),
        ({"ETag": 'W/"1"', "Last-Modified": "a date"}, "a date"),
        ({"ETag": "", "Last-Modified": "a date"}, "a date"),
        ({"ETag": 'W/"1"'}, None),
    ],
)
def test_what_a_rest_is_asked_by(
    server: Server, tmp_path: Path, told: dict[str, str], condition: str | None
) -> None:
    server.manners[f"/{NAME}"] = [cut(150_000, **told), whole]
    fetched(tmp_path)
    wanted = "bytes=150000-" if condition else None
    assert server.asked[1] == (f"/{NAME}", wanted, condition)


def test_a_part_of_unknown_version(server: Server, tmp_path: Path) -> None:
    """Without a version nor a checksum a part is worth nothing; with a checksum, it is tried."""
    for at, (checksum, starts_anew) in enumerate([(None, True), (MD5, False)]):
        declare(server, checksum=checksum)
        server.manners[f"/{NAME}"] = [cut(150_000, ETag=""), no_version]
        to = tmp_path / str(at)
        refused(run(to, "--retries", "0"))
        server.manners[f"/{NAME}"] = [whole if starts_anew else no_version]
        assert ("starts anew" in fetched(to)) == starts_anew
    server.files[f"/{NAME}"], to = OTHER, tmp_path / "glued"
    server.manners[f"/{NAME}"] = [cut(150_000, ETag="")]
    refused(run(to, "--retries", "0"))
    server.files[f"/{NAME}"], server.manners[f"/{NAME}"] = DATA, [no_version]
    assert "starts anew" in fetched(to)
    assert server.ranges(f"/{NAME}")[-1] is None


def test_a_part_of_another_address(server: Server, tmp_path: Path) -> None:
    """Without a checksum nobody knows whether two addresses hold the same."""
    server.files["/other/a.zip"] = OTHER
    declare(server, f"{server.url}/{NAME}", f"{server.url}/other/{NAME}")
    server.manners[f"/{NAME}"] = [cut(150_000), cut(0)]
    fetched(tmp_path, "--retries", "1", data=OTHER)
    assert server.asked[-1] == (f"/other/{NAME}", None, None)


def short_rest(handler: Handler, data: bytes) -> None:
    """End a rest early, without having told its length."""
    place = {"Content-Range": f"bytes 150000-{len(data) - 1}/{len(data)}", "ETag": tag(data)}
    handler.head(206, place)
    handler.wfile.write(data[150_000:200_000])


def test_a_rest_that_ends_early(server: Server, tmp_path: Path) -> None:
    server.manners[f"/{NAME}"] = [cut(150_000), short_rest]
    assert "cut at 200,000 of 300,000 bytes" in fetched(tmp_path)


def test_a_part_that_is_whole_or_too_long(server: Server, tmp_path: Path) -> None:
    """A process that was killed just before the last step, and a part of a longer file."""
    for extra in (b"", b"more"):
        server.manners[f"/{NAME}"] = [cut(150_000)]
        refused(run(tmp_path, "--retries", "0"))
        (tmp_path / f"{NAME}.part").write_bytes(DATA + extra)
        assert ("starts anew" in fetched(tmp_path)) == bool(extra)
        (tmp_path / NAME).unlink()


def test_a_wrong_checksum(server: Server, tmp_path: Path) -> None:
    declare(server, checksum=MD5)
    server.files[f"/{NAME}"] = OTHER
    line = refused(run(tmp_path))
    found = hashlib.md5(OTHER).hexdigest()
    assert f"{NAME}: {server.url}/{NAME}: what came from there has md5 {found}" in line
    assert f"wanted is {MD5[4:]}; it is kept as a.zip.bad" in line
    assert {path.name for path in tmp_path.iterdir()} == {f"{NAME}.bad"}
    assert (tmp_path / f"{NAME}.bad").read_bytes() == OTHER


def test_the_next_address(server: Server, tmp_path: Path) -> None:
    server.files |= {"/bad/a.zip": OTHER, "/cut/a.zip": DATA, "/page/a.zip": b"<html>"}
    server.manners["/cut/a.zip"] = [cut(150_000), cut(0)]
    server.manners["/page/a.zip"] = [
        lambda h, data: whole(h, data, **{"Content-Type": "text/html"})
    ]
    folders = ("gone", "bad", "page", "cut")
    urls = [*(f"{server.url}/{name}/{NAME}" for name in folders), f"{server.url}/{NAME}"]
    declare(server, "http://127.0.0.1:9/a.zip", *urls, checksum=SHA256)
    text = fetched(tmp_path, "--retries", "1")
    for why in ("no connection (Connection refused)", "404", "has sha256", "web page", "was cut"):
        assert why in text, why
    assert server.ranges(f"/{NAME}")[0] is not None  # the same bytes, by their checksum
    declare(server, *urls[:1])
    line = refused(run(tmp_path / "none"))
    assert line.endswith(f"a.zip: {urls[0]}: the server answers 404 Not Found")
    assert not (tmp_path / "none").exists()


def test_a_server_that_asks_for_patience(
    server: Server, tmp_path: Path, waits: list[float]
) -> None:
    server.manners[f"/{NAME}"] = [status(503, Retry_After="7"), status(429), status(500)]
    text = fetched(tmp_path)
    assert waits == [7, 2, 4] and "the server answers 503 Service Unavailable; again in 7 s" in text
    server.manners[f"/{NAME}"] = [status(503, Retry_After="86400")]
    assert "to come back in" in refused(run(tmp_path / "late"))


def test_sizes_that_differ_are_said_before_fetching(server: Server, tmp_path: Path) -> None:
    declare(server, size_bytes=299_999)
    line = refused(run(tmp_path / "new"))
    assert "has 300,000 bytes there, wanted are 299,999: not fetched" in line
    assert not (tmp_path / "new").exists()
    declare(server, size_bytes=len(DATA))
    (tmp_path / NAME).write_bytes(DATA[:1000])
    assert "wrong  a.zip  1.00 kB" in run(tmp_path, "--list").output
    text = fetched(tmp_path)
    assert "a.zip has 1,000 bytes, wanted are 300,000: put aside as a.zip.bad" in text


def test_a_server_that_does_not_tell_the_size(server: Server, tmp_path: Path) -> None:
    def until_the_end(handler: Handler, data: bytes) -> None:
        handler.head(200, {"Connection": "close", "Content-Encoding": "gzip"})
        handler.wfile.write(data)

    server.manners[f"/{NAME}"] = [until_the_end]
    fetched(tmp_path)  # as sent, not unpacked
    server.files[f"/{NAME}"] = b""
    for manner in (until_the_end, polite):
        server.manners[f"/{NAME}"] = [manner]
        assert "sends an empty file" in refused(run(tmp_path / "empty"))
    assert not (tmp_path / "empty").exists()


def test_what_is_there_is_checked_not_fetched(server: Server, tmp_path: Path) -> None:
    declare(server, checksum=MD5, size_bytes=len(DATA))
    (tmp_path / NAME).write_bytes(DATA)
    assert "there  a.zip  300 kB  md5" in fetched(tmp_path) and not server.asked
    (tmp_path / NAME).write_bytes(OTHER)
    text = fetched(tmp_path)
    assert "has md5" in text and (tmp_path / f"{NAME}.bad").read_bytes() == OTHER


def test_a_recorded_checksum_is_asked_for_later(server: Server, tmp_path: Path) -> None:
    assert "sha256 recorded" in fetched(tmp_path)
    (tmp_path / NAME).write_bytes(OTHER)
    assert f"but had {SHA256[7:]} when it first came" in fetched(tmp_path)
    (tmp_path / NAME).unlink()
    server.files[f"/{NAME}"] = OTHER
    assert "remove its lines in checksums.json" in refused(run(tmp_path))
    assert not (tmp_path / NAME).exists()
    (tmp_path / "checksums.json").write_text("{")
    assert "checksums.json: is damaged" in refused(run(tmp_path))
    (tmp_path / "checksums.json").unlink()
    fetched(tmp_path, data=OTHER)
    # Brought by hand: recorded as it is found.
    (tmp_path / "checksums.json").unlink()
    fetched(tmp_path, data=OTHER)
    assert checksums.load(tmp_path)[NAME].sha256 == hashlib.sha256(OTHER).hexdigest()


CHILD = """
import sys
from pathlib import Path
from dataprep import download
from dataprep.sources import PublicFile
file, to = PublicFile("a.zip", (sys.argv[1],), "a toy"), Path(sys.argv[2])
standings = download.survey([file], to, (), True, print)
download.bring(standings, to, 0, print)
"""


def test_killed_and_resumed_and_never_two_at_once(server: Server, tmp_path: Path) -> None:
    hold = threading.Event()

    def slow(handler: Handler, data: bytes) -> None:
        cut(200_000)(handler, data)
        hold.wait(20)

    server.manners[f"/{NAME}"] = [slow]
    part = tmp_path / f"{NAME}.part"
    command = [sys.executable, "-c", CHILD, f"{server.url}/{NAME}", str(tmp_path)]
    child = subprocess.Popen(command, cwd=Path(__file__).parents[1])
    until = time.monotonic() + 30
    while not (part.exists() and part.stat().st_size > 100_000):
        assert child.poll() is None and time.monotonic() < until
        time.sleep(0.01)
    assert "another download is at work in this folder" in refused(run(tmp_path))
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    hold.set()
    size = part.stat().st_size
    (tmp_path / ".download.lock").unlink()  # it is what the system holds, not the file, that counts
    fetched(tmp_path)
    assert server.ranges(f"/{NAME}")[-1] == f"bytes={size}-"


def test_ctrl_c(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.manners[f"/{NAME}"] = [cut(150_000)]

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fetch, "time", SimpleNamespace(sleep=interrupt))
        result = run(tmp_path)
    assert result.exit_code == 130 and "the same command goes on" in result.stderr
    fetched(tmp_path)
    assert server.ranges(f"/{NAME}")[-1] is not None


def test_a_full_disk(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for facts, why in (({"size_bytes": len(DATA)}, "disk is too full"), ({}, "cannot be written")):
        declare(server, **facts)
        with monkeypatch.context() as patch:
            patch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
            line = refused(run(tmp_path / "full"))
        assert why in line and "1,000 are free" in line.replace("1.00 kB", "1,000")
        assert not (tmp_path / "full").exists()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        line = refused(run(tmp_path))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "cannot be written (File too large); the 100,000 bytes that are there stay" in line
    fetched(tmp_path)
    assert server.ranges(f"/{NAME}")[-1] == "bytes=100000-"


def test_a_log_file_gets_plain_timed_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("dataprep.progress.time.monotonic", lambda: now[0])
    for total in (100_000_000, 0):
        with Transfer(NAME, total, 40_000_000) as progress:
            for _ in range(4):
                now[0] += 6
                progress.add(15_000_000, 15_000_000)
            progress.total = progress.done
        lines = [line.split(" ", 1)[1] for line in capsys.readouterr().err.splitlines()]
        of, eta = ("of 100.0 ", "0:12") if total else ("", "?")
        assert lines[0] == f"{NAME}: 70.0 {of}MB · 2.5 MB/s · ETA {eta}"
        assert lines[-1] == f"{NAME}: 100.0 of 100.0 MB · 2.5 MB/s · in 0:24"
    with Transfer(NAME, 10) as progress:
        progress.add(10, 10)
    assert not capsys.readouterr().err


def test_a_list_asks_nobody(server: Server, tmp_path: Path) -> None:
    result = run(tmp_path / "new", "--list", yes=False)
    assert result.exit_code == 0 and "to fetch: 1 of unknown size" in result.stdout
    assert "--yes fetches" in refused(run(tmp_path / "new", yes=False))
    assert not server.asked and not (tmp_path / "new").exists()


def test_asks_on_a_terminal(server: Server, tmp_path: Path) -> None:
    for answer, code in ((b"n\n", 130), (b"y\n", 0)):
        ours, theirs = os.openpty()
        os.write(ours, answer)
        command = [sys.executable, "-m", "dataprep", "download", "mnist", "--to", str(tmp_path)]
        more = ["--only", "t10k-labels-idx1-ubyte.gz", "--mirror", server.url]
        server.files["/t10k-labels-idx1-ubyte.gz"] = bytes(4542)
        done = subprocess.run(
            [*command, *more], stdin=theirs, capture_output=True, text=True, timeout=60
        )
        os.close(ours), os.close(theirs)
        assert "fetch?" in done.stderr
        # Its bytes are not MNIST's: asked for, and refused.
        assert done.returncode == (code or 2) and ("has md5" in done.stderr) == (code == 0)


def test_choosing_files(server: Server, tmp_path: Path) -> None:
    files = [
        PublicFile(name, (f"{server.url}/{name}",), name, optional=name == "c")
        for name in ("a", "b", "c")
    ]
    Toy.found = Download(tuple(files), "ask for d:\n  1. by mail")
    server.files |= {"/b": b"b", "/c": b"c"}
    line = refused(run(tmp_path))
    assert "a: " in line and "404" in line and not (tmp_path / "c").exists()
    assert (tmp_path / "b").read_bytes() == b"b"  # one that is gone does not keep the others
    result = run(tmp_path, "--only", "c")
    assert result.exit_code == 0 and (tmp_path / "c").read_bytes() == b"c"
    assert (
        "left out  a " in result.stdout and "optional  c" in run(tmp_path / "new", "--list").stdout
    )
    assert "not there yet: a\nask for d:\n  1. by mail\nnext:\n" in result.stdout
    assert "there are a, b, c" in refused(run(tmp_path, "--only", "d"))


@pytest.mark.parametrize("name", ["../a", "a/b", ".a", "", "a.part", "checksums.json", "a\\b"])
def test_names_and_addresses(server: Server, tmp_path: Path, name: str) -> None:
    Toy.found = Download((PublicFile(name, (f"{server.url}/a.zip",), "a toy"),))
    assert "is no name for a download" in refused(run(tmp_path))
    (tmp_path / "file").touch()
    assert "is a file, not a folder" in refused(
        CliRunner().invoke(main, [*MNIST, str(tmp_path / "file")])
    )
    declare(server, "file:///etc/passwd")
    assert "http:// or https://" in refused(run(tmp_path))
    assert "http:// or https://" in refused(run(tmp_path, "--mirror", "ftp://example.org"))


def test_sources_without_files(server: Server, tmp_path: Path) -> None:
    Toy.found = Download(steps="fill in the form\nthen log in")
    result = run(tmp_path)
    assert "fill in the form\nthen log in" in result.stdout and "no public files" in refused(result)
    none = CliRunner().invoke(main, ["download", "images"])
    assert "build images --raw FOLDER" in none.stdout and "no public files" in refused(none)
    sample = CliRunner().invoke(main, ["download", "sample"])
    assert sample.exit_code == 0 and "needs no download" in sample.stdout
    line = refused(CliRunner().invoke(main, ["download", "nothing"]))
    assert "no such source: nothing; there are " in line and "df2k, imagefolder" in line


@pytest.mark.parametrize("name", sources.names())
def test_declarations(name: str) -> None:
    result = CliRunner().invoke(main, ["download", name, "--list"])
    found = sources.load(name).downloads()
    assert result.exit_code == (0 if found.files or name == "sample" else 2)
    for file in found.files:
        assert file.name in result.stdout and file.urls and file.what
        assert all(url.rsplit("/", 1)[1] == file.name for url in file.urls)
        algorithm, _, digest = (file.checksum or "md5:" + "0" * 32).partition(":")
        assert len(digest) == hashlib.new(algorithm).digest_size * 2 and int(digest, 16) >= 0


def test_real_files_by_a_mirror(server: Server, tmp_path: Path) -> None:
    """MNIST's own test files have the declared sizes and md5, and what is printed builds."""
    real, names = (
        shared_folder("mnist"),
        [f"t10k-{x}-ubyte.gz" for x in ("images-idx3", "labels-idx1")],
    )
    server.files |= {f"/mirror/{name}": (real / name).read_bytes() for name in names}
    only = [arg for name in names for arg in ("--only", name)]
    env = {"NOSTALL_DATA": str(tmp_path), "NOSTALL_MIRROR": f"{server.url}/mirror/"}
    result = CliRunner().invoke(main, ["download", "mnist", "--yes", *only], env=env)
    assert result.exit_code == 0, result.output
    step = result.stdout.splitlines()[-1].split()
    built = CliRunner().invoke(main, [*step[3:], "--workers", "1"], env=env)
    assert built.exit_code == 0 and "test 10,000" in built.stdout
    shown = CliRunner().invoke(main, ["list"], env=env).stdout.split("sets in")[1]
    assert "mnist" in shown and "raw" not in shown.splitlines()[1:][0].split()[0]
