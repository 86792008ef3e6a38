"""`dataprep download`: what is there, asked for, killed, by name, and in whose folder."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from file_server import (
    DATA,
    MD5,
    NAME,
    OTHER,
    SHA256,
    Handler,
    Server,
    Toy,
    cut,
    declare,
    fetched,
    refused,
    run,
    serving_toy,
)
from shared import folder as shared_folder

from dataprep import checksums, fetch, sources
from dataprep.__main__ import main
from dataprep.sources import Download, PublicFile

MNIST = ("download", "mnist", "--list", "--to")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serving_toy(monkeypatch) as state:
        yield state


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Collect the seconds that would have been waited between two tries."""
    found: list[float] = []
    monkeypatch.setattr(fetch, "time", SimpleNamespace(sleep=found.append))
    return found


def test_a_whole_download(server: Server, tmp_path: Path) -> None:
    to = tmp_path / "raw" / "to y"
    text = fetched(to)
    assert f"next:\n  python -m dataprep build toy --raw '{to}'" in text
    assert "to fetch  a.zip  size unknown  no checksum  a toy" in text and "free in" in text
    known = json.loads((to / "checksums.json").read_text())[NAME]
    assert known == {"sha256": SHA256[7:], "bytes": len(DATA), "url": f"{server.url}/{NAME}"}
    assert "there      a.zip" not in text and "nothing to fetch" in fetched(to)
    assert len(server.asked) == 1


def test_a_wrong_checksum(server: Server, tmp_path: Path) -> None:
    declare(server, checksum=MD5)
    server.files[f"/{NAME}"] = OTHER
    line = refused(run(tmp_path))
    found = hashlib.md5(OTHER).hexdigest()
    assert f"{NAME}: {server.url}/{NAME}: what came from there has md5 {found}" in line
    assert f"wanted is {MD5[4:]}; it is kept as a.zip.bad" in line
    assert {path.name for path in tmp_path.iterdir()} == {f"{NAME}.bad"}
    assert (tmp_path / f"{NAME}.bad").read_bytes() == OTHER


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
    assert "no such source: nothing; there are " in line and "fashion_mnist, ham10000" in line


@pytest.mark.parametrize("name", sources.names())
def test_declarations(name: str) -> None:
    result = CliRunner().invoke(main, ["download", name, "--list"])
    found = sources.load(name).downloads()
    assert result.exit_code == (0 if found.files or name == "sample" else 2)
    for file in found.files:
        assert file.name in result.stdout and file.urls and file.what
        for url in file.urls:
            # A DSpace repository has an address for its programs too, which names no file; a
            # Dataverse numbers its files.
            last = url.rsplit("/", 1)[1]
            numbered = re.search(r"/datafile/\d+(\?format=original)?$", url)
            assert last in (file.name, "content") or numbered, url
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


def no_file(path: Path, kind: str) -> None:
    """Put something of another kind where a file belongs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "a link":
        path.symlink_to(path.parent.parent / "victim")
    elif kind == "a folder":
        path.mkdir()
    else:
        os.mkfifo(path)


NAMES = (NAME, f"{NAME}.part", f".{NAME}.part.json", "checksums.json", ".download.lock")


@pytest.mark.parametrize("kind", ["a link", "a folder", "a pipe"])
@pytest.mark.parametrize("name", [*NAMES, f"{NAME}.bad"])
def test_what_is_no_file_is_left_alone(
    server: Server, tmp_path: Path, name: str, kind: str
) -> None:
    (tmp_path / "victim").write_bytes(b"of another")
    declare(server, checksum=MD5)
    if name.endswith((".bad", ".part.json")):
        server.manners[f"/{NAME}"] = [cut(150_000)]
        refused(run(tmp_path / "to", "--retries", "0"))
        (tmp_path / "to" / name).unlink(missing_ok=True)
        server.files[f"/{NAME}"] = OTHER
    no_file(tmp_path / "to" / name, kind)
    line = refused(run(tmp_path / "to"))
    assert line == f"error: {tmp_path / 'to' / name}: is {kind}, not a file: move it away"
    assert (tmp_path / "victim").read_bytes() == b"of another"
    assert os.path.lexists(tmp_path / "to" / name)


@pytest.mark.parametrize(
    "text",
    [
        "[1]",
        '{"a.zip": 3}',
        '{"a.zip": {"sha256": 1, "bytes": 2, "url": ""}}',
        '{"a.zip": {"sha256": "a", "bytes": "2", "url": ""}}',
        "[" * 99999,
    ],
)
def test_damaged_records(server: Server, tmp_path: Path, text: str) -> None:
    (tmp_path / "checksums.json").write_text(text)
    (tmp_path / NAME).write_bytes(DATA)
    assert "checksums.json: is damaged (" in refused(run(tmp_path))
