"""How fast do batches of a set come on this machine? `python -m loaders SET…` measures it.

`samples/s` is what came; `alone` is what would have come with nobody else at work on the machine.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from statistics import median
from typing import Any

import click

from dataprep import flags
from loaders.dataset import Dataset
from loaders.speed import Window, Work, window
from loaders.world import World

HEAD = ("set", "samples/s", "alone", "CPU ms a sample", "first batch s")


def figures(name: str, windows: Sequence[Window], threads: int) -> dict[str, Any]:
    """Return the medians of one set's windows."""
    rates = [one.samples / one.wall_s for one in windows]
    return {
        "set": name,
        "samples_per_s": round(median(rates), 1),
        "samples_per_s_alone": round(median(one.alone(threads) for one in windows), 1),
        "lowest": round(min(rates), 1),
        "highest": round(max(rates), 1),
        "cpu_ms_per_sample": round(median(1e3 * one.cpu_s / one.samples for one in windows), 4),
        "first_batch_s": round(median(one.first_s for one in windows), 3),
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the figures as aligned text."""
    lines = [
        [
            row["set"],
            f"{row['samples_per_s']:,.0f} ({row['lowest']:,.0f}-{row['highest']:,.0f})",
            f"{row['samples_per_s_alone']:,.0f}",
            f"{row['cpu_ms_per_sample']:.3g}",
            f"{row['first_batch_s']:.2f}",
        ]
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(HEAD, *lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in (HEAD, *lines)
    )


@click.command(cls=flags.Command, context_settings={"show_default": True})
@click.argument("sets", metavar="SET…", nargs=-1, required=True)
@click.option("--crop", type=click.IntRange(1), default=224, help="pixels of a side of the output")
@click.option("--batch", type=click.IntRange(1), default=64, help="samples of a batch")
@click.option("--seconds", type=click.FloatRange(0), default=2.0, help="length of one window")
@click.option("--rounds", type=click.IntRange(1), default=3, help="windows of each set, in turns")
@click.option("--threads", type=click.IntRange(0), default=0, help="0: one a core")
@click.option(
    "--hold-mb", type=click.IntRange(0), default=512, help="small raw images are held up to here"
)
@click.option("--split", help="which samples  [default: train, else the first]")
@click.option("--data-root", help="where built sets lie  [default: $NOSTALL_DATA, else ./data]")
@click.option("--json", "as_json", is_flag=True, help="the figures as JSON")
def main(
    sets: Sequence[str], rounds: int, data_root: str | None, as_json: bool, **given: Any
) -> None:
    """Measure how fast this machine loads built sets as a training on photographs would.

    A random crop of random size, brought to one size, mirrored at random, converted to float: all
    on the processor. Sets take turns, so that what else the machine does hits them alike.

    \b
    python -m loaders photos
    python -m loaders photos photos-raw --crop 160 --threads 8
    """
    given["threads"] = given["threads"] or World().threads()
    work = Work(**given)
    opened = [Dataset(name, data_root) for name in sets]
    windows: list[list[Window]] = [[] for _ in sets]
    for number in range(rounds):
        for name, dataset, found in zip(sets, opened, windows, strict=True):
            if not as_json:
                first = "" if found else " (kernels that are new are compiled first)"
                click.echo(f"round {number + 1} of {rounds}: {name}{first}", err=True)
            found.append(window(dataset, work))
    pairs = zip(sets, windows, strict=True)
    rows = [figures(name, found, work.threads) for name, found in pairs]
    if as_json:
        shown = {"crop": work.crop, "batch": work.batch, "threads": work.threads, "rounds": rounds}
        print(json.dumps(shown | {"seconds": work.seconds, "sets": rows}))
    else:
        print(table(rows))


if __name__ == "__main__":
    main(prog_name="python -m loaders")
