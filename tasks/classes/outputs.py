"""What a network says of every sample of a split, collected once: `outputs-<set>-<split>.npz`.

Everything after it (temperature, thresholds, figures, tests between networks) is arithmetic on
these. Legend: N samples of a split, C classes.
"""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import softmax
from tqdm import tqdm

from dataprep.manifest import DataError
from loaders import Dataset, World
from tasks import evaluation_loader
from tasks.run import Run

if TYPE_CHECKING:  # the task itself may use a calibration
    from tasks.classify import Task

Array = npt.NDArray[Any]

# The column that says which samples belong together, and what such a group is called.
GROUP, GROUPS, SAMPLES = "lesion", "lesions", "samples"
# Of the file, in the order of the fields behind `split`.
COLUMNS = ("id", "label", "logits", "group")


class Outputs(NamedTuple):
    """ids (N,) ascending, labels (N,), logits (N, C) float64, groups (N,): who goes together."""

    split: str
    ids: Array
    labels: Array
    logits: Array
    groups: Array

    def probabilities(self, temperature: float) -> Array:
        """Return softmax(logits / T), (N, C)."""
        return np.asarray(softmax(self.logits / temperature, axis=1))

    @property
    def predicted(self) -> Array:
        """The likeliest class (N,): no temperature changes it."""
        return np.asarray(self.logits.argmax(axis=1))


@torch.no_grad()
def collect(task: Task, net: torch.nn.Module, split: str, device: str) -> Outputs:
    """Return what a network says of a split, not augmented; DataError where it is no number."""
    loader = evaluation_loader(task, split, world=World(), device=device)
    ids, labels, logits = [], [], []
    for batch in tqdm(loader, split, loader.steps, leave=False, disable=None, unit="batch"):
        real = (batch.weight > 0).cpu().numpy()
        ids.append(batch.id.numpy()[real])
        labels.append(batch[task.label].long().cpu().numpy()[real])
        logits.append(net(batch["image"]).float().cpu().numpy()[real].astype(np.float64))
    loader.close()
    order = np.argsort(np.concatenate(ids))
    one, two, three = (np.concatenate(part)[order] for part in (ids, labels, logits))
    found = Outputs(split, one, two, three, groups_of(task.dataset, one))
    _refuse_nan(task.dataset, found)
    return found


def save(run: Run, dataset: Dataset, found: Outputs) -> str:
    """Write outputs into the run's folder; return the file's name."""
    name = _name(dataset.manifest.name, found.split)
    run.keep({name: dict(zip(COLUMNS, found[1:], strict=True))})
    return f"{name}.npz"


def load(run: Run, name: str, split: str) -> Outputs:
    """Read what `save` wrote of a set's split; DataError where it is not there, or damaged."""
    path = run.folder / f"{_name(name, split)}.npz"
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as columns:
            return Outputs(split, *(columns[column] for column in COLUMNS))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(path, "", f"cannot be read ({error})") from None


def _name(name: str, split: str) -> str:
    return f"outputs-{name}-{split}"


def groups_of(dataset: Dataset, ids: Array) -> Array:
    """Return which samples (N,) belong together: those of a lesion, else each is alone.

    A lesion below 0 is one that is not known.
    """
    alone = -1 - np.asarray(ids, np.int64)
    if GROUP not in dataset.fields:
        return alone
    lesions = np.asarray(dataset.values(GROUP)).astype(np.int64)[ids]
    return np.where(lesions >= 0, lesions, alone)


def group_name(dataset: Dataset) -> str:
    """Return what groups of this set are called."""
    return GROUPS if GROUP in dataset.fields else SAMPLES


def _refuse_nan(dataset: Dataset, found: Outputs) -> None:
    bad = np.flatnonzero(~np.isfinite(found.logits).all(axis=1))
    if len(bad):
        key = dataset.keys()[int(found.ids[bad[0]])]
        raise DataError(dataset.folder, key, "its logits are not finite: this network is of no use")
