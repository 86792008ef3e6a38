"""`python -m dataprep plan`: sizes come true, the rule is the one that is told, nothing is left."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from dataprep import machine
from dataprep.__main__ import main
from dataprep.advice import Forecast, advise
from dataprep.build import build
from dataprep.choices import ONCE, choices, pick, total
from dataprep.forecast import Question, forecast, place
from dataprep.machine import Unmeasured
from dataprep.manifest import load
from dataprep.raw import Raw
from dataprep.sources import imagefolder

ROOT = Path(__file__).resolve().parents[1]
IMAGES = 48
# What a stand-in for the loader answers: samples a second of each choice.
RATES = (1000.0, 2000.0, 4000.0, 8000.0)


def photograph(i: int) -> Image.Image:
    """Return a picture of its own size, smooth with some noise."""
    rng = np.random.default_rng(i)
    small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    size = (320 + int(rng.integers(40)), 260 + int(rng.integers(40)))
    pixels = np.asarray(small.resize(size, Image.Resampling.BICUBIC), np.float32)
    return Image.fromarray(
        (pixels + 9 * rng.standard_normal(pixels.shape)).clip(0, 255).astype("u1")
    )


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of similar photographs in two classes."""
    folder = tmp_path_factory.mktemp("raw") / "flowers"
    for i in range(IMAGES):
        path = folder / ("rose" if i % 2 else "aster") / f"{i:03d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        photograph(i).save(path, quality=90)
    return folder


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def loader(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, int]]:
    """A stand-in for the loader; what it was asked is noted."""
    asked: list[dict[str, int]] = []

    def answer(folders: Sequence[Path], **options: int) -> list[dict[str, Any]]:
        assert all((folder / "manifest.json").exists() for folder in folders)
        asked.append(options)
        return [
            {"samples_per_s_alone": rate * (1 + len(asked)), "cpu_ms_per_sample": 1.5}
            for rate in RATES
        ]

    monkeypatch.setattr(machine, "load", answer)
    return asked


def run(*words: str) -> Any:
    return CliRunner().invoke(main, ["plan", *words])


def refused(result: Any) -> str:
    """Return the one line that a mistake is answered by."""
    assert result.exit_code == 2, (result.exit_code, result.output, result.exception)
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and "Traceback" not in result.stderr
    return str(lines[0])


def test_sizes_are_those_of_whole_sets(
    raw: Path, tmp_path: Path, loader: list[Any], temporary: Path
) -> None:
    report = forecast(Raw(raw), Question(crop=112, samples=24))
    assert [one.name for one in report.forecasts] == ["as is", "restart", "short 128", "raw 128"]
    for choice, one in zip(choices(128), report.forecasts, strict=True):
        folder = tmp_path / "set"
        build(imagefolder.Source(**choice.options), raw, folder, workers=1, overwrite=True)
        files = [path for path in folder.rglob("*") if path.is_file()]
        sizes = {path: min(path.stat().st_size, 512 * path.stat().st_blocks) for path in files}
        # What each set has once weighs nothing beside real photographs; here it would.
        once = sum(ONCE.get(path.suffix, 0) for path in files) + sizes[folder / "manifest.json"]
        real = sum(sizes.values()) - once
        assert one.size_bytes == pytest.approx(real, rel=0.05), one.name
    assert [one.lossless for one in report.forecasts] == [True, True, False, False]
    assert list(temporary.iterdir()) == []


def test_the_best_of_the_rounds_counts(raw: Path, loader: list[Any], temporary: Path) -> None:
    question = Question(crop=112, samples=16, threads=3, batch=7)
    report = forecast(Raw(raw), question)
    assert [one.samples_per_s for one in report.forecasts] == [
        6 * rate for rate in RATES
    ]  # the fifth
    # 16 of 48 images: a third of what the loader holds in memory of a set of small ones.
    assert loader[0] == {"crop": 112, "batch": 7, "threads": 3, "hold_mb": 171, "seconds": 1}
    assert {one.limit for one in report.forecasts} == {"processor"}


def test_commands_build_what_was_measured(
    raw: Path, tmp_path: Path, loader: list[Any], temporary: Path
) -> None:
    result = run("--raw", str(raw), "--samples", "16", "--crop", "112", "--json")
    facts = json.loads(result.stdout)
    assert facts["images"] == IMAGES and facts["sampled"] == 16 and facts["corrupt"] == []
    assert facts["recommended"] == "restart" and facts["much_faster"] == "raw 128"
    for one, choice in zip(facts["choices"], choices(128), strict=True):
        words = shlex.split(one["command"])
        assert words[:3] == ["python", "-m", "dataprep"]
        name = f"set-{one['choice']}".replace(" ", "-")
        more = ["--name", name, "--workers", "1", "--data-root", str(tmp_path)]
        assert CliRunner().invoke(main, [*words[3:], *more]).exit_code == 0
        built = load(tmp_path / name)
        assert choice.options.items() <= built.options.items()
        assert one["set_gb"] > 0 and one["samples_per_s"] > 0 and one["limit"] == "processor"


