"""Does `python -m dataprep plan` tell the truth? Its forecasts beside whole sets, built and loaded.

    python bench/plan.py [--images FOLDER]… [--limit 20]

For every folder of photographs (three made ones, if none is given) the planner runs as its users
run it. Then the whole set is built in each of its ways and the loader measured on it, in a fresh
process each time, sets in turns. Two figures of samples a second stand beside the forecast:

    measured   the best round, with what others on the machine took of the cores given back: what
               the planner foretells, found as the planner finds it (dataprep/forecast.py says why)
    wall       the median of the rounds by the clock, nothing given back: what a training gets

`off_percent` is by how much the forecast is above the first, `wall_off_percent` above the second;
on an idle machine both are near. Sizes are compared too. Exit code 1 where `off_percent` of a
forecast is more than `--limit`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import results as kept
import suite
import timing
from files import each, warm
from photos import corpus, ours
from photos.corpus import Photographs
from photos.sets import build_anew
from photos.work import Work
from suite import say
from timing import Rules

from dataprep.choices import Choice, choices
from dataprep.manifest import DataError
from dataprep.sources import imagefolder
from loaders import speed

CORPORA = (
    Photographs(count=2000),
    Photographs(count=1000, long=1024, short=768, quality=85),
    Photographs(count=4000, long=256, short=256, quality=95),
)
QUICK = (Photographs(count=80, long=120, short=90),)
SAMPLES = 256
HEAD = (
    "files",
    "choice",
    "foretold samples/s",
    "measured",
    "off %",
    "wall (min-max)",
    "off %",
    "foretold MB",
    "measured",
    "off %",
)


def planned(files: Path, work: Work, samples: int) -> dict[str, Any]:
    """Run the planner as a user does; DataError says why it failed."""
    command = [sys.executable, "-m", "dataprep", "plan", "--raw", str(files), "--json"]
    for name, value in {
        "crop": work.size,
        "batch": work.batch,
        "threads": work.threads,
        "samples": samples,
    }.items():
        command += [f"--{name}", str(value)]
    paths = [str(kept.ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    child = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True)
    if child.returncode:
        raise DataError(files, "", "the planner failed")
    report: dict[str, Any] = json.loads(child.stdout)
    if report["choices"][0]["samples_per_s"] is None:
        raise DataError(files, "", "; ".join(report["notes"]))
    return report


def built(root: Path, files: Path, choice: Choice) -> tuple[Path, float | None]:
    """Return the whole set of one choice, and how long it was built, None if it was there."""
    folder = root / f"plan-{files.name}-{choice.name.replace(' ', '-')}"
    before, start = corpus.origin(folder), time.monotonic()
    build_anew(imagefolder.Source(**choice.options), files, folder)
    there = corpus.origin(folder) == before
    return folder, None if there else round(time.monotonic() - start, 1)


def disk_bytes(folder: Path) -> int:
    """Return the bytes that a set takes, without the holes at the ends of raw shards."""
    stats = [path.stat() for path in each(folder)]
    return sum(min(stat.st_size, 512 * stat.st_blocks) for stat in stats)


def one(job: str) -> None:
    """Measure the loader on one set in this process and print what it measured."""
    facts = json.loads(job)
    work, rules = Work(**facts["work"]), Rules(**facts["rules"])
    batches = ours.batches(work, {"threads": work.threads}, "host")
    busy, cpu, start = speed.busy_s(), timing.cpu_s(), time.monotonic()
    with closing(batches):
        window = timing.measure(batches, work.batch, rules, facts["began"])
    others = speed.busy_s() - busy - (timing.cpu_s() - cpu)
    share = max(0.0, others) / (time.monotonic() - start)
    mine = speed.Window(
        window.items,
        window.wall_s,
        window.cpu_s,
        window.cpu_s + share * window.wall_s,
        window.first_s,
    )
    timing.answer(window, alone=mine.alone(work.threads))


def measured(sets: dict[str, Path], work: Work, rules: Rules, rounds: int) -> dict[str, Any]:
    """Let the sets take turns; return the figures of each."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in sets}
    for number in range(rounds):
        for name, folder in sets.items():
            facts = asdict(work) | {"data": str(folder)}
            job = {"work": facts, "rules": asdict(rules), "began": time.monotonic()}
            found[name].append(timing.spawn(__file__, "one", json.dumps(job)))
            say(f"round {number + 1} of {rounds}: {name} {found[name][-1]['alone']:,.0f} samples/s")
    return {
        name: {
            "samples_per_s": timing.spread([r["alone"] for r in windows]),
            "wall": timing.spread([r["items"] / r["wall_s"] for r in windows]),
            "cpu_ms_per_sample": timing.spread([1e3 * r["cpu_s"] / r["items"] for r in windows]),
        }
        for name, windows in found.items()
    }


