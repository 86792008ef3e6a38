"""How fast do batches come? The loader beside its limits and its peers.

    python bench/loader.py --work w1|w1-short|w1-raw|w1-whole|w2|w3|w4|all [--peers png,npy]
    python bench/loader.py --work w1 --step-ms 36 [--cold]
    python bench/loader.py --work all --list

w1: JPEG photographs, RandomResizedCrop(224), flip, normalise, batches of 64 (w1-short: short side
256; w1-raw: as raw pixels; w1-whole: the whole image, turned, jittered). w2: super-resolution
pairs, 64×64 LR and 256×256 HR, turned eight ways, batches of 16. w3: digits. w4: stimuli with
fixations, two sizes, batches of 8. own: a set and a recipe of yours. Each contestant runs with the
best of several settings, found in short rounds before. What is read is made in `--root`, once.
"""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import click
import results as kept
import suite
from listing import listing
from timing import TIMEOUT_S, Rules
from turns import one
from workload import Origin

from dataprep import flags

PathOption = click.Path(path_type=Path)
POSITIVE = click.FloatRange(0, min_open=True)
OPTIONS = (
    click.option("--work", "text", default="w1", help="comma separated, or all"),
    click.option("--data", type=PathOption, help="w2, own: a built set of your own"),
    click.option("--model", help="own: the recipe whose batches are made"),
    click.option("--images", type=PathOption, help="w1: a folder of JPEG files of your own"),
    click.option("--root", type=PathOption, default="data/bench", help="what is made lies here"),
    click.option("--peers", help="contestants, comma separated  [default: all]"),
    click.option("--rounds", type=click.IntRange(1), default=5),
    click.option("--seconds", type=POSITIVE, default=3.0, help="length of one window"),
    click.option("--step-ms", type=click.FloatRange(0), default=0.0, help="an accelerator's step"),
    click.option(
        "--cold",
        is_flag=True,
        help="an epoch (20 batches at least; --quick: 2) of files that are not in the page cache",
    ),
    click.option("--batch", type=click.IntRange(1), help="samples of a batch  [default: w1 64]"),
    click.option("--scale", type=click.IntRange(1), help="w2: HR over LR  [default: 4]"),
    click.option(
        "--patch", type=click.IntRange(1), help="w2: side of an LR crop in pixels  [default: 64]"
    ),
    click.option(
        "--size", type=click.IntRange(1), help="w1: side of the output in pixels  [default: 224]"
    ),
    click.option(
        "--threads",
        type=click.IntRange(0),
        default=0,
        help="threads or workers at most  [0: one a core]",
    ),
    click.option("--device", help="where batches must arrive: cpu or cuda  [default: cpu]"),
    click.option(
        "--timeout-s",
        type=POSITIVE,
        default=TIMEOUT_S,
        help="end a contestant's process after this",
    ),
    click.option("--png", type=PathOption, help="draw it here  [default: beside the results]"),
    click.option("--quiet", is_flag=True, help="tables and warnings only"),
    click.option("--quick", is_flag=True, help="tiny images, one short round: only to see it work"),
    click.option("--list", "shown", is_flag=True, help="show the contestants"),
)


def with_options(command: Any) -> Any:
    """Give the command its options."""
    for option in reversed(OPTIONS):
        command = option(command)
    return kept.saving(command)


@click.group(cls=flags.Group, invoke_without_command=True, context_settings={"show_default": True})
@with_options
@click.pass_context
def main(context: click.Context, /, text: str, shown: bool, **options: Any) -> None:
    """Measure batches of one kind of work or of all: the loader, its limits, its peers."""
    if context.invoked_subcommand:
        return
    found = suite.loaded(suite.names(text))
    if shown:
        print(listing(found, options["threads"]))
    else:
        context.exit(suite.run(request(**options), found))


def request(
    *,
    data: Path | None,
    images: Path | None,
    peers: str | None,
    seconds: float,
    step_ms: float,
    results: Path | None,
    no_save: bool,
    **options: Any,
) -> suite.Request:
    """Return what the options ask for."""
    quick, own = options["quick"], {field.name for field in fields(suite.Request)}
    rules = suite.QUICK if quick else Rules(seconds=seconds, warm_s=min(1.0, seconds))
    return suite.Request(
        origin=Origin(data, images, quick),
        peers=tuple(dict.fromkeys(peers.split(","))) if peers else (),
        rules=replace(rules, step_s=step_ms / 1e3),
        folder=kept.destination(results, no_save, quick),
        given={k: v for k, v in options.items() if k not in own and v is not None},
        **{key: value for key, value in options.items() if key in own},
    )


main.command("one", hidden=True)(click.argument("job")(one))

if __name__ == "__main__":
    main()
