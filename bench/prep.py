"""How fast is a set built? The builder with one and two workers beside plain loops.

    python bench/prep.py

The same PNG files become HR and LR of every scale. The loops decode, downscale with Pillow or
OpenCV and `np.save`, in one process, and promise nothing; the builder's LR is MATLAB's to the bit,
every file is hashed and brought to disk, and it can be stopped and resumed.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import cv2
import files
import numpy as np
import results as kept
import timing
from pairs import corpus
from PIL import Image

from dataprep import flags
from dataprep.build import build
from dataprep.sources import images

SCALES = (2, 3, 4)
HEAD = ("contestant", "images/s (min-max)", "MB/s", "CPU ms", "builder-1 is × wall", "× CPU")


def builder(raw: Path, to: Path, workers: int) -> None:
    """Build a set of the images."""
    build(images.Source(scales=SCALES, val_fraction=0.0), raw, to / "set", workers=workers)


def loop_pillow(raw: Path, to: Path, workers: int) -> None:
    """Decode and downscale with Pillow."""
    for path in sorted(raw.glob("*.png")):
        with Image.open(path) as image:
            hr = image.convert("RGB")
        np.save(to / path.stem, np.asarray(hr))
        for scale in SCALES:
            size = (hr.width // scale, hr.height // scale)
            lr = np.asarray(hr.resize(size, Image.Resampling.BICUBIC))
            np.save(to / f"{path.stem}-x{scale}", lr)


def loop_cv2(raw: Path, to: Path, workers: int) -> None:
    """Decode and downscale with OpenCV; by area, its bicubic does not antialias."""
    cv2.setNumThreads(1)
    for path in sorted(raw.glob("*.png")):
        hr = cv2.cvtColor(np.asarray(cv2.imread(str(path))), cv2.COLOR_BGR2RGB)
        np.save(to / path.stem, hr)
        for scale in SCALES:
            size = (hr.shape[1] // scale, hr.shape[0] // scale)
            lr = cv2.resize(hr, size, interpolation=cv2.INTER_AREA)
            np.save(to / f"{path.stem}-x{scale}", lr)


CONTESTANTS: dict[str, tuple[Callable[[Path, Path, int], None], int]] = {
    "builder-1": (builder, 1),
    "builder-2": (builder, 2),
    "loop-pillow": (loop_pillow, 1),
    "loop-cv2": (loop_cv2, 1),
}


def one(job: str) -> None:
    """Run one contestant on the whole folder in this process and print what it measured."""
    facts = json.loads(job)
    raw, (run, workers) = Path(facts["raw"]), CONTESTANTS[facts["name"]]
    to = Path(tempfile.mkdtemp(prefix="prep-", dir=facts["root"]))
    try:
        cpu, start = timing.cpu_s(), time.perf_counter()
        run(raw, to, workers)
        wall, cpu = time.perf_counter() - start, timing.cpu_s() - cpu
        written = sum(path.stat().st_size for path in to.rglob("*") if path.is_file())
    finally:
        shutil.rmtree(to)
    count = len(list(raw.glob("*.png")))
    first_s = time.monotonic() - facts["began"]  # no batches here: the whole process
    window = timing.Window(count, wall, cpu, first_s, timing.anonymous_bytes())
    timing.answer(window, written_bytes=written)


def compare(root: Path, raw: Path, rounds: int) -> dict[str, Any]:
    """Let the contestants take turns after a round that counts for nothing.

    ClickException, one line, for one that fails.
    """
    files.warm(raw)
    taken: dict[str, list[dict[str, Any]]] = {name: [] for name in CONTESTANTS}
    for number in range(rounds + 1):
        for name in CONTESTANTS:
            job = {"name": name, "raw": str(raw), "root": str(root), "began": time.monotonic()}
            try:
                result = timing.spawn(__file__, "one", json.dumps(job))
            except RuntimeError as error:
                raise click.ClickException(f"{name}: {error}") from None
            print(f"round {number}: {name} {result['wall_s']:.1f} s", file=sys.stderr, flush=True)
            if number:  # the first warms the page cache and the cache of compiled code
                taken[name].append(result)
    rates = {n: [r["items"] / r["wall_s"] for r in rs] for n, rs in taken.items()}
    costs = {n: [1e3 * r["cpu_s"] / r["items"] for r in rs] for n, rs in taken.items()}
    return {
        name: {
            "images_per_s": timing.spread(rates[name]),
            "mb_per_s": timing.spread([r["written_bytes"] / 1e6 / r["wall_s"] for r in rs]),
            "cpu_ms_per_image": timing.spread(costs[name]),
            "builder_times_faster": timing.ratios(rates["builder-1"], rates[name]),
            "builder_times_less_cpu": timing.ratios(costs[name], costs["builder-1"]),
        }
        for name, rs in taken.items()
    }


def rows(summary: dict[str, Any]) -> list[list[str]]:
    """Return the table."""
    lines = []
    for name, facts in summary.items():
        rate = facts["images_per_s"]
        middle = [facts[key]["median"] for key in list(facts)[1:]]
        text = f"{rate['median']:.2f} ({rate['min']:.2f}-{rate['max']:.2f})"
        lines.append([name, text, *(f"{value:.3g}" for value in middle)])
    return lines


@click.group(cls=flags.Group, invoke_without_command=True, context_settings={"show_default": True})
@click.option("--root", type=click.Path(path_type=Path), default=Path("data/bench"))
@click.option(
    "--images",
    "count",
    type=click.IntRange(1),
    default=12,
    help="photographs of 2040×1356 pixels",
)
@click.option("--rounds", type=click.IntRange(1), default=3)
@click.option("--quick", is_flag=True, help="tiny images, one round: only to see it work")
@kept.saving
@click.pass_context
def main(
    context: click.Context,
    /,
    root: Path,
    count: int,
    rounds: int,
    quick: bool,
    results: Path | None,
    no_save: bool,
    target: Path | None,
) -> None:
    """Measure building a set: images a second and CPU time an image."""
    if context.invoked_subcommand:
        return
    goal = kept.destination(results, no_save, quick)
    kept.facts_of_run()
    size = corpus.Photographs(count=count)
    if quick:
        size, rounds = corpus.Photographs(count=4, height=264, width=320), 1
    raw = corpus.photographs(root.resolve(), size)
    summary = compare(root.resolve(), raw, rounds)
    print(timing.table(HEAD, rows(summary)))
    facts = {"quick": quick, "rules": {"rounds": rounds}, "work": {"scales": SCALES}}
    facts["set"] = {"images": size.count, "width": size.width, "height": size.height}
    kept.finish("prep", facts | {"contestants": summary}, goal, target)


main.command("one", hidden=True)(click.argument("job")(one))

if __name__ == "__main__":
    main()
