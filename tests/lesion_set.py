"""Runs to calibrate: digits in four splits, two to a lesion, and the command on them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from click.testing import CliRunner, Result
from digit_set import SIDE, Digits
from sklearn.datasets import load_digits
from toys import built

import train
from dataprep.manifest import Field
from dataprep.raw import Raw
from dataprep.sources import Entry, Sample
from tasks.__main__ import main

COUNT, TWINS = 1000, 2
SPLITS = ("train", "val", "calibration", "calibration", "test")
QUICK = ("--resamples", "60", "--device", "cpu")


@dataclass(frozen=True, kw_only=True)
class Lesions(Digits):
    """Digits in four splits, two to a lesion; by image, twins fall into any split."""

    shard_entries: ClassVar[int] = 500
    by_lesion: bool = True

    def fields(self) -> dict[str, Field]:
        fields = super().fields()
        return {name: fields[name] for name in ("image", "label")} | {"lesion": fields["label"]}

    def entries(self, raw: Raw) -> list[Entry]:
        step = TWINS if self.by_lesion else 1
        return [Entry(f"{i:04d}", SPLITS[i // step % len(SPLITS)], {}) for i in range(COUNT)]

    def read(self, raw: Raw, entry: Entry) -> Iterator[Sample]:
        images, labels = real()
        i = int(entry.name)
        image = (images[i] * 15).astype(np.uint8).reshape(SIDE, SIDE)
        values = {"label": int(labels[i]), "lesion": i // TWINS}
        yield Sample(entry.name, {"image": image, **values})


@cache
def real() -> tuple[Any, Any]:
    found: tuple[Any, Any] = load_digits(return_X_y=True)
    return found


def trained(folder: Path, data: str, name: str, *other: str) -> None:
    asked = ["--model", "mlp", "--net", f"side={SIDE}", "--net", "hidden=64", "--steps", "60"]
    asked += ["--data", str(folder / data), "--runs", str(folder / "runs"), "--name", name]
    asked += ["--device", "cpu", "--threads", "1", "--lr", "0.01", *other]
    result = CliRunner().invoke(train.main, asked)
    assert result.exit_code == 0, result.output


def calibrate(run: Path, *asked: object) -> Result:
    return CliRunner().invoke(main, ["calibrate", str(run), *QUICK, *map(str, asked)])


def done(result: Result) -> str:
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def refused(result: Result) -> str:
    assert result.exit_code == 2, (result.output, result.exception)
    line = result.stderr.splitlines()[-1]
    assert line.startswith("error: ")
    return line


def read(run: Path, name: str) -> Any:
    return json.loads((run / name).read_text())


def calibrated_run(folder: Path) -> Path:
    """Return a run on `lesions` that was calibrated, with points of digit 8."""
    built(Lesions(), folder / "lesions")
    trained(folder, "lesions", "run")
    done(calibrate(folder / "runs" / "run", "--positive", "digit 8"))
    return folder / "runs" / "run"
