"""bench/strategies.py: what it feeds strategies is what train.py does. No test looks at a time."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    return importlib.import_module("strategies")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("strategies")
    return folder


def test_quick_run(root: Path) -> None:
    """The command runs every kind of strategy and says what skipping saves."""
    names = ("smart", "ordered_sgd", "rholoss")
    command = [sys.executable, str(ROOT / "bench" / "strategies.py"), "--quick"]
    command += ["--root", str(root), "--json", str(root / "found.json")]
    command += [part for name in names for part in ("--strategy", name)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    found = json.loads((root / "found.json").read_text())
    assert list(found["strategies"]) == ["random", *names]
    for kinds in found["strategies"].values():
        assert all(facts["samples_per_s"]["median"] > 0 for facts in kinds.values())
    assert found["strategies"]["random"]["training"]["times_wall"]["median"] == 1
    decoded = found["skipping"]["decoded"]
    assert decoded["random"] == 2 * 2_000  # two epochs of the quick digits
    assert "infobatch decodes" in done.stdout


def test_strategies_hear_their_scores(bench: Any, root: Path) -> None:
    """Fed as in training: a listening strategy knows the loss of what it has seen."""
    data = bench.prepared(root, quick=True)
    fed = bench.Fed({"name": "smart", "data": str(data)})
    ids = np.concatenate([batch.id.numpy().copy() for batch in islice(fed.steps(), 40)])
    fed.loader.close()
    heard = np.flatnonzero(fed.strategy.share > 0)
    assert len(heard) and set(heard) <= set(fed.loader.rows(ids))
    wanted = bench.hardness_of(fed.loader.dataset.samples)[np.asarray(fed.loader.ids)[heard]]
    once = np.isclose(fed.strategy.share[heard], 1 - fed.strategy.decay)
    np.testing.assert_allclose(fed.strategy.history[heard][once], wanted[once], rtol=1e-5)


def test_figures_are_beside_random_of_the_same_round(bench: Any) -> None:
    run = {"items": 1_000, "wall_s": 2.0, "cpu_s": 3.0, "wait_share": 0.5}
    found = bench.figures([run], [run | {"wall_s": 1.0, "cpu_s": 2.0}])
    assert found["us_beside_random"]["median"] == pytest.approx(1_000)
    assert found["times_wall"]["median"] == pytest.approx(2)
    assert found["times_cpu"]["median"] == pytest.approx(1.5)
    assert found["samples_per_s"]["median"] == pytest.approx(500)
