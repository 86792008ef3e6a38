"""Write a built set for other programs: as CSV, as a folder of images, as JSON lines with images.

    csv     <set>_<split>.csv            label,pixel0…: whole numbers, pixels as H, W, C flattened
    folder  <split>/<class>/<key>.png    without loss; image files that are kept as they are stored
    jsonl   <set>.jsonl                  a line a sample; <field>/<split>/<key>.png beside it

Beside them `export.json` says what they were made from. All are written under a temporary name and
renamed at the end. What is there holds one sample at a time in memory.
"""

from __future__ import annotations

import io
import json
import math
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from dataprep import index, manifest, stored
from dataprep.manifest import DataError, Field, Manifest
from dataprep.new_folder import new_folder
from dataprep.progress import Progress

Array = npt.NDArray[Any]

MARK = "export.json"
LABEL = "label"
# Of dtype and channels; PNG has no others that every reader takes.
LOSSLESS = {("uint8", 1), ("uint8", 3), ("uint8", 4), ("uint16", 1)}


@dataclass(frozen=True)
class Job:
    """What is exported, and where it is written for now; splits: name -> ids, ascending."""

    folder: Path
    facts: Manifest
    splits: dict[str, Array]
    fields: tuple[str, ...]
    target: Path
    progress: Progress

    @cached_property
    def keys(self) -> index.Names:
        """Sample keys by id, as they are stored."""
        return index.Names(self.folder / "index", "key", self.facts.samples)

    def key(self, sample: int) -> str:
        """Return a sample's key; DataError where it is no name that a file can have."""
        return _file_name(self.folder, f"sample {sample}: its key", self.keys[sample])

    @cached_property
    def labels(self) -> Array | None:
        """Return (N,) class numbers, None where the set has none."""
        field = self.facts.fields.get(LABEL)
        if field is None or field.kind != "value" or field.shape or field.dtype[0] not in "iu":
            return None
        return np.asarray(self.column(LABEL))

    def column(self, name: str) -> index.Column | index.Ragged:
        """Open a value or points field."""
        if self.facts.fields[name].kind == "points":
            return index.Ragged(self.folder / "index", name, self.facts.samples)
        return index.read(self.folder / "index" / f"{name}.npy", self.facts.samples)

    def pixels(self, name: str) -> stored.Pixels:
        """Open a pixel field; DataError where no image file can hold it."""
        field = self.facts.fields[name]
        if not field.is_encoded and (field.dtype, _channels(field)) not in LOSSLESS:
            why = f"{field.dtype} × {_channels(field)}: no PNG holds that (--field names another)"
            raise DataError(self.folder, name, why)
        return stored.Pixels(self.folder, name, self.facts)

    def samples(self, split: str) -> list[int]:
        """Return the ids of a split."""
        ids: list[int] = self.splits[split].tolist()
        return ids

    def save(self, pixels: stored.Pixels, sample: int, place: str) -> str:
        """Write an image to `place` and its suffix, and count it; return where."""
        if pixels.field.is_encoded:
            data, kind = pixels.file(sample)
        else:
            data, kind = _png(pixels.array(sample)), "png"
        (self.target / f"{place}.{kind}").write_bytes(data)
        self.progress.add(pixels.name == self.fields[0], len(data))
        return f"{place}.{kind}"


def export(
    folder: Path,
    to: str,
    out: Path,
    splits: Sequence[str] = (),
    field: str | None = None,
    overwrite: bool = False,
) -> dict[str, int]:
    """Write a set to a new folder; return the samples of each split.

    splits: default those that together hold each sample once. field: of several images.
    DataError where the folder is there already, the set is damaged or does not fit the format.
    """
    facts = manifest.load(folder)
    _file_name(folder, "its name", facts.name)
    names = list(dict.fromkeys(splits)) or stored.apart(folder, facts)
    chosen = {name: stored.split(folder, facts, name) for name in names}
    fields = _fields(folder, facts, to, field)
    total = sum(map(len, chosen.values()))
    if folder.resolve() in (out.resolve(), *out.resolve().parents):
        raise DataError(out, "", "lies inside the set, which would no longer be as it was built")
    with new_folder(out, _is_export, overwrite) as target:
        with Progress(f"export {facts.name}", total, unit="samples") as progress:
            FORMATS[to](Job(folder, facts, chosen, fields, target, progress))
        counts = {name: len(ids) for name, ids in chosen.items()}
        about: dict[str, Any] = {"set": facts.name, "fingerprint": facts.fingerprint, "format": to}
        about |= {"fields": fields, "splits": counts, "command": " ".join(sys.argv)}
        with manifest.atomic(target / MARK) as path:
            path.write_text(json.dumps(about, indent=1) + "\n")
    return counts


def _is_export(folder: Path) -> bool:
    with suppress(OSError, ValueError, AttributeError):
        facts = json.loads((folder / MARK).read_text())
        return bool({"set", "fingerprint", "format"} <= facts.keys())
    return False


