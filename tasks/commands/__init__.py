"""Commands of `python -m tasks`: one file each, its `command` is what is typed after it."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import click
import torch

from dataprep import derived

root_option = click.option(
    "--data-root", help="where built sets lie  [default: $NOSTALL_DATA, else ./data]"
)
device_option = click.option(
    "--device",
    default="cuda" if torch.cuda.is_available() else "cpu",
    type=click.Choice(["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]),
    help="where to compute",
)
task_option = click.option(
    "--task", "task_options", multiple=True, metavar="KEY=VALUE", help="another task setting"
)
tile_option = click.option(
    "--tile", default=0, help="LR pixels of a tile, for images too large for memory"
)


@contextmanager
def memory_explained() -> Iterator[None]:
    """Turn a GPU's out-of-memory error into one line that says what to do."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise ValueError("out of memory: try --tile 256, or --device cpu") from None


def tell_namesakes(path: Path) -> None:
    """Say where a result's plain name no longer tells which one is meant."""
    same = derived.namesakes(path)
    if same:
        named = f"{derived.plain(path.name)} is also the name of {', '.join(same)}"
        click.echo(f"{named}: say {path.name} where you mean this one", err=True)


def names() -> list[str]:
    """Return the names of all commands."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name: str) -> click.Command:
    """Import one command."""
    command: click.Command = import_module(f"{__name__}.{name}").command
    return command
