"""bench/decode.py: what each library decodes are Pillow's pixels. No test here looks at a time."""

from __future__ import annotations

import importlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

BENCH = Path(__file__).resolve().parents[1] / "bench"
Import = Callable[[str], Any]


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Import:
    """Import a file of bench/ as its siblings do."""
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module


def photographs(root: Path) -> tuple[Path, Path]:
    """Return a few small photographs as files, and the set built from them."""
    sys.path.insert(0, str(BENCH))
    try:
        corpus, sets = (importlib.import_module(f"photos.{name}") for name in ("corpus", "sets"))
        files = corpus.photographs(root, corpus.Photographs(count=20, long=120, short=90))
        return files, sets.built(root, files, "native")
    finally:
        sys.path.remove(str(BENCH))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return photographs(tmp_path_factory.mktemp("decode"))


@pytest.fixture
def held(module: Import, built: tuple[Path, Path]) -> Any:
    return module("decode_jobs").hold(*built, 16)


def run(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCH / "decode.py"), "--quick", *options]
    env = os.environ | {"PYTHONPATH": str(BENCH.parent)}
    return subprocess.run(command, env=env, capture_output=True, text=True)


NAMES = [
    *("simplejpeg-buffer", "simplejpeg", "simplejpeg-fast", "pillow", "opencv", "torchvision"),
    *("pyturbojpeg", "imageio", "skimage", "kornia-rs", "tensorflow", "spdl", "nvimgcodec", "dali"),
    *("nostall", "nostall-box"),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NAMES)
def test_pixels_are_pillows(name: str, module: Import, held: Any) -> None:
    decoders, jobs = module("decoders").DECODERS, module("decode_jobs")
    assert list(decoders) == NAMES
    seen = jobs.look(decoders[name], held)
    if "missing" in seen:
        pytest.skip(seen["missing"])
    assert seen["same"]
    if name.startswith("nostall"):
        assert seen["most"] == 0  # libjpeg-turbo's to the bit, as Pillow's are
    if name == "simplejpeg-fast":
        assert seen["mean"] > 0  # the less exact transform is seen


def test_other_pixels_are_named(module: Import, held: Any) -> None:
    decoders, jobs = module("decoders"), module("decode_jobs")
    plain = decoders.DECODERS["pillow"]

    def swapped(held: Any, threads: int) -> Any:
        return lambda rows: (image[..., ::-1] for image in plain.start(held, threads)(rows))

    def smaller(held: Any, threads: int) -> Any:
        return lambda rows: (image[1:] for image in plain.start(held, threads)(rows))

    assert not jobs.look(replace(plain, start=swapped), held)["same"]
    with pytest.raises(ValueError, match="Pillow has"):
        jobs.look(replace(plain, start=smaller), held)


def test_boxes_are_cut_where_the_loader_would(module: Import, held: Any) -> None:
    decoders = module("decoders")
    boxes, sizes = held.boxes, held.sizes
    assert boxes.shape == (decoders.LAPS, len(held.paths), 4)
    assert (boxes >= 0).all() and (boxes[..., 2:] > 0).all()
    assert (boxes[..., :2] + boxes[..., 2:] <= sizes).all()
    share = boxes[..., 2:].prod(-1) / sizes.prod(-1)
    assert 0.4 < share.mean() < 0.6  # uniform in 0.08…1, what does not fit is drawn again
    # Rows are counted on: the second lap cuts the same files elsewhere.
    rows = [1, 1 + len(held.paths)]
    decode = decoders.DECODERS["nostall-box"].start(held, 1)
    shapes = [image.shape for image in decode(rows)]
    assert shapes == [(*boxes[lap, 1, 2:], 3) for lap in (0, 1)]


