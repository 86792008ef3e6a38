"""The peers' own forms of the stimuli: HDF5 as pysaliency writes it, and DeepGaze's LMDB.

Legend: M fixations of all stimuli.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import h5py
import numpy as np
from files import written
from PIL import Image

from stimuli import corpus
from stimuli.work import Work

FIXATIONS, STIMULI = "fixations.hdf5", "stimuli.hdf5"
SUBJECTS = 15
# Files of the two sizes are written once, with little loss.
QUALITY = 95
MAP_BYTES = 4 << 30


def form(work: Work, name: str) -> Path:
    """Return the folder of one form, written if it is not there yet."""
    files = Path(work.files)
    facts = corpus.origin(files) | {"size": [work.height, work.width]}
    return written(Path(work.form(name)), lambda to: FORMS[name](work, files, to), facts)


def _fixations(work: Work, files: Path, folder: Path) -> None:
    """Write type Fixations: every fixation alone, nothing said of what came before it."""
    with np.load(files / corpus.POINTS) as points:
        every = [points[stem] for stem in corpus.names(files)]
    x, y = np.concatenate(every).T
    columns = {
        "x": x,
        "y": y,
        "t": np.zeros(len(x)),
        "n": np.repeat(np.arange(len(every)), [len(points) for points in every]),
        "subjects": np.arange(len(x)) % SUBJECTS,
    }
    with h5py.File(folder / FIXATIONS, "w") as file:
        file.attrs["type"], file.attrs["version"] = np.bytes_("Fixations"), np.bytes_("1.0")
        file.attrs["__attributes__"] = np.bytes_('["subjects"]')
        for name, values in columns.items():
            file[name] = values
        for name in ("x_hist", "y_hist", "t_hist"):
            file[name] = np.full((len(x), 1), np.nan)


def _arrays(work: Work, files: Path, folder: Path) -> None:
    """Write type Stimuli: an array an image, packed as pysaliency packs it."""
    names = corpus.names(files)
    with h5py.File(folder / STIMULI, "w") as file:
        file.attrs["type"], file.attrs["version"] = np.bytes_("Stimuli"), np.bytes_("1.1")
        file.attrs["__attributes__"], file.attrs["size"] = np.bytes_("[]"), len(names)
        for row, stem in enumerate(names):
            with Image.open(files / corpus.STIMULI / f"{stem}.jpeg") as image:
                pixels = np.asarray(image.convert("RGB"))
            file.create_dataset(f"{row}", data=pixels, compression="gzip", compression_opts=9)


def _database(work: Work, files: Path, folder: Path) -> None:
    """Write JPEGs of the two sizes under the numbers of their rows."""
    lmdb = import_module("lmdb")  # only where it is installed
    environment = lmdb.open(str(folder), map_size=MAP_BYTES)
    with environment, environment.begin(write=True) as transaction:
        for row, stem in enumerate(corpus.names(files)):
            with Image.open(files / corpus.STIMULI / f"{stem}.jpeg") as image:
                height, width = work.size(image.height, image.width)
                whole = image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
            data = io.BytesIO()
            whole.save(data, "JPEG", quality=QUALITY)
            transaction.put(str(row).encode(), data.getvalue())


FORMS: dict[str, Callable[[Work, Path, Path], None]] = {
    "fixations": _fixations,
    "arrays": _arrays,
    "database": _database,
}
