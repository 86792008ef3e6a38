"""CAT2000, train set: 20 categories of 100 images of 1920x1080 (Borji and Itti, 2015).

    Stimuli/<Category>/NNN.jpg  FIXATIONLOCS/<Category>/NNN.mat  FIXATIONMAPS/<Category>/NNN.jpg
    stimuli.hdf5  fixations.hdf5  Stimuli/<Category>/NNN.jpg        as pysaliency leaves it

In any outer folder and in archives. The test set has no public fixations and is passed over.
"""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from dataprep.fixations import Array, marks_of_mat
from dataprep.folds import fold_splits, held_out
from dataprep.image import is_image
from dataprep.layouts import Files, folders, stem
from dataprep.manifest import DataError, Field
from dataprep.raw import Raw
from dataprep.saliency import Saliency
from dataprep.sources import Download, Entry, PublicFile

# As the authors spell them; the number of a category is its place here.
CATEGORIES = (
    *("Action", "Affective", "Art", "BlackWhite", "Cartoon", "Fractal", "Indoor", "Inverted"),
    *("Jumbled", "LineDrawing", "LowResolution", "Noisy", "Object", "OutdoorManMade"),
    *("OutdoorNatural", "Pattern", "Random", "Satelite", "Sketch", "Social"),
)
IMAGES, VAL_SHARE = 2000, 0.2
ADDRESS = "saliency.mit.edu"
KINDS = {"stimuli": "stimulus", "fixationlocs": "points", "fixationmaps": "map"}
VARIABLE = "fixLocs"
MIT1003 = re.compile(r"(^|/)ALLSTIMULI/|_fixPts\.jpg$")


@dataclass(frozen=True, kw_only=True)
class Source(Saliency):
    """Split train and val as 80 and 20 of each category, by seed; so are folds."""

    summary: ClassVar[str] = "CAT2000 train set: 2,000 images of 20 categories with fixations"

    sigma_px: float = field(
        default=40.0, metadata={"help": "blur of maps made from the points, at the image's size"}
    )

    def fields(self) -> dict[str, Field]:
        fields = super().fields()
        image, points = fields.pop("image"), fields.pop("fixations")
        category = Field(kind="value", dtype="int64")
        return {"image": image, "fixations": points, "category": category, **fields}

    def values(self, entry: Entry) -> dict[str, Any]:
        return {"category": CATEGORIES.index(_category(entry.values["stem"]))}

    def classes(self, entries: Sequence[Entry]) -> list[str]:
        return list(CATEGORIES)

    def sort(self, raw: Raw) -> Files:
        files = Files(points="FIXATIONLOCS/{}.mat".format, map="FIXATIONMAPS/{}.jpg".format)
        for name in raw.names():
            kind = _kind(name, raw.path.resolve().name)
            if kind == "test":
                files.ignored.append(name)
            elif kind:
                files.add(kind, self.identify(raw.path, name), name)
        return files

    def marks(self, raw: Raw, name: str) -> Array:
        return marks_of_mat(raw.read(name), raw.path, name, VARIABLE)

    def identify(self, path: Path, name: str) -> str:
        category = (folders(name) or [""])[-1]
        if category in CATEGORIES:
            return f"{category}/{stem(name)}"
        if category.lower() in ("allstimuli", "stimuli"):
            raise DataError(path, name, "has no folder of a category; MIT1003's is source mit1003")
        close = difflib.get_close_matches(category.lower(), map(str.lower, CATEGORIES), n=1)
        meant = [one for one in CATEGORIES if one.lower() in close]
        hint = f"; meant is {meant[0]}, the authors' spelling" if meant else ""
        raise DataError(path, name, f"its folder {category!r} is no category of CAT2000{hint}")

    def numbered(self, path: Path, row: int, attributes: Mapping[str, Any]) -> str:
        numbers = attributes.get("category", ())
        number = int(numbers[row]) if len(numbers) and np.ndim(numbers) == 1 else -1
        if not 0 <= number < len(CATEGORIES):
            why = f"image {row} has no attribute category of 0 to {len(CATEGORIES) - 1}"
            raise DataError(path, "", why)
        return f"{CATEGORIES[number]}/{row:04d}"

    def split(self, stems: Sequence[str]) -> dict[str, tuple[str, ...]]:
        categories = defaultdict(list)
        for one in stems:
            categories[_category(one)].append(one)
        splits: dict[str, tuple[str, ...]] = {}
        for category, own in sorted(categories.items()):
            # A seed of its own, so that a category does not depend on which others are there.
            number = CATEGORIES.index(category)
            val = held_out(own, f"{self.seed}:{category}", VAL_SHARE)
            seeds, what = (self.seed, number), f"stimuli of {category}"
            folds = fold_splits(own, self.folds, seeds, what) if self.folds else {}
            for one in own:
                splits[one] = ("val" if one in val else "train", *folds.get(one, ()))
        return splits

    def lacking(self, raw: Raw, files: Files) -> str:
        if any(map(MIT1003.search, raw.names())):
            return "looks like MIT1003: its source is mit1003"
        need = "wanted is trainSet (Stimuli beside FIXATIONLOCS), or pysaliency's stimuli.hdf5 with"
        need += " fixations.hdf5"
        if files.ignored and not files.of("stimulus"):
            return f"has the test set, whose fixations are not public: {need}"
        if files.of("map") and not files.of("points"):
            return f"has blurred maps alone, no FIXATIONLOCS: points cannot be had from it; {need}"
        stimuli = len(files.of("stimulus"))
        found = f"{stimuli} stimuli, but no fixations (as the test set has)" if stimuli else ""
        return f"has {found or 'no Stimuli/<Category>/NNN.jpg'}: {need}"

    def remarks(self, entries: Sequence[Entry]) -> list[str]:
        lines = super().remarks(entries)
        if len(entries) != IMAGES:
            here = {_category(entry.values["stem"]) for entry in entries}
            shown = f"{len(entries):,} stimuli of {len(here)} categories"
            lines.append(f"{shown} are not all of CAT2000 ({IMAGES:,} of {len(CATEGORIES)})")
        return lines

    @classmethod
    def downloads(cls) -> Download:
        return Download(
            (
                PublicFile(
                    "trainSet.zip",
                    (f"https://{ADDRESS}/trainSet.zip", f"http://{ADDRESS}/trainSet.zip"),
                    "2,000 images with fixations",
                    "md5:56ad5c77e6c8f72ed9ef2901628d6e48",
                ),
                PublicFile(
                    "testSet.zip",
                    (f"https://{ADDRESS}/testSet.zip", f"http://{ADDRESS}/testSet.zip"),
                    "2,000 images without fixations: nothing here reads them",
                    "md5:903ec668df2e5a8470aef9d8654e7985",
                    optional=True,
                ),
            )
        )


def _category(of: str) -> str:
    return of.partition("/")[0]


def _kind(name: str, outer: str) -> str:
    """Return what a file is by its path: stimulus, points, map, or test; "" for all others."""
    parts = [part.lower() for part in (*folders(f"{outer}/x"), *folders(name))]
    if "output" in parts or stem(name).endswith("_SaliencyMap") or len(parts) < 2:
        return ""
    kind = KINDS.get(parts[-2], "")
    is_mat = name.lower().endswith(".mat")
    if not kind or is_mat != (kind == "points") or not (is_mat or is_image(name)):
        return ""
    return "test" if "testset" in parts else kind
