"""The documents say what the committed results say."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BENCH = ROOT / "bench"
sys.path.insert(0, str(BENCH))
import tables  # noqa: E402

MACHINE = {"cpu": "one", "cores": 2, "ram_gb": 24, "python": "3.11.7"}
HEAD = {"when": "2026-01-02T03:04:05+00:00", "commit": "abc", "machine": MACHINE}
DOCUMENT = "before\n<!-- results step a.b=1 -->\nold\n<!-- end -->\nafter\n"


def spread(value: float) -> dict[str, float]:
    return {"median": value, "min": value - 1, "max": value + 1}


def result(rate: float, **more: object) -> str:
    own = {"samples_per_s": spread(rate), "step_ms": spread(12.3456)}
    recipes = {"net": {"contestants": {"cached": own}}}
    return json.dumps(HEAD | {"a": {"b": 1}, "recipes": recipes} | more) + "\n"


def test_documents_are_those_of_the_results() -> None:
    command = [sys.executable, str(BENCH / "tables.py"), "--check"]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_number_in_a_table_of_the_readme_stands_between_marks() -> None:
    text = re.sub(r"<!-- results .*?<!-- end -->", "", (ROOT / "README.md").read_text(), flags=re.S)
    tables_left = [line for line in text.splitlines() if line.startswith("|")]
    assert not [line for line in tables_left if re.search(r"images/s|CPU", line)]


def test_the_newest_whole_result_is_taken(tmp_path: Path) -> None:
    lines = result(1) + result(2) + result(3, quick=True) + result(4, complete=False)
    lines += result(5).replace('"b": 1', '"b": 7')
    (tmp_path / "step.jsonl").write_text(lines)
    found = tables.filled(DOCUMENT, tmp_path)
    assert "| net | cached | 2.0 | 12.3 |  |  |" in found and "old" not in found
    assert found.startswith("before\n<!-- results step a.b=1 -->\n| recipe |")
    assert found.endswith("2026-01-02, one, 2 cores, 24 GB, Python 3.11.7, commit abc.\n"
                          "<!-- end -->\nafter\n")  # fmt: skip
    assert tables.filled(found, tmp_path) == found


def test_a_result_that_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "step.jsonl").write_text(result(1, quick=True))
    with pytest.raises(tables.DataError, match=r"step\.jsonl: no whole result has"):
        tables.filled(DOCUMENT, tmp_path)
