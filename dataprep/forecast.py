"""`python -m dataprep plan`: measure a sample of the files in every form, here, and tell of it all.

Nothing is modelled that can be measured: the builder builds the sample once for each choice, the
loader loads it. Only the sizes are carried over to the whole set, and the disk is asked for its
rate where the set does not fit into memory.

The loader's rate is the best of several short windows, in which the choices take turns: others at
work on the machine can only slow it down. They do so in two ways. What they take of the cores is
given back (see loaders/speed.py); what they take of the caches is not seen in any clock, but
differs from window to window. So the answer holds for the machine alone, and hardly moves when it
is not. Wall time by itself would tell of the neighbours, processor time by itself would overlook
that threads also wait for each other.
"""

from __future__ import annotations

import math
import re
import shlex
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dataprep import advice, machine
from dataprep.advice import Advice, Forecast, size
from dataprep.build import cores
from dataprep.choices import Built, build_sample, choices, pick
from dataprep.image import is_image
from dataprep.machine import Unmeasured
from dataprep.manifest import DataError
from dataprep.photos import QUALITY
from dataprep.raw import Raw
from dataprep.sources import imagefolder

# Windows of each choice; a process of its own for each round, as memory falls differently in each.
ROUNDS, SECONDS = 5, 1
# Of the free memory: a training wants some for itself.
FOR_THE_SET = 0.8
# What the loader holds by default of a raw set of small images.
HOLD_MB = 512
# Corrupt files that are named.
SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked. short 0: a little more than the crop, as is usual; rate None: none asked."""

    crop: int = 224
    batch: int = 64
    threads: int = 0
    rate: float | None = None
    samples: int = 256
    short: int = 0
    quality: int = 0

    @property
    def short_side(self) -> int:
        """Pixels of the short side where images are made smaller: 256 for a crop of 224."""
        return self.short or max(32, 32 * round(self.crop * 1.15 / 32))


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that was found out. corrupt: files of the sample; disk_per_s: bytes, None: unknown."""

    raw: Path
    images: int
    raw_bytes: int
    sampled: int
    height: int
    width: int
    corrupt: list[dict[str, str]]
    memory_bytes: float
    disk_per_s: float | None
    question: Question
    forecasts: list[Forecast]
    advice: Advice
    notes: list[str]

    def command(self, one: Forecast) -> str:
        """Return what to type to build the set of one choice."""
        name = re.sub(r"[^A-Za-z0-9_-]+", "-", self.raw.resolve().name).strip("-") or "photos"
        words = f"--raw {shlex.quote(str(self.raw))} --name {name} {one.flags}"
        return f"python -m dataprep build imagefolder {words}".rstrip()

    def facts(self) -> dict[str, Any]:
        """Return the report as JSON has it."""
        best, faster = self.advice.best, self.advice.faster
        disk = self.disk_per_s
        return {
            "images": self.images,
            "raw_gb": round(self.raw_bytes / 1e9, 6),
            "sampled": self.sampled,
            "corrupt": self.corrupt,
            "cores": cores(),
            "memory_gb": round(self.memory_bytes / 1e9, 3),
            "disk_mb_per_s": None if disk is None else round(disk / 1e6, 1),
            "question": asdict(self.question) | {"short": self.question.short_side},
            "choices": [one.facts() | {"command": self.command(one)} for one in self.forecasts],
            "recommended": best.name,
            "why": self.advice.why,
            "much_faster": faster and faster.name,
            "notes": [*self.advice.more, *self.notes],
        }

    def text(self) -> str:
        """Return the report for people."""
        best, faster = self.advice.best, self.advice.faster
        lines = [*self._head(), "", advice.table(self.forecasts), ""]
        lines += [f"Recommended: {best.name} ({self.advice.why})", f"  {self.command(best)}"]
        if faster:
            lines += ["", f"Much faster: {faster.name} ({self._price(faster)})"]
            lines += [f"  {self.command(faster)}"]
        more = [*self.advice.more, *(f"Note: {note}" for note in self.notes)]
        return "\n".join([*lines, *([""] if more else []), *more])

    def _head(self) -> list[str]:
        disk = "unknown" if self.disk_per_s is None else f"{size(self.disk_per_s)}/s uncached"
        asked = self.question
        lines = [
            f"{self.raw}: {self.images:,} images, {size(self.raw_bytes)}, typically"
            f" {self.width} × {self.height}; {self.sampled:,} of them were built and loaded",
            f"this machine: {cores()} cores, {size(self.memory_bytes)} memory free, disk {disk}",
            f"the work: random crops brought to {asked.crop} × {asked.crop}, mirrored, as floats,"
            f" batches of {asked.batch}",
        ]
        for one in self.corrupt[:SHOWN]:
            lines.append(
                f"corrupt, left out (build with --on-error skip): {one['name']}: {one['why']}"
            )
        if len(self.corrupt) > SHOWN:
            lines.append(f"… {len(self.corrupt):,} corrupt files in all")
        return lines

    def _price(self, faster: Forecast) -> str:
        best = self.advice.best
        speed = (faster.samples_per_s or 0) / (best.samples_per_s or 1)
        what = "" if faster.lossless else ", but other pixels"
        return (
            f"{speed:.1f} × the speed at {faster.size_bytes / best.size_bytes:.1f} × the size{what}"
        )


