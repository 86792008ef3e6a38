"""Scores of every sample by trained networks, kept beside the set: `python -m tasks score`.

- irreducible_loss: the loss of a model that was trained on other samples, the holdout
  (Mindermann et al. 2022, arXiv:2206.07137, eq. 3)
- el2n: ‖softmax − onehot‖₂ early in training, a mean over some ten models (Paul et al. 2021,
  arXiv:2107.07075, definition 2.3)
- loss, gradient_norm: what strategies hear of a step

Samples go through as in evaluation, without augmentation, but with the labels that training sees.

Legend: N samples of the set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from dataprep import derived, flags
from dataprep.manifest import DataError
from loaders import Dataset, World
from tasks import Task, evaluation_loader, load
from tasks.run import Run, report
from tasks.run.restore import restore

Array = npt.NDArray[Any]

# What is asked for -> the score that a task supplies.
SCORES = {
    "irreducible_loss": "loss",
    "el2n": "gradient_norm",
    "loss": "loss",
    "gradient_norm": "gradient_norm",
}
ALL = "all"


@dataclass(frozen=True)
class Model:
    """One trained network that scores: a checkpoint of a run, and task settings of its own."""

    run: Run
    checkpoint: Path
    options: Mapping[str, Any]

    @property
    def recipe(self) -> dict[str, Any]:
        """The run's recipe."""
        recipe: dict[str, Any] = self.run.facts()["recipe"]
        return recipe

    def made_from(self) -> dict[str, Any]:
        """Return what decides this model's scores; its network lies in the checkpoint."""
        task, own = self.recipe["task"], self.recipe["task_options"]
        options = {**own, **flags.typed(self.options, load(task))}
        digest = report.identity(self.checkpoint)["sha256"]
        return {"checkpoint": digest, "task": task, "task_options": options}


def models_of(
    runs: Sequence[Path], checkpoint: Path | None, options: Mapping[str, Any]
) -> list[Model]:
    """Return the models of some runs; ValueError where a run is named twice.

    checkpoint: a file (of one run), or a name among each run's checkpoints; None: each run's best.
    """
    if len({run.resolve() for run in runs}) < len(runs):
        raise ValueError("a run is named twice: an average would count it twice")
    if checkpoint and len(runs) > 1 and len(checkpoint.parts) > 1:
        raise ValueError(f"--checkpoint {checkpoint} is of one run: give a name such as best.pt")
    return [Model(Run(path), _checkpoint(Run(path), checkpoint), options) for path in runs]


def _checkpoint(run: Run, asked: Path | None) -> Path:
    run.facts()  # says so where this is no run
    if asked is None:
        return run.best()
    path = run.checkpoints / asked if len(asked.parts) == 1 and not asked.is_file() else asked
    if not path.is_file():
        there = ", ".join(one.name for one in sorted(run.checkpoints.glob("*.pt")))
        raise DataError(path, "", f"no such checkpoint; there are: {there or 'none'}")
    return path


def splits_of(dataset: Dataset, asked: str) -> list[str]:
    """Return the splits to go over, the largest first; none that brings no further sample."""
    names = [name.strip() for name in asked.split(",") if name.strip()]
    names = list(dataset.manifest.splits) if names == [ALL] else list(dict.fromkeys(names))
    if not names:
        raise ValueError(f"--split {asked!r} names no split")
    seen, chosen = np.zeros(dataset.samples, bool), []
    for name in sorted(names, key=lambda one: -len(dataset.split(one))):
        ids = np.asarray(dataset.split(name))
        if not seen[ids].all():
            chosen.append(name)
        seen[ids] = True
    return chosen


def refuse_overlap(models: Sequence[Model], dataset: Dataset, splits: Sequence[str]) -> list[Model]:
    """ValueError where a model was trained on samples that it shall score.

    Returns the models of other sets, of which nobody can tell.
    """
    strangers = []
    for model in models:
        if model.run.facts()["fingerprint"] != dataset.manifest.fingerprint:
            strangers.append(model)
            continue
        trained = np.asarray(dataset.split(model.recipe["train_split"]))
        for split in splits:
            both = len(np.intersect1d(trained, np.asarray(dataset.split(split))))
            if both:
                raise ValueError(
                    f"{model.run.folder} was trained on {both:,} samples of split {split}: their"
                    " loss is not irreducible. Train that model on others (--train-split val), or"
                    " give --allow-overlap"
                )
    return strangers


def made_from(
    models: Sequence[Model], dataset: Dataset, what: str, splits: Sequence[str]
) -> dict[str, Any]:
    """Return what decides a table, in an order of its own: runs may be named in any."""
    return {
        "what": what,
        "data": dataset.manifest.fingerprint,
        "models": sorted((model.made_from() for model in models), key=str),
        "splits": sorted(identity(dataset, split) for split in splits),
    }


def identity(dataset: Dataset, split: str) -> str:
    """Return a split's name; of a derived one with the hash of its ids."""
    if split in dataset.manifest.splits:
        return split
    return f"{split} {derived.fingerprint(dataset.result(split, 'ids'))}"


def score(
    models: Sequence[Model], dataset: Dataset, what: str, splits: Sequence[str], device: str
) -> Array:
    """Return the mean score over models, (N,) float64, NaN outside the splits."""
    table = np.full(dataset.samples, np.nan)
    for split in splits:
        table[np.asarray(dataset.split(split))] = 0.0
    for model in models:
        task, net = restore(model.run, model.checkpoint, device, dataset, **model.options)
        if model.run.facts()["fingerprint"] == dataset.manifest.fingerprint:
            task.recall(model.recipe["train_split"])
        one = np.full(dataset.samples, np.nan)
        for split in splits:
            _score_split(task, net, SCORES[what], split, device, one)
        table += one / len(models)
    return table


def spread(table: Array) -> str:
    """Say in a few words what a table holds."""
    found = table[~np.isnan(table)]
    between = f"{found.min():.4f} to {found.max():.4f}"
    return f"{len(found):,} samples, mean {found.mean():.4f}, {between}"


@torch.no_grad()
def _score_split(
    task: Task, net: torch.nn.Module, wanted: str, split: str, device: str, table: Array
) -> None:
    """Write the scores of one split into `table` by id; DataError for one that is not finite."""
    loader = evaluation_loader(task, split, world=World(), device=device)
    for batch in tqdm(loader, split, loader.steps, leave=False, disable=None, unit="batch"):
        found = task.scores(task.loss(net, batch, 0), (wanted,))[wanted]
        real = (batch.weight > 0).cpu().numpy()
        ids, scores = batch.id.numpy()[real], found.double().cpu().numpy()[real]
        if not np.isfinite(scores).all():
            at = int(ids[np.flatnonzero(~np.isfinite(scores))[0]])
            why = f"its {wanted} is not finite: this network is of no use here"
            raise DataError(task.dataset.folder, f"sample {at}", why)
        table[ids] = scores
    loader.close()
