"""Saliency: where people look, as a log density (Linardos et al., "DeepGaze IIE", ICCV 2021).

An ImageNet network sees, a readout of some ten thousand weights says what draws the eye, a learned
Gaussian and a weighted centre bias do the rest; the widths are those of Kümmerer et al., "DeepGaze
III", Journal of Vision 2022, without its scanpath. Shapes: B batch, C feature channels of all
levels, H W pixels of the image, h w cells of a coarser grid, G side of the centre bias's grid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models import Input, Recipe
from models.parts import imagenet

EPS = 1e-12  # of the layer norms, DeepGaze's
TRUNCATE = 3  # sigmas after which the Gaussian is cut
WIDEST = 4  # times the initial sigma; the blur's matrices have a fixed shape up to there


def _baseline(**task_options: Any) -> Recipe:
    """Return 25 epochs over MIT1003 in the two sizes of DeepGaze III."""
    return Recipe(
        task="saliency",
        data="mit1003",
        task_options={"size": "768x1024", **task_options},
        global_batch_size=32,
        epochs=25,
        optimiser="adam",
        lr=0.001585,
        schedule="steps",
        # After 12, 16, 20 and 23 epochs: it takes four drops to end at 1.6e-7; two end at 1.6e-5.
        milestones=(0.48, 0.64, 0.8, 0.92),
        validate_every=29,  # an epoch of 902 images, whose last batch of each size is short
        seed=42,
    )


def _demo() -> Recipe:
    """Return a small net that learns from scratch on a CPU: no weights to fetch.

    It has no batch statistics, so that neither ranks nor fillers change what it learns. Measured
    on 30 photographs: 0.5 bit/fixation above their centre bias after 60 steps, 6 s of one core.
    """
    return Recipe(
        task="saliency",
        data="mit1003",
        net={"backbone": "edgenext_xx_small", "pretrained": False, "tuned": True, "sigma": 2.0},
        task_options={"size": "192x256"},
        global_batch_size=10,
        steps=120,
        lr=2e-3,
        schedule="cosine",
        warmup=0.05,
        validate_every=60,
        seed=42,
    )


RECIPES = {
    "saliency": _baseline(),
    # Every 4th of about 725 steps: within the ten that Adam's first moment remembers, so that both
    # gradients meet in each update, for an eighth more images. (Every 50th would act 15 times.)
    "saliency_entropy": _baseline(entropy_weight=1.0, entropy_every=4),
    "saliency_demo": _demo(),
}


def build(
    *,
    backbone: str = "densenet201",
    pretrained: bool | str = True,
    tuned: bool = False,
    levels: tuple[int, ...] = (-2, -1),
    downsample: int = 2,
    readout: int = 8,
    blur: int = 4,
    sigma: float = 8.0,
    grid: int = 256,
) -> Saliency:
    """Build the net over a network of timm by its name, with or without a tag of its weights.

    pretrained: true fetches timm's weights once, a path names a file of them (.pth, .safetensors),
        false starts from random ones.
    tuned: the backbone learns too (batch norms by each rank's batches); frozen, it is in evaluation
        mode whatever the rest is in.
    levels: which of the backbone's feature levels are read, from 0, the finest; -1 is the last.
    downsample: pixels of the image along one that the backbone sees.
    readout, blur: pixels of the image along a cell of the readout's grid, and of the map blurred.
    sigma: initial width of the Gaussian, in cells of that map; at most four times that is learnt.
    grid: side G of the centre bias that the net keeps.
    ValueError, in one line, for a network, level or file that does not do.
    """
    counts = {"downsample": downsample, "readout": readout, "blur": blur, "grid": grid}
    for name, value in {**counts, "sigma": sigma}.items():
        if not value > 0:
            raise ValueError(f"{name} must be above 0, not {value}")
    extractor = imagenet.extractor(backbone, levels, pretrained)
    return Saliency(extractor, tuned, downsample, readout, blur, sigma, grid)


class Saliency(nn.Module):
    """The net over a feature extractor; images are padded to a multiple of `stride` pixels."""

    centre_bias: Tensor

    def __init__(
        self,
        extractor: imagenet.Extractor,
        tuned: bool,
        downsample: int,
        readout: int,
        blur: int,
        sigma: float,
        grid: int,
    ) -> None:
        super().__init__()
        # The task's stages normalise by these, once: nothing here does.
        self.inputs = {"image": Input(mean=extractor.mean, std=extractor.std)}
        self.tuned, self.downsample, self.stride = tuned, downsample, downsample * extractor.stride
        self.readout_cell, self.blur_cell = readout, blur
        self.backbone = extractor.learning(tuned)
        self.read = FeatureLayer(extractor.channels, 8)
        self.saliency = nn.Sequential(*_layer(8, 16), *_layer(16, 1))
        last = nn.Conv2d(16, 1, 1, bias=False)
        nn.init.zeros_(last.weight)  # so that the first prediction is the centre bias
        self.selection = nn.Sequential(*_layer(1, 128), *_layer(128, 16), last)
        self.blur = Blur(sigma)
        self.centre_bias_weight = nn.Parameter(torch.ones(()))
        self.register_buffer("centre_bias", torch.full((grid, grid), -2 * math.log(grid)))
        self.train()

    def train(self, mode: bool = True) -> Saliency:
        """Set the mode of all but a frozen backbone, whose batch statistics never change."""
        super().train(mode)
        self.backbone.train(mode and self.tuned)
        return self

    def forward(
        self, image: Tensor, centre_bias: Tensor | None = None, with_centre_bias: bool = True
    ) -> Tensor:
        """Return the log density (B, H, W) in nats, whose exponential sums to 1, of (B, 3, H, W).

        image: normalised by `inputs`. centre_bias: log densities (B, g, g) instead of the net's
        own, on any grid: up to a constant, which the sum to 1 absorbs.
        with_centre_bias: without it, what the readout alone says. Always float32.
        """
        height, width = image.shape[-2:]
        canvas = [-(-side // self.stride) * self.stride for side in (height, width)]
        features = self.features(image)
        with torch.autocast(image.device.type, enabled=False):
            log: Tensor = self.read(features, _cells(canvas, self.readout_cell))
            log = self.selection(self.saliency(log))
            log = self.blur(_resize(log, _cells(canvas, self.blur_cell)))
            log = _resize(log, canvas)[:, 0, :height, :width]
            if with_centre_bias:
                bias = self.centre_bias[None] if centre_bias is None else centre_bias
                bias = _resize(bias[:, None].to(log), (height, width))[:, 0]
                log = log + self.centre_bias_weight * bias
            return F.log_softmax(log.flatten(1), dim=1).view(log.shape)

    def features(self, image: Tensor) -> list[Tensor]:
        """Return each level's features (B, C, h, w); the image is padded right and below."""
        sides = image.shape[-1], image.shape[-2]
        right, bottom = (-(-side // self.stride) * self.stride - side for side in sides)
        # A frozen backbone keeps nothing for a backward pass, unless the image itself asks for it.
        learns = torch.is_grad_enabled() and (self.tuned or image.requires_grad)
        with torch.set_grad_enabled(learns):
            if right or bottom:
                image = F.pad(image, (0, right, 0, bottom), mode="replicate")
            features: list[Tensor] = self.backbone(F.avg_pool2d(image, self.downsample))
        return features

    def fill_centre_bias(self, log_density: Tensor) -> None:
        """Keep a log density (G, G) in relative coordinates; ValueError for another shape."""
        if log_density.shape != self.centre_bias.shape or not log_density.isfinite().all():
            have, want = tuple(log_density.shape), tuple(self.centre_bias.shape)
            raise ValueError(f"want a finite centre bias of shape {want}, not {have}")
        self.centre_bias.copy_(log_density - log_density.flatten().logsumexp(0))


class FeatureLayer(nn.Module):
    """Layer norm over all of (C, h, w), 1x1 convolution and softplus, of features of several grids.

    The values are those on one common grid. But resizing and a 1x1 convolution commute, so each
    level is convolved where it is, and only a few channels are resized: at stride 32 and a readout
    of 8 pixels that is 1/64 of the memory with `downsample` 2. Each level's mean and variance
    count by its channels, as if its cells were repeated over the common grid.
    """

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.channels = list(channels)
        self.scale = nn.Parameter(torch.ones(sum(channels)))
        self.shift = nn.Parameter(torch.zeros(sum(channels)))
        self.conv = nn.Conv2d(sum(channels), width, 1)

    def forward(self, features: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Return (B, width, *size) of each level's (B, C, h, w)."""
        features = [x.to(self.scale) for x in features]
        mean, deviation = self._statistics(features)
        # conv(scale (x - mean) / deviation + shift), without a normalised copy of the features
        scaled = self.conv.weight * self.scale[:, None, None]
        parts = zip(features, torch.split(scaled, self.channels, dim=1), strict=True)
        drawn = torch.stack([_resize(F.conv2d(x, part), size) for x, part in parts]).sum(0)
        drawn = (drawn - mean * scaled.sum(1)) / deviation
        return F.softplus(drawn + self.conv(self.shift[:, None, None]))

    def _statistics(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation, (B, 1, 1, 1), over all levels."""
        pairs = [torch.var_mean(x, (1, 2, 3), correction=0, keepdim=True) for x in features]
        shares = [channels / sum(self.channels) for channels in self.channels]
        mean = torch.stack([share * m for share, (_, m) in zip(shares, pairs, strict=True)]).sum(0)
        parts = [s * (v + (m - mean) ** 2) for s, (v, m) in zip(shares, pairs, strict=True)]
        return mean, (torch.stack(parts).sum(0) + EPS).sqrt()


class Blur(nn.Module):
    """Gaussian of learned width, cut at 3 sigma, over maps whose borders are replicated.

    A matrix for each axis holds it: the cut follows sigma without asking the device for its value,
    and the gradient of sigma is that of the normalised weights inside.
    """

    def __init__(self, sigma: float) -> None:
        super().__init__()
        self.widest = WIDEST * sigma
        self.log_sigma = nn.Parameter(torch.tensor(math.log(sigma)))  # so that it stays positive

    @property
    def sigma(self) -> Tensor:
        """The width in cells of the map."""
        return self.log_sigma.exp().clamp(max=self.widest)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) to the same shape."""
        down, across = (self.matrix(side) for side in x.shape[-2:])
        return down @ x @ across.T

    def matrix(self, side: int) -> Tensor:
        """Return (side, side): row i holds how much each cell counts in the blurred cell i."""
        reach, sigma = math.ceil(TRUNCATE * self.widest), self.sigma
        rows = torch.arange(side, device=sigma.device)
        columns = torch.arange(-reach, side + reach, device=sigma.device)  # with the replicated
        distance = (columns - rows[:, None]).abs()
        weights = torch.exp(-0.5 * (distance / sigma) ** 2)
        # Less 1e-3: rounding of the logarithm must not turn a whole number of cells into one more.
        weights = weights * (distance <= torch.ceil(TRUNCATE * sigma.detach() - 1e-3))
        weights = weights / weights.sum(1, keepdim=True)
        before, inside, after = torch.split(weights, [reach, side, reach], dim=1)
        at_first = before.sum(1, keepdim=True) * (rows == 0)
        at_last = after.sum(1, keepdim=True) * (rows == side - 1)
        return inside + at_first + at_last


def _layer(channels: int, width: int) -> tuple[nn.Module, ...]:
    """Return layer norm over all of (C, h, w) with a scale a channel, 1x1 convolution, softplus."""
    return nn.GroupNorm(1, channels, eps=EPS), nn.Conv2d(channels, width, 1), nn.Softplus()


def _cells(canvas: Sequence[int], cell: int) -> list[int]:
    return [math.ceil(side / cell) for side in canvas]


def _resize(x: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(x, size=list(size), mode="bilinear", align_corners=False)
