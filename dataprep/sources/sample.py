"""The real photographs that ship inside the scikit-image and scikit-learn wheels: no download."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from dataprep.manifest import DataError
from dataprep.raw import Raw
from dataprep.sources import Entry
from dataprep.superres import Pairs, key_of

SKIMAGE, SKLEARN = "skimage/data", "sklearn/datasets/images"

# Photographs alone, no drawings; of the stereo pair one, so that no scene is in both splits.
TRAIN = (
    f"{SKIMAGE}/astronaut.png",
    f"{SKIMAGE}/brick.png",
    f"{SKIMAGE}/chelsea.png",
    f"{SKIMAGE}/grass.png",
    f"{SKIMAGE}/gravel.png",
    f"{SKIMAGE}/hubble_deep_field.jpg",
    f"{SKIMAGE}/ihc.png",
    f"{SKIMAGE}/motorcycle_left.png",
    f"{SKIMAGE}/retina.jpg",
    f"{SKIMAGE}/rocket.jpg",
    f"{SKLEARN}/china.jpg",
)
VAL = (
    f"{SKIMAGE}/camera.png",
    f"{SKIMAGE}/coffee.png",
    f"{SKIMAGE}/coins.png",
    f"{SKLEARN}/flower.jpg",
)


@dataclass(frozen=True, kw_only=True)
class Source(Pairs):
    """Fifteen photographs, four of them held out."""

    summary: ClassVar[str] = "15 photographs from installed packages: needs no --raw"
    needs_raw: ClassVar[bool] = False

    def entries(self, raw: Raw) -> list[Entry]:
        splits = dict.fromkeys(TRAIN, "train") | dict.fromkeys(VAL, "val")
        return [Entry(name, splits[name], {"hr": name}) for name in sorted(splits)]

    def key(self, entry: Entry) -> str:
        return key_of(entry.name.rsplit("/", 1)[-1])

    def content(self, raw: Raw, name: str) -> bytes:
        path = _installed(name)
        try:
            return path.read_bytes()
        except OSError as error:
            raise DataError(path, "", f"cannot be read ({error.strerror})") from None


def _installed(name: str) -> Path:
    """Return the path of a file inside an installed package, without importing the package."""
    package, _, rest = name.partition("/")
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        project = {"skimage": "scikit-image", "sklearn": "scikit-learn"}[package]
        raise DataError(name, "", f"is part of {project}, which is not installed")
    return Path(spec.submodule_search_locations[0]) / rest
