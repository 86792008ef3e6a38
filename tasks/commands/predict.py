"""Use a run: apply it to image files."""

from __future__ import annotations

from pathlib import Path

import click
import torch

from dataprep import flags
from tasks.commands import device_option, memory_explained, task_option, tile_option
from tasks.run import Run
from tasks.run.restore import restore


@click.command("predict")
@click.argument("run", type=Path)
@click.argument("images", nargs=-1, required=True, type=Path)
@click.option("--out", default=Path("predictions"), type=Path, help="folder for the results")
@click.option("--checkpoint", type=Path, help="[default: the run's best]")
@tile_option
@task_option
@device_option
def command(
    run: Path,
    images: tuple[Path, ...],
    out: Path,
    checkpoint: Path | None,
    tile: int,
    task_options: tuple[str, ...],
    device: str,
) -> None:
    """Apply RUN to image files of any size, grey and transparent ones too.

    \b
    python -m tasks predict runs/shufflemixer photo.png --out enlarged
    python -m tasks predict runs/saliency photo.jpg --out maps
    """
    options = flags.pairs(task_options) | ({"tile": tile} if tile else {})
    task, net = restore(Run(run), checkpoint, device, **options)
    out.mkdir(parents=True, exist_ok=True)
    with torch.no_grad(), memory_explained():
        for path in images:
            print(task.predict(net, path, out))
