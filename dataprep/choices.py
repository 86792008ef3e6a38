"""Ways to store photographs, and what each costs: a sample of the files is built for real.

The whole set's size is estimated from the sample with the help of what is known of every raw file,
its bytes (regression estimator: Cochran, Sampling Techniques, 1977, chapter 7).
"""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from dataprep import index
from dataprep.build import build
from dataprep.manifest import FILE_NAME, DataError, Field, Manifest
from dataprep.photos import Photos
from dataprep.raw import Raw
from dataprep.sources import Entry, Sample

Array = npt.NDArray[Any]

# Raw bytes from which on worker processes are worth their start.
MANY_BYTES = 64_000_000
# Samples from which on the bytes of a raw file are asked what they say of the stored ones.
FEW = 10
# Bytes that a file of these kinds has once, however many samples there are: a header, an end.
ONCE = {".npy": 128, ".tar": 1024}


@dataclass(frozen=True)
class Choice:
    """One way to store a set: options of the source, by the names of its fields."""

    name: str
    options: dict[str, Any]

    @property
    def flags(self) -> str:
        """The options as they are typed after `build imagefolder`."""
        words = []
        for option, value in self.options.items():
            flag = option.replace("_", "-")
            switch = f"--{flag}" if value else f"--no-{flag}"
            words.append(switch if isinstance(value, bool) else f"--{flag} {value}")
        return " ".join(words)


def choices(short: int, quality: int = 0) -> list[Choice]:
    """Return the choices; images are made smaller to a short side of `short` pixels in two."""
    resized = {"resize_short": short}
    encoded = resized | ({"quality": quality} if quality else {})
    return [
        Choice("as is", {"restart": False}),
        Choice("restart", {}),
        Choice(f"short {short}", encoded),
        Choice(f"raw {short}", resized | {"raw_pixels": True}),
    ]


@dataclass(frozen=True, kw_only=True)
class Sampled(Photos):
    """Some photographs of a raw folder, without classes."""

    summary: ClassVar[str] = "some photographs of a raw folder"

    files: tuple[str, ...] = field(default=())

    def fields(self) -> dict[str, Field]:
        return {"image": self.photo_field(), "label": Field(kind="value", dtype="int64")}

    def entries(self, raw: Raw) -> list[Entry]:
        return [
            Entry(name, "train", {"image": name}, {"key": f"{i:012d}"})
            for i, name in enumerate(self.files)
        ]

    def read(self, raw: Raw, entry: Entry) -> Iterator[Sample]:
        image, notes = self.photo(raw, entry.members["image"])
        yield Sample(entry.values["key"], {"image": image, "label": 0}, notes)


def pick(names: Sequence[str], count: int, seed: int = 0) -> list[str]:
    """Return `count` names, one at random of each of as many equal stretches of the listing.

    Names are sorted, so that every folder gets its share.
    """
    count = min(count, len(names))
    bounds = [i * len(names) // count for i in range(count + 1)]
    places = np.random.default_rng(seed).integers(bounds[:-1], bounds[1:])
    return [names[place] for place in places]


@dataclass(frozen=True)
class Built:
    """One choice, built of the sample. sizes: pixels as stored, (samples, 2), height and width.

    samples: stored ones; set_bytes ± error_bytes (a standard error): of the whole set. cpu_s:
    processor seconds an image. resized, encoded: images of the sample that lost something.
    """

    choice: Choice
    folder: Path
    samples: int
    sizes: Array
    set_bytes: float
    error_bytes: float
    cpu_s: float
    resized: int
    encoded: int
    cut: int
    skipped: list[dict[str, str]]

    @property
    def is_lossless(self) -> bool:
        """True where every pixel stays what it was."""
        return not (self.resized or self.encoded)


def build_sample(
    choice: Choice, raw: Raw, files: Sequence[str], all_files: Sequence[str], folder: Path
) -> Built:
    """Build the sample, and estimate from it the set of all files; DataError if nothing is good."""
    raw_bytes = {name: raw.size(name) for name in files}
    workers = 1 if sum(raw_bytes.values()) < MANY_BYTES else None
    source = Sampled(**choice.options, files=tuple(files))
    _warm(source, raw)
    before = _cpu_s()
    facts = build(source, raw, folder, workers=workers, on_error="skip", show=True)
    cpu_s = (_cpu_s() - before) / len(files)
    stored, sizes = _stored(folder, facts)
    names = index.Names(folder / "index", "name", facts.samples)
    own = np.array([raw_bytes[names[i]] for i in range(facts.samples)], np.float64)
    count = len(all_files) * facts.samples / len(files)
    mean = sum(map(raw.size, all_files)) / len(all_files)
    set_bytes, error_bytes = total(stored, own, mean, count)
    return Built(
        choice,
        folder,
        facts.samples,
        sizes,
        set_bytes + count * _beside(folder, facts, stored),
        error_bytes,
        cpu_s,
        _noted(facts, "resized"),
        _noted(facts, "re-encoded"),
        _noted(facts, "restart intervals inserted"),
        facts.skipped,
    )


def _warm(source: Sampled, raw: Raw) -> None:
    """Read one image: what is compiled or imported for the first is no image's cost."""
    with suppress(DataError):
        list(source.read(raw, source.entries(raw)[0]))


def total(stored: Array, own: Array, mean: float, count: float) -> tuple[float, float]:
    """Return the bytes of `count` images and their standard error.

    stored, own: bytes in the set and of the raw file, of each in the sample. mean: bytes of a raw
    file over all of them.
    """
    n, around = len(stored), own - own.mean()
    spread = around @ around
    slope = float(around @ stored / spread) if n >= FEW and spread else 0.0
    rest = stored - stored.mean() - slope * around
    error = np.sqrt(rest @ rest / max(n - 2, 1) / n * max(0.0, 1 - n / count))
    return float(stored.mean() + slope * (mean - own.mean())) * count, float(error) * count


def _stored(folder: Path, facts: Manifest) -> tuple[Array, Array]:
    """Return the bytes of each stored image, and its height and width."""

    def column(name: str) -> Array:
        return np.asarray(index.numbers(folder / "index" / f"image.{name}.npy", facts.samples))

    sizes = np.stack([column("height"), column("width")], 1).astype(np.int64)
    is_encoded = facts.fields["image"].is_encoded
    stored = column("size") if is_encoded else 3 * sizes.prod(axis=1)
    return stored.astype(np.float64), sizes


def _beside(folder: Path, facts: Manifest, stored: Array) -> float:
    """Return the bytes that go with each image: headers, columns, the label."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != FILE_NAME]
    # A zarr holds pixels alone, and its shards end in holes.
    rest = sum(
        path.stat().st_size - ONCE.get(path.suffix, 0)
        for path in files
        if not path.parent.name.endswith(".zarr")
    )
    is_encoded = facts.fields["image"].is_encoded
    return (rest - (float(stored.sum()) if is_encoded else 0.0)) / facts.samples


def _noted(facts: Manifest, start: str) -> int:
    return sum(count for note, count in facts.notes.items() if note.startswith(start))


def _cpu_s() -> float:
    """Return processor seconds of this process and of those that it has waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime
