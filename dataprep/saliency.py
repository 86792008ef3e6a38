"""What sources of stimuli with fixations share: options, the choice of a layout, and reading.

A sample is a stimulus: its file's bytes untouched, and where people looked at it as points. Maps
are made from the points when they are needed; `--density` also stores one.
"""

from __future__ import annotations

import dataclasses
import hashlib
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dataprep import encode, fixations, image, pysaliency_layout
from dataprep.fixations import Array
from dataprep.layouts import Files, Layout, listed
from dataprep.manifest import DataError, Field
from dataprep.photos import GROWTH, MORE_BYTES, PX_PER_BYTE, SHARD_BYTES, SHARD_SAMPLES
from dataprep.pysaliency_layout import Pair
from dataprep.raw import Raw, is_archive
from dataprep.sources import Base, Entry, Sample
from dataprep.stimuli import (
    checked,
    compare,
    elsewhere,
    file_bytes,
    fitted,
    has_stimulus,
    recorded,
)

# What the points of a stimulus take in a set, as columns and as text; for estimates.
POINTS_BYTES = 40_000


@dataclass(frozen=True, kw_only=True)
class Saliency(Base):
    """Options and reading of every source of fixations."""

    layout: Literal["auto", "pysaliency", "raw"] = field(
        default="auto", metadata={"help": "which one to read, where the data is there in both"}
    )
    stimuli: str = field(
        default="", metadata={"help": "folder or archive of the images, if HDF5 names mislead"}
    )
    sigma_px: float = field(
        default=24.0, metadata={"help": "blur of maps made from the points, at the image's size"}
    )
    density: int = field(
        default=0, metadata={"help": "also store a blurred map of 1/N of the size; 0: none"}
    )
    folds: int = field(
        default=0, metadata={"help": "also the splits of so many folds; 0: none, usual: 10"}
    )
    seed: int = field(default=42, metadata={"help": "chooses the splits"})
    on_empty: Literal["fail", "skip"] = field(
        default="fail", metadata={"help": "a stimulus without fixations: stop, or leave it out"}
    )
    on_outside: Literal["fail", "drop", "skip"] = field(
        default="fail",
        metadata={"help": "fixations outside the image: stop, drop them, or skip the stimulus"},
    )
    restart: bool = field(
        default=False, metadata={"help": "give JPEGs restart intervals, without loss"}
    )

    def __post_init__(self) -> None:
        if not 0 < self.sigma_px < 1e6:
            raise ValueError(f"--sigma-px must be above 0, not {self.sigma_px}")
        if self.density < 0:
            raise ValueError(f"--density must be at least 0, not {self.density}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"--seed must be 0 to {2**32 - 1}, not {self.seed}")
        if self.folds in (1, 2) or self.folds < 0:
            raise ValueError(f"--folds must be 0, or 3 or more, not {self.folds}")

    @abstractmethod
    def sort(self, raw: Raw) -> Files:
        """Return the files of the raw layout by kind and stem; DataError for a wrong name."""

    @abstractmethod
    def marks(self, raw: Raw, name: str) -> Array:
        """Read a file of points: the fixated pixels (H, W)."""

    @abstractmethod
    def identify(self, path: Path, name: str) -> str:
        """Return the stem of a file in `path`; DataError where its name is not of this set."""

    @abstractmethod
    def numbered(self, path: Path, row: int, attributes: Mapping[str, Any]) -> str:
        """Return the stem of a stimulus that lies in an HDF5 file, so has no name."""

    @abstractmethod
    def split(self, stems: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Return the split of each stem, then the further ones that it is in."""

    @abstractmethod
    def lacking(self, raw: Raw, files: Files) -> str:
        """Say what is needed, where there is no complete layout."""

    def values(self, entry: Entry) -> dict[str, Any]:
        """Return the value fields that the source adds."""
        return {}

    def fields(self) -> dict[str, Field]:
        photo = Field(
            kind="image", dtype="uint8", shape=(None, None, 3), codec="encoded", scale=1 / 255
        )
        fields = {
            "image": photo,
            "fixations": fixations.FIELD,
            "sha256": Field(kind="value", dtype="uint8", shape=(32,)),
        }
        if self.density:
            fields["density"] = Field(kind="map", dtype="float32", shape=(None, None))
        return fields

    def entries(self, raw: Raw) -> list[Entry]:
        chosen, same = self._choose(raw)
        stems = [entry.values["stem"] for entry in chosen.entries]
        for one, other in zip(sorted(stems), sorted(stems)[1:], strict=False):
            if one == other:
                raise DataError(raw.path, one, f"two stimuli have this name in {chosen}")
        splits = self.split([e.values["stem"] for e in chosen.entries if has_stimulus(e)])
        entries = []
        for entry in chosen.entries:
            split, *more = splits.get(entry.values["stem"], ("train",))
            entries.append(dataclasses.replace(entry, split=split, also=tuple(more)))
        # On one entry, for the remarks: it is the same for all.
        listing = {"layout": str(chosen), "same": same, **chosen.facts}
        values = {**entries[0].values, "listing": listing}
        return [dataclasses.replace(entries[0], values=values), *entries[1:]]

    def _choose(self, raw: Raw) -> tuple[Layout, str]:
        """Return the layout to build from, and what agrees with it, "" where it is the only one."""
        whys: list[str] = []
        unread: list[DataError] = []
        files = self.sort(raw)
        pair = pysaliency_layout.find(raw, whys, unread) if self.layout != "raw" else None
        single = files.layout(raw) if self.layout != "pysaliency" else None
        if unread and not (pair or single):
            raise unread[0]
        hdf5 = self._hdf5(raw, pair, files) if pair else None
        chosen = hdf5 or single
        if not chosen:
            none = "has no HDF5 files of pysaliency: stimuli.hdf5 with fixations.hdf5"
            only = self.layout == "pysaliency"
            whys += [] if only and whys else [none if only else self._lacking(raw, files)]
            raise DataError(raw.path, "", "; ".join(whys))
        if self.stimuli and chosen.entries[0].values.get("where") in (None, "array"):
            raise ValueError(f"--stimuli is not used: {chosen} brings its own images")
        lines = [_line(error, raw) for error in unread]
        chosen = dataclasses.replace(chosen, facts={**chosen.facts, "unread": lines})
        if hdf5 and single:
            compare(raw, hdf5, single, self.marks)
            return chosen, str(single)
        return chosen, ""

    def _lacking(self, raw: Raw, files: Files) -> str:
        if packed := [name for name in raw.names() if is_archive(name)]:
            return f"holds archives in an archive ({listed(packed)}): unpack the outer one"
        return self.lacking(raw, files)

    def _hdf5(self, raw: Raw, pair: Pair, files: Files) -> Layout:
        other = elsewhere(self.stimuli) if self.stimuli else None
        if other:
            images = [name for names in self.sort(other).of("stimulus").values() for name in names]
            images = images or [name for name in other.names() if image.is_image(name)]
        else:
            images = [name for names in files.of("stimulus").values() for name in names]
        return pysaliency_layout.layout(raw, pair, images, other, self.identify, self.numbered)

    def read(self, raw: Raw, entry: Entry) -> Iterator[Sample]:
        if "wrong" in entry.values:
            raise DataError(raw.path, entry.name, entry.values["wrong"])
        data = file_bytes(raw, entry, self.stimuli)
        of = recorded(raw, entry, self.marks)
        try:
            stored, notes = encode.keep(data, self.restart)
        except ValueError as error:
            raise DataError(raw.path, entry.name, str(error)) from None
        stored, notes = fitted(raw, entry, stored, of, notes)
        size = stored.upright.shape[0], stored.upright.shape[1]
        points, more = checked(raw, entry, of.points, size, self.on_outside, self.on_empty)
        values = {
            "image": stored,
            "fixations": points,
            "sha256": list(hashlib.sha256(data).digest()),
            **self.values(entry),
        }
        if self.density:
            try:
                density = fixations.density(points, *size, self.sigma_px, self.density)
            except ValueError as error:
                raise DataError(raw.path, entry.name, str(error)) from None
            values["density"] = density
        yield Sample(_key(entry.values["stem"]), values, (*notes, *more))

    def weigh(self, raw: Raw, entry: Entry) -> int:
        size = entry.values.get("bytes") or super().weigh(raw, entry)
        pixels = size * PX_PER_BYTE / self.density**2 if self.density else 0
        return int(size * GROWTH + 4 * pixels) + MORE_BYTES + POINTS_BYTES

    def entries_per_shard(self, entries: int, size_bytes: int) -> int:
        one = max(size_bytes / entries, 1.0)
        # Some 16 shards also of a small set, so that several workers have something to do.
        return max(1, min(int(SHARD_BYTES / one), SHARD_SAMPLES, -(-entries // 16)))

    def remarks(self, entries: Sequence[Entry]) -> list[str]:
        listing = entries[0].values.get("listing", {}) if entries else {}
        lines = [_layout_line(listing)] if listing else []
        if listing.get("same"):
            lines.append(f"the same is there as {listing['same']}: taken is what says more")
        if listing.get("index_for_time"):
            lines.append("its times only count the fixations of a scanpath: start_s is unknown")
        if listing.get("ignored"):
            lines.append(f"not read: {listed(listing['ignored'])}")
        lines += [f"not read: {line}" for line in listing.get("unread", [])]
        if listing.get("maps") == 0:
            lines.append("no blurred maps are there to check the points against: built without")
        wrong = [entry.name for entry in entries if "wrong" in entry.values]
        if wrong:
            lines.append(
                f"incomplete are {len(wrong)} of {len(entries):,} stimuli: {listed(wrong)}"
            )
        return [_one_line(line) for line in lines]

    def seeds(self) -> dict[str, int]:
        return {"split": self.seed}


def _line(error: DataError, raw: Raw) -> str:
    """Return what an error about a file of the raw data says, beginning at its name in there."""
    path = Path(error.path)
    name = path.relative_to(raw.path) if path.is_relative_to(raw.path) else path
    return ": ".join(part for part in (str(name), error.key, error.why) if part)


def _one_line(text: str) -> str:
    """Escape what would break a line, as a file's name may hold."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _layout_line(listing: Mapping[str, Any]) -> str:
    line = f"layout: {listing['layout']}, {listing['stimuli']:,} stimuli"
    if "fixations" not in listing:
        return f"{line}, fixations as pixels: no subjects, order or times"
    line += f", {listing['fixations']:,} fixations"
    line += f" of {listing['subjects']:,} subjects" if listing["subjects"] else ""
    return line + (f", {listing['empty']:,} empty scanpaths" if listing["empty"] else "")


def _key(stem: str) -> str:
    return "".join(c if c.isprintable() and c not in " ./\\" else "_" for c in stem)
