"""Read data from pickles without running anything that they ask for.

A pickle is a program: it names functions and has them called. This reader knows the few names by
which an array of numbers is pickled, and makes such arrays itself; no function of numpy or of any
other library is ever called by the file, and every other name is refused. So is what lets a few
bytes take all memory or time: opcodes that data does without, keys other than text, numbers in the
memo that no writer gives, steps without end.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dataprep.manifest import DataError
from dataprep.raw import Raw

Array = npt.NDArray[Any]

CODE = re.compile(r"[iu][1248]")
# Numbers, text, lists, tuples, dicts, and what arrays are made by.
OPCODES = """
    PROTO FRAME MARK STOP NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 FLOAT BINFLOAT
    STRING BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8 UNICODE BINUNICODE
    SHORT_BINUNICODE BINUNICODE8 EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST LIST APPEND
    APPENDS EMPTY_DICT DICT SETITEM SETITEMS GLOBAL STACK_GLOBAL REDUCE BUILD GET BINGET LONG_BINGET
    PUT BINPUT LONG_BINPUT MEMOIZE
""".split()
# The largest official file takes some 300,000 steps and 155 MB.
MOST_STEPS, MOST_BYTES = 1 << 22, 1 << 30
# Characters of a name, sides of an array, values of a side, characters of an error.
MOST_NAME, MOST_SIDES, MOST_SIDE, SHOWN = 200, 8, 1 << 40, 120


def read(raw: Raw, name: str) -> dict[str, Any]:
    """Return the dict in one pickled file: numbers, text as bytes or str, lists, integer arrays.

    Its keys are str, also where Python 2 wrote them. Tuples may hold themselves so often that to
    hash, compare or print one never ends. DataError where the file is damaged, larger than any
    such file, is no dict, or asks for anything else to be run.
    """
    try:
        if raw.size(name) > MOST_BYTES:
            raise _Refused(f"has {raw.size(name):,} bytes, more than {MOST_BYTES:,}: refused")
        found = _Reader(raw.read(name)).load()
        if not isinstance(found, dict):
            raise ValueError(f"holds a {type(found).__name__}, not a dict")
        return {_text(key): _plain(value) for key, value in found.items()}
    except _Refused as error:
        raise DataError(raw.path, name, str(error)) from None
    except DataError:
        raise
    except Exception as error:  # a damaged pickle is a program: it fails in every way there is
        why = _shown(" ".join(str(error).split())) or type(error).__name__
        raise DataError(raw.path, name, f"is no pickled data, or damaged ({why})") from None


class _Refused(Exception):
    """The pickle asks for something that is not data."""


def _refusal(what: str) -> _Refused:
    return _Refused(f"is a pickle that asks for {_shown(what)}: refused, nothing was run")


class _Array:
    """Stands in for an array while it is unpickled."""

    def __init__(self, kind: Any, shape: Any, code: Any) -> None:
        self.value: Array | None = None

    def fill(self, state: Any) -> None:
        _, shape, dtype, is_fortran, data = state
        if not isinstance(dtype, _Dtype) or not isinstance(data, bytes):
            raise ValueError("an array that does not hold whole numbers")
        if not isinstance(shape, tuple) or len(shape) > MOST_SIDES:
            raise ValueError("an array without a shape")
        if any(type(side) is not int or not 0 <= side < MOST_SIDE for side in shape):
            raise ValueError("an array whose sides are no counts")
        if len(data) != math.prod(shape) * dtype.value.itemsize:
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

    def fill(self, state: Any) -> None:
        if _text(state[1]) == ">":
            self.value = self.value.newbyteorder(">")


def _encoded(text: Any, encoding: Any) -> bytes:
    """Return bytes that Python 3 wrote as text."""
    if not isinstance(text, str) or _text(encoding) not in ("latin1", "latin-1"):
        raise ValueError("bytes in an encoding other than latin1")
    return text.encode("latin1")


@dataclass(frozen=True)
class _Name:
    """What the file gets for a name: nothing that it can call or change."""

    make: Callable[..., Any] | None


STAND_INS = {
    ("numpy.core.multiarray", "_reconstruct"): _Name(_Array),
    ("numpy._core.multiarray", "_reconstruct"): _Name(_Array),
    ("numpy", "ndarray"): _Name(None),
    ("numpy", "dtype"): _Name(_Dtype),
    ("_codecs", "encode"): _Name(_encoded),
}


class _Reader(pickle._Unpickler):
    """Python's own reader in Python: the compiled one takes 16 bytes for each unused memo number.

    A method `load_…` here replaces what the base class does for the opcode of that name.
    """

    stack: list[Any]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data), encoding="bytes")
        self.dispatch = _Steps()  # type: ignore[misc,assignment]
        self.memo = _Memo(len(data))
        # Each text is encoded once: all together are no longer than the file.
        self._may_encode = len(data)

    def find_class(self, module: str, name: str) -> _Name:
        if (module, name) not in STAND_INS:
            raise _refusal(f"{module}.{name}")
        return STAND_INS[module, name]

    def load_reduce(self) -> None:
        args, name = self.stack.pop(), self.stack.pop()
        if not isinstance(name, _Name) or name.make is None or not isinstance(args, tuple):
            raise ValueError("a call of what is no function")
        made = name.make(*args)
        self._may_encode -= len(made) if isinstance(made, bytes) else 0
        if self._may_encode < 0:
            raise _refusal("more bytes than it has")
        self.stack.append(made)

    def load_build(self) -> None:
        state = self.stack.pop()
        if not isinstance(self.stack[-1], _Array | _Dtype) or not isinstance(state, tuple):
            raise ValueError("a state of what has none")
        self.stack[-1].fill(state)

    def load_append(self) -> None:
        self._extend([self.stack.pop()])

    def load_appends(self) -> None:
        self._extend(self.pop_mark())

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.stack.append({})
        self._set(items)

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set([key, value])

    def load_setitems(self) -> None:
        self._set(self.pop_mark())

    def _extend(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            raise ValueError(f"items of a {type(self.stack[-1]).__name__}")
        self.stack[-1].extend(items)

    def _set(self, items: list[Any]) -> None:
        """Set keys and values in turn; text alone, of which no file knows the hashes."""
        if not isinstance(self.stack[-1], dict):
            raise ValueError(f"keys of a {type(self.stack[-1]).__name__}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, bytes | str):
                raise ValueError(f"a {type(key).__name__} for a key")
            self.stack[-1][key] = value


class _Steps:
    """Hands out what carries out an opcode: of those that are known, and not without end."""

    def __init__(self) -> None:
        self._left = MOST_STEPS

    def __getitem__(self, code: int) -> Callable[[Any], None]:
        self._left -= 1
        if self._left < 0:
            raise _refusal(f"more than {MOST_STEPS:,} steps")
        if code in LOADS:
            return LOADS[code]
        if code in NAMES:
            raise _refusal(f"opcode {NAMES[code]}")
        raise ValueError(f"no opcode is {code}")


class _Memo(dict[int, Any]):
    """Objects by number; writers count, so that no number is above the bytes of the file."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def __setitem__(self, number: int, value: Any) -> None:
        if number > self._most:
            raise _refusal(f"place {str(number)[:20]} of the memo in {self._most:,} bytes")
        super().__setitem__(number, value)


CODES = {opcode.name: ord(opcode.code) for opcode in pickletools.opcodes}
NAMES = {code: name for name, code in CODES.items()}
# By the name of the base class's method: those of _Reader take its place.
LOADS: dict[int, Callable[[Any], None]] = {
    CODES[name]: getattr(_Reader, pickle._Unpickler.dispatch[CODES[name]].__name__)
    for name in OPCODES
}


def _text(value: Any) -> str:
    if not isinstance(value, bytes | str):
        raise ValueError(f"a {type(value).__name__} in place of a name")
    if len(value) > MOST_NAME:
        raise ValueError(f"a name of {len(value):,} characters")
    return value.decode("ascii") if isinstance(value, bytes) else value


def _shown(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:SHOWN])


def _plain(value: Any) -> Any:
    if isinstance(value, _Array):
        if value.value is None:
            raise ValueError("an array without content")
        return value.value
    return value
