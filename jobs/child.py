"""One command of a study: its output is shown and kept, signals reach it once.

On a terminal a command that runs alone gets a terminal of its own, so that its bar is drawn; else
its lines are passed on under its name.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType

import click

from tasks.run.signals import Asked

POLL_S = 0.1

# Asks the kernel for SIGTERM when the study dies (PR_SET_PDEATHSIG), then becomes the command: no
# run goes on beside its successor. Where there is no such call, the lock alone keeps them apart.
TIED = """
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 15)
os.execvp(sys.argv[1], sys.argv[1:])
"""


class Stop(Asked):
    """The signal that asked the study to stop, passed on to the commands at work: they save.

    A command has a session of its own: a Ctrl-C reaches it through here, once. A second one
    interrupts it at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.processes: set[subprocess.Popen[bytes]] = set()

    def ask(self, number: int, frame: FrameType | None) -> None:
        passed = signal.SIGINT if self.signal else signal.SIGTERM
        self.signal = number
        for process in tuple(self.processes):
            process.send_signal(passed)


class Lines:
    """Cuts output into lines and hands them on; of a bar, only its last state."""

    def __init__(self, take: Callable[[str], None]) -> None:
        self._take, self._rest = take, b""
        self.last = ""  # the last line that says something, best of all what is wrong

    def add(self, chunk: bytes) -> None:
        """Take the next bytes of output."""
        *lines, rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            self._line(line)
        state = rest.rstrip(b"\r")  # a carriage return at the end may belong to a line's end
        self._rest = state.rpartition(b"\r")[2] + rest[len(state) :]

    def end(self) -> None:
        """Take what came without a line's end."""
        if self._rest:
            self._line(self._rest)

    def _line(self, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip("\r").rpartition("\r")[2]
        # Behind an error of a rank, torchrun writes a report of its own.
        if text.startswith("error: ") or (text.strip() and not self.last.startswith("error: ")):
            self.last = text.strip()
        self._take(text)


def run(
    command: Sequence[str], log: Path, label: str, stop: Stop, held: int, alone: bool = True
) -> tuple[int, str]:
    """Run a command to its end; returns its exit status and the last line that it wrote.

    log: file to append its output to. held: an open file that it inherits, so that a lock on it
    lives as long as the command. alone: no other command may write to the terminal meanwhile.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    show = _drawn if alone and sys.stderr.isatty() else _followed
    return show(command, log, label, stop, held)


def _followed(
    command: Sequence[str], log: Path, label: str, stop: Stop, held: int
) -> tuple[int, str]:
    """Let the command write to its log, and show the lines that come there.

    There is no pipe that would break when the study is killed: the command can still save.
    """
    lines = Lines(lambda text: click.echo(f"{label} | {text}", err=True))
    with open(log, "ab") as output, open(log, "rb") as reader:
        reader.seek(0, os.SEEK_END)
        with _started(command, output.fileno(), stop, held) as process:
            ended = False
            while not ended:
                ended = process.poll() is not None
                for chunk in iter(lambda: reader.read(1 << 16), b""):
                    lines.add(chunk)
                time.sleep(0 if ended else POLL_S)
    lines.end()
    return process.returncode, lines.last


def _drawn(command: Sequence[str], log: Path, label: str, stop: Stop, held: int) -> tuple[int, str]:
    """Give the command a terminal as large as ours, show what it draws there, log its lines."""
    reader, writer = pty.openpty()
    modes = termios.tcgetattr(writer)
    modes[1] &= ~termios.OPOST  # ends of lines are our own terminal's business
    termios.tcsetattr(writer, termios.TCSANOW, modes)
    columns, rows = shutil.get_terminal_size()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    with open(log, "a", encoding="utf-8") as file:
        lines = Lines(lambda text: click.echo(text, file))
        with _started(command, writer, stop, held) as process:
            os.close(writer)
            for chunk in _chunks(reader, process):
                sys.stderr.buffer.write(chunk)
                sys.stderr.buffer.flush()
                lines.add(chunk)
        lines.end()
    os.close(reader)
    return process.returncode, lines.last


def _chunks(reader: int, process: subprocess.Popen[bytes]) -> Iterator[bytes]:
    """Yield output until the command has ended, even if what it left behind holds the terminal."""
    while True:
        ended = process.poll() is not None
        if select.select([reader], [], [], 0 if ended else POLL_S)[0]:
            try:
                yield os.read(reader, 1 << 16)
            except OSError:  # how a terminal says that the other side is closed
                return
        elif ended:
            return


@contextlib.contextmanager
def _started(
    command: Sequence[str], output: int, stop: Stop, held: int
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a command in a session of its own; at the end it has ended, whatever happened."""
    process = subprocess.Popen(
        [sys.executable, "-I", "-c", TIED, *command],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env=_environment(),
        pass_fds=(held,),
        start_new_session=True,
    )
    stop.processes.add(process)
    try:
        if stop:  # asked while it started
            process.terminate()
        yield process
        process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
        stop.processes.discard(process)


def _environment() -> dict[str, str]:
    """Return ours, with this checkout importable from any folder."""
    root = str(Path(__file__).resolve().parents[1])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
