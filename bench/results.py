"""Results of the benchmarks: a JSON object a line, appended to one file a benchmark.

Every script of this folder shares the options of `saving` and ends with `keep`.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

import click

from dataprep.manifest import DataError

Command = TypeVar("Command", bound=Callable[..., Any])
ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "bench" / "results"
# Versions of those that are installed stand in every line.
PACKAGES = (
    "ffcv",
    "grain",
    "h5py",
    "litdata",
    "lmdb",
    "mosaicml-streaming",
    "numba",
    "numpy",
    "nvidia-dali-cuda120",
    "nvidia-dali-cuda130",
    "opencv-python",
    "opencv-python-headless",
    "pillow",
    "scikit-learn",
    "scipy",
    "simplejpeg",
    "spdl",
    "timm",
    "torch",
    "torchvision",
    "webdataset",
    "zarr",
)


@cache
def facts_of_run() -> dict[str, Any]:
    """Return commit and machine as they are at the first call: a script calls it as it begins."""
    return {"commit": commit(ROOT), "machine": machine()}


def machine() -> dict[str, Any]:
    """Return facts of the machine and the versions in use; never its name."""
    cpu = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    facts: dict[str, Any] = {
        "cpu": cpu[0] if cpu else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "ram_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
    }
    return facts | ({"gpu": card} if (card := gpu()) else {})


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def gpu() -> str:
    """Return the first GPU, "" without one or where torch, if it is loaded, cannot use it."""
    torch: Any = sys.modules.get("torch")
    if torch is not None and not torch.cuda.is_available():
        return ""
    try:
        command = ["nvidia-smi", "-L"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    names: list[str] = re.findall(r"^GPU \d+: (.+) \(UUID", done.stdout, re.MULTILINE)
    return names[0] if names else ""


def commit(root: Path) -> str:
    """Return the short hash of the checkout, with "+" where files differ; "" without git."""
    # Results do not count: each run adds to them.
    state = _git(root, "status", "--porcelain", "--", ".", ":!bench/results")
    place = (_git(root, "rev-parse", "--show-toplevel", "--short", "HEAD") or "").split("\n")
    if state is None or len(place) != 2 or Path(place[0]).resolve() != root.resolve():
        return ""  # no git, no commit, or a folder inside somebody else's checkout
    return place[1] + ("+" if state else "")


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), "--no-optional-locks", *arguments],
            capture_output=True,
            text=True,
        )
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def line(bench: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return facts with those of the run in front."""
    when = datetime.now(UTC).isoformat(timespec="seconds")
    return {"bench": bench, "when": when, **facts_of_run(), **facts}


def append(bench: str, facts: Mapping[str, Any], folder: Path) -> Path:
    """Add one line to the results of a benchmark, whole or not at all; return the file.

    DataError where it cannot be written.
    """
    path = Path(folder) / f"{bench}.jsonl"
    _append(path, line(bench, facts))
    return path


def _append(path: Path, whole: Mapping[str, Any]) -> None:
    text = (json.dumps(whole, ensure_ascii=False) + "\n").encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            size = os.fstat(file).st_size
            if os.write(file, text) < len(text):  # half a line would spoil the next one too
                os.ftruncate(file, size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(file)
    except OSError as error:
        raise DataError(path, "", f"result not saved: {error.strerror}") from None


def read(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a file, oldest first; DataError for a damaged one."""
    try:
        lines = Path(path).read_bytes().removesuffix(b"\n").split(b"\n")
    except OSError as error:
        raise DataError(path, "", f"no results: {error.strerror}") from None
    found = []
    for number, text in enumerate(lines, start=1):
        try:
            facts = json.loads(text)
        except ValueError:
            facts = None
        if not isinstance(facts, dict):
            raise DataError(path, f"line {number}", "is no JSON object")
        found.append(facts)
    return found


def saving(command: Command) -> Command:
    """Give a command the options --results, --no-save and --json."""
    path = click.Path(path_type=Path)
    for option in (
        click.option("--json", "target", type=path, help="write the result here too, alone"),
        click.option("--no-save", is_flag=True, help="append to no results"),
        click.option(
            "--results",
            type=path,
            help="folder whose file gets a line more  [default: bench/results; --quick: none]",
        ),
    ):
        command = option(command)
    return command


def destination(results: Path | None, no_save: bool, quick: bool) -> Path | None:
    """Return the folder that the options of `saving` name, None for none."""
    if no_save:
        return None
    return results or (None if quick else FOLDER)


def keep(
    bench: str, facts: Mapping[str, Any], folder: Path | None, target: Path | None
) -> dict[str, Any]:
    """Append a result and write it alone, as asked for; return its line.

    Print first what it says: DataError where one of the two failed, after both were tried.
    """
    whole, error = line(bench, facts), None
    try:
        if folder:
            _append(Path(folder) / f"{bench}.jsonl", whole)
    except DataError as failed:
        error = failed
    if target:
        _write(target, whole)
    if error:
        raise error
    return whole


def _write(target: Path, whole: Mapping[str, Any]) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n")
    except OSError as error:
        raise DataError(target, "", f"result not saved: {error.strerror}") from None


def finish(bench: str, facts: Mapping[str, Any], folder: Path | None, target: Path | None) -> None:
    """Keep a result as a script's last deed: one line and exit code 2 where that fails."""
    try:
        keep(bench, facts, folder, target)
    except DataError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
