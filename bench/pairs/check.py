"""Are these aligned pairs of the promised shape? So that no contestant wins by skipping work."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

# LR is HR seen through a bicubic filter, so the mean of a block is near it: noise and edges aside.
NEAR = 0.06


class Check:
    """Looks at the first batches of a contestant; ValueError says what is wrong with them."""

    def __init__(self, scale: int, patch: int, batch: int, look_at: int = 4) -> None:
        self.scale, self.look_at = scale, look_at
        self.shapes = ((batch, 3, patch, patch), (batch, 3, patch * scale, patch * scale))
        self._apart: list[Tensor] = []  # (5,) distance of LR and HR as they are, and HR shifted
        self._worst = 0.0
        self._sums = torch.zeros(2, 2, dtype=torch.float64)
        self._seen: set[str] = set()
        self._samples = 0

    def __call__(self, pair: tuple[Tensor, Tensor]) -> None:
        """Take in one batch (LR, HR)."""
        if len(self._apart) == self.look_at:
            return
        for name, tensor, shape in zip(("LR", "HR"), pair, self.shapes, strict=True):
            if tensor.shape != shape or tensor.dtype != torch.float32:
                raise ValueError(f"{name} is {tuple(tensor.shape)} {tensor.dtype}, not {shape}")
            if not tensor.is_contiguous():
                raise ValueError(f"{name} is a view: its pixels are not in order")
            if tensor.min() < 0 or not 0.5 < tensor.max() <= 1:
                raise ValueError(f"{name} reaches from {tensor.min():.3f} to {tensor.max():.3f}")
        lr, hr = (tensor.cpu() for tensor in pair)
        self._apart.append(self._distances(lr, hr))
        for i, tensor in enumerate((lr, hr)):
            self._sums[i] += torch.stack([tensor.mean(), tensor.std()])
        self._seen |= {hashlib.sha256(one.numpy().tobytes()).hexdigest() for one in lr}
        self._samples += len(lr)

    def _distances(self, lr: Tensor, hr: Tensor) -> Tensor:
        """Return the mean distance of LR from HR's blocks, then with HR a pixel off each way."""
        distances = []
        for shift in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)):
            blocks = avg_pool2d(hr.roll(shift, (2, 3)), self.scale)
            distance = (blocks - lr)[..., 1:-1, 1:-1].abs().mean(dim=(1, 2, 3))
            if not any(shift):
                self._worst = max(self._worst, float(distance.max()))
            distances.append(distance.mean())
        return torch.stack(distances)

    def result(self) -> dict[str, Any]:
        """Return what was seen; ValueError where LR and HR are not pairs."""
        apart = torch.stack(self._apart).mean(0)
        if self._worst > NEAR:
            raise ValueError(f"an LR crop is {self._worst:.3f} from its HR crop: another place")
        if apart[0] >= apart[1:].min():
            raise ValueError("LR fits HR better a pixel beside: the crops are not aligned")
        if len(self._seen) < 0.9 * self._samples:
            raise ValueError(f"only {len(self._seen)} of {self._samples} crops differ")
        (lr_mean, lr_std), (hr_mean, hr_std) = (self._sums / len(self._apart)).tolist()
        return {
            "samples": self._samples,
            "lr_mean": round(lr_mean, 4),
            "lr_std": round(lr_std, 4),
            "hr_mean": round(hr_mean, 4),
            "hr_std": round(hr_std, 4),
            "distance": round(float(apart[0]), 5),
            "distance_a_pixel_off": round(float(apart[1:].min()), 5),
        }
