"""One fault in a built set, drawn from a case number: what test_corruption.py does to files."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dataprep import manifest
from dataprep.manifest import Field, Manifest

SEED = 20


class Damage(NamedTuple):
    """One file's new content, None where it is removed; in place or by a new file.

    is_plain: it was only cut or removed, so that an error can name no other file.
    """

    path: Path
    content: bytes | None
    what: str
    in_place: bool = True
    is_plain: bool = False

    def do(self) -> None:
        if self.content is None:
            self.path.unlink()
        elif self.in_place:
            with open(self.path, "r+b") as file:
                file.write(self.content)
                file.truncate()
        else:
            fresh = self.path.with_name("fresh.tmp")
            fresh.write_bytes(self.content)
            os.replace(fresh, self.path)


def draw(folder: Path, number: int) -> tuple[Damage, bool]:
    """Return the damage of a case and whether it comes while a loader runs."""
    rng = np.random.default_rng([SEED, number])
    every = sorted(path for path in folder.rglob("*") if path.is_file())
    kinds = [
        [path for path in every if is_one(path)]
        for is_one in (
            lambda path: path.name == manifest.FILE_NAME,
            lambda path: path.suffix == ".npy",
            lambda path: path.suffix != ".npy" and path.parent != folder,
        )
    ]
    paths = kinds[rng.choice(3, p=[0.2, 0.5, 0.3])]
    path = paths[rng.integers(len(paths))]
    content = path.read_bytes()
    ways: list[Callable[..., tuple[bytes | None, str]]] = [flip, cut, remove, swap]
    if path.suffix == ".npy":
        ways += [cell, cell, header]
    if path.name == manifest.FILE_NAME:
        ways = [flip, cut, remove, forge, forge, forge]
    way = ways[rng.integers(len(ways))]
    changed, what = way(rng, content, every)
    late = bool(rng.integers(2))
    moment = "while a loader runs" if late else "before it is opened"
    name = path.relative_to(folder)
    what = f"{name}: {what}, {moment}"
    return Damage(path, changed, what, way is not swap, way in (cut, remove)), late


def flip(rng: Any, content: bytes, _: Any) -> tuple[bytes, str]:
    at, bits = int(rng.integers(len(content))), int(rng.integers(1, 256))
    changed = bytearray(content)
    changed[at] ^= bits
    return bytes(changed), f"byte {at} changed by {bits}"


def cut(rng: Any, content: bytes, _: Any) -> tuple[bytes, str]:
    length = int(rng.integers(len(content))) if rng.integers(4) else 0
    return content[:length], f"cut to {length} bytes"


def remove(rng: Any, content: bytes, _: Any) -> tuple[None, str]:
    return None, "removed"


def swap(rng: Any, content: bytes, every: list[Path]) -> tuple[bytes, str]:
    other = every[rng.integers(len(every))]
    if rng.integers(2):
        return bytes(rng.bytes(len(content))), "replaced by noise"
    return other.read_bytes(), f"replaced by {other.name}"


def cell(rng: Any, content: bytes, _: Any) -> tuple[bytes, str]:
    """Set one number of a column to an extreme."""
    column = np.load(io.BytesIO(content))
    if not column.size:
        return content, "left as it is"
    at = int(rng.integers(column.size))
    flat = column.reshape(-1).copy()
    if column.dtype.kind == "f":
        flat[at] = rng.choice([np.inf, -np.inf, np.nan, 1e300])
    else:
        facts = np.iinfo(column.dtype)
        few = [facts.min, facts.max, 0, 1, facts.max // 2, column.size, int(flat[at]) + 1]
        flat[at] = min(max(few[rng.integers(len(few))], facts.min), facts.max)
    return saved(flat.reshape(column.shape)), f"cell {at} set to {flat[at]}"


def header(rng: Any, content: bytes, _: Any) -> tuple[bytes, str]:
    """Let the header of a column promise another type or shape."""
    column = np.load(io.BytesIO(content))
    rows, kind = len(column), column.dtype.str
    shapes: list[Any] = [(), (rows, 1), (rows, 0), (rows, 2), (0,), (2**62,), (rows, 2**60), (-1,)]
    shapes += [(rows + 1,), (rows - 1,), "x", None, (1.5,), (rows,) * 40]
    kinds: list[Any] = ["<f8", "<i8", "<u8", "|S9", "<U4", "|O", "|V0", [("a", "<i4")], ">i4", 3]
    if rng.integers(2):
        facts = {"descr": kind, "fortran_order": False, "shape": shapes[rng.integers(len(shapes))]}
    else:
        facts = {"descr": kinds[rng.integers(len(kinds))], "fortran_order": True, "shape": (rows,)}
    text = repr(facts).encode().ljust(117) + b"\n"
    body = content[-column.nbytes :] if column.nbytes else b""
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + body, f"header {facts}"


ODD: tuple[Any, ...] = (None, True, -1, 0, 1.5, 2**70, float("inf"), "x", "", "../x", [], [[]], {})
ODD += ({"": {}}, ["x"], [2**40, 2**40, 3], [None, None, None, None], [-1], "float128", "|O", "..")


def forge(rng: Any, content: bytes, _: Any) -> tuple[bytes, str]:
    """Change the manifest in one place, and sign it as a sound one is signed."""
    facts = json.loads(content)
    if not rng.integers(20):
        return b"[" * 100_000, "100,000 brackets"
    at, where = facts, []
    while True:
        keys = sorted(key for key in at if key != "fingerprint")
        key = keys[rng.integers(len(keys))]
        where.append(key)
        if not (isinstance(at[key], dict) and at[key] and rng.integers(4)):
            break
        at = at[key]
    # A set without one of its fields is sound, only not the one that the loader was made for.
    is_field = where[0] == "fields" and len(where) < 3
    if is_field or rng.integers(4):
        odd = [value for value in ODD if value != {} or not is_field]
        at[key] = odd[rng.integers(len(odd))]
        what = f"{'/'.join(where)} = {at[key]!r}"
    else:
        what = f"{'/'.join(where)} left out"
        del at[key]
    facts["fingerprint"] = signed(facts)
    return json.dumps(facts).encode(), what


def signed(facts: dict[str, Any]) -> str:
    """Return the fingerprint that a reader computes, "" where it cannot."""
    try:
        held = {key: value for key, value in facts.items() if key != "fingerprint"}
        held["fields"] = {
            name: Field(**value | {"shape": tuple(value["shape"])})
            for name, value in held["fields"].items()
        }
        return Manifest(**held).fingerprint
    except (TypeError, KeyError, AttributeError, ValueError):
        return ""


def saved(column: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, column)
    return out.getvalue()
