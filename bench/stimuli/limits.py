"""Limits of the stimuli's work: decoding alone, resizing and conversion alone."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import simplejpeg
from photos.limits import decoding, spread
from workload import Batches, Setting

from stimuli.listing import listed
from stimuli.reference import load
from stimuli.work import MEAN, STD, Work

Array = npt.NDArray[Any]
# Pixels held in memory: far more bytes than the caches hold.
IMAGES = 96


def decode(work: Work, setting: Setting) -> Batches:
    """Decode whole files from memory, one buffer a thread; yield the last image of a batch."""
    held = [Path(one.path).read_bytes() for one in listed(work)]
    return decoding(held, work.batch, setting["threads"])


def ceiling(work: Work, setting: Setting) -> Batches:
    """Resize and normalise images that lie decoded in memory, with their points scaled before."""
    import torch

    from loaders import resample

    rows, truth = _batches(work), load(work)
    every = listed(work)
    images = {i: simplejpeg.decode_jpeg(Path(every[i].path).read_bytes()) for i in np.unique(rows)}
    scale = (1 / 255 / np.array(STD)).astype(np.float32)
    bias = (-np.array(MEAN) / STD).astype(np.float32)
    # As many as are ahead, and the one that the consumer holds.
    room = (work.batch, 3, work.height * work.width)
    slots = [torch.empty(room) for _ in range(2 * setting["threads"] + 1)]
    local = threading.local()

    def make(step: int) -> tuple[Any, ...]:
        if not hasattr(local, "space"):
            local.space = resample.Workspace()
        chosen, space = rows[step % len(rows)], local.space
        height, width = work.size(every[chosen[0]].height, every[chosen[0]].width)
        out = slots[step % len(slots)].view(work.batch, 3, height, width)
        for one, to in zip(chosen.tolist(), out.numpy(), strict=True):
            image = images[one]
            place = np.array([0, 0, *image.shape[:2]])
            box = place.astype(np.float64)
            space.fit(box, height, width, 3, int(place[3]))
            resample.resample(
                image.reshape(len(image), -1), place, box, 0, 1, scale, bias,
                space.first, space.weights, space.line, to,
            )  # fmt: skip
        points = [truth["points"][slice(*truth["starts"][i : i + 2])] for i in chosen.tolist()]
        starts = np.cumsum([0, *map(len, points)])
        return out, torch.from_numpy(np.concatenate(points)), torch.from_numpy(starts)

    return spread(setting["threads"], make)


def _batches(work: Work) -> Array:
    """Return batches (steps, B) of one size of some images, mixed."""
    is_wide = load(work)["is_wide"]
    rng = np.random.default_rng(work.seed)
    batches = []
    for group in (is_wide, ~is_wide):
        rows = rng.permutation(np.flatnonzero(group))
        batches += list(rows[: len(rows) // work.batch * work.batch].reshape(-1, work.batch))
    most = max(1, IMAGES // work.batch)
    return np.stack([batches[i] for i in rng.permutation(len(batches))[:most]])
