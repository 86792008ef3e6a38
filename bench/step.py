"""How much of a recipe's training speed is left when the loader brings the batches?

    python bench/step.py [--model RECIPE …|all] [--data SET] [--engine host --engine dali]

`cached`: train.py's step on one batch that is kept; the ceiling. `loader`: the same step on the
batches of the loader. Efficiency is loader ÷ cached samples a second, the wait share is the part
of the window in which the step was blocked. A fresh process each, they take turns.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
import results as kept
import timing
from timing import Rules

import models
from dataprep import flags
from dataprep.manifest import DataError
from loaders import Dataset

CACHED = "cached"
DEMO = "shufflemixer_demo"
SAMPLE = "sample"
# The learning rate's schedule is spread over so many steps: none of it ends inside a window.
STEPS = 1_000_000
HEAD = (
    "recipe", "contestant", "samples/s (min-max)", "step ms", "CPU ms", "wait %", "% of cached",
    "first s", "MB anon.",
)  # fmt: skip


class Watched:
    """The trainer of train.py, stepping on one batch or on the loader's, and what it waited."""

    def __init__(self, facts: Mapping[str, Any], runs: Path) -> None:
        from tasks.run import Run
        from tasks.run.launch import Launch
        from train import Trainer

        recipe = models.recipes()[facts["model"]][1]
        recipe = replace(recipe, data=facts["data"], steps=STEPS, epochs=0)
        self.is_cached = facts["name"] == CACHED
        if self.is_cached:  # a strategy chooses anew each step: here there is nothing to choose
            recipe = replace(recipe, strategy="random", strategy_options={})
        launch = Launch(**facts["launch"], on_non_finite="skip")
        self.trainer = Trainer(facts["model"], recipe, launch, Run(runs / "run"), None, True)
        self.waits: list[float] = []  # seconds since the start, after each step

    def losses(self) -> Generator[float, None, None]:
        """Yield the loss after each step, without end."""
        loader = self.trainer.loader
        batches = iter(loader)
        batch = next(batches)
        if self.is_cached:
            batch = batch.clone()
            batches.close()
            loader.close()
        while True:
            loss = float(self.trainer._step(batch)["loss"])
            self.waits.append(loader.wait_s)
            yield loss
            if not self.is_cached:
                batch = next(batches)

    def wait_s(self, steps: int) -> float:
        """Return what the last steps waited."""
        return self.waits[-1] - self.waits[-1 - steps]


def one(job: str) -> None:
    """Train for a while in this process and print what it measured."""
    facts = json.loads(job)
    with tempfile.TemporaryDirectory(prefix="step-") as runs:
        watched = Watched(facts, Path(runs))
        losses: list[float] = []
        trainer = watched.trainer
        size = trainer.recipe.global_batch_size
        rules = Rules(**facts["rules"])
        window = timing.measure(watched.losses(), size, rules, facts["began"], losses.append)
        trainer.loader.close()
    timing.answer(
        window,
        loss=losses[0],
        wait_share=watched.wait_s(window.items // size) / window.wall_s,
        batch=size,
        device=trainer.device.type,
        parameters=sum(parameter.numel() for parameter in trainer.parameters),
        precision=trainer.recipe.precision,
        loader=trainer.loader.facts(),
    )


class Steps:
    """Runs recipes, each on the batches of its set."""

    def __init__(self, rules: Rules, launch: Mapping[str, Any], engines: Sequence[str]) -> None:
        self.rules, self.launch, self.engines = rules, launch, engines

    def names(self) -> list[str]:
        """Return the contestants."""
        return [CACHED, *(f"loader-{engine}" for engine in self.engines)]

    def run(self, model: str, data: Path, name: str) -> dict[str, Any]:
        """Run one contestant in a fresh process."""
        engine = self.engines[0] if name == CACHED else name.removeprefix("loader-")
        job: dict[str, Any] = {"model": model, "data": str(data), "name": name}
        job |= {
            "rules": asdict(self.rules),
            "launch": {**self.launch, "engine": engine},
            "began": time.monotonic(),
        }
        try:
            found = timing.spawn(__file__, "one", json.dumps(job))
        except RuntimeError as error:
            raise click.ClickException(f"{model}, {name}: {error}") from None
        say(f"  {model}, {name}: {found['items'] / found['wall_s']:,.1f} samples/s")
        return found

    def compare(self, sets: Mapping[str, Path], rounds: int) -> dict[str, Any]:
        """Let all recipes and contestants take turns; return their figures."""
        found: dict[str, Any] = {model: {name: [] for name in self.names()} for model in sets}
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}")
            for model, data in sets.items():
                for name in self.names():
                    found[model][name].append(self.run(model, data, name))
        return {model: summary(data, found[model]) for model, data in sets.items()}