def _csv(job: Job) -> None:
    field = job.facts.fields[job.fields[0]]
    if field.is_encoded or not field.is_uniform or field.dtype != "uint8":
        why = "csv takes stored uint8 pixels of one size: export it --to folder or jsonl"
        raise DataError(job.folder, job.fields[0], why)
    if job.labels is None:
        raise DataError(job.folder, LABEL, "no such field of whole numbers: csv begins with it")
    pixels, words = job.pixels(job.fields[0]), [str(value) for value in range(256)]
    count = math.prod(side or 1 for side in field.shape)
    header = ",".join([LABEL, *(f"pixel{i}" for i in range(count))])
    for split in job.splits:
        with open(job.target / f"{job.facts.name}_{split}.csv", "w") as file:
            file.write(f"{header}\n")
            for sample in job.samples(split):
                row = pixels.array(sample).reshape(-1).tolist()
                line = f"{job.labels[sample]},{','.join([words[v] for v in row])}\n"
                job.progress.add(1, file.write(line))
    pixels.close()


def _folder(job: Job) -> None:
    if job.labels is None:
        raise DataError(job.folder, LABEL, "no such field of whole numbers: folders are classes")
    pixels, classes = job.pixels(job.fields[0]), _class_folders(job)
    for split, ids in job.splits.items():
        for label in np.unique(job.labels[ids]).tolist():
            (job.target / split / classes[label]).mkdir(parents=True)
        for sample in job.samples(split):
            job.save(pixels, sample, f"{split}/{classes[job.labels[sample]]}/{job.key(sample)}")
    pixels.close()


def _class_folders(job: Job) -> dict[int, str]:
    """Return a folder name for each label that occurs.

    With the class number before its name where the order of names is another one: who counts the
    folders, as `build imagefolder` does, finds the numbers again.
    """
    assert job.labels is not None
    numbers = np.unique(job.labels).tolist()
    names = [_plain_name(_class_name(job.facts, number)) for number in numbers]
    if names == sorted(set(names)):
        return dict(zip(numbers, names, strict=True))
    width = len(str(numbers[-1]))
    plain = [f"{number:0{width}}" for number in numbers]
    numbered = [a if a == b else f"{a}_{b}" for a, b in zip(plain, names, strict=True)]
    return dict(zip(numbers, numbered, strict=True))


def _class_name(facts: Manifest, label: int) -> str:
    return facts.classes[label] if 0 <= label < len(facts.classes) else str(label)


def _plain_name(name: str) -> str:
    """Return a class name as a folder's: "T-shirt/top" would be two."""
    plain = "".join(c if c.isprintable() and c not in "/\\" else "_" for c in name).strip()
    return f"_{plain}" if not plain or plain.startswith(".") else plain


def _jsonl(job: Job) -> None:
    pixels = {name: job.pixels(name) for name in job.fields}
    others = [name for name, field in job.facts.fields.items() if not field.is_pixels]
    columns = {name: job.column(name) for name in others}
    if taken := {"key", "split", "class"} & {*pixels, *others}:
        raise DataError(job.folder, taken.pop(), "a field of this name has no place in a line")
    with open(job.target / f"{job.facts.name}.jsonl", "w") as file:
        for split in job.splits:
            for name in pixels:
                (job.target / name / split).mkdir(parents=True)
            for sample in job.samples(split):
                line = {"key": job.key(sample), "split": split}
                line |= {name: _plain(column[sample].tolist()) for name, column in columns.items()}
                if job.labels is not None:
                    line["class"] = _class_name(job.facts, int(job.labels[sample]))
                for name, one in pixels.items():
                    line[name] = job.save(one, sample, f"{name}/{split}/{line['key']}")
                file.write(f"{json.dumps(line)}\n")
    for one in pixels.values():
        one.close()


FORMATS: dict[str, Callable[[Job], None]] = {"csv": _csv, "folder": _folder, "jsonl": _jsonl}


def _file_name(folder: Path, what: str, name: str) -> str:
    """Return a name that a set brings; DataError where a file of it would lie elsewhere."""
    if name in ("", ".", "..") or set(name) & set("/\\\0"):
        raise DataError(folder, what, f"is {name[:40]!r}, which is no file name: refused")
    return name


def _png(array: Array) -> bytes:
    out = io.BytesIO()
    Image.fromarray(array[..., 0] if array.shape[2:] == (1,) else array).save(out, "PNG")
    return out.getvalue()


def _plain(value: Any) -> Any:
    """Return what JSON can hold: no number is null."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _channels(field: Field) -> int:
    return int(field.shape[2] or 0) if len(field.shape) == 3 else 1


def _fields(folder: Path, facts: Manifest, to: str, asked: str | None) -> tuple[str, ...]:
    """Return the pixel fields to write: all as JSON lines, else the image or the one asked for."""
    there = [name for name, field in facts.fields.items() if field.is_pixels]
    if asked is not None:
        if asked not in there:
            listed = ", ".join(there) or "none"
            raise DataError(folder, asked, f"no such field of pixels; there are: {listed}")
        return (asked,)
    images = [name for name in there if facts.fields[name].kind == "image"]
    if to == "jsonl":
        return tuple(there)
    if len(images) != 1:
        listed = ", ".join(images) or "none"
        raise DataError(
            folder, "", f"--to {to} writes one image field; name it by --field: {listed}"
        )
    return tuple(images)
