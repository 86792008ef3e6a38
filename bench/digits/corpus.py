"""What the digits' benchmark reads: MNIST's four IDX files, and the set built from them.

MNIST itself is not at hand without a download. scikit-learn ships 1,797 real digits of 8×8 pixels:
each is enlarged as MNIST's are (20×20 in the middle of 28×28), turned, moved and dimmed at random,
until there are as many as MNIST has. No two are equal, so an image tells its label.
"""

from __future__ import annotations

import struct
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from files import written

from dataprep.build import build
from dataprep.raw import Raw
from dataprep.sources import mnist
from digits.work import SIDE

Array = npt.NDArray[Any]
RAW = "MNIST/raw"
# Pixels of MNIST's digits for one of scikit-learn's, whose values go to 16.
ENLARGED, BRIGHTEST = 20 / 8, 16
TURN_DEG, MOVE_PX, DIMMEST = 15.0, 2.5, 0.6


@dataclass(frozen=True, kw_only=True)
class Digits:
    """How many to train on, and how many to test on for each hundred of them: MNIST's share."""

    count: int = 60_000
    test_percent: float = 100 / 6
    seed: int = 0


QUICK = Digits(count=2_000)


def digits(root: Path, what: Digits) -> Path:
    """Write the IDX files and return the folder that holds MNIST/raw."""
    folder = root / f"digits-{what.count}"
    return written(folder, lambda to: _write(to / RAW, what), asdict(what))


def built(root: Path, files: Path) -> Path:
    """Return the set of these files, built by the real builder."""
    folder = root / f"set-{files.name}"
    source = mnist.Source(val_fraction=0)  # all of them are trained on
    build(source, Raw(files), folder, workers=1)  # seconds: starting more takes longer
    return folder


def _write(folder: Path, what: Digits) -> None:
    from sklearn.datasets import load_digits

    real: Any = load_digits()
    folder.mkdir(parents=True)
    counts = (what.count, round(what.count * what.test_percent / 100))
    for part, count in zip(("train", "t10k"), counts, strict=True):
        rng = np.random.default_rng((what.seed, count))
        chosen = rng.permutation(np.arange(count) % len(real.target))
        images = np.stack([_varied(real.images[i], rng) for i in chosen.tolist()])
        (folder / f"{part}-images-idx3-ubyte").write_bytes(_idx(images))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(_idx(real.target[chosen]))


def _varied(digit: Array, rng: np.random.Generator) -> Array:
    """Return a digit (8, 8) as (28, 28) uint8, enlarged around its centre, with its own noise."""
    turn, brightest = rng.uniform(-TURN_DEG, TURN_DEG), 255 * rng.uniform(DIMMEST, 1)
    middle = (digit.shape[0] - 1) / 2
    matrix = cv2.getRotationMatrix2D((middle, middle), turn, ENLARGED)
    matrix[:, 2] += (SIDE - 1) / 2 - middle + rng.uniform(-MOVE_PX, MOVE_PX, 2)
    large = cv2.warpAffine(digit.astype(np.float32), matrix, (SIDE, SIDE), flags=cv2.INTER_CUBIC)
    varied: Array = np.rint(large * (brightest / BRIGHTEST)).clip(0, 255).astype(np.uint8)
    return varied


def _idx(array: Array) -> bytes:
    """Return an array as an IDX file of bytes."""
    header = struct.pack(f">{1 + array.ndim}I", 0x0800 + array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def pixels(files: Path) -> tuple[Array, Array]:
    """Return the training images (N, 28, 28), mapped and not read, and their labels (N,)."""
    raw = files / RAW
    images = np.memmap(raw / "train-images-idx3-ubyte", np.uint8, "r", 16).reshape(-1, SIDE, SIDE)
    return images, np.fromfile(raw / "train-labels-idx1-ubyte", np.uint8, offset=8).astype(np.int64)
