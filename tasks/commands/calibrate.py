"""Calibrate a classifier on samples kept apart, choose operating points there, judge both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from dataprep import flags
from dataprep.manifest import DataError
from loaders import Dataset
from tasks.classes import assessment, calibrated, diagrams, outputs
from tasks.classes.assessment import Assessment, Judged
from tasks.classes.calibrated import Calibration
from tasks.classes.leaks import leaks
from tasks.classes.outputs import Outputs
from tasks.classify import Task
from tasks.commands import device_option, memory_explained, root_option, task_option
from tasks.metrics import bootstrap, calibration
from tasks.run import Run, report
from tasks.run.restore import restore


@dataclass(frozen=True)
class Use:
    """A run's checkpoint and the set that it is calibrated on; leaky: splits share samples."""

    run: Run
    checkpoint: Path
    dataset: Dataset
    task: Task
    leaky: bool

    def origin(self, split: str) -> dict[str, Any]:
        """Return what a figure of this command carries."""
        told = report.origin(self.run, split, self.dataset.manifest.fingerprint)
        return {**told, "checkpoint": report.identity(self.checkpoint)["sha256"]}


@click.command("calibrate")
@click.argument("run", type=Path)
@click.option("--split", default="calibration", help="samples to fit and to choose on")
@click.option(
    "--judge", help="splits to judge, comma separated  [default: test, where there is one]"
)
@click.option("--specificity", default=0.95, help="of the first operating point, at least")
@click.option("--sensitivity", default=0.95, help="of the second operating point, at least")
@click.option("--positive", help="class of the operating points  [default: the recipe's]")
@click.option("--data", help="another built set  [default: the run's own]")
@click.option("--checkpoint", type=Path, help="[default: the run's best]")
@click.option("--resamples", default=bootstrap.RESAMPLES, help="for the intervals; 0: none")
@click.option("--allow-leak", is_flag=True, help="go on where splits share samples, and record it")
@task_option
@device_option
@root_option
def command(
    run: Path,
    split: str,
    judge: str | None,
    specificity: float,
    sensitivity: float,
    positive: str | None,
    data: str | None,
    checkpoint: Path | None,
    resamples: int,
    allow_leak: bool,
    task_options: tuple[str, ...],
    device: str,
    data_root: str | None,
) -> None:
    """Fit RUN's temperature and thresholds on one split, and judge them on others.

    \b
    python -m tasks calibrate runs/resnet50
    python -m tasks calibrate runs/resnet50 --judge test,isic2018_test --positive mel
    """
    folder = Run(run)
    recipe = folder.facts()["recipe"]
    if recipe["task"] != "classify":
        raise ValueError(f"{run} learnt {recipe['task']}, it is no classifier to calibrate")
    rates = _rates(specificity, sensitivity, resamples)
    dataset = Dataset(data or recipe["data"], data_root)
    judged = _judged(dataset, judge)
    leaky = _refuse_leaks(folder, dataset, split, judged, allow_leak)
    options = flags.pairs(task_options)
    task, net = restore(folder, checkpoint, device, dataset, **options)
    assert isinstance(task, Task)
    use = Use(folder, checkpoint or folder.best(), dataset, task, leaky)
    one = _positive(use, split, task.positive if positive is None else positive)
    with memory_explained():
        found = {name: outputs.collect(task, net, name, device) for name in (split, *judged)}
    for each in found.values():
        outputs.save(folder, dataset, each)
    try:
        fitted = calibrated.fit(found[split], task.names, one, *rates)
        fitted = replace(fitted, fit=task.fit)
    except ValueError as error:
        raise DataError(dataset.folder, split, str(error)) from None
    written = [_write_calibration(use, fitted, found[split])]
    written += _assess(use, fitted, [found[name] for name in judged], resamples)
    for path in written:
        print(f"written: {path}")


def _rates(specificity: float, sensitivity: float, resamples: int) -> tuple[float, float]:
    if not (0 < specificity <= 1 and 0 < sensitivity <= 1) or resamples < 0:
        raise ValueError(
            "want --specificity and --sensitivity above 0 and up to 1, --resamples ≥ 0"
        )
    return specificity, sensitivity


def _judged(dataset: Dataset, asked: str | None) -> list[str]:
    """Return the splits to judge."""
    if asked is None:
        there = "test" in dataset.manifest.splits
        if not there:
            click.echo("note: no split `test`, nothing is judged: name one by --judge", err=True)
        return ["test"] if there else []
    return list(dict.fromkeys(name.strip() for name in asked.split(",") if name.strip()))


