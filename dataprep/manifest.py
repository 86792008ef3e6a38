"""The manifest: what a built set is, written last, so that its presence means complete.

A built set is a folder `<data root>/<name>/`:

    manifest.json            this file
    <field>.zarr/            raw pixels: zarr v3, uncompressed, one file a shard
    shards/<number>.tar      encoded pixels, with labels: WebDataset, and DALI's index as .idx
    index/<column>.npy       columns, one row a sample
    splits/<name>.npy        a split is a list of ids (int64) over the one store

Only the standard library: every room may import this module cheaply.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

FORMAT = 1
FILE_NAME = "manifest.json"


class DataError(Exception):
    """Bad input: names the file, the record and the reason, in one line.

    `key` is the sample, member or line at fault, "" when the whole file is. is_choice: an option of
    the user leaves it out, so that a build counts and names it, and goes on.
    """

    is_choice = False

    def __init__(self, path: str | Path, key: str, why: str) -> None:
        super().__init__(path, key, why)
        self.path, self.key, self.why = str(path), key, why

    def __str__(self) -> str:
        return ": ".join(part for part in (self.path, self.key, self.why) if part)


@dataclass(frozen=True, kw_only=True)
class Field:
    """One named part of every sample.

    shape: rows first, None where samples differ: (None, None, 3) is an RGB image of any size,
        (None, 2) ragged points (x, y), () a scalar. All sizes known -> one [N, ...] array.
    codec: raw, or encoded: each sample's pixels are an image file (JPEG, PNG, WebP…) in a tar.
    pitch: size of one pixel in the set's common unit, grids aligned at the top left (hr 1, lr_x4
        4); None -> the grids of two fields cover the same area, whatever their sizes.
    scale, offset: physical value = stored value × scale + offset, in `unit`.
    """

    kind: Literal["image", "map", "points", "value"]
    dtype: str
    shape: tuple[int | None, ...] = ()
    codec: str = "raw"
    pitch: float | None = None
    scale: float = 1.0
    offset: float = 0.0
    unit: str = ""

    @property
    def is_pixels(self) -> bool:
        """True where the field moves with the geometry."""
        return self.kind in ("image", "map")

    @property
    def is_encoded(self) -> bool:
        """True where the field lies as image files in tars, False where in a zarr array."""
        return self.is_pixels and self.codec == "encoded"

    @property
    def is_uniform(self) -> bool:
        """True where every sample has the same shape."""
        return None not in self.shape


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """All facts of one built set.

    files: relative path -> bytes and sha256 of every file but this one.
    statistics: pixel field -> mean and std of each channel over all samples, in the field's unit.
    plan: fingerprint of source, options and raw listing; the same plan builds the same bytes.
    encoded: encoded field -> source_bytes, stored_bytes, index_bytes (of the rows), transcoded
        (images with restart intervals) and whole (reason -> images stored as they were).
    checks: what a source has measured on the finished set, by name. Each has lines `says`; where it
        also has a true `warns`, the build says them too.
    """

    name: str
    source: str
    options: dict[str, Any]
    versions: dict[str, str]
    fields: dict[str, Field]
    samples: int
    splits: dict[str, int]
    files: dict[str, dict[str, Any]]
    skipped: list[dict[str, str]] = field(default_factory=list)
    notes: dict[str, int] = field(default_factory=dict)
    classes: list[str] = field(default_factory=list)
    statistics: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    seeds: dict[str, int] = field(default_factory=dict)
    plan: str = ""
    encoded: dict[str, dict[str, Any]] = field(default_factory=dict)
    checks: dict[str, dict[str, Any]] = field(default_factory=dict)
    format: int = FORMAT

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over everything above: two sets with the same fingerprint are the same bytes."""
        return hashlib.sha256(_canonical(self.facts()).encode()).hexdigest()

    def facts(self) -> dict[str, Any]:
        """Return all but the fingerprint, as it is saved."""
        facts = asdict(self)
        # Left out where empty, as they were before they existed: old sets stay good.
        for name in ("encoded", "checks"):
            if not facts[name]:
                del facts[name]
        return facts

    def save(self, folder: Path) -> None:
        """Write `manifest.json` atomically."""
        text = json.dumps(self.facts() | {"fingerprint": self.fingerprint}, indent=1) + "\n"
        with atomic(folder / FILE_NAME) as path:
            path.write_text(text)


