"""MIT1003: what is missing, empty, outside or of another size is named or skipped."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from raw import mit1003 as small
from raw.imagefolder import jpeg, picture, turned
from saliency_sets import Set
from shared import folder

from dataprep.__main__ import main
from dataprep.folds import natural_key
from dataprep.image import EXIF_ORIENTATION
from dataprep.manifest import DataError
from dataprep.raw import Raw
from dataprep.sources.mit1003 import Source


def pysaliency() -> Path:
    """Return a real set as pysaliency leaves it; skips the test without sample data."""
    return folder("saliency") / "mit1003_pysaliency" / "MIT1003"


@pytest.fixture(scope="module")
def hdf5(tmp_path_factory: pytest.TempPathFactory) -> Set:
    return Set(pysaliency(), tmp_path_factory.mktemp("hdf5") / "set")


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return small.write_unpacked(tmp_path / "raw")


def rename(old: str, new: str) -> Callable[[Path], None]:
    return lambda raw: (raw / old).rename(raw / new) and None


def write(name: str, data: bytes) -> Callable[[Path], None]:
    return lambda raw: (raw / name).write_bytes(data) and None


def remove(pattern: str) -> Callable[[Path], None]:
    def change(raw: Path) -> None:
        for path in raw.glob(pattern):
            path.unlink()

    return change


STIMULUS, PTS, MAP = (
    "ALLSTIMULI/ALLSTIMULI/i10.jpeg",
    "ALLFIXATIONMAPS/i10_fixPts.jpg",
    "ALLFIXATIONMAPS/i10_fixMap.jpg",
)
BLACK = jpeg(np.zeros(small.SIZES["i10"], np.uint8))
BLURRED = jpeg(np.linspace(0, 255, 48 * 56).reshape(48, 56).astype(np.uint8))


def turned_png(raw: Path) -> None:
    """Replace a stimulus by a PNG that EXIF turns by half a turn: its size does not tell."""
    (raw / STIMULUS).unlink()
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 3
    image = Image.fromarray(picture(1, *small.SIZES["i10"]))
    image.save((raw / STIMULUS).with_suffix(".png"), exif=exif)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            rename(STIMULUS, "ALLSTIMULI/ALLSTIMULI/i11.jpeg"),
            f"{PTS}: has no stimulus of its name (renamed? i11 lacks its other half too)",
        ),
        (
            remove(STIMULUS),
            f"{PTS}: has no stimulus of its name",
        ),
        (remove(MAP), f"{STIMULUS}: has no map: i10_fixMap.jpg is not there"),
        (
            remove(PTS),
            f"{STIMULUS}: has a blurred map alone, no i10_fixPts.jpg: points cannot be had from it",
        ),
        (
            remove("ALLFIXATIONMAPS/i10_*"),
            f"{STIMULUS}: has no fixations: i10_fixPts.jpg is not there",
        ),
        (
            write(PTS, BLACK),
            f"{STIMULUS}: has no fixations: --on-empty skip leaves such stimuli out",
        ),
        (
            write(PTS, b"\xff\xd8\xff no"),
            f"{PTS}: not an image, or corrupt from its first bytes on",
        ),
        (
            write(STIMULUS, jpeg(picture(0, 48, 50))),
            f"{STIMULUS}: is 50x48, but its fixations are of 56x48 ({PTS})",
        ),
        (
            write(PTS, BLURRED),
            f"{PTS}: has more grey than white: a blurred map, not points",
        ),
        (
            turned_png,
            f"{STIMULUS.replace('jpeg', 'png')}: has an EXIF orientation, which is known of JPEGs"
            " alone: store its pixels upright",
        ),
        (write(MAP, jpeg(picture(0, 48, 50))), f"{MAP}: is 50x48, but {PTS} is 56x48"),
    ],
)
def test_what_is_wrong_is_named_or_skipped(
    change: Callable[[Path], None], why: str, raw: Path, tmp_path: Path
) -> None:
    """Mistake 1: a stimulus without fixations is an error or a counted skip, never an empty map."""
    change(raw)
    with pytest.raises(DataError) as error:
        Set(raw, tmp_path / "set")
    assert str(error.value) == f"{raw}: {why}"
    built = Set(raw, tmp_path / "set", on_error="skip")
    assert "i10" not in built.rows and len(built.rows) == 4
    skipped = [f"{one['name']}: {one['why']}" for one in built.facts.skipped]
    assert any(line.endswith(why) for line in skipped)
    assert (np.diff(built.column("fixations.starts")) > 0).all()


def test_without_any_maps_the_points_are_enough(raw: Path, tmp_path: Path) -> None:
    remove("ALLFIXATIONMAPS/*_fixMap.jpg")(raw)
    built = Set(raw, tmp_path / "set")
    assert len(built.rows) == 5 and any(line.startswith("no blurred maps") for line in built.said)


def test_the_points_decide_whether_a_stimulus_is_turned(raw: Path, tmp_path: Path) -> None:
    """Stored pixels where they fit, as most software shows them; upright where only that fits."""
    built = Set(raw, tmp_path / "set")
    row = built.rows[small.TURNED]
    assert (built.column("image.height")[row], built.column("image.width")[row]) == (56, 48)
    assert built.column("image.turn")[row] == 0
    note = "EXIF orientation not applied: the fixations are of the stored pixels"
    assert built.facts.notes == {note: 1}
    upright = jpeg(picture(2, 48, 56), exif=turned(6))  # 48 wide and 56 high when it is turned
    write(f"ALLSTIMULI/ALLSTIMULI/{small.TURNED}.jpeg", upright)(raw)
    built = Set(raw, tmp_path / "other")
    assert (built.column("image.height")[row], built.column("image.width")[row]) == (56, 48)
    assert built.column("image.turn")[row] != 0
    assert built.facts.notes == {"EXIF orientation kept as a turn": 1}


def outside(tmp_path: Path) -> Path:
    """Copy pysaliency's set, with two fixations of one stimulus outside and none of another."""
    raw = tmp_path / "raw"
    shutil.copytree(pysaliency(), raw)
    with h5py.File(raw / "fixations.hdf5", "r+") as file:
        rows = file["train_ns"][()]
        xs, ys = file["train_xs"][()], file["train_ys"][()]
        first = np.flatnonzero((rows == 3) & ~np.isnan(xs[:, 0]))[0]
        xs[first, :1], ys[first, 1:2] = 2000.0, -0.5
        xs[rows == 5] = ys[rows == 5] = np.nan
        file["train_xs"][...], file["train_ys"][...] = xs, ys
        for name in ("train_ts", "scanpath_fixation_attributes/durations"):
            values = file[name][()]
            values[rows == 5] = np.nan
            file[name][...] = values
    return raw