def _refuse_leaks(
    run: Run, dataset: Dataset, split: str, judged: Sequence[str], allowed: bool
) -> bool:
    """ValueError where splits share samples or lesions; allowed: say so, and return True."""
    facts = run.facts()
    trained = [facts["recipe"]["train_split"], facts["recipe"]["val_split"]]
    if facts["fingerprint"] != dataset.manifest.fingerprint:
        note = f"note: {run.folder} is of another set: not known what it saw of {dataset.folder}"
        click.echo(note, err=True)
        trained = []
    found = leaks(dataset, trained, split, judged)
    if found and not allowed:
        raise ValueError(f"{'; '.join(found)}: these figures would flatter; --allow-leak goes on")
    for text in found:
        click.echo(f"leak: {text}", err=True)
    return bool(found)


def _positive(use: Use, split: str, name: str) -> str:
    """Return the class of the operating points; refused where the split cannot choose them."""
    if not name:
        return ""
    if name not in use.task.names:
        raise ValueError(
            f"--positive {name}: no such class; there are: {', '.join(use.task.names)}"
        )
    ids = np.asarray(use.dataset.split(split))
    labels = np.asarray(use.dataset.values(use.task.label))[ids]
    here = labels == use.task.names.index(name)
    if not here.any() or here.all():
        which = "no sample" if not here.any() else "no other sample than those"
        raise DataError(use.dataset.folder, split, f"{which} of {name}: no threshold can be chosen")
    return name


def _write_calibration(use: Use, fitted: Calibration, found: Outputs) -> Path:
    """Print and write what was fitted and chosen."""
    before = calibration.nll(found.logits, found.labels)
    after = calibration.nll(found.logits / fitted.temperature, found.labels)
    name = use.dataset.manifest.name
    print(f"{name} {found.split}: {len(found.labels):,} samples, T = {fitted.temperature:.4f}")
    print(f"  {'nll':18} {before:.4f} -> {after:.4f}")
    for point, facts in fitted.points.items():
        rates = f"sensitivity {facts['sensitivity']:.4f}, specificity {facts['specificity']:.4f}"
        print(f"  {point:18} {facts['class']} from {facts['threshold']:.6g} on: {rates}")
    told = use.origin(found.split)
    value = {
        "set": name,
        "split": found.split,
        "data": told["data"],
        "checkpoint": report.identity(use.checkpoint),
        "classes": list(fitted.classes),
        "samples": len(found.labels),
        "temperature": fitted.temperature,
        "nll_before": before,
        "nll_after": after,
        "points": fitted.points,
        "fit": fitted.fit,
        "leaky": use.leaky,
        "command": told["command"],
        "seed": told["seed"],
    }
    return use.run.write_json(calibrated.FILE_NAME, value)


def _assess(use: Use, fitted: Calibration, found: Sequence[Outputs], resamples: int) -> list[Path]:
    """Print, draw and write how good the calibrated network is on each split."""
    seed, written, splits = use.run.facts()["recipe"]["seed"], [], {}
    for each in found:
        one = assessment.judged(each, fitted)
        result = assessment.assess(one, resamples, seed)
        words = outputs.group_name(use.dataset)
        of = f" of {result.groups:,} {words}" if words != outputs.SAMPLES else ""
        between = f", 95 % intervals over {words}" if resamples else ""
        print(f"{use.dataset.manifest.name} {each.split}: {result.samples:,} samples{of}{between}")
        print(assessment.table(result, fitted.points))
        splits[each.split] = vars(result)
        written += _draw(use, one, result, each.split)
    if not found:
        return []
    told = use.origin(", ".join(splits))
    value = {"checkpoint": report.identity(use.checkpoint), "origin": told, "leaky": use.leaky}
    path = f"assessment-{use.dataset.manifest.name}.json"
    return [*written, use.run.write_json(path, {**value, "splits": splits})]


def _draw(use: Use, one: Judged, result: Assessment, split: str) -> list[Path]:
    """Draw the reliability before and after, and the ROC curve of the positive class."""
    name = use.dataset.manifest.name
    title = f"{name} {split}"
    drawn = {
        "reliability": diagrams.of_calibration(one, result, title),
        "roc": diagrams.of_points(one, result, title),
    }
    facts = {**use.origin(split), "temperature": one.calibrated.temperature}
    folder = use.run.folder / "figures"
    return [
        report.save_picture(folder / f"{kind}-{name}-{split}.png", picture, facts)
        for kind, picture in drawn.items()
        if picture is not None
    ]