def data_root(given: str | Path | None = None) -> Path:
    """Return the folder of all built sets: given, else $NOSTALL_DATA, else ./data."""
    return Path(given or os.environ.get("NOSTALL_DATA") or "data")


def locate(name: str | Path, root: str | Path | None = None) -> Path:
    """Return the folder of a set: a path is itself, a plain name lies under the data root."""
    given = Path(name)
    return given if len(given.parts) != 1 or ".." in given.parts else data_root(root) / given


def load(folder: str | Path) -> Manifest:
    """Read the manifest of a built set; DataError where missing, damaged or of another format."""
    path = Path(folder) / FILE_NAME
    if not path.parent.is_dir():
        raise DataError(
            path.parent, "", "no such set; `python -m dataprep list` shows what there is"
        )
    if not path.is_file():
        raise DataError(
            path.parent,
            "",
            "not a complete set (no manifest.json); run its build again, it resumes",
        )
    try:
        facts = json.loads(path.read_text())
        if facts["format"] != FORMAT:
            raise DataError(path, "format", f"is {facts['format']}, this version reads {FORMAT}")
        fingerprint = facts.pop("fingerprint")
        facts["fields"] = {
            name: Field(**value | {"shape": tuple(value["shape"])})
            for name, value in facts["fields"].items()
        }
        manifest = Manifest(**facts)
        _check(manifest)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(path, "", f"not a manifest ({error!r})") from None
    if manifest.fingerprint != fingerprint:
        raise DataError(path, "fingerprint", "does not match the content: the file was edited")
    return manifest


DTYPES = {f"{kind}{bits}" for kind in ("uint", "int") for bits in (8, 16, 32, 64)} | {
    "float16",
    "float32",
    "float64",
    "bool",
}


def _check(manifest: Manifest) -> None:
    """Raise ValueError where a fact has the wrong type: no reader of the set checks again."""
    for part, where in [(manifest, ""), *((f, f"fields/{n}/") for n, f in manifest.fields.items())]:
        for name, kind in get_type_hints(type(part)).items():
            value = getattr(part, name)
            if not _fits(value, kind):
                raise ValueError(f"{where}{name} is {str(value)[:40]!r}, not {kind}")
    for name, one in manifest.fields.items():
        if one.dtype not in DTYPES or (one.is_pixels and len(one.shape) not in (2, 3)):
            raise ValueError(f"fields/{name} is {one.dtype} of {one.shape}")
    for name, facts in manifest.files.items():
        if not _fits(facts.get("bytes"), int):
            raise ValueError(f"files/{name} has no bytes")
    for name in (*manifest.fields, *manifest.splits):  # they become file names
        if not name or "/" in name or "\\" in name or name.startswith("."):
            raise ValueError(f"{name!r} is no name")


def _fits(value: Any, kind: Any) -> bool:
    """Tell whether a value read from JSON is of an annotated type; whole numbers are counts."""
    of, parts = get_origin(kind), get_args(kind)
    if kind is Any:
        return True
    if of is Literal:
        return isinstance(value, str) and value in parts
    if of in (Union, UnionType):
        return any(_fits(value, part) for part in parts)
    if of is dict:
        return isinstance(value, dict) and all(
            _fits(k, parts[0]) and _fits(v, parts[1]) for k, v in value.items()
        )
    if of is list or of is tuple:
        return isinstance(value, of) and all(_fits(one, parts[0]) for one in value)
    if kind is float:
        return type(value) in (int, float) and abs(value) < 1e300
    if kind is int:
        return type(value) is int and 0 <= value < 2**63
    return isinstance(value, kind)


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary neighbour of `path`; on success fsync it and rename it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
