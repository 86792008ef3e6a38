"""A small HTTP server of the tests, with the manners and the ill manners of real ones.

And the source `toy`, whose one file it serves: what tests of downloads share.
"""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from dataprep import checksums, sources
from dataprep.__main__ import main
from dataprep.sources import Download, PublicFile

DATA = random.Random(1).randbytes(300_000)
OTHER = random.Random(2).randbytes(300_000)
MD5, SHA256 = (f"{name}:{hashlib.new(name, DATA).hexdigest()}" for name in ("md5", "sha256"))
NAME = "a.zip"

# What a server does with one request for a file's bytes.
Manner = Callable[["Handler", bytes], None]


@dataclass
class Server:
    """files: path -> bytes. manners: path -> what to do with its next requests, in order."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    manners: dict[str, list[Manner]] = field(default_factory=dict)
    asked: list[tuple[str, str | None, str | None]] = field(default_factory=list)

    def ranges(self, path: str) -> list[str | None]:
        """Return the Range header of each request for a path."""
        return [wanted for name, wanted, _ in self.asked if name == path]


class Handler(BaseHTTPRequestHandler):
    """Ranges, If-Range and strong ETags, unless a manner does otherwise."""

    server: Any
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        state: Server = self.server.state
        state.asked.append((self.path, self.headers["Range"], self.headers["If-Range"]))
        manners = state.manners.get(self.path)
        manner = manners.pop(0) if manners else polite
        self.close_connection = True
        if self.path not in state.files:
            return self.head(404, {"Content-Length": "0"})
        return manner(self, state.files[self.path])

    def head(self, status: int, headers: dict[str, str]) -> None:
        """Send a status and headers."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def tag(data: bytes) -> str:
    """Return the strong ETag of a content."""
    return f'"{hashlib.md5(data).hexdigest()}"'


def whole(handler: Handler, data: bytes, **more: str) -> None:
    """Answer with the whole file, whatever was asked."""
    handler.head(200, {"Content-Length": str(len(data)), "ETag": tag(data)} | more)
    handler.wfile.write(data)


def polite(handler: Handler, data: bytes) -> None:
    """Answer as a good server does."""
    wanted, condition = handler.headers["Range"], handler.headers["If-Range"]
    if not wanted or condition not in (None, tag(data)):
        return whole(handler, data)
    return rest(handler, data)


def rest(handler: Handler, data: bytes, etag: bool = True) -> None:
    """Answer with a rest, whatever the condition."""
    start = int(handler.headers["Range"].removeprefix("bytes=").rstrip("-"))
    if start >= len(data):
        return handler.head(416, {"Content-Range": f"bytes */{len(data)}", "Content-Length": "0"})
    place = f"bytes {start}-{len(data) - 1}/{len(data)}"
    headers = {"Content-Range": place, "Content-Length": str(len(data) - start)}
    handler.head(206, headers | ({"ETag": tag(data)} if etag else {}))
    return handler.wfile.write(data[start:]) and None


def cut(size: int, **more: str) -> Manner:
    """Promise all that is wanted, and close the connection after some bytes of it."""

    def manner(handler: Handler, data: bytes) -> None:
        wanted = handler.headers["Range"]
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        place = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if wanted else {}
        headers = {"Content-Length": str(len(data) - start), "ETag": tag(data)} | place | more
        handler.head(206 if wanted else 200, {k: v for k, v in headers.items() if v})
        handler.wfile.write(data[start : start + size])

    return manner


def status(code: int, **headers: str) -> Manner:
    """Answer with a status and nothing else; header names with _ for -."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler, data: handler.head(code, {"Content-Length": "0"} | named)


@contextmanager
def serving() -> Iterator[Server]:
    """Serve on a free port of this machine until the end of the block."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        state = Server(f"http://127.0.0.1:{server.server_port}")
        server.state = state  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield state
        server.shutdown()
        thread.join()


class Toy:
    """A source of one file, or of those that a test gives it."""

    summary, needs_raw, found = "toy", True, Download()

    @classmethod
    def downloads(cls) -> Download:
        return cls.found


@contextmanager
def serving_toy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Serve DATA as /a.zip, which is what the source `toy` has."""
    load, names = sources.load, sources.names
    monkeypatch.setattr(sources, "load", lambda name: Toy if name == "toy" else load(name))
    monkeypatch.setattr(sources, "names", lambda: [*names(), "toy"])
    with serving() as state:
        state.files[f"/{NAME}"] = DATA
        declare(state)
        yield state


def declare(server: Server, *urls: str, **facts: Any) -> None:
    """Let the source have one file, at these addresses."""
    Toy.found = Download((PublicFile(NAME, urls or (f"{server.url}/{NAME}",), "a toy", **facts),))


def run(to: Path, *args: str, yes: bool = True) -> Any:
    """Run the command for the source."""
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
    """Return the one line of an error."""
    assert result.exit_code == 2, (result.exit_code, result.output, result.exception)
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and result.stderr.endswith(f"{lines[0]}\n"), result.stderr
    return str(lines[0])
