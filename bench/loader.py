"""How fast do super-resolution pairs come? The loader beside its ceilings and its peers.

    python bench/loader.py [--data SET] [--peers png,npy] [--json FILE]

Aligned random crops of 64×64 (LR) and 256×256 (HR), turned eight ways, float32 in [0, 1], NCHW,
batches of 16. Files lie in the page cache. Each peer runs with the best of several settings, found
in short rounds before. Without `--data` the photographs and the set are made in `--root`.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
import corpus
import timing
import torch
from check import Check
from contestants import CONTESTANTS, Setting, Work
from timing import Rules

from dataprep.manifest import DataError
from loaders import Dataset

PACKAGES = (
    "numba",
    "numpy",
    "nvidia-dali-cuda130",
    "opencv-python",
    "torch",
    "zarr",
)
Results = dict[str, list[dict[str, Any]]]
HEAD = (
    "contestant",
    "pairs/s (min-max)",
    "MB/s",
    "CPU ms",
    "nostall is × wall",
    "× CPU",
    "% ceiling wall",
    "CPU",
    "first s",
    "MB anon.",
    "setting",
)


def one(job: str) -> None:
    """Run one contestant in this process and print what it measured."""
    facts = json.loads(job)
    work, rules = Work(**facts["work"]), Rules(**facts["rules"])
    random.seed(work.seed)
    torch.manual_seed(work.seed)
    batches = CONTESTANTS[facts["name"]].start(work, facts["setting"])
    check = Check(work.scale, work.patch, work.batch)
    with closing(batches):
        window = timing.measure(batches, work.batch, rules, facts["began"], check)
    timing.answer(window, check=check.result())


def run(name: str, work: Work, setting: Setting, rules: Rules) -> dict[str, Any]:
    """Run one contestant in a fresh process."""
    job = {"name": name, "work": asdict(work), "setting": setting, "rules": asdict(rules)}
    before = timing.busy()
    try:
        result = timing.spawn(__file__, "one", json.dumps(job | {"began": time.monotonic()}))
    except RuntimeError as error:
        raise click.ClickException(f"{name} {setting}: {error}") from None
    rate = result["items"] / result["wall_s"]
    say(f"  {name} {_words(setting)}: {rate:,.0f} pairs/s")
    return result | {"load_before": before}


def choose(name: str, work: Work, rules: Rules, quick: bool) -> tuple[Setting, list[Any]]:
    """Return a contestant's best setting, and what was tried: [setting, pairs/s, CPU ms]."""
    settings = CONTESTANTS[name].settings(work)
    if quick:
        return settings[-1], []
    tried: list[Any] = []
    for setting in settings:  # even a single one: compiled kernels are cached, files are read
        result = run(name, work, setting, replace(rules, seconds=rules.seconds / 2, batches=4))
        rate, cpu_ms = result["items"] / result["wall_s"], 1e3 * result["cpu_s"] / result["items"]
        tried.append([setting, round(rate, 1), round(cpu_ms, 4)])
    return max(tried, key=lambda row: row[1])[0], tried


def summarise(results: Results, work: Work) -> dict[str, dict[str, Any]]:
    """Return the figures of every contestant over its rounds."""
    pair_bytes = 3 * work.patch**2 * (1 + work.scale**2)
    rates = {n: [r["items"] / r["wall_s"] for r in rounds] for n, rounds in results.items()}
    costs = {n: [1e3 * r["cpu_s"] / r["items"] for r in rounds] for n, rounds in results.items()}
    summary = {}
    for name, rounds in results.items():
        facts: dict[str, Any] = {
            "pairs_per_s": timing.spread(rates[name]),
            "mb_per_s": timing.spread([rate * pair_bytes / 1e6 for rate in rates[name]]),
            "cpu_ms_per_pair": timing.spread(costs[name]),
            "first_batch_s": timing.spread([r["first_s"] for r in rounds]),
            "anonymous_mb": timing.spread([r["anonymous_bytes"] / 1e6 for r in rounds]),
            "check": rounds[0]["check"],
        }
        if "nostall" in results:
            facts["nostall_times_faster"] = timing.ratios(rates["nostall"], rates[name])
            facts["nostall_times_less_cpu"] = timing.ratios(costs[name], costs["nostall"])
        for top in ("ceiling", "ceiling-memory"):
            if top in results:
                share = timing.ratios(rates[name], rates[top])
                facts[f"share_of_{top}"] = {
                    "wall": share,
                    "cpu": timing.ratios(costs[top], costs[name]),
                }
        summary[name] = facts
    return summary