def test_outside_and_empty_are_chosen_by_options(hdf5: Set, tmp_path: Path) -> None:
    raw = outside(tmp_path)
    stems = sorted(hdf5.rows, key=natural_key)
    few, none = stems[3], stems[5]
    with pytest.raises(DataError, match=f"{few}.jpeg: 2 of .* outside the .* image, the first at"):
        Set(raw, tmp_path / "set", on_empty="skip")
    with pytest.raises(DataError, match=f"{none}.jpeg: has no fixations: --on-empty skip leaves"):
        Set(raw, tmp_path / "set2", on_outside="drop")
    built = Set(raw, tmp_path / "set3", on_outside="drop", on_error="skip")
    assert built.facts.notes == {"fixations outside the image dropped": 2}
    assert len(built.points(few)) == len(hdf5.points(few)) - 2
    assert [one["why"] for one in built.facts.skipped] == [
        "has no fixations: --on-empty skip leaves such stimuli out"
    ]


def test_options_leave_out_by_name(tmp_path: Path) -> None:
    """What the user's own options leave out is no error, but counted and named."""
    built = Set(outside(tmp_path), tmp_path / "set", on_empty="skip", on_outside="skip")
    assert len(built.rows) == 6
    first, second = sorted(one["why"] for one in built.facts.skipped)
    assert first.startswith("2 of ") and second == "has no fixations"


def test_density_is_made_of_the_points(raw: Path, tmp_path: Path) -> None:
    built = Set(raw, tmp_path / "set", density=4, sigma_px=8.0)
    assert built.facts.options["sigma_px"] == 8.0
    (entry,) = [e for e in Source().entries(Raw(raw)) if e.values["stem"] == "i9"]
    (sample,) = Source(density=4, sigma_px=8.0).read(Raw(raw), entry)
    density = sample.fields["density"]
    assert density.shape == (10, 16) and density.dtype == np.float32
    assert density.sum() == pytest.approx(1, abs=1e-5) and (density > 0).all()
    # A direct sum of Gaussians at the middle of each pixel of the map, in pixels of the image.
    y, x = (np.arange(n)[:, None] * 4 + 2 for n in density.shape)
    points = sample.fields["fixations"]
    near = (points[:, 1] // 4 * 4 + 2, points[:, 0] // 4 * 4 + 2)
    a, b = (np.exp(-((at - c) ** 2) / (2 * 8.0**2)) for at, c in zip((y, x), near, strict=True))
    want = a @ b.T
    assert np.abs(density - want / want.sum()).max() < 0.02 * density.max()


def test_a_blur_wider_than_the_image(raw: Path, tmp_path: Path) -> None:
    why = r"i9.jpeg: --sigma-px 70 is above the longest side of 64x40"
    with pytest.raises(DataError, match=why):
        Set(raw, tmp_path / "set", density=4, sigma_px=70.0)


def test_the_command_line_shows_it(raw: Path, tmp_path: Path) -> None:
    def run(*args: str, code: int = 0) -> str:
        result = CliRunner().invoke(main, [*args, "--data-root", str(tmp_path)])
        assert result.exit_code == code, result.output
        return result.output

    shown = run("build", "mit1003", "--raw", str(raw), "--workers", "1", "--folds", "3")
    assert "layout: raw (ALLSTIMULI/ALLSTIMULI, ALLFIXATIONMAPS), 5 stimuli" in shown
    assert "field fixations  points, float64, any × 6" in run("info", "mit1003")
    assert "as built" in run("verify", "mit1003", "--decode")
    (raw / MAP).unlink()
    build_again = ("build", "mit1003", "--raw", str(raw), "--workers", "1", "--name", "other")
    error = run(*build_again, code=2).splitlines()[-1]
    assert error == f"error: {raw}: {STIMULUS}: has no map: i10_fixMap.jpg is not there"