def test_threads_and_workers_decode_every_file(module: Import, held: Any) -> None:
    jobs, decoder = module("decode_jobs"), module("decoders").DECODERS["simplejpeg-buffer"]
    wanted = [np.asarray(Image.open(path)) for path in held.paths]
    rows = [row % len(wanted) for row in range(jobs.BATCH)]
    batches = jobs.supply(decoder, held, 0)
    assert np.array_equal(next(batches), np.concatenate([wanted[i].reshape(-1) for i in rows]))
    batches.close()
    for made in (jobs.alone(decoder.start(held, 1)), jobs.pooled(decoder, held, 2)):
        assert next(made) == sum(wanted[i].size for i in rows)
        made.close()


def test_grey_files_are_left_out(module: Import, tmp_path: Path) -> None:
    jobs = module("decode_jobs")
    folder = tmp_path / "files" / "train" / "a"
    folder.mkdir(parents=True)
    for name, mode in (("grey.jpg", "L"), ("colour.jpg", "RGB"), ("print.jpg", "CMYK")):
        buffer = io.BytesIO()
        Image.new(mode, (20, 12)).save(buffer, "JPEG")
        (folder / name).write_bytes(buffer.getvalue())
    build, source = module("dataprep.build").build, module("dataprep.sources.imagefolder").Source
    build(source(), tmp_path / "files", tmp_path / "set", workers=1)
    held = jobs.hold(tmp_path / "files", tmp_path / "set", 10)
    assert [Path(path).name for path in held.paths] == ["colour.jpg"]
    assert held.shapes == [(12, 20)]
    (folder / "colour.jpg").unlink()
    with pytest.raises(module("dataprep.manifest").DataError, match="no JPEG in RGB"):
        jobs.hold(tmp_path / "files", tmp_path / "set", 10)


def test_a_held_choice_travels_as_json(module: Import, held: Any) -> None:
    again = module("decoders").Held(**json.loads(json.dumps(asdict(held))))
    assert np.array_equal(again.sizes, held.sizes) and again.files == held.files


def test_the_command_tells_limits_shares_and_the_loader(tmp_path: Path) -> None:
    peers = "--peers", "simplejpeg-buffer,nostall-box"
    target = tmp_path / "one.json"
    options = ("--root", str(tmp_path), "--json", str(target), "--results", str(tmp_path / "all"))
    done = run(*peers, *options, "--threads", "1")
    assert done.returncode == 0, done.stderr
    facts = json.loads(target.read_text())
    assert [json.loads((tmp_path / "all" / "decode.jsonl").read_text())] == [facts]
    assert facts["bench"] == "decode" and facts["set"]["images"] == facts["held"]["files"] == 160
    limit, own, loader = (
        facts["libraries"][name] for name in ("simplejpeg-buffer", "nostall-box", "loader")
    )
    assert limit["same"] and own["most"] == 0
    assert limit["threads"]["1"]["times_limit"]["wall"]["median"] == 1
    assert limit["workers"].keys() == own["workers"].keys() == {"0", "1"}
    for rate in (limit["workers"]["1"], own["threads"]["1"], loader["threads"]["1"]):
        assert rate["images_per_s"]["median"] > 0 and rate["times_limit"]["cpu"]["median"] > 0
    ratio = loader["threads"]["1"]["times_own_limit"]["wall"]["median"]
    rates = [one["threads"]["1"]["images_per_s"]["median"] for one in (loader, own)]
    assert ratio == pytest.approx(rates[0] / rates[1])
    assert "the loader on 1 threads reaches" in done.stdout and "best ÷ 1 thread" in done.stdout
    assert str(tmp_path) not in target.read_text()


def test_an_unknown_library_is_one_line() -> None:
    done = run("--peers", "pillow,jpeg4000")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert "jpeg4000" in done.stderr and "nostall-box" in done.stderr


