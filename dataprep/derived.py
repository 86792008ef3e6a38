"""Results computed later from a built set, kept beside it: scores of its samples, chosen splits.

    <set>/derived/<name>-<fingerprint>/
        values.npy     a table: (N,) float64 over all ids of the set, NaN where not scored
        ids.npy        or a split: ids (int64), ascending
        origin.json    what it was made from, by what command, and the sha256 of the file above

The fingerprint (12 hex digits) is a hash of `made_from`, so what is wanted is known before it is
computed. Folders are written under a temporary name and renamed, `origin.json` last.

Legend: N samples of the set.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from dataprep import index, manifest
from dataprep.manifest import DataError

Array = npt.NDArray[Any]
Kind = Literal["values", "ids"]

FOLDER = "derived"
ORIGIN = "origin.json"
DIGITS = 12
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
FULL = re.compile(rf"(.+)-([0-9a-f]{{{DIGITS}}})")
WORDS = {"values": "table", "ids": "split"}


def place(folder: Path, name: str, made_from: Mapping[str, Any]) -> Path:
    """Return where a result lies, there or not; ValueError for a name that is no file name.

    made_from: JSON facts that decide the result, "data" (the set's fingerprint) among them.
    """
    if not NAME.fullmatch(name) or FULL.fullmatch(name):
        raise ValueError(f"{name!r} is no name for a result: want letters, digits and _ . + -")
    return folder / FOLDER / f"{name}-{_digest(name, made_from)}"


def is_there(path: Path) -> bool:
    """Tell whether a result was finished at its place."""
    return (path / ORIGIN).is_file()


def write(path: Path, kind: Kind, array: Array, made_from: Mapping[str, Any], **facts: Any) -> Path:
    """Write a result to its `place`; a half-written one there gives way."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    dtype = np.float64 if kind == "values" else np.int64
    try:
        temporary.mkdir(parents=True)
        index.write(temporary / f"{kind}.npy", np.ascontiguousarray(array, dtype))
        origin = {
            "kind": kind,
            "rows": len(array),
            "sha256": _sha256(temporary / f"{kind}.npy"),
            "made_from": dict(made_from),
            "command": " ".join(sys.argv),
        }
        with manifest.atomic(temporary / ORIGIN) as file:
            file.write_text(json.dumps(origin | facts, indent=1) + "\n")
        if path.exists():
            shutil.rmtree(path)
        os.rename(temporary, path)
    except OSError as error:
        raise DataError(path, "", f"cannot be written ({error.strerror})") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return path


def names(folder: Path, kind: Kind) -> list[str]:
    """Return the full names of a set's results of one kind, and of those of which none is there."""
    there = sorted(path for path in (folder / FOLDER).glob("*") if FULL.fullmatch(path.name))
    other = "ids" if kind == "values" else "values"
    return [path.name for path in there if not (path / f"{other}.npy").exists()]


def namesakes(path: Path) -> list[str]:
    """Return the full names of other results, of either kind, that share a result's plain name."""
    every = {*names(path.parents[1], "values"), *names(path.parents[1], "ids")}
    return sorted(one for one in every - {path.name} if plain(one) == plain(path.name))


def plain(full: str) -> str:
    """Return a result's name without its fingerprint."""
    return full[: -DIGITS - 1]


def find(
    folder: Path,
    name: str,
    kind: Kind = "values",
    data: str | None = None,
    own: Iterable[str] = (),
) -> Path:
    """Return the one result of this name, with or without its fingerprint.

    data: the set's fingerprint, where it is known already. own: other names to list as choices.
    DataError where there is none, where several are (they are listed), and where it is half
    written, damaged or of another set.
    """
    among = names(folder, kind)
    found = [one for one in among if name in (one, plain(one))]
    if len(found) > 1:
        raise DataError(folder, name, f"which {WORDS[kind]}? there are: {', '.join(found)}")
    if not found:
        there = ", ".join([*own, *among])
        why = f"there are: {there}" if there else f"there is none yet under {FOLDER}/"
        raise DataError(folder, name, f"no such {WORDS[kind]}; {why}")
    path = folder / FOLDER / found[0]
    made_from = origin(path)["made_from"]
    if made_from.get("data") != (data or manifest.load(folder).fingerprint):
        raise DataError(path, "", "was computed from another set or another build of this one")
    return path


def origin(path: Path) -> dict[str, Any]:
    """Return what a result was made from; DataError where it is half written or was edited."""
    try:
        facts: dict[str, Any] = json.loads((path / ORIGIN).read_text())
    except FileNotFoundError:
        why = f"half written (no {ORIGIN}): delete this folder and compute it again"
        raise DataError(path, "", why) from None
    except (OSError, ValueError) as error:
        raise DataError(path / ORIGIN, "", f"damaged ({error})") from None
    try:
        name, digits = path.name.rsplit("-", 1)
        whole = _digest(name, facts["made_from"]) == digits
        whole &= facts["kind"] in WORDS and type(facts["rows"]) is int
        whole &= type(facts["sha256"]) is str
    except (KeyError, TypeError, ValueError):
        whole = False
    if not whole:
        raise DataError(path / ORIGIN, "", "does not match the folder's name: edited or renamed")
    return facts


def fingerprint(path: Path) -> str:
    """Return what tells a result from every other: a hash of its content, as it was written."""
    return str(origin(path)["sha256"])


def values(path: Path, samples: int) -> Array:
    """Return a table, (N,) float64, NaN where a sample was not scored; DataError if damaged."""
    return np.asarray(_sound(path, "values", samples), np.float64)


def ids(path: Path, samples: int) -> index.Column:
    """Open a split's ids, ascending; DataError where they are damaged."""
    column = _sound(path, "ids")
    whole = np.asarray(column)
    if len(whole) and not (whole[0] >= 0 and whole[-1] < samples and (np.diff(whole) > 0).all()):
        raise DataError(column.path, "", f"its ids do not ascend inside 0…{samples - 1}: damaged")
    return column


def _sound(path: Path, kind: Kind, rows: int | None = None) -> index.Column:
    facts, file = origin(path), path / f"{kind}.npy"
    if facts["kind"] != kind:
        raise DataError(path, "", f"is a {WORDS[facts['kind']]}, not a {WORDS[kind]}")
    column = index.read(file, facts["rows"] if rows is None else rows)
    wanted = np.float64 if kind == "values" else np.int64
    if column.dtype != wanted or len(column.shape) != 1 or _sha256(file) != facts["sha256"]:
        raise DataError(
            file,
            "",
            "damaged (another sha256 than in origin.json): delete its folder, compute it again",
        )
    return column


def _digest(name: str, made_from: Mapping[str, Any]) -> str:
    text = json.dumps([name, made_from], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
