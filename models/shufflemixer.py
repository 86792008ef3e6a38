"""ShuffleMixer: light super-resolution (Sun, Pan, Tang, "ShuffleMixer", NeurIPS 2022).

Shapes: B batch, C the net's width, H W pixels of the low-resolution image, S the scale. Module
names are those of the published checkpoints, `upsapling` included, so that these load strictly.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models import Input, Recipe

Size = Literal["base", "tiny"]
Scale = Literal[2, 3, 4]

SIZES: Mapping[str, tuple[int, int]] = {"base": (64, 7), "tiny": (32, 3)}  # width, kernel size
SHUFFLE_GROUPS = 8
MBCONV_EXTRA = 16  # the fused MBConv widens C by a constant, not by a ratio


def _published(size: Size) -> Recipe:
    """Return the recipe of the published weights; `net.scale` may be 2 or 3 as well."""
    return Recipe(
        task="superres",
        data="df2k",
        net={"size": size, "scale": 4},
        task_options={"patch": 64, "fft_weight": 0.1},
        global_batch_size=64,
        steps=300_000,
        optimiser="adam",
        lr=5e-4,
        betas=(0.9, 0.99),
        ema=0.999,
        validate_every=5000,
    )


def _demo() -> Recipe:
    """Return a small net for the photographs that ship inside installed packages.

    Measured on two cores: 1.86 dB above bicubic on the held-out photographs, in 70 seconds.
    """
    return Recipe(
        task="superres",
        data="sample",
        net={"scale": 2, "width": 16, "kernel_size": 3, "blocks": 2},
        task_options={"patch": 32, "fft_weight": 0.02},
        global_batch_size=11,  # one crop of each training photograph: no fillers
        steps=1500,
        lr=1e-2,
        betas=(0.9, 0.99),
        schedule="cosine",
        warmup=0.02,
        validate_every=500,
    )


RECIPES = {
    "shufflemixer": _published("base"),
    "shufflemixer_tiny": _published("tiny"),
    "shufflemixer_demo": _demo(),
}


def build(
    size: Size = "base",
    scale: Scale = 4,
    width: int | None = None,
    kernel_size: int | None = None,
    blocks: int = 5,
    shuffle: bool = True,
    fused_mbconv: bool = True,
    layer_norm: bool = True,
    split_mlp: bool = True,
) -> ShuffleMixer:
    """Build the net; `width`, `kernel_size` None are those of `size`: base 64, 7, tiny 32, 3.

    shuffle: interleave the channels after each split MLP; without it one half of the channels
        never meets an MLP. Same parameters.
    fused_mbconv: end each block with 3x3 conv, SiLU, 1x1 conv; without it there is no `conv`.
    layer_norm: normalise before each MLP; without it there are no `norm1`, `norm2`.
    split_mlp: the MLP sees the first half of the channels; without it, all of them (four times the
        MLP weights), and there is no shuffle: a following linear layer would undo it.
    ValueError where an argument has no meaning for the net.
    """
    if size not in SIZES:
        raise ValueError(f"size must be one of {', '.join(SIZES)}, not {size!r}")
    if scale not in get_args(Scale):
        raise ValueError(f"scale must be 2, 3 or 4, not {scale!r}")
    width, kernel_size = width or SIZES[size][0], kernel_size or SIZES[size][1]
    if width % SHUFFLE_GROUPS or width < 2 * SHUFFLE_GROUPS:
        raise ValueError(f"width must be a multiple of 8 of at least 16, not {width}")
    if kernel_size % 2 != 1 or kernel_size < 1 or blocks < 1:
        raise ValueError(
            f"want an odd kernel_size and at least 1 block, not {kernel_size} and {blocks}"
        )
    return ShuffleMixer(
        [
            FeatureMixingBlock(width, kernel_size, shuffle, fused_mbconv, layer_norm, split_mlp)
            for _ in range(blocks)
        ],
        width,
        scale,
    )


class ShuffleMixer(nn.Module):
    """The net over given blocks of `width` channels."""

    def __init__(self, blocks: list[FeatureMixingBlock], width: int, scale: int) -> None:
        super().__init__()
        self.inputs = {"lr": Input(channels=3)}
        self.scale = scale
        # LR pixels that an output pixel sees on each side: per block two depthwise convolutions and
        # one 3x3, then the first and the last convolution.
        self.reach = 2 + sum(block.reach for block in blocks)
        self.to_feat = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.blocks = nn.Sequential(*blocks)
        self.upsapling = nn.Sequential()
        for step in (2, 2) if scale == 4 else (scale,):
            self.upsapling.extend(
                [nn.Conv2d(width, width * step**2, 1), nn.PixelShuffle(step), nn.SiLU()]
            )
        self.tail = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, lr: Tensor) -> Tensor:
        """Return the image (B, 3, S H, S W), not clamped, of `lr` (B, 3, H, W) in [0, 1]."""
        detail: Tensor = self.tail(self.upsapling(self.blocks(self.to_feat(lr))))
        return detail + F.interpolate(
            lr, scale_factor=float(self.scale), mode="bilinear", align_corners=False
        )


class FeatureMixingBlock(nn.Module):
    """Two shuffle-mixer layers with a skip, then the fused MBConv with a skip."""

    def __init__(
        self,
        width: int,
        kernel_size: int,
        shuffle: bool,
        fused_mbconv: bool,
        layer_norm: bool,
        split_mlp: bool,
    ) -> None:
        super().__init__()
        self.net = nn.Sequential(
            *(
                ShuffleMixerLayer(width, kernel_size, shuffle, layer_norm, split_mlp)
                for _ in range(2)
            )
        )
        self.reach = 2 * (kernel_size // 2) + int(fused_mbconv)
        self.conv: nn.Sequential | None = None
        if fused_mbconv:
            self.conv = nn.Sequential(
                nn.Conv2d(width, width + MBCONV_EXTRA, 3, padding=1),
                nn.SiLU(),
                nn.Conv2d(width + MBCONV_EXTRA, width, 1),
            )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        x = self.net(x) + x
        return x if self.conv is None else self.conv(x) + x


class ShuffleMixerLayer(nn.Module):
    """Point MLP with a skip, depthwise convolution without one, point MLP with a skip."""

    def __init__(
        self, width: int, kernel_size: int, shuffle: bool, layer_norm: bool, split_mlp: bool
    ) -> None:
        super().__init__()
        self.norm1 = PixelNorm(width) if layer_norm else nn.Identity()
        self.norm2 = PixelNorm(width) if layer_norm else nn.Identity()
        self.spatial = nn.Conv2d(width, width, kernel_size, padding=kernel_size // 2, groups=width)
        self.mlp1 = PointMlp(width, shuffle, split_mlp)
        self.mlp2 = PointMlp(width, shuffle, split_mlp)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        x = self.mlp1(self.norm1(x)) + x
        x = self.spatial(x)
        return self.mlp2(self.norm2(x)) + x  # type: ignore[no-any-return]


class PixelNorm(nn.Module):
    """Layer norm over the channels of each pixel, so that no pixel depends on the crop's size."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.LayerNorm(width, eps=1e-5, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        normed: Tensor = self.body(x.permute(0, 2, 3, 1))
        return normed.permute(0, 3, 1, 2)


class PointMlp(nn.Module):
    """MLP over the channels of each pixel: on the first half of them, then shuffled, or on all."""

    def __init__(self, width: int, shuffle: bool, split: bool) -> None:
        super().__init__()
        self.shuffle = shuffle and split
        self.split = split
        part = width // 2 if split else width
        self.fc = nn.Sequential(
            nn.Conv2d(part, 2 * part, 1), nn.SiLU(), nn.Conv2d(2 * part, part, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        if not self.split:
            return self.fc(x)  # type: ignore[no-any-return]
        first, second = x.chunk(2, dim=1)
        x = torch.cat((self.fc(first), second), dim=1)
        return shuffle_channels(x) if self.shuffle else x


def shuffle_channels(x: Tensor) -> Tensor:
    """Interleave 8 groups of channels: out[:, d * 8 + g] = x[:, g * C / 8 + d].

    The number of groups must be neither 1 nor C: both are the identity.
    """
    batch, channels, height, width = x.shape
    grouped = x.reshape(batch, SHUFFLE_GROUPS, channels // SHUFFLE_GROUPS, height, width)
    return grouped.transpose(1, 2).reshape(batch, channels, height, width)
