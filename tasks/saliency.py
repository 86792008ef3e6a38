"""Saliency: where people look, as a density over the pixels of an image.

Loss: negative log-likelihood of the fixations in bit per fixation (Kümmerer et al. 2016), or the
cross-entropy against the blurred fixation map; with `entropy_weight`, less that many times the
entropy of what the network says of uniform images: its bias. A training image gets the centre bias
of the other training images. Legend: B batch, H W pixels, G side of the bias grid, n fixations.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from threadpoolctl import threadpool_limits
from torch import Tensor

import tasks
from dataprep.manifest import DataError
from loaders import Batch, Dataset
from loaders.stages import Normalise, Stage
from tasks import Feed, Loss, Net, Prediction
from tasks.metrics.centre import UNIFORM_SHARE, CentreBias
from tasks.metrics.density import fixation_map
from tasks.stimuli import overlay
from tasks.stimuli.densities import bias_entropy, soft_map
from tasks.stimuli.judge import Judge
from tasks.stimuli.size import Size

Array = npt.NDArray[Any]

FIXATIONS = "fixations"
# Of these the mean over all fixations is reported as well, beside the one over images.
PER_FIXATION = ("nll", "ll", "ig", "nss", "auc", "sauc")
LEVELS = 16  # grey levels of the uniform images
BIASES = 1024  # images whose centre bias is kept from epoch to epoch: 256 KB each


class Task(tasks.Task):
    """Predict fixation densities.

    size: "768x1024" (DeepGaze's two sizes: an image that is wider than high becomes height × width,
    any other its transpose), "768x1024!" (that size for all) or "native". target: "points", or
    "map" (blurred fixations). average: every image counts alike, or every fixation.
    entropy_every: optimiser steps between uses of the entropy term. sigma_px: of blurred maps, in
    pixels of the original image; 0: the set's own. bandwidth (relative; 0: the one that foretells
    images best which are left out; DeepGaze: 0.0215), uniform_share: of the centre bias.
    """

    best = "ig"
    headline = ("ig", "nll", "nss", "auc", "sauc", "bias_entropy_share")
    curves = ("ll", "ig", "centre_ll")
    curves_unit = "bit per fixation"
    evaluation_batch = 8

    def __init__(
        self,
        dataset: Dataset | None,
        net: torch.nn.Module,
        *,
        size: str = "768x1024",
        target: Literal["points", "map"] = "points",
        average: Literal["image", "fixation"] = "image",
        entropy_weight: float = 0.0,
        entropy_every: int = 1,
        sigma_px: float = 0.0,
        bandwidth: float = 0.0,
        uniform_share: float = UNIFORM_SHARE,
    ) -> None:
        super().__init__(dataset, net)
        self.size = Size.parse(size)
        if entropy_every < 1 or entropy_weight < 0 or sigma_px < 0:
            raise ValueError("want entropy_every ≥ 1, entropy_weight ≥ 0 and sigma_px ≥ 0")
        self.target, self.average = target, average
        self.entropy_weight, self.entropy_every = entropy_weight, entropy_every
        self.input: Any = net.inputs["image"]  # type: ignore[index]
        self._training: CentreBias | None = None
        self._split, self._known = "", set[int]()
        self._mean_count = 1.0
        if dataset:
            dataset.chosen(("image", FIXATIONS))
            self.judge = Judge(dataset, FIXATIONS, bandwidth, uniform_share)
            self.sigma_px = sigma_px or float(dataset.manifest.options.get("sigma_px", 0))
            if not self.sigma_px:
                raise ValueError(f"{dataset.folder} records no sigma_px: give --task sigma_px=")

    def feed(self, training: bool) -> Feed:
        """Return whole images of one size a batch, and their fixations scaled with them."""
        stages: tuple[Stage, ...] = (
            *self.size.stages(self.input.interpolation),
            Normalise(field="image", mean=self.input.mean, std=self.input.std),
        )
        return Feed(("image", FIXATIONS), stages, groups="size")

    def check(self, split: str) -> None:
        """Refuse images without a fixation: they would be trained on as if nobody looked."""
        ids = np.asarray(self.dataset.split(split))
        empty = ids[self.judge.counts(ids) == 0]
        if len(empty):
            first = self.dataset.keys()[int(empty[0])]
            why = f"{len(empty)} of {len(ids)} images have no fixation, the first is {first!r}"
            raise DataError(self.dataset.folder, split, why)

    def begin(self, split: str) -> None:
        """Fit the centre bias of the training split, and hand it to the network."""
        self.recall(split)
        assert self._training is not None
        net: Any = self.net
        grid = self._training.grid_log_density(len(net.centre_bias))
        net.fill_centre_bias(torch.from_numpy(grid).float())

    def recall(self, split: str) -> None:
        """Fit the centre bias of the split: its images get that of its other images."""
        if self._training is not None and self._split == split:
            return
        ids = np.asarray(self.dataset.split(split))
        self._training, self._split = self.judge.centre_bias(ids), split
        self._known = set(ids.tolist())
        self._mean_count = float(self.judge.counts(ids).mean())
        self._bias_without = lru_cache(BIASES)(self._without)

    def loss(self, net: Net, batch: Batch, step: int) -> Loss:
        """Return bit per fixation of each image, with the entropy term where it is due."""
        log_density = net(batch["image"], self._biases(batch))
        nll = self._nll(log_density, batch)
        per_sample, terms = nll, {"nll": nll.detach()}
        if self.average == "fixation":
            points: Any = batch.fields[FIXATIONS]
            per_sample = nll * (points.starts.diff().to(nll.device) / self._mean_count)
        if self.entropy_weight:
            applied = step % self.entropy_every == 0
            terms["entropy_applied"] = nll.new_full((), float(applied))
            if applied:
                entropy = bias_entropy(net, self._uniform(batch["image"].shape[-2:], nll.device))
                # Added to each sample: the weighted mean over ranks and micro-batches has it once.
                per_sample = per_sample - self.entropy_weight * entropy
                terms["bias_entropy_nats"] = entropy.detach()
        return Loss(per_sample, terms=terms)

    def scores(self, loss: Loss, wanted: tuple[str, ...]) -> dict[str, Tensor]:
        """Return each image's likelihood: the entropy term says nothing of a sample."""
        return super().scores(Loss(loss.terms["nll"]), wanted)

    def metrics(self, net: Net, batch: Batch) -> dict[str, Array]:
        """Return every metric for each image, beside those of centre bias and uniform."""
        densities = net(batch["image"], self._biases(batch)).float().cpu().numpy()

        def row(i: int) -> dict[str, float]:
            points, sigma = _own(batch, i), self._sigma(batch, i)
            if not len(points):
                raise self._empty(batch, i)
            return self.judge.row(int(batch.id[i]), densities[i], points, sigma)

        real = np.flatnonzero(batch.weight.cpu().numpy()).tolist()
        # Sorting and matrix products release the interpreter's lock; a thread each is enough.
        with threadpool_limits(1), ThreadPoolExecutor(torch.get_num_threads()) as pool:
            rows = dict(zip(real, pool.map(row, real), strict=True))
        filler = dict.fromkeys(rows[real[0]], math.nan)
        every = [rows.get(i, filler) for i in range(len(batch))]
        return {name: np.array([row[name] for row in every]) for name in filler}

    def report(self, values: Mapping[str, Array]) -> dict[str, float]:
        """Return means over images, and over fixations where that is another question."""
        counts = values["fixations"]
        figures = super().report(values) | {"fixations": float(counts.sum())}
        for name in PER_FIXATION:
            figures[f"{name}_per_fixation"] = float(np.average(values[name], weights=counts))
        return figures

    def table(self, figures: Mapping[str, float]) -> str:
        """Return the metrics beside those of centre bias and uniform, then all other figures."""
        shown = [name for name in figures if f"centre_{name}" in figures]
        lines = [f"  {'':18}{'network':>12}{'centre bias':>12}{'uniform':>12}"]
        for name in shown:
            three = (figures[f"{of}{name}"] for of in ("", "centre_", "uniform_"))
            lines.append(f"  {name:18}" + "".join(f"{value:12.4f}" for value in three))
        done = {f"{of}{name}" for name in shown for of in ("", "centre_", "uniform_")}
        rest = {name: value for name, value in figures.items() if name not in done}
        return "\n".join(lines) + "\n" + super().table(rest)

    @torch.no_grad()
    def probe(self, net: Net) -> dict[str, float]:
        """Return the entropy of what the network says of uniform images, with and without bias.

        bound: ln(H·W), that of a uniform density; gain_possible: by which share of itself the
        entropy could still rise: a goal above it cannot be reached.
        """
        height, width = (768, 1024) if self.size.is_native else self.size.of(1, 2)
        images = self._uniform((height, width), next(self.net.parameters()).device)
        bound = math.log(height * width)
        figures = {"centre_bandwidth": self.judge.baseline.bandwidth}
        figures["bias_entropy_bound_nats"] = bound
        for name, centred in (("bias", True), ("readout", False)):
            entropy = float(bias_entropy(net, images, centred))
            figures[f"{name}_entropy_nats"] = entropy
            figures[f"{name}_entropy_share"] = entropy / bound
        return figures | {"entropy_gain_possible": bound / figures["bias_entropy_nats"] - 1}

    def predict(self, net: Net, path: Path, out: Path) -> Prediction:
        """Write an overlay, and beside it the log density (H, W) of the file's own size as .npy."""
        image = overlay.opened(path)
        height, width = self.size.of(image.height, image.width)
        seen = image.resize((width, height), Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(seen)).permute(2, 0, 1)[None] / 255
        device = next(self.net.parameters()).device
        log_density = net(self._normalised(pixels.to(device)))[0].float()
        whole = overlay.resized(log_density, image.height, image.width)
        return Prediction((overlay.save(path, out, np.asarray(image), whole),))

    def panels(self, net: Net, batch: Batch) -> dict[str, Array]:
        """Return stimulus | fixations | blurred fixations | prediction of the first images."""
        densities = net(batch["image"], self._biases(batch))[:4].float().cpu().numpy()
        height, width = densities.shape[1:]
        shown = {}
        for i in range(len(densities)):
            picture = overlay.picture(batch["image"][i], self.input)
            points = _own(batch, i)
            truth = fixation_map(points, height, width, self._sigma(batch, i))
            parts = {"fixations, blurred": truth, "prediction": np.exp(densities[i])}
            shown[f"sample-{int(batch.id[i])}"] = overlay.panel(picture, points, parts)
        return shown

    def _nll(self, log_density: Tensor, batch: Batch) -> Tensor:
        """Return (B,) bit per fixation; DataError where an image has no fixation left."""
        points: Any = batch.fields[FIXATIONS]
        counts = points.starts.diff()
        if (counts == 0).any():
            raise self._empty(batch, int(counts.argmin()))
        if self.target == "map":
            sums = self._cross_entropy(log_density, batch)
        else:
            width = log_density.shape[2]
            owner = torch.repeat_interleave(counts).to(log_density.device)
            x, y = points.values[:, :2].long().T
            values = log_density.flatten(1)[owner, y * width + x]
            sums = values.new_zeros(len(counts)).index_add(0, owner, values) / counts.to(values)
        return -sums / math.log(2)

    def _cross_entropy(self, log_density: Tensor, batch: Batch) -> Tensor:
        """Return (B,) the mean log density over the blurred fixation map of each image, in nats."""
        sums, shape = [], (log_density.shape[1], log_density.shape[2])
        for i, one in enumerate(log_density):
            points = torch.from_numpy(_own(batch, i)).to(one)
            sums.append((soft_map(points, *shape, self._sigma(batch, i)) * one).sum())
        return torch.stack(sums)

    def _empty(self, batch: Batch, i: int) -> DataError:
        key = self.dataset.keys()[int(batch.id[i])]
        return DataError(self.dataset.folder, key, "has no fixation inside the image")

    def _biases(self, batch: Batch) -> Tensor | None:
        """Return (B, G, G) the bias of other images for those of training; None: the network's."""
        ids = batch.id.tolist()
        if not self._known.intersection(ids):
            return None
        # In training all are known: the device is not asked for the network's own grid.
        grids = [self._bias_without(one) if one in self._known else self._bias() for one in ids]
        return torch.from_numpy(np.stack(grids)).to(batch["image"].device)

    def _bias(self) -> Array:
        net: Any = self.net
        return np.asarray(net.centre_bias.cpu().numpy())

    def _without(self, sample: int) -> Array:
        """Return (G, G) the centre bias of all training images but one, float32."""
        assert self._training is not None
        net: Any = self.net
        own = self.judge.relative(np.array([sample]))[0]
        return self._training.grid_log_density(len(net.centre_bias), own).astype(np.float32)

    def _sigma(self, batch: Batch, i: int) -> tuple[float, float]:
        """Return sigma (x, y) in pixels of the batch: an image's own pixels were stretched."""
        height, width = self.judge.sizes(batch.id.numpy()[i : i + 1])[0].tolist()
        rows, columns = batch["image"].shape[-2:]
        return max(1.0, self.sigma_px * columns / width), max(1.0, self.sigma_px * rows / height)

    def _uniform(self, size: Sequence[int], device: torch.device) -> Tensor:
        """Return (16, 3, H, W) images of one grey level each, normalised as all others are."""
        grey = torch.linspace(0, 1, LEVELS, device=device).view(-1, 1, 1, 1)
        return self._normalised(grey).expand(-1, -1, *size).contiguous()

    def _normalised(self, images: Tensor) -> Tensor:
        """Return images (B, 1 or 3, H, W) of [0, 1] as the loader delivers them."""
        mean, std = (images.new_tensor(v).view(-1, 1, 1) for v in (self.input.mean, self.input.std))
        return (images - mean) / std


def _own(batch: Batch, i: int) -> Array:
    """Return the fixations (n, 2) of one image of a batch, in pixels of the batch."""
    points: Any = batch.fields[FIXATIONS]
    rows = points.values[points.starts[i] : points.starts[i + 1], :2]
    return np.asarray(rows.double().cpu().numpy())
