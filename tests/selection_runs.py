"""A tiny set of three classes, and run folders of the study of batch selection written by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from toys import Toy

from dataprep.manifest import Field
from dataprep.raw import Raw
from dataprep.sources import Entry
from jobs.selection import RANDOM, calibration
from jobs.selection.calibration import Calibration, Measured
from jobs.study import Member, Study
from tasks.run import report

SAMPLES = {"train": 80, "val": 24, "test": 12}


@dataclass(frozen=True, kw_only=True)
class Spots(Toy):
    """A bright column tells the class, noise hides it a little."""

    summary: ClassVar[str] = "spots"
    shard_entries: ClassVar[int] = 64

    def entries(self, raw: Raw) -> list[Entry]:
        splits = [split for split, count in SAMPLES.items() for _ in range(count)]
        return [Entry(f"{i:03d}", split, {}) for i, split in enumerate(splits)]

    def classes(self, entries: Any) -> list[str]:
        return ["left", "middle", "right"]

    def fields(self) -> dict[str, Field]:
        image = {"kind": "image", "dtype": "uint8", "shape": (6, 6), "scale": 1 / 255}
        return {"image": Field(**image), "label": Field(kind="value", dtype="int64")}

    def one(self, i: int) -> dict[str, Any]:
        image = np.random.default_rng(i).integers(0, 120, (6, 6), dtype=np.uint8)
        image[:, 2 * (i % 3)] += 100
        return {"image": image, "label": i % 3}


def members(study: Study, runs: Path, seeds: tuple[int, ...]) -> Iterator[Member]:
    """Yield the members of a study of which all settings are known."""
    from jobs.study import Execution

    for seed in seeds:
        peers: list[Member] = []
        for variant in study.variants:
            execution = Execution(runs=runs.parent, data_root=str(runs.parent.parent / "data"))
            peers.append(Member(runs.name, variant, seed, execution, peers))
        yield from (member for member in peers if member.is_ready)


def write_run(member: Member, fingerprint: str, figures: Mapping[str, float], data: str) -> None:
    """Write what a finished training leaves, with accuracies that grow towards its figures."""
    run = member.run
    run.begin(member.facts | {"fingerprint": fingerprint})
    recipe = member.facts["recipe"]
    steps, rng = recipe["steps"], np.random.default_rng(member.seed)
    every = recipe["validate_every"] or steps
    for step in range(every, steps + 1, every):
        part = 1 - 0.5 ** (10 * step / steps)
        shown = {"accuracy": part * figures["accuracy"], "loss": figures["loss"] / part}
        run.log(kind="validation", step=step, **shown)
    run.log(kind="epoch", epoch=0, step=steps, seen=0.75, seen_epoch=0.75)
    visits = rng.poisson(3 if recipe["strategy"] == RANDOM else 2, SAMPLES["train"])
    np.savez(run.folder / "visits.npz", id=np.arange(len(visits)), visits=visits)
    weights = run.checkpoints / f"step-{steps:08d}.pt"
    weights.write_bytes(run.folder.name.encode())
    work = {"steps": steps, "decoded": 64 * steps, "scored": 0, "trained": 64 * steps}
    origin = {"split": "val", "data": fingerprint}
    facts = {"figures": dict(figures), "origin": origin, "work": work | {"seconds": 1.0}}
    told = {"data": fingerprint, "checkpoint": report.identity(weights)}
    evaluation = {"figures": {"test": dict(figures)}, "origin": told}
    (run.folder / f"evaluation-{data}.json").write_text(json.dumps(evaluation))
    (run.folder / "report.json").write_text(json.dumps(facts))


def calibrate(folder: Path, ratios: Mapping[str, tuple[float, float]]) -> None:
    """Write calibration.json: cost and time of each strategy, × random."""
    folder.mkdir(parents=True, exist_ok=True)
    seconds = [0.001, 0.0011, 0.0012]
    for name, (cost, time) in ratios.items():
        own = Measured(192 * cost, [time * 0.0011, time * 0.00115, time * 0.0010])
        calibration.add(folder, name, Calibration(1, own, Measured(192, seconds)))
