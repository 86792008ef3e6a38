"""DIV2K and Flickr2K, together DF2K: the training images of super-resolution."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

from dataprep.manifest import DataError
from dataprep.raw import Raw, is_archive
from dataprep.sources import Download, Entry, PublicFile
from dataprep.superres import Pairs

DATA_SETS = re.compile(r"div2k|flickr2k|df2k", re.IGNORECASE)
IMAGE = re.compile(r"(?:.*/)?(\d{4}|\d{6})\.png", re.IGNORECASE)
DIV2K = "data.vision.ee.ethz.ch/cvl/DIV2K"
FLICKR2K = "cv.snu.ac.kr/research/EDSR"
LOW = re.compile(r"(?:.*[_-])?lr(?:[_-].*)?|x\d", re.IGNORECASE)


class Part(NamedTuple):
    """An official range of image numbers."""

    name: str
    digits: int
    first: int
    last: int
    split: str

    def holds(self, number: str) -> bool:
        """Return whether an image number, as text, is of this part."""
        return len(number) == self.digits and self.first <= int(number) <= self.last


PARTS = (
    Part("DIV2K train", 4, 1, 800, "train"),
    Part("DIV2K valid", 4, 801, 900, "val"),
    Part("Flickr2K", 6, 1, 2650, "train"),
)


@dataclass(frozen=True, kw_only=True)
class Source(Pairs):
    """The HR images of both, in any nesting of folders and archives; LR folders are passed over."""

    summary: ClassVar[str] = "DIV2K and Flickr2K HR images: official train and val ranges"

    allow_partial: bool = field(
        default=False, metadata={"help": "build although images of a part are missing"}
    )

    def entries(self, raw: Raw) -> list[Entry]:
        found: dict[tuple[Part, str], str] = {}
        # Files before archives: whoever unpacked a download has both.
        for name in sorted(raw.names(), key=_is_packed):
            place = _place(f"{raw.path.name}/{name}")
            if place:
                found.setdefault(place, name)
        if not found:
            raise DataError(
                raw.path, "", "no DIV2K or Flickr2K HR images (like DIV2K_train_HR/0001.png)"
            )
        for part in PARTS:
            why = _missing(part, {number for here, number in found if here == part})
            if why and not self.allow_partial:
                raise DataError(raw.path, "", f"{why}; --allow-partial builds without them")
        return [
            Entry(name, part.split, {"hr": name})
            for (part, _), name in sorted(found.items(), key=lambda item: item[0])
        ]

    def key(self, entry: Entry) -> str:
        number = entry.name.rsplit("/", 1)[-1].split(".")[0]
        return f"{'div2k' if len(number) == 4 else 'flickr2k'}_{number}"

    def remarks(self, entries: Sequence[Entry]) -> list[str]:
        numbers = [self.key(entry).split("_")[1] for entry in entries]
        lines = []
        for part in PARTS:
            here = set(filter(part.holds, numbers))
            why = _missing(part, here) if here else f"{part.name} is not there: built without it"
            lines += [why] if why else []
        return lines

    @classmethod
    def downloads(cls) -> Download:
        return Download(
            (
                PublicFile(
                    "DIV2K_train_HR.zip",
                    (f"https://{DIV2K}/DIV2K_train_HR.zip", f"http://{DIV2K}/DIV2K_train_HR.zip"),
                    "DIV2K train: 800 images",
                    "md5:bdc2d9338d4e574fe81bf7d158758658",
                    3_530_603_713,
                ),
                PublicFile(
                    "DIV2K_valid_HR.zip",
                    (f"https://{DIV2K}/DIV2K_valid_HR.zip", f"http://{DIV2K}/DIV2K_valid_HR.zip"),
                    "DIV2K valid: 100 images",
                    "md5:9fcdda83005c5e5997799b69f955ff88",
                    448_993_893,
                ),
                PublicFile(
                    "Flickr2K.tar",
                    (f"https://{FLICKR2K}/Flickr2K.tar", f"http://{FLICKR2K}/Flickr2K.tar"),
                    "Flickr2K: 2,650 images, with their LR images",
                    "md5:5d3f39443d5e9489bff8963f8f26cb03",
                ),
            )
        )


def _place(path: str) -> tuple[Part, str] | None:
    match = IMAGE.fullmatch(path)
    folders = path.split("/")[:-1]
    if not match or not DATA_SETS.search(path) or any(map(LOW.fullmatch, folders)):
        return None
    return next(((part, match[1]) for part in PARTS if part.holds(match[1])), None)


def _is_packed(name: str) -> bool:
    return any(map(is_archive, name.split("/")[:-1]))


def _missing(part: Part, numbers: Iterable[str]) -> str:
    """Say what is missing of a part that is there; "" where nothing is."""
    here = set(map(int, numbers))
    missing = [number for number in range(part.first, part.last + 1) if number not in here]
    if not here or not missing:
        return ""
    total = part.last - part.first + 1
    return f"{part.name} has {len(here)} of {total} images, {missing[0]:0{part.digits}d} is missing"
