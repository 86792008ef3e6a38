"""Classification: which one of C classes an image is of.

Loss: cross-entropy of each sample, float32. Labels may be made wrong on purpose: that touches what
is trained on, never the metrics. Legend: B batch, C classes, H W pixels, n samples of a split.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

import tasks
from dataprep.manifest import DataError, atomic
from loaders import Batch, Dataset
from loaders.stages import Normalise
from tasks import Evaluation, Feed, Net, Prediction
from tasks.classes import augment as ways
from tasks.classes import calibrated, inputs, pictures, verdict, weights
from tasks.classes.augment import Augment
from tasks.classes.calibrated import Calibration
from tasks.classes.noise import noisy
from tasks.metrics import classification
from tasks.run import Run
from tasks.stimuli.overlay import opened

Array = npt.NDArray[Any]

SCORES = ("loss", "gradient_norm", "correct")
NAMES = {"balanced_accuracy": "balanced accuracy", "macro_f1": "macro F1"}
RECALL = "recall/"  # and the class's name
LISTED, LOWEST = 20, 10  # classes up to which a table lists every recall, else the lowest
CARDS, SAID = 4, 4  # samples shown, and classes named of each


@dataclass(frozen=True)
class Loss(tasks.Loss):
    """logits (B, C), the labels (B,) trained on and what each counts (B,), for scores."""

    logits: Tensor | None = None
    labels: Tensor | None = None
    counts: Tensor | None = None


class Task(tasks.Task):
    """Tell the class of an image.

    label: the field that holds it. label_noise: share of the training labels that are replaced by
    another class, drawn by (noise_seed, sample). augment: see tasks/classes/augment.py. fit: cut
    the middle out of photographs, or squash them whole. class_weights: "balanced" lets a sample
    count n / (C · n of its class) in training, so that every class counts alike. positive: the
    class of which operating points say whether it is there. names: of the classes, where the set
    has none or is not at hand.
    """

    best = "accuracy"
    better = MappingProxyType(
        {
            "accuracy": "higher",
            "balanced_accuracy": "higher",
            "macro_f1": "higher",
            "top_k": "higher",
            "loss": "lower",
        }
    )
    headline = ("accuracy", "top_k", "loss", "balanced_accuracy")
    curves = ("accuracy", "balanced_accuracy")
    curves_unit = "share of samples"
    evaluation_batch = 256

    def __init__(
        self,
        dataset: Dataset | None,
        net: torch.nn.Module,
        *,
        label: str = "label",
        label_noise: float = 0.0,
        noise_seed: int = 0,
        top_k: int = 5,
        augment: Augment = "none",
        fit: inputs.Fit = "crop",
        class_weights: Literal["none", "balanced"] = "none",
        positive: str = "",
        names: tuple[str, ...] = (),
    ) -> None:
        super().__init__(dataset, net)
        if not 0 <= label_noise <= 1 or top_k < 1:
            raise ValueError("want label_noise from 0 to 1 and top_k of 1 or more")
        self.label, self.top_k, self.augment, self.fit = label, top_k, augment, fit
        self.class_weights = class_weights
        self._counts: Tensor | None = None  # (C,) what a sample of each class counts in training
        self.input: Any = net.inputs["image"]  # type: ignore[index]
        self.classes = int(net.classes)  # type: ignore[arg-type]
        self.label_noise, self.noise_seed = label_noise, noise_seed
        known: tuple[str, ...] = ()
        if dataset:
            self._labels = inputs.labels(dataset, label, self.classes)
            inputs.check(dataset, self.input)
            known = tuple(dataset.manifest.classes) if label == "label" else ()
            # Classes of the set, of which the network may know fewer.
            self._count = min(self.classes, max(len(known), int(self._labels.max()) + 1))
        if names and len(names) != self.classes:
            raise ValueError(f"{len(names)} names for {self.classes} classes")
        said = (names or known)[: self.classes]
        # As far as they are known, else numbers.
        self.names = [*said, *map(str, range(len(said), self.classes))]
        if positive and positive not in self.names:
            raise ValueError(f"positive={positive}: no such class: {', '.join(self.names)}")
        self.positive = positive
        self._run: Run | None = None
        self._checkpoint: Path | None = None

    @cached_property
    def _given(self) -> Tensor:
        """(N,) the label of every sample of the set that a training sees."""
        ids = np.arange(len(self._labels))
        share, seed = self.label_noise, self.noise_seed
        return torch.from_numpy(noisy(self._labels, ids, self._count, share, seed))

    @classmethod
    def labelling(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the field of the labels, and how many of them are made wrong."""
        share = float(options.get("label_noise", 0))
        seed = {"noise_seed": int(options.get("noise_seed", 0))} if share else {}
        return {"label": options.get("label", "label"), "label_noise": share} | seed

    def check(self, split: str) -> None:
        """Refuse to make labels wrong where there is one class."""
        if self.label_noise and self._count < 2:
            raise DataError(self.dataset.folder, self.label, "one class: label_noise wants another")

    def begin(self, split: str) -> None:
        """Count the classes of the training split, where a sample's weight depends on it."""
        if self.class_weights == "balanced":
            given = self._given[np.array(self.dataset.split(split))]
            device = next(self.net.parameters()).device
            self._counts = weights.balanced(given, self.classes).to(device)

    def feed(self, training: bool) -> Feed:
        """Return images of the network's size; photographs of any size are cut to their middle."""
        field = self.dataset.fields["image"]
        way = self.augment if training else "none"
        stages = ways.stages(way, field, self.input, self.fit)
        normalise = Normalise(field="image", mean=self.input.mean, std=self.input.std)
        return Feed(("image", self.label), (*stages, normalise))

    def records(self, split: str) -> dict[str, dict[str, Array]]:
        """Return the labels of the training split beside those that are trained on."""
        if not self.label_noise:
            return {}
        ids = np.asarray(self.dataset.split(split))
        given = self._given.numpy()[ids]
        return {"label_noise": {"id": ids, "label": self._labels[ids], "given": given}}

    def loss(self, net: Net, batch: Batch, step: int) -> Loss:
        """Return the cross-entropy of each sample against the label that it is given.

        With class weights times what its class counts: their mean over the split is 1, so the
        mean over a batch needs no other divisor.
        """
        logits, labels = net(batch["image"]).float(), batch[self.label].long()
        if self.label_noise:
            labels = self._given[batch.id].to(labels.device, non_blocking=True)
        per_sample = F.cross_entropy(logits, labels, reduction="none")
        counts = None if self._counts is None else self._counts[labels]
        if counts is not None:
            per_sample = per_sample * counts
        terms = {"accuracy": (logits.detach().argmax(1) == labels).float()}
        return Loss(per_sample, terms=terms, logits=logits, labels=labels, counts=counts)

    @torch.no_grad()
    def scores(self, loss: tasks.Loss, wanted: tuple[str, ...]) -> dict[str, Tensor]:
        """Return scores (B,) against the given labels.

        gradient_norm: ‖softmax(logits) − onehot‖₂, which bounds the norm of a sample's gradient
        up to a constant (Katharopoulos & Fleuret 2018); the same number is EL2N (Paul et
        al. 2021).
        """
        assert isinstance(loss, Loss) and loss.logits is not None and loss.labels is not None
        assert loss.per_sample is not None
        if unknown := set(wanted) - set(SCORES):
            why = f"has no {', '.join(sorted(unknown))}; there are: {', '.join(SCORES)}"
            raise ValueError(f"task classify {why}")
        found = {"loss": loss.per_sample.detach()} if "loss" in wanted else {}
        if "gradient_norm" in wanted:
            onehot = F.one_hot(loss.labels, loss.logits.shape[1])
            norms = (loss.logits.softmax(1) - onehot).norm(dim=1)
            found["gradient_norm"] = norms if loss.counts is None else norms * loss.counts
        if "correct" in wanted:
            found["correct"] = (loss.logits.argmax(1) == loss.labels).float()
        return found

    def metrics(self, net: Net, batch: Batch) -> dict[str, Array]:
        """Return what is said of each sample, against its true label."""
        logits, labels = net(batch["image"]).float(), batch[self.label].long()
        losses = F.cross_entropy(logits, labels, reduction="none").cpu().numpy()
        scores, truth = logits.cpu().numpy(), labels.cpu().numpy()
        return {
            "loss": losses,
            "accuracy": classification.hits(scores, truth),
            "top_k": classification.hits(scores, truth, self.top_k),
            "predicted": scores.argmax(axis=1),
            "label": truth,
        }

    def report(self, values: Mapping[str, Array]) -> dict[str, float]:
        """Return means over samples, means over classes, and the recall of each class."""
        matrix = classification.confusion(values["label"], values["predicted"], self.classes)
        figures = super().report({k: values[k] for k in ("accuracy", "top_k", "loss")})
        figures["balanced_accuracy"] = classification.balanced_accuracy(matrix)
        figures["macro_f1"] = classification.macro_f1(matrix)
        recalls = zip(self.names, classification.recalls(matrix).tolist(), strict=True)
        return figures | {f"{RECALL}{name}": r for name, r in recalls if not np.isnan(r)}

    def table(self, figures: Mapping[str, float]) -> str:
        """Return the figures, then the recall of each class, of many classes the lowest."""
        recalls = {k.removeprefix(RECALL): v for k, v in figures.items() if k.startswith(RECALL)}
        shown = {k: v for k, v in figures.items() if not k.startswith(RECALL)}
        titles = NAMES | {"top_k": f"top-{self.top_k} accuracy"}
        lines = [super().table({titles.get(k, k): v for k, v in shown.items()})]
        if recalls:
            lowest = sorted(recalls, key=recalls.__getitem__)[:LOWEST]
            few = len(recalls) <= LISTED
            lines.append("  recall by class" + ("" if few else f", the {LOWEST} lowest"))
            listed = {name: recalls[name] for name in (recalls if few else lowest)}
            lines.append("\n".join(f"    {name:16} {value:.4f}" for name, value in listed.items()))
        return "\n".join(lines)

    def drawings(self, judged: Evaluation) -> dict[str, Array]:
        """Return the confusion matrix of the classes that are there or were said."""
        labels, predicted = judged.values["label"], judged.values["predicted"]
        matrix = classification.confusion(labels, predicted, self.classes)
        there = np.flatnonzero(matrix.sum(axis=0) + matrix.sum(axis=1))
        names = [self.names[i] for i in there.tolist()]
        title = f"{judged.split}: {judged.figures['accuracy']:.4f} of {len(labels):,} right"
        return {"confusion": pictures.confusion(matrix[np.ix_(there, there)], names, title)}

    def panels(self, net: Net, batch: Batch) -> dict[str, Array]:
        """Return the first images beside their class and the likeliest ones."""
        images, truth = batch["image"][:CARDS], batch[self.label][:CARDS].tolist()
        probabilities = net(images).float().softmax(1)
        best, which = (part.tolist() for part in probabilities.topk(min(SAID, self.classes)))
        shown = {}
        for i, image in enumerate(images):
            said = {self.names[c]: p for c, p in zip(which[i], best[i], strict=True)}
            picture = pictures.levels(image, self.input)
            card = pictures.card(picture, self.names[truth[i]], said)
            shown[f"sample-{int(batch.id[i])}"] = card
        return shown

    def equip(self, run: Path, checkpoint: Path) -> None:
        """Hear whose weights these are: a calibration belongs to one checkpoint."""
        self._run, self._checkpoint = Run(run), checkpoint

    @cached_property
    def calibration(self) -> Calibration | None:
        """What was found of these weights; DataError where it is of others, or of another fit."""
        found = calibrated.load(self._run, self._checkpoint) if self._run else None
        if self._run and found and found.fit != self.fit:
            path = self._run.folder / calibrated.FILE_NAME
            why = f"is of photographs brought to size by fit={found.fit}, not {self.fit}"
            raise DataError(path, "", f"{why}: calibrate with --task fit={self.fit} too")
        return found

    def predict(self, net: Net, path: Path, out: Path) -> Prediction:
        """Write `<stem>_classes.json`, the verdict, and `<stem>_heat.png`, what spoke for it."""
        target, picture = (out / f"{path.stem}_{end}" for end in ("classes.json", "heat.png"))
        if there := [one for one in (target, picture) if one.exists()]:
            raise DataError(there[0], "", f"is there already, {path} is not written over it")
        photo = opened(path)
        pixels = inputs.fitted(photo, self.input, self.fit)
        shares = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
        mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (self.input.mean, self.input.std))
        image = ((shares - mean) / std).to(next(self.net.parameters()).device)
        logits = net(image)[0].double().cpu().numpy()
        said = verdict.verdict(logits, self.names, self.calibration)
        written, box = [target], inputs.seen(photo, self.input, self.fit)
        try:
            shown = np.asarray(photo)
            heat = verdict.drawn(self.net, image, shown, box, int(logits.argmax()))
        except ValueError as error:  # a network without a grid of features draws none
            said["no_overlay"] = str(error)
        else:
            Image.fromarray(heat).save(picture)
            written.append(picture)
        with atomic(target) as temporary:
            temporary.write_text(json.dumps({"file": str(path), **said}, indent=1) + "\n")
        return Prediction(tuple(written), said, verdict.line(said))