@pytest.fixture
def toys(module: Import, held: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Return the command on answers that are made up: of looks, and of who fails when measured."""
    decode = module("decode")
    window = {"items": 100, "wall_s": 1.0, "cpu_s": 1.0}

    def call(looks: dict[str, Any], broken: str, *options: str) -> Any:
        def spawn(script: str, one: str, job: str) -> dict[str, Any]:
            facts = json.loads(job)
            if facts.get("look"):
                return dict(looks.get(facts["name"], {"same": True, "mean": 0.0, "most": 0}))
            return drawn(facts["name"])

        def drawn(name: str, *more: Any, **others: Any) -> dict[str, Any]:
            if name == broken:
                raise RuntimeError("it broke")
            return window

        workload = SimpleNamespace(facts=lambda work: {"set": {}})
        # The loader's contestant is named nostall; here it is broken as "loader".
        loader = SimpleNamespace(
            workload=workload, work=None, run=lambda *more, **others: drawn("loader")
        )
        made = decode.Comparison(held, Path("none"), loader, decode.Rules())
        monkeypatch.setattr(decode.timing, "spawn", spawn)
        monkeypatch.setattr(decode, "compare", lambda *given: made)
        done = CliRunner().invoke(decode.main, ["--threads", "2", *options])
        return done, made

    return call


@pytest.mark.parametrize(
    ("look", "why"),
    [
        ({"missing": "no such library"}, "no such library"),
        ({"same": False, "mean": 3.0, "most": 9}, "pixels are 3 grey levels off"),
    ],
)
@pytest.mark.parametrize("name", ["nostall", "nostall-box"])
def test_our_decoder_that_does_not_run_has_failed(
    name: str, look: dict[str, Any], why: str, toys: Callable[..., Any], tmp_path: Path
) -> None:
    done, _ = toys({name: look}, "", "--results", str(tmp_path))
    assert done.exit_code == 1 and f"failed: {name}: {why}" in done.output
    facts = json.loads((tmp_path / "decode.jsonl").read_text())
    assert facts["failed"].keys() == {name} and name not in facts["libraries"]
    assert not facts["not_available"] and "pillow" in facts["libraries"]


def test_a_peer_that_is_not_there_fails_nothing(toys: Callable[..., Any], tmp_path: Path) -> None:
    done, _ = toys({"spdl": {"missing": "no FFmpeg"}}, "", "--results", str(tmp_path))
    facts = json.loads((tmp_path / "decode.jsonl").read_text())
    assert done.exit_code == 0 and facts["not_available"] == {"spdl": "no FFmpeg"}
    assert not facts["failed"] and "the loader on 2 threads reaches" in done.output


@pytest.mark.parametrize("name", ["nostall-box", "loader", "pillow", "simplejpeg-buffer"])
def test_who_breaks_is_named_and_the_others_are_kept(
    name: str, toys: Callable[..., Any], tmp_path: Path
) -> None:
    done, made = toys({}, name, "--results", str(tmp_path))
    assert done.exit_code == 1 and f"failed: {name}: 1 threads: it broke" in done.output
    facts = json.loads((tmp_path / "decode.jsonl").read_text())
    assert name not in facts["libraries"] and len(facts["libraries"]) == len(NAMES)
    assert {len(runs) for runs in made.found.values()} == {3}


def test_a_run_of_nothing_is_not_kept(toys: Callable[..., Any], tmp_path: Path) -> None:
    look = {"nostall": {"missing": "gone"}}
    done, _ = toys(look, "loader", "--peers", "nostall", "--results", str(tmp_path))
    assert done.exit_code == 1 and "nothing was measured" in done.output
    assert not (tmp_path / "decode.jsonl").exists()


@pytest.mark.parametrize(
    ("options", "plain"),
    [
        ("--threads 0 --rounds 1 --seconds 9", True),
        ("", False),  # two threads are asked for
        ("--threads 0 --peers pillow", False),
        ("--threads 0 --images here", False),
        ("--threads 0 --no-workers", False),
        ("--threads 0 --quick", False),
    ],
)
def test_plain_is_the_work_as_it_is(
    options: str, plain: bool, toys: Callable[..., Any], tmp_path: Path
) -> None:
    done, _ = toys({}, "", *options.split(), "--results", str(tmp_path))
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "decode.jsonl").read_text())["plain"] is plain
