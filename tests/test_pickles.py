"""Pickles are read as data: what asks for anything else is refused by name, and nothing is run."""

from __future__ import annotations

import os
import pickle
import pickletools
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from raw.cifar10 import batch, files, pickled
from shared import folder

from dataprep import pickles
from dataprep.__main__ import main
from dataprep.manifest import DataError
from dataprep.raw import Raw


def read(tmp_path: Path, data: bytes) -> dict[str, Any]:
    (tmp_path / "data_batch_1").write_bytes(data)
    return pickles.read(Raw(tmp_path), "data_batch_1")


class Evil:
    """Creates a file where it is unpickled."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> Any:
        return self.call


def evil(path: Path) -> dict[str, Any]:
    """Return objects that create a file, by what they ask for."""
    return {
        "posix.system": Evil(os.system, f"touch {path}"),
        "os.mkdir": b"cos\nmkdir\n(V" + str(path).encode() + b"\ntR.",
        "__builtin__.eval": Evil(eval, f"open({str(path)!r}, 'w')"),
        "__builtin__.exec": Evil(exec, f"open({str(path)!r}, 'w')"),
        "numpy.load": b"cnumpy\nload\n.",
        "numpy.ndarray.__class__": b"\x80\x04\x8c\x05numpy\x8c\x11ndarray.__class__\x93.",
        "numpy.core.multiarray.scalar": b"cnumpy.core.multiarray\nscalar\n.",
        "builtins.getattr": b"\x80\x04\x8c\x08builtins\x8c\x07getattr\x93.",
        "_codecs.decode": b"c_codecs\ndecode\n.",
    }


@pytest.mark.parametrize("name", evil(Path("x")))
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_what_asks_for_more_is_refused_and_not_run(
    name: str, protocol: int, tmp_path: Path
) -> None:
    made = tmp_path / "made"
    content = evil(made)[name]
    data = (
        content
        if isinstance(content, bytes)
        else pickle.dumps({"data": content}, protocol=protocol)
    )
    with pytest.raises(
        DataError, match=r"data_batch_1: is a pickle that asks for .*: refused"
    ) as e:
        read(tmp_path, data)
    assert name.rpartition(".")[2] in str(e.value) and "nothing was run" in str(e.value)
    assert not made.exists()


def test_those_pickles_do_harm_where_they_are_trusted(tmp_path: Path) -> None:
    """So that the tests above cannot pass for a harmless pickle."""
    made = tmp_path / "made"
    pickle.loads(pickle.dumps(evil(made)["posix.system"], protocol=2))
    assert made.exists()


def test_a_malicious_batch_stops_the_build_in_one_line(tmp_path: Path) -> None:
    content, made = files(12), tmp_path / "made"
    content["data_batch_3"] = pickled({**batch(12), b"x": Evil(os.mkdir, str(made))})
    (tmp_path / "raw").mkdir()
    for name, data in content.items():
        (tmp_path / "raw" / name).write_bytes(data)
    for command in ([], ["--on-error", "skip"]):
        options = ["--raw", str(tmp_path / "raw"), "--data-root", str(tmp_path), *command]
        result = CliRunner().invoke(main, ["build", "cifar10", *options])
        assert result.exit_code == 2 and result.stderr.count("\n") == 1
        assert "data_batch_3: is a pickle that asks for posix.mkdir: refused" in result.stderr
    assert not made.exists() and not (tmp_path / "cifar10").exists()


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("dtype", ["u1", "<i8", ">i4", "<u2"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_are_read_as_pickle_reads_them(
    protocol: int, dtype: str, order: Any, tmp_path: Path
) -> None:
    array = np.asarray(np.arange(24).reshape(4, 6) * 5, dtype, order=order)
    data = pickle.dumps({b"data": array, "labels": [1, 2], b"names": [b"a"]}, protocol=protocol)
    found = read(tmp_path, data)
    assert found["labels"] == [1, 2] and found["names"] == [b"a"]
    assert found["data"].dtype == array.dtype and (found["data"] == array).all()


PLAIN = {
    "whole": [0, -1, 255, 256, 70_000, 2**31, -(2**40), 2**100, True, False],
    "other": [None, 0.5, "word", "ü" * 300, (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
    "deep": {"a": [{"b": [[], {}]}], "c": "d"},
    "long": list(range(3000)),
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_is_read_as_pickle_reads_it(protocol: int, tmp_path: Path) -> None:
    """Of every protocol: the opcodes that are known are enough."""
    content = PLAIN if protocol < 3 else PLAIN | {"bytes": [b"", b"x", b"y" * 300]}
    assert read(tmp_path, pickle.dumps(content, protocol=protocol)) == content


def test_an_array_in_the_words_of_protocol_0(tmp_path: Path) -> None:
    """As Python 2 writes it where nobody asks for another."""
    data = b"""(dp0
S'data'
p1
cnumpy.core.multiarray
_reconstruct
p2
(cnumpy
ndarray
p3
(I0
tp4
S'b'
p5
tp6
Rp7
(I1
(I2
I2
tp8
cnumpy
dtype
p9
(S'u1'
p10
I0
I1
tp11
Rp12
(I3
S'|'
p13
NNNI-1
I-1
I0
tp14
bI00
S'\\x01\\x02\\x03\\xff'
p15
tp16
bs."""
    theirs = pickle.loads(data, encoding="bytes")[b"data"]
    assert read(tmp_path, data)["data"].tolist() == theirs.tolist() == [[1, 2], [3, 255]]


def dumped(value: Any) -> bytes:
    return pickle.dumps(value, protocol=2)


GOOD = dumped({b"data": np.zeros((3, 4), np.uint8)})
BAD = {
    "empty": b"",
    "text": b"<html>not found</html>",
    "cut short": GOOD[:-9],
    "no dict": dumped([1, 2]),
    "objects": dumped({b"data": np.array([{}, None])}),
    "floats": dumped({b"data": np.zeros(3)}),
    "records": dumped({b"data": np.zeros(3, [("a", "u1")])}),
    "larger than its bytes": GOOD.replace(b"K\x03K\x04\x86", b"K\x7fK\x7f\x86"),
    "odd keys": dumped({3: 4}),
    "too deep": b"(" * 100 + b"l" * 50,
}


DTYPE = b"cnumpy\ndtype\n"
TWICE = b"q\x00h\x00\x86"  # puts a pair of what is there in its place
# What a few bytes of it would cost any reader that carries them out, in small.
BOMBS = {
    "a place of the memo": (b"\x80\x02}r" + struct.pack("<I", 1 << 20) + b".", "place 1048576 of"),
    "a place in words": (b"}p99999999999999999999\n.", "place 99999999999999999999 of"),
    "a tuple for a key": (b"\x80\x02}K\x01" + TWICE * 15 + b"K\x01s.", "a tuple for a key"),
    "one of many keys": (b"\x80\x02}(U\x01xK\x01K\x02" + TWICE * 15 + b"K\x01u.", "a tuple for a"),
    "a key of old": (b"(K\x01" + TWICE * 15 + b"K\x01d.", "a tuple for a key"),
    "numbers for keys": (b"\x80\x02}(U\x01xK\x01K\x02K\x01u.", "a int for a key"),
    "a pair twice": (b"\x80\x02})" + b"2\x86" * 15 + b"K\x01s.", "asks for opcode DUP: refused"),
    "a call of the type": (b"cnumpy\nndarray\n(K\x01tR.", "a call of what is no function"),
    "a call of a number": (b"K\x01)R.", "a call of what is no function"),
    "a function in place of ours": (
        b"cnumpy\ndtype\n(" + DTYPE + b"(U\x02u1t}NtbN.",
        "a state of what has none",
    ),
    "sides of an array": (
        GOOD.replace(b"K\x03K\x04\x86", b"(" + b"K\x00" * 9 + b"t"),
        "no .* shape",
    ),
    "a side": (GOOD.replace(b"K\x03K\x04\x86", b"\x8a\xff" + b"\x7f" * 255 + b"\x85"), "no counts"),
    "a code": (DTYPE + b"(T\x10\x27\0\0" + b"u" * 10_000 + b"tR.", "a name of 10,000 characters"),
    "one text many times": (
        b"(c_codecs\nencode\nq\x00X\xe8\x03\0\0" + b"x" * 1000 + b"X\x06\0\0\0latin1\x86q\x01"
        b"R" + b"h\x00h\x01R" * 9 + b"l.",
        "asks for more bytes than it has: refused",
    ),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_what_grows_without_end_is_refused_where_it_begins(kind: str, tmp_path: Path) -> None:
    data, why = BOMBS[kind]
    with pytest.raises(DataError, match=f"data_batch_1: .*{why}") as error:
        read(tmp_path, data)
    assert "\n" not in str(error.value) and len(str(error.value)) < len(str(tmp_path)) + 200


@pytest.mark.parametrize(
    "opcode", [one for one in pickletools.opcodes if one.name not in pickles.OPCODES]
)
def test_opcodes_that_data_does_without_are_refused(opcode: Any, tmp_path: Path) -> None:
    data = b"\x80\x04}(" + opcode.code.encode("latin1") + b"\0" * 8
    with pytest.raises(DataError, match=f"asks for opcode {opcode.name}: refused, nothing was run"):
        read(tmp_path, data)


def test_no_opcode_builds_objects() -> None:
    """So that the list of known ones cannot grow by those unseen."""
    wrong = (
        "INST OBJ NEWOBJ NEWOBJ_EX EXT1 EXT2 EXT4 PERSID BINPERSID BYTEARRAY8 EMPTY_SET FROZENSET"
    )
    assert not {*wrong.split(), "ADDITEMS", "DUP", "LONG4", "NEXT_BUFFER"} & {*pickles.OPCODES}


CLAIMS = {
    "bytes": b"\x8e" + struct.pack("<Q", 1 << 62),
    "text": b"X" + struct.pack("<I", 0xFFFFFFFF),
    "string": b"T" + struct.pack("<i", 0x7FFFFFFF),
    "number": b"\x8b" + struct.pack("<i", 0x7FFFFFFF),
    "frame": b"\x95" + struct.pack("<Q", 1 << 62),
    "array": b"\x96" + struct.pack("<Q", 1 << 34),
}


@pytest.mark.parametrize("kind", CLAIMS)
def test_a_length_that_is_claimed_takes_no_memory(kind: str, tmp_path: Path) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="data_batch_1: "):
            read(tmp_path, b"\x80\x04}" + CLAIMS[kind] + b"abc")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_steps_and_bytes_have_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many = b"\x80\x02}(" + b"]" * 200 + b"e."
    monkeypatch.setattr(pickles, "MOST_STEPS", 100)
    with pytest.raises(
        DataError, match="data_batch_1: is a pickle that asks for more than 100 steps"
    ):
        read(tmp_path, many)
    monkeypatch.setattr(pickles, "MOST_BYTES", 205)
    with pytest.raises(DataError, match="data_batch_1: has 206 bytes, more than 205: refused"):
        read(tmp_path, many)


def test_names_of_a_file_are_shown_in_one_line(tmp_path: Path) -> None:
    name = b"a\n\x1b[2J" + b"b" * 900
    data = b"\x80\x04\x8c\x02os" + b"X" + struct.pack("<I", len(name)) + name + b"\x93."
    with pytest.raises(DataError, match=r"asks for os\.a\?\?\[2Jb+: refused") as error:
        read(tmp_path, data)
    assert len(str(error.value)) < len(str(tmp_path)) + 250


@pytest.mark.parametrize("kind", BAD)
def test_damage_is_one_line(kind: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="data_batch_1: ") as error:
        read(tmp_path, BAD[kind])
    assert "\n" not in str(error.value)


def test_any_one_damaged_byte_is_data_or_an_error(tmp_path: Path) -> None:
    data = bytearray(pickled(batch(1))[:400] + pickled(batch(1))[-120:])
    for at in range(0, len(data), 3):
        wrong = bytes([*data[:at], data[at] ^ 0x15, *data[at + 1 :]])
        try:
            read(tmp_path, wrong)
        except DataError:
            continue


def test_real_batches_are_read_as_pickle_reads_them() -> None:
    real = folder("cifar10") / "cifar-10-batches-py"
    raw = Raw(real)
    for name in raw.names():
        found = pickles.read(raw, name)
        theirs = pickle.loads((real / name).read_bytes(), encoding="bytes")
        assert set(found) == {key.decode() for key in theirs}
        for key, value in theirs.items():
            same = found[key.decode()] == value
            assert same.all() if isinstance(value, np.ndarray) else same
