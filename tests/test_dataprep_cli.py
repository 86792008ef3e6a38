"""The command line as a new user meets it: it teaches, and a mistake is one line and exit 2."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from dataprep import sources
from dataprep.__main__ import main
from dataprep.progress import Progress, clock


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write four photographs and build the set `photos` from them."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "raw").mkdir()
    rng = np.random.default_rng(0)
    for i in range(4):
        pixels = rng.integers(0, 256, (40 + i, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "raw" / f"{i}.png")
    result = run(folder, "build", "images", "--raw", str(folder / "raw"), "--name", "photos")
    assert result.exit_code == 0, result.stderr
    return folder


def run(root: Path, *args: str) -> Any:
    data = {"NOSTALL_DATA": str(root / "data")}
    many = ("--workers", "1") if args[:1] == ("build",) else ()
    return CliRunner().invoke(main, [*args, *many], env=data)


def refused(result: Any) -> str:
    """Return the one line that a mistake is answered by."""
    assert result.exit_code == 2, (result.exit_code, result.output, result.exception)
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1, result.stderr
    return str(result.stderr)


def test_build_says_what_it_did(root: Path) -> None:
    again = run(root, "build", "images", "--raw", str(root / "raw"), "--name", "photos")
    assert again.exit_code == 0 and "already built" in again.stderr
    assert "built " in again.stdout and "train 4" in again.stdout


def test_list_shows_sources_and_sets(root: Path) -> None:
    text = run(root, "list").stdout
    assert all(name in text for name in sources.names())
    assert "photos  images · train 4" in text
    unfinished = root / "data" / "half" / "building"
    unfinished.mkdir(parents=True)
    (unfinished / "plan.json").write_text('{"source": "images", "shards": 7}')
    assert "half    images · not complete: 0 of 7 shards" in run(root, "list").stdout


def test_info_as_table_and_as_json(root: Path) -> None:
    text = run(root, "info", "photos").stdout
    assert "field lr_x4  image, uint8, any × any × 3, raw, pitch 4" in text
    facts = json.loads(run(root, "info", str(root / "data" / "photos"), "--json").stdout)
    assert facts["samples"] == 4 and facts["fingerprint"] in text


def test_preview_shows_stored_pixels(root: Path) -> None:
    out = root / "sheet.png"
    result = run(root, "preview", "photos", "--out", str(out), "--samples", "2", "--window", "24")
    assert result.exit_code == 0 and str(out) in result.stdout
    sheet = np.asarray(Image.open(out))
    stored = np.asarray(Image.open(root / "raw" / "0.png"))
    # The window's corner is the multiple of 12 nearest above the centre: (8, 13) -> (0, 12).
    window = stored[0:24, 12:36]
    found = [
        (y, x)
        for y in range(sheet.shape[0] - 23)
        for x in range(sheet.shape[1] - 23)
        if (sheet[y, x] == window[0, 0]).all() and (sheet[y : y + 24, x : x + 24] == window).all()
    ]
    assert len(found) == 1


def test_verify_finds_every_kind_of_damage(root: Path) -> None:
    result = run(root, "verify", "photos")
    assert result.exit_code == 0 and "as built" in result.stdout
    folder = root / "data" / "photos"
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if path.name == "manifest.json":
            continue
        whole, name = path.read_bytes(), str(path.relative_to(folder))
        changed = bytes([whole[0] ^ 1]) + whole[1:]
        for data, why in (
            (changed, "sha256"),
            (whole[:-1], f"has {len(whole) - 1:,} bytes"),
            (None, "missing"),
        ):
            path.unlink() if data is None else path.write_bytes(data)
            result = run(root, "verify", "photos")
            assert result.exit_code == 1
            (line,) = result.stdout.splitlines()
            assert name in line and why in line
        path.write_bytes(whole)
    (folder / "index" / "stray.npy").touch()
    result = run(root, "verify", "photos")
    (folder / "index" / "stray.npy").unlink()
    assert result.exit_code == 1 and "index/stray.npy: is not part of the set" in result.stdout


def test_help_teaches() -> None:
    def text(*args: str) -> str:
        result = CliRunner().invoke(main, [*args, "--help"])
        assert result.exit_code == 0
        return " ".join(result.stdout.split())

    assert "python -m dataprep build sample" in text()
    for command in ("list", "build", "verify", "info", "preview"):
        assert command in text() and f"python -m dataprep {command}" in text(command)
    for name in sources.names():
        assert name in text("build") and f"python -m dataprep build {name}" in text("build", name)
        assert "[fail|skip]" in text("build", name)
    assert "[symmetric|replicate]" in text("build", "df2k")
    assert "[default: 2,3,4]" in text("build", "df2k") and "--raw TEXT" not in text(
        "build", "sample"
    )


def test_wrong_words(root: Path) -> None:
    raw = str(root / "raw")
    assert "No such command 'biuld'" in refused(run(root, "biuld"))
    line = refused(CliRunner().invoke(main, ["build", "div2k"]))
    there = "cat2000, cifar10, cifar100, cinic10, df2k, digits_csv, fashion_mnist, ham10000, "
    there += "imagefolder, images, mit1003, mnist, qmnist, sample, srbench"
    assert f"no such source: div2k; there are {there}" in line
    assert "Missing option '--raw'" in refused(run(root, "build", "images"))
    choice = refused(run(root, "build", "images", "--raw", raw, "--border", "mirror"))
    assert "'symmetric', 'replicate'" in choice
    assert "--scales" in refused(run(root, "build", "images", "--raw", raw, "--scales", "1"))
    assert "--tile" in refused(run(root, "build", "images", "--raw", raw, "--tile", "100"))
    assert "plain name" in refused(run(root, "build", "images", "--raw", raw, "--name", "../x"))


def test_wrong_data(root: Path, tmp_path: Path) -> None:
    missing = refused(run(root, "build", "images", "--raw", str(tmp_path / "nothing")))
    assert "no such file or folder" in missing
    whole = (root / "raw" / "0.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    corrupt = refused(run(root, "build", "images", "--raw", str(tmp_path), "--name", "cut"))
    assert "cut.png: corrupt image" in corrupt
    assert "holds a set made from other options" in refused(
        run(root, "build", "images", "--raw", str(root / "raw"), "--name", "photos", "--seed", "1")
    )


@pytest.mark.parametrize("command", ["info", "verify", "preview"])
def test_wrong_sets(root: Path, tmp_path: Path, command: str) -> None:
    assert "no such set" in refused(run(root, command, "nothing"))
    assert "not a complete set" in refused(run(root, command, str(tmp_path)))
    text = (root / "data" / "photos" / "manifest.json").read_text()
    (tmp_path / "manifest.json").write_text(text.replace('"train": 4', '"train": 5'))
    assert "edited" in refused(run(root, command, str(tmp_path)))


def test_a_log_file_gets_plain_timed_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("dataprep.progress.time.monotonic", lambda: now[0])
    with Progress("set", 100, 40) as progress:
        for _ in range(6):
            now[0] += 4
            progress.add(10, 20_000_000)
    first, second, last = capsys.readouterr().err.splitlines()
    assert first.endswith("set: 70 of 100 images · 2.5 images/s · 5 MB/s · ETA 0:12")
    assert "100 of 100" in second or "ETA" in second
    assert last.endswith("set: 100 of 100 images · 2.5 images/s · 5 MB/s · in 0:24")
    assert "\r" not in first + second + last
    assert clock(3725) == "1:02:05"
