"""Read data from pickles without running anything that they ask for.

A pickle is a program: it names functions and has them called. This reader knows the four names by
which an array of numbers is pickled, and puts its own small functions in their place; no function
of numpy or of any other library is ever called by the file. Every other name is refused.
"""

from __future__ import annotations

import io
import math
import pickle
import re
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from dataprep.manifest import DataError
from dataprep.raw import Raw

Array = npt.NDArray[Any]

CODE = re.compile(r"[iu][1248]")


def read(raw: Raw, name: str) -> dict[str, Any]:
    """Return the dict in one pickled file: numbers, text as bytes or str, lists, integer arrays.

    Its keys are str, also where Python 2 wrote them. DataError where it is damaged, is no dict, or
    asks for anything else to be run.
    """
    try:
        found = _Reader(io.BytesIO(raw.read(name)), encoding="bytes").load()
        if not isinstance(found, dict):
            raise ValueError(f"holds a {type(found).__name__}, not a dict")
        return {_text(key): _plain(value) for key, value in found.items()}
    except _Refused as error:
        raise DataError(raw.path, name, str(error)) from None
    except DataError:
        raise
    except Exception as error:  # a damaged pickle is a program: it fails in every way there is
        why = " ".join(str(error).split()) or type(error).__name__
        raise DataError(raw.path, name, f"is no pickled data, or damaged ({why})") from None


class _Refused(Exception):
    """The pickle asks for something that is not data."""


class _Array:
    """Stands in for an array while it is unpickled."""

    def __init__(self, kind: Any, shape: Any, code: Any) -> None:
        self.value: Array | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, is_fortran, data = state
        if not isinstance(dtype, _Dtype) or not isinstance(data, bytes):
            raise ValueError("an array that does not hold whole numbers")
        shape = tuple(int(side) for side in shape)
        if min(shape, default=1) < 0 or len(data) != math.prod(shape) * dtype.value.itemsize:
            raise ValueError(f"an array of {shape} in {len(data):,} bytes")
        flat = np.frombuffer(data, dtype.value)
        self.value = flat.reshape(shape, order="F" if is_fortran else "C")


class _Dtype:
    """Stands in for the type of an array: integers alone."""

    def __init__(self, code: Any, align: Any = 0, copy: Any = 0) -> None:
        text = _text(code)
        if not CODE.fullmatch(text):
            raise ValueError(f"an array of {text[:20]!r}, not of whole numbers")
        self.value = np.dtype(text)

    def __setstate__(self, state: Any) -> None:
        if _text(state[1]) == ">":
            self.value = self.value.newbyteorder(">")


def _encoded(text: Any, encoding: Any) -> bytes:
    """Return bytes that Python 3 wrote as text."""
    if not isinstance(text, str) or _text(encoding) not in ("latin1", "latin-1"):
        raise ValueError("bytes in an encoding other than latin1")
    return text.encode("latin1")


STAND_INS: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): str,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encoded,
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in STAND_INS:
            raise _Refused(f"is a pickle that asks for {module}.{name}: refused, nothing was run")
        # A new object each time: what the file may set on it stays with it.
        return partial(STAND_INS[module, name])


def _text(value: Any) -> str:
    if not isinstance(value, bytes | str):
        raise ValueError(f"{str(value)[:20]!r} in place of a name")
    return value.decode("ascii") if isinstance(value, bytes) else value


def _plain(value: Any) -> Any:
    if isinstance(value, _Array):
        if value.value is None:
            raise ValueError("an array without content")
        return value.value
    return value