def forecast(
    raw: Raw, question: Question, say: Callable[[str], None] = lambda text: None
) -> Report:
    """Measure and return the report; DataError where there is nothing to measure."""
    files = [name for name in raw.names() if is_image(name)]
    if not files:
        raise DataError(raw.path, "", "no images in it")
    notes = _layout_notes(raw)
    chosen = pick(files, question.samples)
    memory, disk = machine.free_memory(), _disk(raw, chosen, notes)
    with tempfile.TemporaryDirectory(prefix="nostall-plan-") as temporary:
        try:
            built = _built(raw, question, chosen, files, Path(temporary))
        except DataError as error:
            why = f"no sample of it can be built in {tempfile.gettempdir()} (TMPDIR): {error.why}"
            raise DataError(raw.path, error.key, why) from None
        try:
            speeds = _speeds(built, question, len(chosen) / len(files), say)
        except Unmeasured as error:
            notes.append(f"samples/s could not be measured: {error}")
            speeds = [{}] * len(built)
    pairs = zip(built, speeds, strict=True)
    forecasts = [_forecast(one, speed, len(files), memory, disk) for one, speed in pairs]
    height, width = np.median(built[0].sizes, axis=0).tolist()
    return Report(
        raw=raw.path,
        images=len(files),
        raw_bytes=sum(map(raw.size, files)),
        sampled=len(chosen),
        height=round(height),
        width=round(width),
        corrupt=built[0].skipped,
        memory_bytes=memory,
        disk_per_s=disk,
        question=question,
        forecasts=forecasts,
        advice=advice.advise(forecasts, question.rate, cores()),
        notes=notes,
    )


def _built(
    raw: Raw, question: Question, chosen: Sequence[str], files: Sequence[str], to: Path
) -> list[Built]:
    """Build the sample in every way."""
    ways = choices(question.short_side, question.quality)
    folders = [to / choice.name.replace(" ", "-") for choice in ways]
    pairs = zip(ways, folders, strict=True)
    return [build_sample(choice, raw, chosen, files, folder) for choice, folder in pairs]


def _layout_notes(raw: Raw) -> list[str]:
    try:
        imagefolder.layout(raw)
    except DataError as error:
        return [f"sort the files into folders before you build: {error.key} {error.why}"]
    return []


def _disk(raw: Raw, names: Sequence[str], notes: list[str]) -> float | None:
    try:
        return machine.disk_rate(list({place(raw, name): None for name in names}))
    except (Unmeasured, OSError) as error:
        notes.append(f"the disk's rate could not be measured: {error}")
        return None


def place(raw: Raw, name: str) -> Path:
    """Return the file that holds a raw file: itself, or the archive around it."""
    path = raw.path / name
    return next((one for one in (path, *path.parents) if one.is_file()), raw.path)


def _speeds(
    built: Sequence[Built], question: Question, share: float, say: Callable[[str], None]
) -> list[dict[str, float]]:
    """Return the loader's figures of each choice. share: of the whole set, that the sample is."""
    folders, rounds = [one.folder for one in built], []
    options = {"crop": question.crop, "batch": question.batch, "threads": question.threads}
    # The loader holds a small set in memory: the sample only if it would hold the whole.
    options |= {"hold_mb": math.ceil(share * HOLD_MB), "seconds": SECONDS}
    for number in range(1, ROUNDS + 1):
        first = "" if number > 1 else " (kernels that are new are compiled first: half a minute)"
        say(f"loading them, round {number} of {ROUNDS}{first}")
        rounds.append(machine.load(folders, **options))
    return [
        {
            "samples_per_s": max(one[i]["samples_per_s_alone"] for one in rounds),
            "cpu_ms": min(one[i]["cpu_ms_per_sample"] for one in rounds),
        }
        for i in range(len(built))
    ]


def _forecast(
    one: Built, speed: dict[str, float], count: int, memory: float, disk: float | None
) -> Forecast:
    fits = one.set_bytes <= FOR_THE_SET * memory
    mean = one.set_bytes / count
    return Forecast(
        name=one.choice.name,
        flags=one.choice.flags,
        lossless=one.is_lossless,
        changes=changes(one),
        size_bytes=one.set_bytes,
        error_bytes=one.error_bytes,
        build_s=one.cpu_s * count / cores(),
        processor_per_s=speed.get("samples_per_s"),
        disk_per_s=None if fits or not disk else disk / mean,
        cpu_ms=speed.get("cpu_ms"),
    )


def changes(one: Built) -> str:
    """Say what a choice does to the images."""
    options, parts = one.choice.options, []
    if one.resized:
        parts.append(f"{_share(one.resized, one)} made smaller")
    if one.encoded:
        parts.append(
            f"{_share(one.encoded, one)} encoded anew (quality {options.get('quality') or QUALITY})"
        )
    if options.get("raw_pixels"):
        parts.append("stored as pixels")
    if one.is_lossless:
        parts.insert(0, "nothing lost")
        if one.cut:
            parts.append(f"{_share(one.cut, one)} get restart intervals")
        elif not options.get("raw_pixels"):
            parts.append("files kept as they are")
    return ", ".join(parts)


def _share(count: int, one: Built) -> str:
    return "all" if count == one.samples else f"{count / one.samples:.0%}"
