"""Notifications of a study, by the real library to a server on this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from toys import SuperResolution, built

import jobs.studies
from jobs.__main__ import main
from jobs.notify import Notice

ROOT = Path(__file__).parents[1]
STUDY = """
import sys
from jobs.study import Metric, Study, Variant
from jobs.work import Work

SMALL = {"net.scale": "2", "net.width": "16", "net.blocks": "1", "task.patch": "12"}
SMALL |= {"global_batch_size": "6", "steps": "2", "data": "pairs"}
CODE = "import time, sys; print('error: no luck'); sys.exit(3)"
SLOW = "import time; print('ready', flush=True); time.sleep(60)"

def each(member):
    kind = member.variant.name
    code = {"fails": CODE, "waits": SLOW}.get(kind)
    return [] if code is None else [Work(
        label=f"{member.name} {kind}", kind=kind, folder=lambda: member.run.folder,
        is_done=lambda: False, command=lambda: [sys.executable, "-c", code],
        after=(member.name,), part_of=member.name,
    )]

STUDY = Study(
    summary="", seeds=(1,), headline=(Metric(name="psnr_y", label="PSNR"),), each=each,
    variants=tuple(Variant(name=name, model="shufflemixer_tiny", settings=SMALL)
                   for name in ("fine", "fails", "waits")),
)
"""
ENTRY = """
import sys
import jobs.studies
jobs.studies.__path__.append(sys.argv.pop(1))
from jobs.__main__ import main
main()
"""


@dataclass
class Service:
    """What was told, and the URL to tell it to; `status` is what it answers."""

    url: str = ""
    status: int = 200
    told: list[dict[str, Any]] = field(default_factory=list)


@pytest.fixture
def service() -> Iterator[Service]:
    here = Service()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            here.told.append(json.loads(body))
            self.send_response(here.status)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    here.url = f"json://somebody:topsecret@127.0.0.1:{server.server_port}/here"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield here
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("notify")
    built(SuperResolution(), folder / "data" / "pairs")
    (folder / "studies").mkdir()
    (folder / "studies" / "told.py").write_text(STUDY)
    jobs.studies.__path__.append(str(folder / "studies"))
    yield folder
    jobs.studies.__path__.remove(str(folder / "studies"))


def arguments(root: Path, runs: Path, *other: str) -> list[str]:
    places = ["--into", str(runs), "--data-root", str(root / "data"), "--device", "cpu"]
    return ["study", "told", *places, "--threads", "1", *other]


def study(root: Path, runs: Path, *other: str) -> Result:
    return CliRunner().invoke(main, arguments(root, runs, *other))


def test_the_end_and_what_failed_are_told(root: Path, tmp_path: Path, service: Service) -> None:
    asked = ("--notify", service.url, "--variants")
    went = study(root, tmp_path, *asked, "fine")
    assert went.exit_code == 0, went.output
    (told,) = service.told
    assert (told["title"], told["type"]) == ("study told: finished", "success")
    assert str(tmp_path) in told["message"]

    went = study(root, tmp_path, *asked, "fine,fails")
    assert went.exit_code == 1
    told = service.told[1]
    assert (told["title"], told["type"]) == ("study told: failed", "failure")
    assert told["message"].startswith("fails-s1 fails: error: no luck\n")
    everything = [went.output, *(path.read_text() for path in tmp_path.rglob("*.json*"))]
    assert not any("topsecret" in text for text in everything)


def test_an_error_of_the_study_itself_is_told(
    root: Path, tmp_path: Path, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The URL may come from the environment: not from a shell's history."""
    monkeypatch.setenv("NOSTALL_NOTIFY", service.url)
    went = study(root, tmp_path, "--report-only")
    assert went.exit_code == 2 and "nothing was run here yet" in went.output
    (told,) = service.told
    assert told["title"] == "study told: failed" and "nothing was run here yet" in told["message"]


def test_being_told_to_stop_is_told(root: Path, tmp_path: Path, service: Service) -> None:
    asked = arguments(root, tmp_path, "--variants", "waits", "--notify", service.url)
    line = [sys.executable, "-c", ENTRY, str(root / "studies"), *asked]
    log = tmp_path / "told" / "fine-s1" / "output.log"  # with the same settings: one run
    with subprocess.Popen(line, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while not log.exists() or "ready" not in log.read_text():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(timeout=60) == 128 + signal.SIGTERM
    (told,) = service.told
    assert (told["title"], told["type"]) == ("study told: told to stop", "warning")


@pytest.mark.parametrize("url", ["somewhere", "json://", "nosuch://host", "mailto://me:topsecret@"])
def test_what_is_no_url_is_refused_before_anything_starts(
    root: Path, tmp_path: Path, url: str
) -> None:
    went = study(root, tmp_path, "--notify", "json://127.0.0.1:1", "--notify", url)
    assert went.exit_code == 2 and went.output.count("\n") == 1
    assert "--notify: URL 2 of 2 is no URL that Apprise knows" in went.output
    assert "topsecret" not in went.output and not list(tmp_path.iterdir())


def test_what_cannot_be_told_stops_nothing(
    service: Service, capfd: pytest.CaptureFixture[str]
) -> None:
    service.status = 500
    Notice(["json://somebody:topsecret@127.0.0.1:1", service.url]).send("a", ["b"], "success")
    said = capfd.readouterr()
    assert said.err.splitlines() == [
        f"--notify: URL {number} of 2 could not be told (its service took it not)"
        for number in (1, 2)
    ]
    assert len(service.told) == 1 and not said.out


def test_a_plugin_that_raises_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, service: Service, capfd: pytest.CaptureFixture[str]
) -> None:
    import apprise

    def broken(*_: Any, **__: Any) -> bool:
        raise RuntimeError("topsecret")

    notice = Notice([service.url])
    monkeypatch.setattr(apprise.Apprise, "notify", broken)
    notice.send("a", ["b"], "failure")
    assert capfd.readouterr().err == "--notify: the URL could not be told (RuntimeError)\n"


def test_long_texts_are_cut(service: Service) -> None:
    Notice([service.url]).send("a", ["first", *["line"] * 1000, "last"], "success")
    (told,) = service.told
    assert told["message"].startswith("…") and told["message"].endswith("line\nlast")
