"""Use a run: apply it to image files."""

from __future__ import annotations

import json
from pathlib import Path

import click
import torch

from dataprep import flags
from tasks import Prediction
from tasks.commands import device_option, memory_explained, task_option, tile_option
from tasks.run import Run
from tasks.run.restore import restore


@click.command("predict")
@click.argument("run", type=Path)
@click.argument("images", nargs=-1, required=True, type=Path)
@click.option("--out", default=Path("predictions"), type=Path, help="folder for the results")
@click.option("--json", "as_json", is_flag=True, help="print a JSON object a line, one an image")
@click.option("--checkpoint", type=Path, help="[default: the run's best]")
@tile_option
@task_option
@device_option
def command(
    run: Path,
    images: tuple[Path, ...],
    out: Path,
    as_json: bool,
    checkpoint: Path | None,
    tile: int,
    task_options: tuple[str, ...],
    device: str,
) -> None:
    """Apply RUN to image files of any size, grey and transparent ones too.

    A classifier says the class and how sure it is: calibrated, and with the decision at the
    operating points, once `python -m tasks calibrate RUN` was done; it draws what it went by.

    \b
    python -m tasks predict runs/shufflemixer photo.png --out enlarged
    python -m tasks predict runs/saliency photo.jpg --out maps
    python -m tasks predict runs/resnet50 lesion.jpg --json
    """
    options = flags.pairs(task_options) | ({"tile": tile} if tile else {})
    task, net = restore(Run(run), checkpoint, device, **options)
    out.mkdir(parents=True, exist_ok=True)
    with torch.no_grad(), memory_explained():
        for path in images:
            made = task.predict(net, path, out)
            print(_json(path, made) if as_json else _text(path, made))


def _json(path: Path, made: Prediction) -> str:
    written = [str(one) for one in made.written]
    return json.dumps({"file": str(path), **made.said, "written": written})


def _text(path: Path, made: Prediction) -> str:
    files = "\n".join(map(str, made.written))
    return f"{path}: {made.line}\n{files}" if made.line else files
