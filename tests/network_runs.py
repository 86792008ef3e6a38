"""A tiny set of lesions, and run folders of the study of networks without any training.

Logs and weights are written by hand; what calibration leaves comes from its own writers, of logits
that are drawn.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from toys import Toy

from dataprep.manifest import Field
from dataprep.raw import Raw
from dataprep.sources import Entry
from jobs.networks import FOUR
from jobs.study import Execution, Member, Study
from loaders import Dataset
from tasks.classes import calibrated
from tasks.classes.outputs import Outputs, groups_of, save
from tasks.commands import calibrate
from tasks.run import report

CLASSES = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
SAMPLES = {"train": 80, "val": 28, "calibration": 210, "test": 280}
SKILL = dict(zip(FOUR, (2.0, 2.6, 1.8, 1.4), strict=True))


@dataclass(frozen=True, kw_only=True)
class Lesions(Toy):
    """Two images of each lesion; a bright stripe tells the class. outside: a further test split."""

    summary: ClassVar[str] = "lesions"
    shard_entries: ClassVar[int] = 256
    outside: bool = False

    def entries(self, raw: Raw) -> list[Entry]:
        more = {"isic2018_test": 70} if self.outside else {}
        splits = [name for name, count in (SAMPLES | more).items() for _ in range(count)]
        return [Entry(f"{i:04d}", split, {}) for i, split in enumerate(splits)]

    def classes(self, entries: Any) -> list[str]:
        return list(CLASSES)

    def fields(self) -> dict[str, Field]:
        image = {"kind": "image", "dtype": "uint8", "shape": (32, 32, 3), "scale": 1 / 255}
        value = Field(kind="value", dtype="int64")
        return {"image": Field(**image), "label": value, "lesion": value}

    def one(self, i: int) -> dict[str, Any]:
        lesion = i // 2
        image = np.random.default_rng(i).integers(0, 90, (32, 32, 3), dtype=np.uint8)
        image[:, 4 * (lesion % 7) : 4 * (lesion % 7) + 4] += 120
        return {"image": image, "label": lesion % 7, "lesion": lesion}


def members(
    study: Study, runs: Path, seeds: tuple[int, ...] = (42,), **overrides: str
) -> Iterator[Member]:
    """Yield the runs of a study whose folder is runs/ham10000."""
    root = str(runs.parent / "data")
    execution = Execution(runs=runs, data_root=root, overrides=overrides)
    for seed in seeds:
        for variant in study.variants:
            yield Member("ham10000", variant, seed, execution)


def write_training(member: Member, dataset: Dataset) -> None:
    """Write what a finished training leaves."""
    run, rng = member.run, np.random.default_rng([member.seed, *member.variant.name.encode()])
    facts = {"fingerprint": dataset.manifest.fingerprint, "classes": list(CLASSES)}
    run.begin(member.facts | facts)
    for step in range(10, 201, 10):
        loss = 1.9 * np.exp(-step / 70) + 0.1 * rng.random()
        run.log(kind="step", step=step, loss=loss, seconds=1.0, wait_share=0.01)
        if step % 40 == 0:
            run.log(
                kind="validation",
                step=step,
                loss=loss + 0.004 * step,
                balanced_accuracy=0.8 - 0.6 * np.exp(-step / 60) + 0.02 * rng.random(),
            )
    for name in ("step-00000200.pt", "best.pt"):
        (run.checkpoints / name).write_bytes(f"{member.name} {name}".encode())
    work = {"steps": 200, "decoded": 6400, "scored": 0, "trained": 6400, "seconds": 123.0}
    figures = {"accuracy": 0.75, "loss": 0.8, "balanced_accuracy": 0.7}
    origin = {"split": "val", "data": dataset.manifest.fingerprint}
    run.write_json("report.json", {"figures": figures, "origin": origin, "work": work})


def write_calibration(member: Member, dataset: Dataset, resamples: int = 60) -> None:
    """Write what `tasks calibrate` leaves, of logits that are too sure of themselves."""
    checkpoint = member.checkpoint
    assert checkpoint
    skill = SKILL.get(member.variant.name, 2.0)
    judged = [name for name in ("test", "isic2018_test") if name in dataset.manifest.splits]
    found = {}
    for split in ("calibration", *judged):
        ids = np.asarray(dataset.split(split))
        labels = np.asarray(dataset.values("label"))[ids].astype(np.int64)
        rng = np.random.default_rng([member.seed, len(split), *member.variant.name.encode()])
        logits = rng.normal(0, 1.2, (len(ids), len(CLASSES)))
        logits[np.arange(len(ids)), labels] += skill
        found[split] = Outputs(split, ids, labels, 1.8 * logits, groups_of(dataset, ids))
        save(member.run, dataset, found[split])
    use = calibrate.Use(member.run, checkpoint, dataset, None, False)  # type: ignore[arg-type]
    fitted = calibrated.fit(found["calibration"], CLASSES, "mel", 0.95, 0.95)
    calibrate._write_calibration(use, fitted, found["calibration"])
    calibrate._assess(use, fitted, [found[name] for name in judged], resamples)


def write_timing(member: Member, ms: float = 4.0) -> None:
    """Write what `tasks time` leaves."""
    assert member.checkpoint
    batches = {
        str(size): {
            "ms_per_image": ms * factor,
            "low": 0.9 * ms * factor,
            "high": 1.2 * ms * factor,
            "images_per_s": 1000 / (ms * factor),
        }
        for size, factor in ((1, 1.0), (32, 0.3))
    }
    facts = {"device": "a processor", "threads": 2, "precision": "fp32", "input": [3, 224, 224]}
    facts |= {"batches": batches, "parameters": 25_000_000}
    facts |= {"checkpoint": report.identity(member.checkpoint)}
    (member.run.folder / "timing.json").write_text(json.dumps(facts))
