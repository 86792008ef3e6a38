"""A program may end, or fail, while a loader is in the middle of an epoch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from toys import Labelled, built

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
