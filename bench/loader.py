"""How fast do batches come? The loader beside its ceilings and its peers.

    python bench/loader.py --work w2 [--peers png,npy] [--json FILE]

w1: JPEG photographs, RandomResizedCrop(224), flip, normalise, batches of 64 (w1-short: short side
256; w1-raw: as raw pixels). w2: super-resolution pairs, 64×64 LR and 256×256 HR, turned eight ways,
batches of 16. All float32, NCHW, from the page cache. Each contestant runs with the best of several
settings, found in short rounds before. What is read is made in `--root`, once.
"""

from __future__ import annotations

import os
import sys
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import click
import timing
import workload as workloads
from timing import Rules
from turns import Turns, one, say, table
from workload import Origin, Workload

from dataprep.manifest import DataError

PACKAGES = (
    "ffcv",
    "numba",
    "numpy",
    "nvidia-dali-cuda130",
    "opencv-python",
    "opencv-python-headless",
    "pillow",
    "simplejpeg",
    "torch",
    "torchvision",
    "webdataset",
    "zarr",
)
PathOption = click.Path(path_type=Path)


def chosen(workload: Workload, peers: str | None) -> list[str]:
    """Return the contestants that are asked for and can run; say which cannot."""
    there = workload.contestants
    names = peers.split(",") if peers else list(there)
    if unknown := [name for name in names if name not in there]:
        raise click.UsageError(f"unknown contestants {unknown}; there are: {', '.join(there)}")
    for name in names:
        if missing := there[name].missing:
            say(f"{name} does not run: {', '.join(missing)} is not installed")
    return [name for name in names if not there[name].missing]


def options(workload: Workload, given: dict[str, Any]) -> dict[str, Any]:
    """Return the options that were given; UsageError for one of another workload."""
    named = {key: value for key, value in given.items() if value is not None}
    if foreign := named.keys() - {field.name for field in fields(workload.kind)}:
        raise click.UsageError(f"--{', --'.join(sorted(foreign))}: not an option of this work")
    return named


@click.group(invoke_without_command=True, context_settings={"show_default": True})
@click.option("--work", "name", type=click.Choice(list(workloads.NAMES)), default="w2")
@click.option("--data", type=PathOption, help="a built set of your own")
@click.option("--images", type=PathOption, help="w1: a folder of JPEG files of your own")
@click.option("--root", type=PathOption, default=Path("data/bench"), help="what is made lies here")
@click.option("--peers", help="contestants, comma separated  [default: all]")
@click.option("--json", "target", type=PathOption, help="write the result here")
@click.option("--rounds", default=5)
@click.option("--seconds", default=3.0, help="length of one window")
@click.option("--batch", type=int, help="samples of a batch  [default: w1 64, w2 16]")
@click.option("--scale", type=int, help="w2: HR over LR  [default: 4]")
@click.option("--patch", type=int, help="w2: side of an LR crop in pixels  [default: 64]")
@click.option("--size", type=int, help="w1: side of the output in pixels  [default: 224]")
@click.option("--threads", default=0, help="threads or workers at most  [0: one a core]")
@click.option("--device", help="where batches must arrive: cpu or cuda  [default: cpu]")
@click.option("--quick", is_flag=True, help="tiny images, one short round: only to see it work")
@click.option("--list", "listing", is_flag=True, help="show the contestants")
@click.pass_context
def main(
    context: click.Context,
    /,
    name: str,
    data: Path | None,
    images: Path | None,
    root: Path,
    peers: str | None,
    target: Path | None,
    rounds: int,
    seconds: float,
    threads: int,
    listing: bool,
    quick: bool,
    **given: Any,
) -> None:
    """Measure batches of one kind of work: the loader, its ceilings, its peers."""
    if context.invoked_subcommand:
        return
    workload = workloads.load(name)
    if listing:
        lines = [[n, c.summary] for n, c in workload.contestants.items()]
        print(timing.table(("contestant", "what"), lines))
        return
    names, given = chosen(workload, peers), options(workload, given)
    rules = Rules(warm_s=0.1, seconds=0.2, batches=2) if quick else Rules(seconds=seconds)
    given["threads"] = threads or len(os.sched_getaffinity(0))
    try:
        work = workload.kind(root=str(root.resolve()), data="", **given)
        work = workload.prepare(work, Origin(data, images, quick), names)
    except DataError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    rounds = 1 if quick else rounds
    result = Turns(name, work, rules, quick).compare(names, rounds)
    print(table(result["contestants"], workload))
    if target:
        missing = {n: c.missing for n, c in workload.contestants.items() if c.missing}
        facts = {"bench": "loader", "workload": name, "machine": timing.machine(PACKAGES)}
        facts |= workload.facts(work) | {"rules": asdict(rules) | {"rounds": rounds}}
        timing.save(target, facts | {"not_installed": missing} | result)


main.command("one", hidden=True)(click.argument("job")(one))

if __name__ == "__main__":
    main()
