"""Show where a classifier saw what it says, and count how much of that lies inside the masks."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import scipy.special
from tqdm import tqdm

from dataprep import flags
from dataprep.manifest import atomic
from loaders import Dataset
from tasks.classes import explained
from tasks.classes.explained import Seen
from tasks.classify import Task
from tasks.commands import device_option, memory_explained, root_option, task_option
from tasks.run import Run, report
from tasks.run.restore import restore

Array = npt.NDArray[Any]

SHOWN = 40  # samples on the sheet
COLUMNS = ("id", "key", "label", "predicted", "probability", "share_inside", "share_area")


@click.command("explain")
@click.argument("run", type=Path)
@click.option("--data", help="another built set  [default: the run's own]")
@click.option("--split", help="[default: test where there is one, else the run's validation]")
@click.option("--count", default=20, help="samples, as many of each class as there are; 0: all")
@click.option("--of", default="predicted", help="whose heat: predicted, label or a class's name")
@click.option("--checkpoint", type=Path, help="[default: the run's best]")
@click.option("--out", type=Path, help="folder  [default: explained-SET-SPLIT in the run]")
@task_option
@device_option
@root_option
def command(
    run: Path,
    data: str | None,
    split: str | None,
    count: int,
    of: str,
    checkpoint: Path | None,
    out: Path | None,
    task_options: tuple[str, ...],
    device: str,
    data_root: str | None,
) -> None:
    """Draw the Grad-CAM of RUN over samples: pictures, heat.csv, and its share inside the masks.

    \b
    python -m tasks explain runs/resnet50
    python -m tasks explain runs/vit_b_16 --split val --count 100 --of mel
    """
    folder = Run(run)
    dataset = Dataset(data or folder.facts()["recipe"]["data"], data_root)
    task, net = restore(folder, checkpoint, device, dataset, **flags.pairs(task_options))
    if not isinstance(task, Task):
        raise ValueError(f"{run} is no classifier: there is no class to explain")
    if of not in ("predicted", "label", *task.names) or count < 0:
        raise ValueError(f"want --of predicted, label, {', '.join(task.names)}; --count 0 or more")
    own = "test" if "test" in dataset.manifest.splits else folder.facts()["recipe"]["val_split"]
    split = split or own
    ids = np.asarray(dataset.split(split))
    rows = explained.chosen(np.asarray(dataset.values(task.label))[ids], count)
    calibration = task.calibration
    facts = report.origin(folder, split, dataset.manifest.fingerprint)
    facts["checkpoint"] = report.identity(checkpoint or folder.best())
    facts |= {"calibrated": calibration is not None, "heat": of}
    out = out or folder.folder / f"explained-{dataset.manifest.name}-{split}"
    with memory_explained():
        probabilities = calibration.probabilities if calibration else softmax
        found = explained.explain(task, net, split, rows, of, probabilities, device)
        bar = tqdm(found, split, len(rows), leave=False, disable=None, unit="image")
        facts |= _write(out, task, bar, facts)
    print(f"{dataset.manifest.name} {split}: {len(rows):,} of {len(ids):,} samples, heat of {of}")
    print("\n".join(_said(facts, run)))
    print(f"written: {out / 'sheet.png'}, heat.csv, heat.json and a picture of each")


def softmax(logits: Array) -> Array:
    """Return the probabilities (B, C) of a classifier that was not calibrated."""
    return np.asarray(scipy.special.softmax(logits, axis=1))


def _write(
    out: Path, task: Task, found: Iterable[Seen], facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Write pictures, table and summary of what was explained; return the summary."""
    out.mkdir(parents=True, exist_ok=True)
    keys, names, numbers, pictures = task.dataset.keys(), task.names, [], []
    with atomic(out / "heat.csv") as temporary, open(temporary, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for one in found:
            key = keys[one.id]
            shares = ["" if np.isnan(share) else share for share in (one.inside, one.area)]
            said = [names[one.label], names[one.predicted], one.probability]
            writer.writerow([one.id, key, *said, *shares])
            pictures.append(explained.panel(one, names))
            report.save_picture(out / f"{key}.png", pictures[-1], {**facts, "key": key})
            numbers.append((one.inside, one.area, float(one.heat.max())))
    summary = _summary(np.array(numbers))
    some = pictures[:: -(-len(pictures) // SHOWN)]
    report.save_picture(out / "sheet.png", explained.sheet(some), {**facts, **summary})
    with atomic(out / "heat.json") as temporary:
        temporary.write_text(json.dumps({**facts, **summary}, indent=1) + "\n")
    return summary


def _summary(numbers: Array) -> dict[str, Any]:
    """Return means over (n, 3) samples: heat inside the mask, area inside, highest heat."""
    inside, area, highest = numbers.T
    there = ~np.isnan(inside)  # NaN: no heat, or no mask
    means = [float(part[there].mean()) if there.any() else None for part in (inside, area)]
    return {
        "samples": len(numbers),
        "blank": int((highest <= 0).sum()),
        "share_inside": means[0],
        "share_area": means[1],
        "masked": int((~np.isnan(area)).sum()),
    }


def _said(facts: Mapping[str, Any], run: Path) -> list[str]:
    lines = []
    if facts["share_inside"] is not None:
        lines.append(f"  share of the heat inside the mask    {facts['share_inside']:.4f}")
        lines.append(f"  share of the area inside (by chance) {facts['share_area']:.4f}")
    if facts["masked"] < facts["samples"]:
        none = facts["samples"] - facts["masked"]
        lines.append(f"  {none:,} have no mask: what share of their heat is inside is not known")
    if facts["blank"]:
        why = "nothing speaks for their class, or the grid is one cell"
        lines.append(f"  {facts['blank']} without heat: {why}")
    if not facts["calibrated"]:
        lines.append(f"  probabilities are not calibrated: python -m tasks calibrate {run}")
    return lines