def rows(summary: Mapping[str, Any], settings: Mapping[str, Setting]) -> list[list[str]]:
    """Return the table, the fastest first."""
    lines = []
    for name in sorted(summary, key=lambda n: -summary[n]["pairs_per_s"]["median"]):
        facts = summary[name]
        rate, share = facts["pairs_per_s"], facts.get("share_of_ceiling")
        wall, cpu = (facts.get(f"nostall_times_{key}") for key in ("faster", "less_cpu"))
        lines.append(
            [
                name,
                f"{rate['median']:,.0f} ({rate['min']:,.0f}-{rate['max']:,.0f})",
                f"{facts['mb_per_s']['median']:,.0f}",
                f"{facts['cpu_ms_per_pair']['median']:.3g}",
                f"{wall['median']:.3g}" if wall else "",
                f"{cpu['median']:.3g}" if cpu else "",
                f"{100 * share['wall']['median']:.3g}" if share else "",
                f"{100 * share['cpu']['median']:.3g}" if share else "",
                f"{facts['first_batch_s']['median']:.1f}",
                f"{facts['anonymous_mb']['median']:,.0f}",
                _words(settings[name]),
            ]
        )
    return lines


def _words(setting: Setting) -> str:
    return " ".join(f"{key}={value}" for key, value in setting.items())


def say(text: str) -> None:
    """Tell the terminal how far the benchmark is."""
    print(text, file=sys.stderr, flush=True)


def _prepare(data: Path | None, work: Work, names: Sequence[str], quick: bool) -> Work:
    """Return the work with its set, everything that the contestants read made and warm."""
    size = corpus.Photographs(count=16, height=264, width=320) if quick else corpus.Photographs()
    folder = Dataset(data).folder if data else corpus.built(Path(work.root), size, work.scale)
    corpus.warm(folder)
    for form in dict.fromkeys(form for name in names for form in CONTESTANTS[name].forms):
        say(f"files for the peers: {form}")
        corpus.warm(corpus.peer_files(Path(work.root), folder, form, work.scale))
    return replace(work, data=str(folder))


def compare(work: Work, names: Sequence[str], rules: Rules, rounds: int, quick: bool) -> Any:
    """Find every contestant's setting, let them take turns, and return the result."""
    chosen = {name: choose(name, work, rules, quick) for name in names}
    settings = {name: setting for name, (setting, _) in chosen.items()}
    results: Results = {name: [] for name in names}
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}")
        for name in names:
            results[name].append(run(name, work, settings[name], rules))
    summary = summarise(results, work)
    for name in names:
        summary[name] |= {"setting": settings[name], "tried": chosen[name][1]}
        summary[name]["what"] = CONTESTANTS[name].summary
    print(timing.table(HEAD, rows(summary, settings)))
    shown = {key: value for key, value in asdict(work).items() if key not in ("root", "data")}
    return {
        "bench": "loader",
        "machine": timing.machine(PACKAGES),
        "set": {"samples": Dataset(work.data).samples},
        "work": shown,
        "rules": asdict(rules) | {"rounds": rounds},
        "contestants": summary,
        "rounds": results,
    }


@click.group(invoke_without_command=True, context_settings={"show_default": True})
@click.option("--data", type=click.Path(path_type=Path), help="a built set with hr and lr_xSCALE")
@click.option("--root", type=click.Path(path_type=Path), default=Path("data/bench"))
@click.option("--peers", help="contestants, comma separated  [default: all]")
@click.option("--json", "target", type=click.Path(path_type=Path), help="write the result here")
@click.option("--rounds", default=5)
@click.option("--seconds", default=3.0, help="length of one window")
@click.option("--scale", default=4)
@click.option("--patch", default=64, help="side of an LR crop in pixels")
@click.option("--batch", default=16)
@click.option("--threads", default=0, help="threads or workers at most  [0: one a core]")
@click.option("--device", default="cpu", help="where batches must arrive: cpu or cuda")
@click.option("--quick", is_flag=True, help="tiny images, one short round: only to see it work")
@click.option("--list", "listing", is_flag=True, help="show the contestants")
@click.pass_context
def main(
    context: click.Context,
    /,
    data: Path | None,
    root: Path,
    peers: str | None,
    target: Path | None,
    rounds: int,
    seconds: float,
    listing: bool,
    quick: bool,
    threads: int,
    **work: Any,
) -> None:
    """Measure super-resolution pairs a second: the loader, its ceilings, its peers."""
    if context.invoked_subcommand:
        return
    if listing:
        print(
            timing.table(("contestant", "what"), [[n, c.summary] for n, c in CONTESTANTS.items()])
        )
        return
    names = peers.split(",") if peers else list(CONTESTANTS)
    if unknown := [name for name in names if name not in CONTESTANTS]:
        raise click.UsageError(
            f"unknown contestants {unknown}; there are: {', '.join(CONTESTANTS)}"
        )
    rules = Rules(warm_s=0.1, seconds=0.2, batches=2) if quick else Rules(seconds=seconds)
    threads = threads or len(os.sched_getaffinity(0))
    try:
        ready = Work(root=str(root.resolve()), data="", threads=threads, **work)
        ready = _prepare(data, ready, names, quick)
    except DataError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    result = compare(ready, names, rules, 1 if quick else rounds, quick)
    if target:
        timing.save(target, result)


main.command("one", hidden=True)(click.argument("job")(one))

if __name__ == "__main__":
    main()
