"""bench/fixation_metrics.py runs, and tells when scores differ. No test here looks at a time."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

BENCH = Path(__file__).resolve().parents[1] / "bench"


def test_quick_run(tmp_path: Path) -> None:
    target = tmp_path / "result.json"
    script = [sys.executable, str(BENCH / "fixation_metrics.py")]
    command = [*script, "--quick", "--threads", "2", "--json", str(target)]
    env = os.environ | {"PYTHONPATH": str(BENCH.parent)}
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    facts: dict[str, Any] = json.loads(target.read_text())
    assert facts["quick"]
    assert facts["work"]["images"] == 20
    assert list(facts["contestants"]) == ["nostall-2", "plain"]
    for own in facts["contestants"].values():
        assert own["images_scored"] >= 2
        per_image = 1 / own["images_per_s"]["median"]
        whole = own["preparing_s"]["median"] + 20 * per_image
        assert own["extrapolated_s"]["median"] == pytest.approx(whole)
    assert facts["differences"]["auc"] < 1e-9
    assert "nostall-2" in done.stdout


def test_other_scores_are_no_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCH))
    bench = importlib.import_module("fixation_metrics")
    scores = dict.fromkeys(bench.MAY_DIFFER, 0.5)
    runs = {"nostall-1": [{"scores": scores | {"auc": 0.6, "fixations": 3}}]}
    with pytest.raises(click.ClickException, match=r"plain way's: auc: 0\.1$"):
        bench.agree(runs | {"plain": [{"scores": scores}]})
    runs["nostall-1"][0]["scores"]["auc"] = 0.5
    assert set(bench.agree(runs | {"plain": [{"scores": scores}]})) == set(bench.MAY_DIFFER)