def test_the_table_tells_both_ways(raw: Path, loader: list[Any], temporary: Path) -> None:
    text = run("--raw", str(raw), "--samples", "16", "--crop", "112").stdout
    assert re.search(r"Recommended: restart \(.*lose nothing.*\)", text)
    assert "Much faster: raw 128 (4.0 × the speed" in text and "other pixels" in text
    assert f"build imagefolder --raw {raw} --name flowers --resize-short 128 --raw-pixels" in text
    assert "48 images" in text and "nothing lost, all get restart intervals" in text


def test_a_corrupt_image_is_named_and_left_out(
    raw: Path, tmp_path: Path, loader: list[Any], temporary: Path
) -> None:
    folder = tmp_path / "flowers"
    for path in raw.rglob("*.jpg"):
        to = folder / path.relative_to(raw)
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_bytes(path.read_bytes())
    (folder / "rose" / "001.jpg").write_bytes(b"no image at all")
    report = forecast(Raw(folder), Question(crop=112, samples=IMAGES))
    assert [one["name"] for one in report.facts()["corrupt"]] == ["rose/001.jpg"]
    assert "rose/001.jpg" in report.text() and report.facts()["sampled"] == IMAGES


def test_mistakes_are_one_line(tmp_path: Path, loader: list[Any], temporary: Path) -> None:
    assert "no such file or folder" in refused(run("--raw", str(tmp_path / "nowhere")))
    (tmp_path / "empty").mkdir()
    assert "no images in it" in refused(run("--raw", str(tmp_path / "empty")))
    (tmp_path / "bad" / "a").mkdir(parents=True)
    (tmp_path / "bad" / "a" / "1.jpg").write_bytes(b"nothing")
    line = refused(run("--raw", str(tmp_path / "bad")))
    assert f"{tmp_path / 'bad'}: no sample of it" in line and "all entries were skipped" in line
    assert "--rate" in refused(run("--raw", str(tmp_path), "--rate", "0"))
    assert list(temporary.iterdir()) == []


def test_a_full_disk_is_one_line(
    raw: Path, monkeypatch: pytest.MonkeyPatch, loader: list[Any], temporary: Path
) -> None:
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr("dataprep.build.shutil.disk_usage", lambda path: usage)
    assert "the disk is too full" in refused(run("--raw", str(raw)))
    assert list(temporary.iterdir()) == []


def test_ctrl_c_leaves_nothing(raw: Path, monkeypatch: pytest.MonkeyPatch, temporary: Path) -> None:
    def stop(folders: Any, **options: int) -> Any:
        assert list(temporary.iterdir())
        raise KeyboardInterrupt

    monkeypatch.setattr(machine, "load", stop)
    assert run("--raw", str(raw), "--samples", "16").exit_code == 130
    assert list(temporary.iterdir()) == []


