"""All fixations of a set, by image: what an image is judged against is what the others hold.

Legend: H W pixels, M fixations of several images.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from loaders import Dataset
from tasks.metrics.centre import CentreBias, fitted
from tasks.metrics.score import score
from tasks.metrics.shuffled import OtherFixations

Array = npt.NDArray[Any]


class Judge:
    """Scores densities of a set's images; bandwidth, uniform_share: of `CentreBias`, 0: fitted."""

    def __init__(
        self, dataset: Dataset, field: str, bandwidth: float, uniform_share: float
    ) -> None:
        self._samples, self._points = dataset.samples, dataset.points(field)
        self._bandwidth, self._uniform_share = bandwidth, uniform_share
        self._image = dataset.open("image")
        self._baselines: dict[tuple[int, int, int], dict[str, float]] = {}

    def counts(self, ids: Array) -> Array:
        """Return the fixations of each image."""
        return np.diff(self._points.take(ids)[1])

    def sizes(self, ids: Array) -> Array:
        """Return stored heights and widths of images."""
        return np.asarray(self._image.sizes(ids))

    def relative(self, ids: Array) -> tuple[Array, Array]:
        """Return fixations (M, 2) in relative coordinates, and where each image's start."""
        points, starts = self._points.take(ids)
        sizes = np.repeat(self.sizes(ids), np.diff(starts), axis=0)
        return points[:, :2] / sizes[:, ::-1], starts

    def centre_bias(self, ids: Array) -> CentreBias:
        """Return the centre bias of some images."""
        points, starts = self.relative(ids)
        if self._bandwidth:
            return CentreBias(points, self._bandwidth, self._uniform_share)
        owners = np.repeat(ids, np.diff(starts))
        return fitted(points, owners, uniform_share=self._uniform_share)

    def row(
        self, sample: int, log_density: Array, points: Array, sigma: tuple[float, float]
    ) -> dict[str, float]:
        """Return every metric of one image (H, W), beside those of centre bias and uniform.

        points (n, 2): its fixations, in pixels of the density, which may be of another size than
        the image. sigma (x, y): of the blurred maps, in those pixels too.
        """
        height, width = log_density.shape
        everybody, others = self.baseline, self._others
        own = self.relative(np.array([sample]))[0]
        baseline = everybody.log_density(height, width, own)
        negatives = others.pixels(height, width, sample)
        key = (sample, height, width)
        if key not in self._baselines:  # the same at each validation
            uniform = np.full((height, width), -math.log(height * width))
            self._baselines[key] = {
                f"{name}_{metric}": value
                for name, known in (("centre", baseline), ("uniform", uniform))
                for metric, value in score(known, points, baseline, negatives, sigma).items()
                if metric != "fixations"
            }
        scores = score(log_density, points, baseline, negatives, sigma)
        nll = {"nll": math.log2(height * width) - scores["ll"]}
        return nll | scores | self._baselines[key]

    @cached_property
    def baseline(self) -> CentreBias:
        """The centre bias of the whole set, over which gains count: an image's own left out."""
        return self.centre_bias(np.arange(self._samples))

    @cached_property
    def _others(self) -> OtherFixations:
        ids = np.arange(self._samples)
        points, starts = self._points.take(ids)
        owners = np.repeat(ids, np.diff(starts))
        return OtherFixations(points[:, :2], owners, self.sizes(ids))
