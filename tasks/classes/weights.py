"""What a sample of each class counts. Legend: n samples, C classes."""

from __future__ import annotations

import torch
from torch import Tensor


def balanced(labels: Tensor, classes: int) -> Tensor:
    """Return n / (C · n of the class), (C,) float32, over the C classes that labels (n,) have.

    Their mean over the samples is 1, and every class counts alike; 0 for a class without samples.
    """
    counts = torch.bincount(labels, minlength=classes).double()
    shares = len(labels) / ((counts > 0).sum() * counts.clamp(min=1))
    return torch.where(counts > 0, shares, 0).float()
