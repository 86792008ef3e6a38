"""Pickles are read as data: what asks for anything else is refused by name, and nothing is run."""

from __future__ import annotations

import os
import pickle
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
