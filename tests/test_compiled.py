"""Kernels are kept on disk for one version of the code, never for another."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dataprep import compiled

LIBRARY = """
from dataprep.compiled import compiled

@compiled
def inner(x):
    return x + {term}
"""
PROGRAM = """
import sys
from pathlib import Path
from dataprep import compiled

room = Path({room!r})
compiled.version = lambda *rooms, own=compiled.version: own(room)
sys.path.insert(0, str(room))
from outer import outer
print(outer(1))
"""
OUTER = """
from dataprep.compiled import compiled
from inner import inner

@compiled
def outer(x):
    return inner(x)
"""


def result(room: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("XDG_CACHE_HOME", str(room.parent / "cache"))
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    root = Path(compiled.__file__).parents[1]
    command = [sys.executable, "-c", PROGRAM.format(room=str(room))]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=root).stdout


def test_a_change_of_an_inlined_file_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """numba alone answers 2 twice here: only inner.py changed, outer's machine code is kept."""
    room = tmp_path / "room"
    room.mkdir()
    (room / "outer.py").write_text(OUTER)
    (room / "inner.py").write_text(LIBRARY.format(term=1))
    assert result(room, monkeypatch).split() == ["2"]
    (room / "inner.py").write_text(LIBRARY.format(term=10))
    assert result(room, monkeypatch).split() == ["11"]
    assert len(list((tmp_path / "cache" / "nostall").iterdir())) == 2


def test_old_versions_are_cleared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for i in range(12):
        (tmp_path / "nostall" / f"kernels-{i:016d}").mkdir(parents=True)
    compiled.folder.cache_clear()
    try:
        assert compiled.folder().name.startswith("kernels-")
    finally:
        compiled.folder.cache_clear()
    assert len(list((tmp_path / "nostall").iterdir())) == 7
