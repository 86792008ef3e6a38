"""Damaged sets: each fault is named or harmless; never a crash, a hang or a huge allocation.

Seeded cases change one file of a built set (a byte, the end, a cell of a column, a field of the
manifest, the whole file) before it is opened or while a loader runs. They run in a child process
with a limit on memory and a watchdog, so that a signal, a hang and a wrong size all show.
NOSTALL_CORRUPTIONS sets the number of cases of all sets together (default 300).

As a program: `python tests/test_corruption.py FOLDER FAMILY FIRST END` runs some cases and prints
two JSON lines for each: what is done, what came of it.
"""

from __future__ import annotations

import faulthandler
import gc
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from damage import Damage, draw
from raw import imagefolder
from toys import FAMILIES, built

from dataprep import index, sources
from dataprep.build import build
from dataprep.manifest import DataError
from loaders import Dataset, Loader
from loaders.stages import Normalise
from loaders.stages.random_resized_crop import RandomResizedCrop
from loaders.strategies import Strategy

CASES = int(os.environ.get("NOSTALL_CORRUPTIONS", "300"))
NAMES = ("labels", "pairs", "points", "photos")
WATCH_S = 30  # a case takes a few hundredths of a second
GOOD = ("harmless", "named", "named beside")
SPARE_BYTES = 1 << 30  # address space beyond what a child has when its cases begin


def settings_of(name: str) -> dict[str, Any]:
    """Return how a set is loaded; "photos" holds encoded images."""
    if name != "photos":
        return FAMILIES[name].settings
    return {"stages": (RandomResizedCrop(height=24, width=24), Normalise(field="image"))}


def build_one(name: str, folder: Path) -> None:
    """Build a set into the folder's `sound`."""
    if name != "photos":
        built(FAMILIES[name].source, folder / "sound")
        return
    (folder / "raw").mkdir()
    source = sources.load("imagefolder")(**imagefolder.write(folder / "raw"))
    build(source, folder / "raw", folder / "sound", workers=1)


def use(folder: Path, settings: dict[str, Any], late: Callable[[], None]) -> None:
    """Read all there is; `late` is called when the first batch is there."""
    dataset = Dataset(folder)
    for split in list(dataset.manifest.splits):
        loader = Loader(dataset, split=split, epochs=1, threads=2, prefetch=0, **settings)
        try:
            for batch in loader:
                late()
                batch.clone()
        finally:
            loader.close()
    for column in (dataset.keys(), index.Names(folder / "index", "name", dataset.samples)):
        for row in range(len(column)):
            column[row]


def outcome(folder: Path, settings: dict[str, Any], damage: Damage, late: bool) -> dict[str, str]:
    """Return how a case ended: harmless, named, named beside, or what went wrong."""
    done: list[bool] = []

    def act() -> None:
        if not done:
            done.append(True)
            damage.do()

    try:
        if not late:
            act()
        use(folder, settings, act)
    except DataError as error:
        return {"ended": named(folder, damage, str(error)), "text": str(error)}
    except BaseException as error:
        frames = traceback.extract_tb(error.__traceback__)
        ours = [f for f in frames if f"{os.sep}tests{os.sep}" not in f.filename]
        places = [f"{Path(f.filename).name}:{f.lineno}" for f in ours[-3:]]
        return {"ended": f"{type(error).__name__} at {' '.join(places)}", "text": str(error)[:200]}
    return {"ended": "harmless", "text": ""}


def named(folder: Path, damage: Damage, text: str) -> str:
    """Tell what an error names: the damaged file, one that it contradicts or a sample, nothing."""
    if str(damage.path.relative_to(folder)) in text:
        return "named"
    # Where a column and a shard disagree, a reader cannot know which of them is wrong.
    if re.search(rf"{re.escape(str(folder))}/|sample \d", text) and not damage.is_plain:
        return "named beside"
    return "unnamed"


def run(folder: Path, name: str, first: int, end: int) -> None:
    """Run some cases on a copy of the set that is mended after each."""
    options = settings_of(name) | {"global_batch_size": 2, "strategy": Strategy}
    use(folder, options, lambda: None)  # compiles and imports, before memory is measured
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + SPARE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    files = len(os.listdir("/proc/self/fd"))
    for number in range(first, end):
        index.HELD_BYTES = 0 if number % 2 else 1 << 20  # small columns as large ones, too
        damage, late = draw(folder, number)
        print(json.dumps({"case": number, "what": damage.what}), flush=True)
        sound = damage.path.read_bytes()
        faulthandler.dump_traceback_later(WATCH_S, exit=True)
        ended = outcome(folder, options, damage, late)
        faulthandler.cancel_dump_traceback_later()
        print(json.dumps(ended), flush=True)
        damage.path.unlink(missing_ok=True)
        damage.path.write_bytes(sound)
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= files + 2, "files were left open"


def cases(sound: Path, name: str, first: int, end: int) -> Iterator[dict[str, Any]]:
    """Yield every case with its outcome, going on in a new child where one dies."""
    folder = sound.parent / "damaged"
    while first < end:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(sound, folder)
        root = Path(__file__).parent.parent
        environment = os.environ | {"PYTHONPATH": str(root), "MALLOC_ARENA_MAX": "2"}
        command = [sys.executable, __file__, str(folder), name, str(first), str(end)]
        child = subprocess.run(command, env=environment, capture_output=True, text=True)
        lines = [json.loads(line) for line in child.stdout.splitlines()]
        for told, ended in zip(lines[::2], lines[1::2], strict=False):
            yield told | ended
        if not lines or (child.returncode and not len(lines) % 2):
            raise RuntimeError(child.stderr[-2000:])
        first = lines[2 * ((len(lines) - 1) // 2)]["case"] + 1
        if len(lines) % 2:  # it died on the case that it told of last
            text = child.stderr.strip()[-2000:]
            yield lines[-1] | {"ended": f"died: {child.returncode}", "text": text}


@pytest.mark.parametrize("name", NAMES)
def test_damage_is_named_or_harmless(name: str, tmp_path: Path) -> None:
    build_one(name, tmp_path)
    first = NAMES.index(name) * 1_000_000
    found = list(cases(tmp_path / "sound", name, first, first + CASES // len(NAMES)))
    assert len(found) == CASES // len(NAMES)
    counts = Counter(case["ended"] for case in found)
    print(f"{name}: {counts}")
    bad = [case for case in found if case["ended"] not in GOOD]
    assert not bad, "\n".join(json.dumps(case) for case in bad)


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
