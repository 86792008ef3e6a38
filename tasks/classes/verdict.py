"""What a classifier says of one image: a class, how sure it is, and what it decides.

Shapes: C classes, H W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import scipy.special
import torch
from torch import Tensor

from tasks.classes.calibrated import Calibration
from tasks.classes.heat import Heat
from tasks.stimuli.overlay import overlay

Array = npt.NDArray[Any]


def verdict(logits: Array, names: Sequence[str], calibration: Calibration | None) -> dict[str, Any]:
    """Return class, probabilities and decisions from logits (C,), in JSON's types.

    decisions: of each operating point whether its class is there, with what decided.
    """
    whole = logits[None].astype(np.float64)
    said = calibration.probabilities(whole) if calibration else scipy.special.softmax(whole, axis=1)
    probabilities = dict(zip(names, said[0].tolist(), strict=True))
    best = names[int(np.argmax(logits))]
    found: dict[str, Any] = {"class": best, "probability": probabilities[best]}
    found |= {"calibrated": calibration is not None, "probabilities": probabilities}
    if calibration:
        found["temperature"] = calibration.temperature
        found["decisions"] = {
            name: {
                "class": point["class"],
                "probability": (own := float(said[0, point["index"]])),
                "threshold": point["threshold"],
                "positive": bool(own >= point["threshold"]),
            }
            for name, point in calibration.points.items()
        }
    return found


def line(said: Mapping[str, Any]) -> str:
    """Return a verdict in words."""
    how = "calibrated" if said["calibrated"] else "not calibrated"
    parts = [f"{said['class']} {said['probability']:.3f} ({how})"]
    for name, one in said.get("decisions", {}).items():
        sign, is_ = ("≥", "yes") if one["positive"] else ("<", "no")
        numbers = f"{one['probability']:.3f} {sign} {one['threshold']:.3f}"
        parts.append(f"{one['class']} at {name}: {is_}, {numbers}")
    return "; ".join(parts)


def drawn(
    net: torch.nn.Module,
    image: Tensor,
    picture: Array,
    box: tuple[int, int, int, int],
    chosen: int,
) -> Array:
    """Return a picture (H, W, 3) under the heat of one class.

    image: what of it the network sees, (1, 3, h, w) normalised; box: (y, x, h, w) of that in it.
    """
    top, left, height, width = box
    with Heat(net) as heat:
        found = heat.maps(image, [chosen])[0].clip(0)
    whole = np.zeros(picture.shape[:2], np.float32)
    whole[top : top + height, left : left + width] = cv2.resize(found, (width, height))
    return overlay(picture, whole)
