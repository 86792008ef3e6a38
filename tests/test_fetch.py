"""One file over HTTP, from a server on this machine: cut, moved, changed, slow, too large."""

from __future__ import annotations

import random
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from file_server import (
    DATA,
    MD5,
    NAME,
    OTHER,
    SHA256,
    Handler,
    Server,
    cut,
    declare,
    fetched,
    polite,
    refused,
    rest,
    run,
    serving_toy,
    status,
    tag,
    whole,
)

from dataprep import fetch
from dataprep.progress import Transfer


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
