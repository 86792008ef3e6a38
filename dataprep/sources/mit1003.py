"""MIT1003: 1003 photographs, free viewing by 15 subjects (Judd et al., ICCV 2009).

    ALLSTIMULI/<stem>.jpeg  ALLFIXATIONMAPS/<stem>_fixPts.jpg, <stem>_fixMap.jpg   the raw layout
    stimuli.hdf5  fixations.hdf5  stimuli/<stem>.jpeg                              pysaliency's

In any outer folder, in archives, and nested once more by an unpacker.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from dataprep.fixations import Array, marks_of_image
from dataprep.folds import fold_splits, held_out
from dataprep.image import is_image
from dataprep.layouts import Files, folders, listed, stem
from dataprep.manifest import DataError
from dataprep.raw import Raw
from dataprep.saliency import Saliency
from dataprep.sources import Download, Entry, PublicFile

IMAGES, TRAIN = 1003, 902
ADDRESS = "people.csail.mit.edu/tjudd/WherePeopleLook"
STIMULI = ("allstimuli", "stimuli")
FIXATIONS = re.compile(r"(.+)_fix(Pts|Map)")
# The official archive has such a file, a double of the right one.
STRAY = re.compile(r".+[^_]fix(Pts|Map)")
CAT2000 = re.compile(r"(^|/)(Stimuli|FIXATIONLOCS)/[A-Za-z]+/\d+\.(jpg|mat)$")
GAZE = re.compile(r"(.*/)?DATA(\.zip)?/.+\.mat")


@dataclass(frozen=True, kw_only=True)
class Source(Saliency):
    """Split train and val as 902 and 101 by seed; --folds 10 as pysaliency makes them."""

    summary: ClassVar[str] = "MIT1003: 1,003 photographs with fixations of 15 subjects"

    def sort(self, raw: Raw) -> Files:
        files = Files(points="{}_fixPts.jpg".format, map="{}_fixMap.jpg".format)
        images = [name for name in raw.names() if is_image(name) and not _is_output(name)]
        stimuli = []
        for name in images:
            match = FIXATIONS.fullmatch(stem(name))
            if match:
                files.add("points" if match[2] == "Pts" else "map", match[1], name)
            elif STRAY.fullmatch(stem(name)):
                files.ignored.append(name)
            else:
                stimuli.append(name)
        usual = [name for name in stimuli if set(map(str.lower, folders(name))) & {*STIMULI}]
        if raw.path.resolve().name.lower().split(".")[0] in STIMULI:
            usual = stimuli
        for name in usual or stimuli:
            files.add("stimulus", stem(name), name)
        return files

    def marks(self, raw: Raw, name: str) -> Array:
        return marks_of_image(raw.read(name), raw.path, name)

    def identify(self, path: Path, name: str) -> str:
        if CAT2000.search(name):
            raise DataError(path, name, "looks like CAT2000: its source is cat2000")
        return stem(name)

    def numbered(self, path: Path, row: int, attributes: Mapping[str, Any]) -> str:
        return f"stimulus{row:04d}"

    def split(self, stems: Sequence[str]) -> dict[str, tuple[str, ...]]:
        names = {f"{one}.jpeg": one for one in stems}
        val = held_out(list(names), self.seed, 1 - TRAIN / IMAGES)
        folds = fold_splits(list(names), self.folds, self.seed) if self.folds else {}
        return {
            one: ("val" if name in val else "train", *folds.get(name, ()))
            for name, one in names.items()
        }

    def lacking(self, raw: Raw, files: Files) -> str:
        if any(map(CAT2000.search, raw.names())):
            return "looks like CAT2000: its source is cat2000"
        stimuli, maps = files.of("stimulus"), files.of("map")
        need = "wanted are ALLSTIMULI and ALLFIXATIONMAPS, or pysaliency's stimuli.hdf5 with"
        need += " fixations.hdf5"
        if files.of("points"):
            return f"has fixation points, but no stimuli: {need}"
        if maps:
            some = listed(name for names in maps.values() for name in names)
            return f"has blurred maps alone ({some}), no *_fixPts.jpg: points cannot be had from it"
        if any(map(GAZE.fullmatch, raw.names())):
            gaze = "raw gaze (DATA/<subject>/*.mat) is not read"
            return f"has {len(stimuli)} stimuli, but no fixation points; {gaze}: {need}"
        found = f"{len(stimuli)} images, but no fixations" if stimuli else "no images"
        return f"has {found}: {need}"

    def remarks(self, entries: Sequence[Entry]) -> list[str]:
        lines = super().remarks(entries)
        val = sum(entry.split == "val" for entry in entries)
        if len(entries) != IMAGES:
            share = f"train {len(entries) - val} and val {val}, the share of {TRAIN} in {IMAGES:,}"
            lines.append(f"{len(entries):,} stimuli are not all of MIT1003: {share}")
        return lines

    @classmethod
    def downloads(cls) -> Download:
        return Download(
            (
                PublicFile(
                    "ALLSTIMULI.zip",
                    (f"https://{ADDRESS}/ALLSTIMULI.zip", f"http://{ADDRESS}/ALLSTIMULI.zip"),
                    "1,003 photographs",
                    "md5:0d7df8b954ecba69b6796e77b9afe4b6",
                    about_bytes=235_000_000,
                ),
                PublicFile(
                    "ALLFIXATIONMAPS.zip",
                    (
                        f"https://{ADDRESS}/ALLFIXATIONMAPS.zip",
                        f"http://{ADDRESS}/ALLFIXATIONMAPS.zip",
                    ),
                    "their fixation points and blurred maps",
                ),
            )
        )


def _is_output(name: str) -> bool:
    return "output" in map(str.lower, folders(name)) or stem(name).endswith("_SaliencyMap")
