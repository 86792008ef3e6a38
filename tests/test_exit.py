"""A program may end, or fail, while a loader is in the middle of an epoch."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
from toys import Labelled, built

from loaders import Loader
from loaders.stages import Normalise

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = """
import sys
from loaders import Dataset, Loader
folder, engine, end = sys.argv[1:]
batches = iter(Loader(Dataset(folder), global_batch_size=4, threads=2, engine=engine))
for _ in range(3):
    next(batches)
exec(end)
"""


@pytest.mark.parametrize("engine", ["host", "dali"])
@pytest.mark.parametrize(("end", "code"), [("pass", 0), ("raise ValueError(1)", 1)])
def test_program_ends_with_its_own_exit_code(
    tmp_path: Path, engine: str, end: str, code: int
) -> None:
    folder = built(Labelled(), tmp_path / "set").folder
    for _ in range(2):  # whether a thread is caught at work is a matter of luck
        command = [sys.executable, "-c", PROGRAM, str(folder), engine, end]
        done = subprocess.run(
            command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, timeout=120
        )
        assert done.returncode == code, done.stderr.decode()
        assert b"terminate called" not in done.stderr


def test_a_closed_loader_leaves_no_memory(tmp_path: Path) -> None:
    """Its buffers go with the last reference: each validation of a long run opens a loader."""
    dataset = built(Labelled(), tmp_path / "labels")
    gc.disable()
    try:
        loader = Loader(dataset, stages=(Normalise(field="image"),), epochs=1, global_batch_size=4)
        for batch in loader:
            assert len(batch) == 4
        loader.close()
        gone = [weakref.ref(one) for one in (loader, loader.engine)]
        del loader, batch
        assert [one() for one in gone] == [None, None]
    finally:
        gc.enable()