def test_without_torch_sizes_are_told(raw: Path, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError(\"No module named 'torch'\")\n")
    (tmp_path / "temporary").mkdir()
    paths = os.pathsep.join([str(tmp_path), str(ROOT)])
    env = os.environ | {"PYTHONPATH": paths, "TMPDIR": str(tmp_path / "temporary")}
    command = [sys.executable, "-m", "dataprep", "plan", "--raw", str(raw), "--samples", "16"]
    done = subprocess.run([*command, "--json"], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert all(one["samples_per_s"] is None and one["set_gb"] > 0 for one in facts["choices"])
    assert any("torch" in note for note in facts["notes"])
    assert facts["recommended"] == "restart"
    assert list((tmp_path / "temporary").iterdir()) == []


def test_flat_folders_and_archives_are_measured_too(
    tmp_path: Path, loader: list[Any], temporary: Path
) -> None:
    for i in range(16):
        photograph(i).save(tmp_path / f"{i}.png")
    report = forecast(Raw(tmp_path), Question(samples=16))
    assert any("sort the files into folders" in note for note in report.notes)
    assert report.forecasts[1].changes == "nothing lost, files kept as they are"
    assert place(Raw(tmp_path), "3.png") == tmp_path / "3.png"
    (tmp_path / "more.zip").write_bytes(b"")
    assert place(Raw(tmp_path), "more.zip/a/b.png") == tmp_path / "more.zip"


def test_a_disk_that_stays_cached_is_not_measured(
    raw: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = sorted(raw.rglob("*.jpg"))
    monkeypatch.setattr(machine, "_stays", lambda path: True)
    with pytest.raises(Unmeasured, match="stay in the cache"):
        machine.disk_rate(paths)
    monkeypatch.setattr(machine, "_stays", lambda path: False)
    assert machine.disk_rate(paths) > 0


def test_picked_files_are_spread_over_the_listing() -> None:
    names = [f"{i:03d}" for i in range(100)]
    picked = pick(names, 30)
    assert len(set(picked)) == 30 and picked == sorted(picked) == pick(names, 30)
    assert picked != pick(names, 30, seed=1)
    places = np.array([int(name) for name in picked])
    assert (np.abs(places - np.arange(30) * 100 / 30) < 4).all()
    assert pick(names, 1000) == names


def test_the_total_uses_what_raw_files_say() -> None:
    own = np.arange(20.0)
    estimate, error = total(7 + 3 * own, own, mean=40.0, count=200)
    assert estimate == pytest.approx(200 * (7 + 3 * 40)) and error == pytest.approx(0, abs=1e-6)
    rough = np.random.default_rng(0).normal(50, 10, 20)
    estimate, error = total(rough, np.ones(20), mean=1.0, count=200)
    assert estimate == pytest.approx(200 * rough.mean()) and 200 < error < 1000
    assert total(rough, np.ones(20), mean=1.0, count=20)[1] == 0  # all of them: no doubt


def one(name: str, rate: float | None, gb: float, lossless: bool, **more: Any) -> Forecast:
    flags = "" if name == "restart" else f"--{name}"
    facts: dict[str, Any] = {
        "name": name,
        "flags": flags,
        "lossless": lossless,
        "changes": "",
        "build_s": 1.0,
    }
    return Forecast(**facts, size_bytes=gb * 1e9, error_bytes=0.0, processor_per_s=rate, **more)


FOUR = [
    one("whole", 1000, 1.00, True),
    one("restart", 2000, 1.01, True),
    one("short", 4000, 0.4, False),
    one("raw", 8000, 3.0, False),
]


@pytest.mark.parametrize(
    ("rate", "best"),
    [(None, "restart"), (900, "restart"), (1500, "restart"), (3000, "short"), (6000, "raw")],
)
def test_the_rule(rate: float | None, best: str) -> None:
    assert advise(FOUR, rate, cores=2).best.name == best


@pytest.mark.parametrize(
    ("restart_gb", "rate", "best", "why"),
    [
        (1.01, None, "restart", "faster than whole, the smallest of those that lose nothing"),
        (1.2, None, "whole", "the smallest of those that lose nothing"),
        (1.01, 900, "restart", "faster than whole, the smallest of those that are fast enough and"),
        (1.2, 1500, "restart", "the smallest of those that are fast enough and lose nothing"),
        (1.2, 3000, "short", "the smallest of those that are fast enough;"),
    ],
)
def test_what_is_said_is_the_rule(
    restart_gb: float, rate: float | None, best: str, why: str
) -> None:
    found = advise([FOUR[0], one("restart", 2000, restart_gb, True), *FOUR[2:]], rate, cores=2)
    assert found.best.name == best and found.why.startswith(why)


def test_of_equal_speed_the_smaller_is_the_better() -> None:
    same = [one("whole", 1000, 1.01, True), one("restart", 1000, 1.0, True)]
    assert advise(same, None, cores=2).best.name == "restart"


def test_without_a_rate_both_ends_are_told() -> None:
    found = advise(FOUR, None, cores=2)
    assert found.faster is not None and found.faster.name == "raw"
    assert advise(FOUR[:2], None, cores=2).faster is None
    near = [*FOUR[:2], one("short", 2900, 0.4, False)]  # less than 1.5 times
    assert advise(near, None, cores=2).faster is None


def test_a_rate_out_of_reach() -> None:
    found = advise(FOUR, 10_000, cores=2)
    assert found.best.name == "raw" and "misses 10,000 samples/s by 20%" in found.why
    assert "take 3 such cores" in found.more[0]  # 4,000 a core


def test_the_disk_may_be_the_limit() -> None:
    slow = [
        one("restart", 2000, 90, True, disk_per_s=1500.0),
        one("short", 4000, 40, False, disk_per_s=3200.0),
        one("raw", 8000, 300, False, disk_per_s=400.0),
    ]
    assert {it.limit for it in slow} == {"storage"}
    assert advise(slow, 1600, cores=2).best.name == "short"
    found = advise(slow, 6400, cores=2)
    assert found.best.name == "short" and any("storage 2.0 times" in text for text in found.more)


def test_a_set_larger_than_memory_is_read_from_disk(
    raw: Path, monkeypatch: pytest.MonkeyPatch, loader: list[Any], temporary: Path
) -> None:
    monkeypatch.setattr(machine, "free_memory", lambda: 1000.0)
    monkeypatch.setattr(machine, "disk_rate", lambda paths: 1e6)
    report = forecast(Raw(raw), Question(crop=112, samples=16))
    assert {it.limit for it in report.forecasts} == {"storage"}
    for it in report.forecasts:
        assert it.samples_per_s == pytest.approx(1e6 / (it.size_bytes / IMAGES))


def test_the_usual_short_side() -> None:
    assert [Question(crop=crop).short_side for crop in (224, 160, 299, 8)] == [256, 192, 352, 32]
    assert Question(short=300).short_side == 300