def compare(
    files: Path, work: Work, rules: Rules, rounds: int, samples: int
) -> list[dict[str, Any]]:
    """Return forecast and truth of every choice for one folder of photographs."""
    say(f"{files.name}: the planner")
    report = planned(files, work, samples)
    ways = {choice.name: choice for choice in choices(report["question"]["short"])}
    sets, took = {}, {}
    for name, choice in ways.items():
        say(f"{files.name}: building {name}")
        sets[name], took[name] = built(Path(work.root), files, choice)
        warm(sets[name])
    truth = measured(sets, work, rules, rounds)
    rows = []
    for foretold in report["choices"]:
        name = foretold["choice"]
        found = row(foretold, truth[name], disk_bytes(sets[name]))
        rows.append({"files": files.name, **found, "build_s": took[name]})
        rates = f"{foretold['samples_per_s']:,.0f} foretold, {found['measured']:,.0f} measured"
        say(f"{files.name}: {name}: {rates}")
    return rows


def row(foretold: dict[str, Any], truth: dict[str, Any], size: int) -> dict[str, Any]:
    """Return forecast and truth of one choice. size: bytes of its set."""
    rate, best = foretold["samples_per_s"], truth["samples_per_s"]["max"]
    return {
        "choice": foretold["choice"],
        "foretold": foretold,
        **truth,
        "measured": best,
        "off_percent": off(rate, best),
        "wall_off_percent": off(rate, truth["wall"]["median"]),
        "set_gb": round(size / 1e9, 6),
        "size_off_percent": off(foretold["set_gb"] * 1e9, size),
    }


def off(foretold: float, truth: float) -> float:
    """Return by how many percent of the truth a forecast is too high."""
    return round(100 * (foretold / truth - 1), 1)


def lines(rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Return the table."""
    found = []
    for one in rows:
        wall, foretold = one["wall"], one["foretold"]
        found.append(
            [
                one["files"],
                one["choice"],
                f"{foretold['samples_per_s']:,.0f}",
                f"{one['measured']:,.0f}",
                f"{one['off_percent']:+.1f}",
                f"{wall['median']:,.0f} ({wall['min']:,.0f}-{wall['max']:,.0f})",
                f"{one['wall_off_percent']:+.1f}",
                f"{1e3 * foretold['set_gb']:,.1f}",
                f"{1e3 * one['set_gb']:,.1f}",
                f"{one['size_off_percent']:+.1f}",
            ]
        )
    return found


@click.group(invoke_without_command=True, context_settings={"show_default": True})
@click.option("--root", type=click.Path(path_type=Path), default=Path("data/bench"))
@click.option(
    "--images",
    type=click.Path(path_type=Path),
    multiple=True,
    help="a folder of JPEGs of your own, repeatable; each file comes under several names",
)
@click.option("--count", default=1000, help="names of the files of each such folder")
@click.option("--samples", default=SAMPLES, help="images that the planner measures with")
@click.option("--limit", default=20.0, help="percent that a forecast may be off; 0: any")
@click.option("--rounds", default=5)
@click.option("--threads", default=0, help="[0: one a core]")
@click.option("--quick", is_flag=True, help="tiny images, one short round: only to see it work")
@kept.saving
@click.pass_context
def main(context: click.Context, /, **options: Any) -> None:
    """Compare what the planner foretells with what whole sets do."""
    if context.invoked_subcommand is None:
        measure(**options)


def measure(
    *, root: Path, images: Sequence[Path], count: int, samples: int, limit: float, rounds: int,
    threads: int, quick: bool, results: Path | None, no_save: bool, target: Path | None,
) -> None:  # fmt: skip
    """Do what was asked for; leave by the exit code."""
    folder = kept.destination(results, no_save, quick)
    kept.facts_of_run()
    plain = not (images or threads or quick) and samples == SAMPLES
    root, rules = root.resolve(), suite.QUICK if quick else Rules()
    work = Work(root=str(root), data="", threads=threads or len(os.sched_getaffinity(0)))
    rounds, samples = (1, 40) if quick else (rounds, samples)
    sizes = QUICK if quick else CORPORA
    try:
        folders = [corpus.copies(root, one, 80 if quick else count) for one in images]
        folders = folders or [corpus.photographs(root, size) for size in sizes]
        found = [compare(files, work, rules, rounds, samples) for files in folders]
    except (DataError, RuntimeError) as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    rows = [one for some in found for one in some]
    print(timing.table(HEAD, lines(rows), left=2))
    facts: dict[str, Any] = {"quick": quick, "plain": plain, "limit": limit}
    facts |= {"rules": asdict(rules) | {"rounds": rounds}, "samples": samples}
    facts["work"] = {key: getattr(work, key) for key in ("size", "batch", "threads")}
    kept.finish("plan", facts | {"forecasts": rows}, folder, target)
    wrong = [one for one in rows if limit and abs(one["off_percent"]) > limit]
    for bad in wrong:
        say(f"{bad['files']}, {bad['choice']}: off by {bad['off_percent']:+.1f} %")
    raise SystemExit(1 if wrong and not quick else 0)


main.command("one", hidden=True)(click.argument("job")(one))

if __name__ == "__main__":
    main()
