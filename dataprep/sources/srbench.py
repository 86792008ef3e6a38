"""The super-resolution benchmarks: Set5, Set14, BSD100, Urban100, Manga109, a split each.

Layouts that are known, in any nesting and in archives (N is the scale):

    Set5/HR/baby.png            Set5/LR_bicubic/XN/babyxN.png
    Set5/original, GTmod12      Set5/LRbicxN/baby.png
    Set5/image_SRF_N/img_001_SRF_N_HR.png and …_LR.png
    HR/Set5/xN/baby_HR_xN.png   LR/LRBI/Set5/xN/baby_LRBI_xN.png
    Set5/baby.png, baby_GT.bmp

LR files that are there are stored as they are when they have the size of HR; others are made. The
notes of the manifest say which, for each set.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from dataprep.image import is_image
from dataprep.manifest import DataError
from dataprep.raw import Raw, is_archive
from dataprep.sources import Download, Entry, PublicFile, Sample
from dataprep.superres import Pairs, key_of

IMAGES = {"set5": 5, "set14": 14, "bsd100": 100, "urban100": 100, "manga109": 109}
NAMES = re.compile(r"(set5|set14|b(?:sds?)?100|urban100|manga109)((?:[_-](?:hr|lr|sr|gt).*)?)")
# baby_HR_x2, baby_LRBI_x2 and img_001_SRF_2_HR; other methods' results end otherwise.
MARKED = re.compile(r"(.+)_(?:(HR|LRBI)_x(\d)|SRF_(\d)_(HR|LR))", re.IGNORECASE)
RESULT = re.compile(r".+_SRF_\d_.+", re.IGNORECASE)
HR_FOLDERS = re.compile(r"hr|gt|gtmod\d*|original|image_srf_\d|")
LR_FOLDERS = re.compile(r"(?:lr.*|x\d|bicubic)", re.IGNORECASE)
SCALE = re.compile(r"x(\d)$", re.IGNORECASE)
ADDRESS = "cv.snu.ac.kr/research/EDSR/benchmark.tar"
STEPS = """\
Manga109 is given out to those who ask for it, and is built as well where it lies beside the tar:
  1. fill in the form of http://www.manga109.org/en/download.html
  2. put its 109 HR images into a folder named Manga109/HR, beside benchmark.tar"""


class File(NamedTuple):
    """What a file name says. `scale` is 0 for an HR image that belongs to every scale."""

    split: str
    stem: str
    is_hr: bool
    scale: int


@dataclass(frozen=True, kw_only=True)
class Source(Pairs):
    """One benchmark folder or a folder of several."""

    summary: ClassVar[str] = "Set5, Set14, BSD100, Urban100, Manga109: a split each, to evaluate"

    def entries(self, raw: Raw) -> list[Entry]:
        hr: dict[tuple[str, str], list[str]] = defaultdict(list)
        lr: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
        for name in filter(is_image, raw.names()):
            file = parse(f"{raw.path.name}/{name}")
            if file is None or _is_half_size(file):
                continue
            if file.is_hr:
                hr[file.split, file.stem].append(name)
            elif file.scale in self.scales:
                lr[file.split, file.stem][name] = file.scale
        if not hr:
            raise DataError(raw.path, "", self._why_none(raw))
        return [
            self._entry(raw, split, hr[split, stem], lr[split, stem]) for split, stem in sorted(hr)
        ]

    def read(self, raw: Raw, entry: Entry) -> Iterator[Sample]:
        hr, notes = self.decoded(raw, entry.members["hr"])
        ready = {}
        for scale in self.scales:
            member = entry.members.get(f"lr_x{scale}")
            what = f"{entry.split}: lr_x{scale}"
            if member is None:
                notes += (f"{what} made, {self.border} border",)
                continue
            lr = self.decoded(raw, member).pixels
            if lr.shape[:2] == (hr.shape[0] // scale, hr.shape[1] // scale):
                ready[scale] = lr
                notes += (f"{what} official",)
            else:
                notes += (f"{what} made, {self.border} border: the official one has another size",)
        yield from self.samples(raw, entry, hr, notes, ready)

    def key(self, entry: Entry) -> str:
        stem = entry.name.rsplit("/", 1)[-1]
        file = parse(f"{entry.split}/{stem}")
        return f"{entry.split}__{key_of(file.stem if file else stem)}"

    def remarks(self, entries: Sequence[Entry]) -> list[str]:
        lines = []
        for split, expected in IMAGES.items():
            here = sum(entry.split == split for entry in entries)
            if here and here != expected:
                lines.append(f"{split}: {here} of {expected} images are there")
        return lines

    @classmethod
    def downloads(cls) -> Download:
        file = PublicFile(
            "benchmark.tar",
            (f"https://{ADDRESS}", f"http://{ADDRESS}"),
            "Set5, Set14, B100, Urban100: HR and bicubic LR",
            "md5:4ace41d33c2384b97e6b320cd0afd6ba",
            about_bytes=250_000_000,
        )
        return Download((file,), STEPS)

    def _entry(self, raw: Raw, split: str, hr: list[str], lr: dict[str, int]) -> Entry:
        best = hr[0]
        sizes = {}
        if len(hr) > 1:
            sizes = {name: self.size(raw, name) for name in [*hr, *lr]}
            best = max(hr, key=lambda name: _merit(name, sizes, lr))
        members = {"hr": best}
        for name, scale in lr.items():
            # Of several LR files for one scale, the one that fits the chosen HR.
            if f"lr_x{scale}" not in members or _fits(sizes, name, best, scale):
                members[f"lr_x{scale}"] = name
        return Entry(best, split, members)

    def _why_none(self, raw: Raw) -> str:
        if any("urban100" in f"{raw.path}/{name}".lower() for name in raw.names()):
            return "has Urban100's image_SRF_2 alone, of half size: image_SRF_4 is needed"
        return f"no HR images in a folder named {', '.join(IMAGES)} (or BSDS100, B100)"


def parse(path: str) -> File | None:
    """Read set, image and role off a path; None for a file that is of no use."""
    *folders, file = path.split("/")
    # An archive's name stands for the folder in it.
    plain = [
        re.sub(r"\.(zip|tar|tar\.gz|tgz)$", "", f.lower()) if is_archive(f) else f.lower()
        for f in folders
    ]
    found = [(at, match) for at, f in enumerate(plain) if (match := NAMES.fullmatch(f))]
    if not found:
        return None
    at, match = found[-1]
    split = "bsd100" if match[1].startswith("b") else match[1]
    stem = file.rsplit(".", 1)[0]
    if marked := MARKED.fullmatch(stem):
        name, role, scale = marked[1], marked[2] or marked[5], marked[3] or marked[4]
        return File(split, name, role.upper() == "HR", int(scale))
    below = [match[2].lstrip("_-"), *plain[at + 1 :]]
    if RESULT.fullmatch(stem):
        return None
    if any(LR_FOLDERS.fullmatch(folder) for folder in below):
        return _low(split, stem, below)
    if all(HR_FOLDERS.fullmatch(folder) for folder in below):
        return File(split, re.sub(r"_(HR|GT)$", "", stem, flags=re.IGNORECASE), True, 0)
    return None


def _low(split: str, stem: str, below: list[str]) -> File | None:
    scales = [match[1] for folder in below if (match := SCALE.search(folder))]
    suffix = SCALE.search(stem)
    if scales:
        name = stem.removesuffix(suffix[0]) if suffix and suffix[1] == scales[-1] else stem
        return File(split, name, False, int(scales[-1]))
    return File(split, stem.removesuffix(suffix[0]), False, int(suffix[1])) if suffix else None


def _is_half_size(file: File) -> bool:
    """Return True for what SelfExSR ships as Urban100 ×2: its HR is not the benchmark's."""
    return file.split == "urban100" and file.is_hr and file.scale == 2


def _merit(hr: str, sizes: dict[str, tuple[int, int]], lr: dict[str, int]) -> tuple[int, int, str]:
    """Rank HR files of one image: fits most official LR files, then the largest."""
    fitting = {scale for name, scale in lr.items() if _fits(sizes, name, hr, scale)}
    return len(fitting), sizes[hr][0] * sizes[hr][1], hr


def _fits(sizes: dict[str, tuple[int, int]], lr: str, hr: str, scale: int) -> bool:
    return bool(sizes) and sizes[lr] == (sizes[hr][0] // scale, sizes[hr][1] // scale)
