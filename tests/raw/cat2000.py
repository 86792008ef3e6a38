"""CAT2000's train set in small: gaps in the numbers, outputs of a model, MATLAB files of 5 and 7.3.

Also pysaliency's files of the same stimuli, in `write_hdf5`: as it writes FileStimuli 2.1 and
FixationTrains 1.0.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from raw.imagefolder import jpeg, picture
from scipy.io import savemat

NAMES = tuple(f"{c}/{n:03d}" for c in ("Action", "Satelite") for n in (1, 19, 131))
HEIGHT, WIDTH = 36, 64


def write(folder: Path) -> dict[str, Any]:
    """Write the raw files and return options of the source."""
    train = folder / "trainSet"
    for i, name in enumerate(NAMES):
        save(train / "Stimuli" / f"{name}.jpg", stimulus(name))
        save(train / "FIXATIONMAPS" / f"{name}.jpg", jpeg(marks(name).astype(np.uint8) * 90))
        save(train / "FIXATIONLOCS" / f"{name}.mat", mat_73(name) if i == 1 else mat(name, i > 1))
        output = name.replace("/", "/Output/")
        save(train / "Stimuli" / f"{output}_SaliencyMap.jpg", stimulus(name))
    (train / "allFixData.mat").write_bytes(b"not read")
    return {"folds": 3}


def save(path: Path, data: bytes) -> None:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def stimulus(name: str) -> bytes:
    """Return a stimulus."""
    return jpeg(picture(NAMES.index(name), HEIGHT, WIDTH))


def marks(name: str) -> Any:
    """Return the fixated pixels (H, W)."""
    found = np.random.default_rng(NAMES.index(name)).random((HEIGHT, WIDTH)) < 0.01
    found[-1, -1] = True
    return found


def mat(name: str, compress: bool = False) -> bytes:
    """Return the file of fixations as MATLAB 5 (7 when compressed) writes it."""
    out = io.BytesIO()
    savemat(out, {"fixLocs": marks(name).astype(np.uint8)}, do_compression=compress)
    return out.getvalue()


def mat_73(name: str) -> bytes:
    """Return the same as MATLAB 7.3 writes it: HDF5 behind a block of 512 bytes, columns first."""
    out = io.BytesIO()
    with h5py.File(out, "w", userblock_size=512) as file:
        file["fixLocs"] = marks(name).astype(np.uint8).T
    data = bytearray(out.getvalue())
    data[:116] = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(116)
    return bytes(data)


def write_hdf5(folder: Path, names: list[str], shift_px: float = 0.0) -> None:
    """Write stimuli.hdf5 with these file names, one a stimulus of NAMES, and fixations.hdf5.

    Two subjects take turns at the fixations of a stimulus; a third sees none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with h5py.File(folder / "stimuli.hdf5", "w") as file:
        file.attrs.update({"type": np.bytes_("FileStimuli"), "version": np.bytes_("2.1")})
        file.attrs.update({"size": len(names), "__attributes__": np.bytes_("[]")})
        file.create_dataset("filenames", data=names, dtype=h5py.string_dtype())
        shapes = file.create_dataset("shapes", (len(names),), dtype=h5py.vlen_dtype(np.int64))
        for row in range(len(names)):
            shapes[row] = np.array([HEIGHT, WIDTH, 3])
    paths = [points(name)[subject::2] for name in NAMES for subject in (0, 1, 2)]
    paths = [path if i % 3 < 2 else path[:0] for i, path in enumerate(paths)]
    longest = max(map(len, paths))
    xs, ys, ts = (np.full((len(paths), longest), np.nan) for _ in range(3))
    for i, path in enumerate(paths):
        xs[i, : len(path)], ys[i, : len(path)] = path.T + shift_px
        # The running index from 1, as pysaliency has it.
        ts[i, : len(path)] = np.arange(1, len(path) + 1)
    rows = np.repeat(np.arange(len(NAMES)), 3)
    with h5py.File(folder / "fixations.hdf5", "w") as file:
        file.attrs.update({"type": np.bytes_("FixationTrains"), "version": np.bytes_("1.0")})
        file.attrs["__attributes__"] = np.bytes_('["subjects", "scanpath_index"]')
        for name, data in (("xs", xs), ("ys", ys), ("ts", ts), ("ns", rows)):
            file[f"train_{name}"] = data
        file["train_subjects"] = np.tile([0, 1, 2], len(NAMES))


def points(name: str) -> Any:
    """Return the fixations (M, 2) x and y of a stimulus, somewhere in each fixated pixel."""
    rows, columns = np.nonzero(marks(name))
    return np.stack([columns, rows], axis=1) + 0.25
