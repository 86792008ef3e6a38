"""How fast is storage read when nothing is cached? Epochs of the loader beside a plain read.

    python bench/cold.py [--images FOLDER]

Before each run every shard is put out of the page cache, and mincore asked whether that worked.
`sequential` reads the shards from start to end, 4 MiB at a time: what the disk gives. Decoding may
be slower than the disk, so `read-…` brings the samples' bytes in the order of the loader, with its
reader and read-ahead, and decodes nothing.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import click
import files
import numpy as np
import numpy.typing as npt
import results as kept
import timing
from photos import corpus, ours, sets
from photos.work import Work

from dataprep import flags
from loaders.readahead import ReadAhead
from loaders.tar import Tar

Array = npt.NDArray[Any]
PIECE = 4 << 20
# A larger share of pages left in the cache, and a run would not be cold.
STAYED = 0.01
# Batches that the loader plans ahead of the one that is used.
AHEAD = 4
HEAD = ("contestant", "MB/s (min-max)", "% sequential", "images/s", "CPU ms", "what")
Shuffle = Literal["block"] | bool
SHUFFLES: tuple[Shuffle, ...] = (True, "block")


def sequential(work: Work) -> int:
    """Read all shards from start to end; return the bytes."""
    piece, total = bytearray(PIECE), 0
    for path in corpus.shards(work.data):
        with open(path, "rb", buffering=0) as file:
            while got := file.readinto(piece):
                total += got
    return total


def read(work: Work, shuffle: Shuffle) -> int:
    """Read an epoch's samples in the loader's order, with its read-ahead; return the bytes."""
    loader = ours.loader(work, "host", work.threads, shuffle)
    order, ids = loader.order, loader.ids
    tars = [loader.dataset.tar("image") for _ in range(work.threads)]  # a thread wants its own
    ahead, total = ReadAhead({"image": tars[0]}, order, ids), 0

    def bring(tar: Tar, part: Array) -> int:
        return sum(len(file) for file in tar.read_all(part))

    with ThreadPoolExecutor(work.threads) as pool:
        for step in range(-AHEAD, order.steps):
            if step + AHEAD < order.steps:
                ahead.step(0, step + AHEAD)
                ahead.ask(ids[order.take(0, step + AHEAD)])
            if step >= 0:
                parts = np.array_split(ids[order.take(0, step)], work.threads)
                total += sum(pool.map(bring, tars, parts))
    ahead.close()
    loader.close()
    for tar in tars:
        tar.close()
    return total


def epoch(work: Work, shuffle: Shuffle) -> int:
    """Take an epoch of batches from the loader; return the bytes of its images as stored."""
    loader = ours.loader(work, "host", work.threads, shuffle)
    tar = loader.dataset.tar("image")
    total = sum(int(tar.spans(batch.id.numpy())[2].sum()) for batch in islice(loader, loader.steps))
    tar.close()
    loader.close()
    return total


CONTESTANTS: dict[str, tuple[str, Callable[[Work], int]]] = {
    "sequential": ("the shards from start to end, 4 MiB at a time", sequential),
    "read-block": (
        "samples in the order of shuffle=block, not decoded",
        lambda w: read(w, "block"),
    ),
    "read-full": ("samples fully shuffled, not decoded", lambda w: read(w, True)),
    "nostall-block": ("the Loader, shuffle=block", lambda w: epoch(w, "block")),
    "nostall-full": ("the Loader, full shuffle", lambda w: epoch(w, True)),
}


QUICK = ["sequential", "read-block", "nostall-block"]


def one(job: str) -> None:
    """Run one contestant in this process, cold, and print what it measured."""
    facts = json.loads(job)
    work = Work(**facts["work"])
    for shuffle in SHUFFLES:  # compiled kernels are loaded: that is not reading
        loader = ours.loader(work, "host", work.threads, shuffle)
        for _ in islice(loader, 2):
            pass
        loader.close()
    shards = Path(work.data) / "shards"
    if (stayed := files.evict(shards)) > STAYED:  # so it is where files lie in memory
        why = f"{100 * stayed:.0f} % of {shards} stayed in the page cache"
        raise click.ClickException(why)
    first_s = time.monotonic() - facts["began"]
    cpu, start = timing.cpu_s(), time.perf_counter()
    total = CONTESTANTS[facts["name"]][1](work)
    wall, cpu = time.perf_counter() - start, timing.cpu_s() - cpu
    window = timing.Window(facts["images"], wall, cpu, first_s, timing.anonymous_bytes())
    timing.answer(window, read_bytes=total, stayed=stayed)


def compare(work: Work, names: Sequence[str], images: int, rounds: int) -> dict[str, Any]:
    """Let the contestants take turns; ClickException, one line, for one that fails."""
    taken: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names:
            job = {"name": name, "work": asdict(work), "images": images, "began": time.monotonic()}
            try:
                result = timing.spawn(__file__, "one", json.dumps(job))
            except RuntimeError as error:
                raise click.ClickException(f"{name}: {error}") from None
            rate = result["read_bytes"] / 1e6 / result["wall_s"]
            print(f"round {number + 1}: {name} {rate:,.0f} MB/s", file=sys.stderr, flush=True)
            taken[name].append(result)
    rates = {n: [r["read_bytes"] / 1e6 / r["wall_s"] for r in rs] for n, rs in taken.items()}
    return {
        name: {
            "mb_per_s": timing.spread(rates[name]),
            "share_of_sequential": timing.ratios(rates[name], rates["sequential"]),
            "images_per_s": timing.spread([r["items"] / r["wall_s"] for r in rs]),
            "cpu_ms_per_image": timing.spread([1e3 * r["cpu_s"] / r["items"] for r in rs]),
            "what": CONTESTANTS[name][0],
            "rounds": rs,
        }
        for name, rs in taken.items()
    }


def rows(summary: dict[str, Any]) -> list[list[str]]:
    """Return the table."""
    lines = []
    for name, facts in summary.items():
        rate = facts["mb_per_s"]
        lines.append(
            [
                name,
                f"{rate['median']:,.0f} ({rate['min']:,.0f}-{rate['max']:,.0f})",
                f"{100 * facts['share_of_sequential']['median']:.0f}",
                f"{facts['images_per_s']['median']:,.0f}",
                f"{facts['cpu_ms_per_image']['median']:.3g}",
                facts["what"],
            ]
        )
    return lines


@click.group(cls=flags.Group, invoke_without_command=True, context_settings={"show_default": True})
@click.option("--root", type=click.Path(path_type=Path), default=Path("data/bench"))
@click.option("--images", type=click.Path(path_type=Path), help="a folder of JPEGs of your own")
@click.option(
    "--count",
    type=click.IntRange(1),
    default=24000,
    help="images of the set: many more than two windows hold",
)
@click.option("--rounds", type=click.IntRange(1), default=3)
@click.option("--threads", type=click.IntRange(0), default=0, help="[0: one a core]")
@click.option("--quick", is_flag=True, help="tiny images, one round: only to see it work")
@kept.saving
@click.pass_context
def main(
    context: click.Context,
    /,
    root: Path,
    images: Path | None,
    count: int,
    rounds: int,
    threads: int,
    quick: bool,
    results: Path | None,
    no_save: bool,
    target: Path | None,
) -> None:
    """Measure an epoch from storage of which nothing is cached."""
    if context.invoked_subcommand:
        return
    goal = kept.destination(results, no_save, quick)
    kept.facts_of_run()
    root, size, names = root.resolve(), corpus.Photographs(), list(CONTESTANTS)
    if quick:
        size, count, rounds, names = corpus.QUICK, corpus.QUICK.count, 1, QUICK
    # Every image under several names: the builder stores each of them.
    folder = corpus.copies(root, images or corpus.photographs(root, size), count)
    data = sets.built(root, folder, "native")
    work = Work(root=str(root), data=str(data), threads=threads or len(os.sched_getaffinity(0)))
    summary = compare(work, names, count, rounds)
    print(timing.table(HEAD, rows(summary)))
    facts = {"quick": quick, "rules": {"rounds": rounds}, "work": {"threads": work.threads}}
    facts["set"] = {"images": count, "mb": round(files.size_bytes(data / "shards") / 1e6)}
    kept.finish("cold", facts | {"contestants": summary}, goal, target)


main.command("one", hidden=True)(click.argument("job")(one))

if __name__ == "__main__":
    main()
