"""What is logged of the steps between two lines."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tasks.run.window import Window


def test_means_speed_and_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A term counts in the steps that have it; fillers and pauses are left out."""
    now = [100.0]
    monkeypatch.setattr("tasks.run.window.time", SimpleNamespace(perf_counter=lambda: now[0]))
    loader: Any = SimpleNamespace(wait_s=5.0)
    window = Window(loader)
    window.add(4, {"loss": torch.tensor(1.0)})
    window.add(3, {"loss": torch.tensor(3.0), "entropy": torch.tensor(7.0)})
    loader.wait_s += 0.5
    with window.paused():
        now[0] += 60
    now[0] += 2
    measured = window.close()
    assert {name: float(term) for name, term in measured.terms.items()} == {"loss": 2, "entropy": 7}
    assert measured.seconds == pytest.approx(2)
    assert measured.samples_per_s == pytest.approx(3.5)
    assert measured.wait_share == pytest.approx(0.25)
    window.add(1, {"loss": torch.tensor(float("nan"))})
    assert float(window.close().terms["loss"]) == 0