def summary(data: Path, found: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Return the figures of one recipe over its rounds."""
    dataset, first = Dataset(data), found[CACHED][0]
    facts = dataset.manifest
    about = {key: first[key] for key in ("batch", "device", "parameters", "precision")}
    return {
        "set": {"name": facts.name, "samples": facts.samples, "fingerprint": facts.fingerprint},
        **about,
        "contestants": {name: figures(runs, found[CACHED]) for name, runs in found.items()},
    }


def figures(runs: Sequence[Mapping[str, Any]], cached: Sequence[Mapping[str, Any]]) -> Any:
    """Return the figures of one contestant."""
    rates = [run["items"] / run["wall_s"] for run in runs]
    steps = [1e3 * run["batch"] * run["wall_s"] / run["items"] for run in runs]
    ceiling = [run["items"] / run["wall_s"] for run in cached]
    facts = {
        "samples_per_s": timing.spread(rates),
        "step_ms": timing.spread(steps),
        "cpu_ms_per_sample": timing.spread([1e3 * run["cpu_s"] / run["items"] for run in runs]),
        "first_step_s": timing.spread([run["first_s"] for run in runs]),
        "anonymous_mb": timing.spread([run["anonymous_bytes"] / 1e6 for run in runs]),
    }
    if runs is not cached:
        facts["wait_share"] = timing.spread([run["wait_share"] for run in runs])
        facts["efficiency"] = timing.ratios(rates, ceiling)
    return facts | {"loader": runs[0]["loader"], "first_loss": runs[0]["loss"]}


def table(recipes: Mapping[str, Any]) -> str:
    """Return the table."""
    rows = []
    for model, facts in recipes.items():
        for name, one_ in facts["contestants"].items():
            rate = one_["samples_per_s"]
            middle = {k: v["median"] for k, v in one_.items() if k not in ("loader", "first_loss")}
            rows.append(
                [
                    model,
                    name,
                    f"{rate['median']:,.1f} ({rate['min']:,.1f}-{rate['max']:,.1f})",
                    f"{middle['step_ms']:.4g}",
                    f"{middle['cpu_ms_per_sample']:.3g}",
                    f"{100 * middle['wait_share']:.1f}" if "wait_share" in middle else "",
                    f"{100 * middle['efficiency']:.1f}" if "efficiency" in middle else "",
                    f"{middle['first_step_s']:.1f}",
                    f"{middle['anonymous_mb']:,.0f}",
                ]
            )
    return timing.table(HEAD, rows)


def chosen(names: Sequence[str], data: str | None, root: Path) -> dict[str, Path]:
    """Return the set of each recipe; one whose set is not there is named and left out.

    DataError or UsageError where none is left.
    """
    there = models.recipes()
    wanted = list(there) if "all" in names else list(dict.fromkeys(names))
    if unknown := [name for name in wanted if name not in there]:
        raise click.UsageError(f"unknown recipes {unknown}; there are: all, {', '.join(there)}")
    sets: dict[str, Path] = {}
    for name in wanted:
        try:
            sets[name] = place(data or there[name][1].data, root)
        except DataError as error:
            if len(wanted) == 1:
                raise
            say(f"{name} is left out: {error}")
    if not sets:
        raise click.UsageError("no recipe has its set here: name one by --data")
    return sets


def place(data: str, root: Path) -> Path:
    """Return the folder of a set; the photographs of installed packages are built where missing."""
    try:
        return Dataset(data).folder.resolve()
    except DataError:
        if data != SAMPLE:
            raise
    from dataprep.build import build
    from dataprep.sources import sample

    build(sample.Source(), None, root / f"set-{SAMPLE}", workers=1)
    return root / f"set-{SAMPLE}"


def say(text: str) -> None:
    """Tell the terminal how far the benchmark is."""
    print(text, file=sys.stderr, flush=True)


@click.group(cls=flags.Group, invoke_without_command=True, context_settings={"show_default": True})
@click.option("--model", "names", multiple=True, default=[DEMO], help="recipe, repeatable; or all")
@click.option("--data", help="a built set, name or folder  [default: the recipe's own]")
@click.option("--root", type=click.Path(path_type=Path), default=Path("data/bench"))
@click.option("--engine", "engines", multiple=True, type=click.Choice(["auto", "host", "dali"]),
              default=["auto"], help="of the loader, repeatable")  # fmt: skip
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
@click.option("--threads", type=click.IntRange(0), default=0, help="of the loader  [0: one a core]")
@click.option("--micro-batch", type=click.IntRange(0), default=0, help="[0: the whole batch]")
@click.option("--compile", "compiles", is_flag=True, help="compile the network")
@click.option("--rounds", type=click.IntRange(1), default=3)
@click.option("--seconds", default=5.0, help="length of one window")
@click.option("--quick", is_flag=True, help="few steps, one round: only to see it work")
@kept.saving
@click.pass_context
def main(context: click.Context, /, **options: Any) -> None:
    """Measure training steps: on one batch that is kept, and on the loader's."""
    if context.invoked_subcommand is None:
        measure(**options)


def measure(
    *, names: Sequence[str], data: str | None, root: Path, engines: Sequence[str], device: str,
    threads: int, micro_batch: int, compiles: bool, rounds: int, seconds: float, quick: bool,
    results: Path | None, no_save: bool, target: Path | None,
) -> None:  # fmt: skip
    """Do what was asked for."""
    folder = kept.destination(results, no_save, quick)
    given = data or threads or micro_batch or compiles or quick
    plain = not given and (*names, *engines, device) == (DEMO, "auto", "auto")
    rules = Rules(warm_s=2.0, seconds=seconds, batches=8)
    if quick:
        rules, rounds = Rules(warm_s=0.1, seconds=0.1, batches=2), 1
    kept.facts_of_run()
    launch = {"device": device, "threads": threads, "micro_batch": micro_batch, "compile": compiles}
    sets = chosen(names, data, root.resolve())
    recipes = Steps(rules, launch, list(dict.fromkeys(engines))).compare(sets, rounds)
    print(table(recipes))
    facts: dict[str, Any] = {"quick": quick, "plain": plain, "launch": launch}
    facts |= {"rules": asdict(rules) | {"rounds": rounds}}
    kept.finish("step", facts | {"recipes": recipes}, folder, target)


main.command("one", hidden=True)(click.argument("job")(one))

if __name__ == "__main__":
    main()
