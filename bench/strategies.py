"""What does a strategy cost beside random, a sample that is trained on?

    python bench/strategies.py [--strategy NAME …] [--rounds 3] [--epochs 5]

`loader`: the digits of w3 in batches of 64 from the loader, with everything that train.py asks of a
strategy between two steps, and no network: scores come from a table. `training`: train.py's step of
the recipe `mlp` on the same batches, scoring passes and all. `skipping`: whole runs of --epochs
with random and with infobatch, which leaves out what it has learnt: samples decoded and seconds.
A fresh process each, they take turns; ratios to random are taken inside a round.
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
import numpy as np
import results as kept
import timing
from digits.work import MEAN, STD
from timing import Rules

import models
from dataprep import derived, flags
from loaders import Batch, Dataset, Loader, strategies
from loaders.draw import Keys
from loaders.stages import Normalise

MODEL, BASELINE, SKIPPING = "mlp", "random", "infobatch"
KINDS = ("loader", "training")
STEPS = 1_000_000  # no schedule ends inside a window
HEAD = (
    "strategy", "loader: samples/s (min-max)", "µs beside random", "training: samples/s (min-max)",
    "× random's time", "CPU", "wait %",
)  # fmt: skip


def recipe(facts: Mapping[str, Any]) -> models.Recipe:
    """Return the recipe of one contestant."""
    plain = models.recipes()[MODEL][1]
    return replace(plain, data=facts["data"], val_split="test", strategy=facts["name"])


class Fed:
    """The loader alone, its strategy fed as train.py does it; scores depend on the sample."""

    def __init__(self, facts: Mapping[str, Any]) -> None:
        wanted = recipe(facts)
        dataset = Dataset(facts["data"])
        self.loader = Loader(
            dataset,
            stages=(Normalise(field="image", mean=(MEAN,), std=(STD,)),),
            global_batch_size=wanted.global_batch_size,
            strategy=wanted.strategy,
            feedback_lag=wanted.feedback_lag,
            last="drop",
        )
        self.strategy, self.wait_s = self.loader.strategy, 0.0
        hardness = hardness_of(dataset.samples)
        self.scores = {"loss": hardness, "gradient_norm": hardness, "correct": hardness < 1}

    def steps(self) -> Generator[Batch, None, None]:
        """Yield batches, and tell the strategy what came."""
        for batch in self.loader:
            yield batch
            self._tell(batch)
            self.wait_s = self.loader.wait_s

    def _tell(self, batch: Batch) -> None:
        ids = batch.id.numpy()
        if not (self.strategy.picks() or self.strategy.weighs() or self.strategy.listens()):
            return
        rows = self.loader.rows(ids)
        scores = {name: self.scores[name][ids] for name in self.strategy.needs}
        if self.strategy.weighs():
            self.strategy.weigh(rows, scores)
        if self.strategy.picks():
            keys = Keys(0, batch.epoch, batch.position.numpy(), ids)
            self.strategy.pick(rows, scores, keys)
        self.loader.observe(ids, scores)


def hardness_of(count: int) -> Any:
    """Return a loss for each sample: few are hard."""
    return np.random.default_rng(0).exponential(0.5, count)


class Trained:
    """The trainer of train.py on the recipe."""

    def __init__(self, facts: Mapping[str, Any], runs: Path) -> None:
        from tasks.run import Run
        from tasks.run.launch import Launch
        from train import Trainer

        epochs = facts.get("epochs", 0)
        wanted = replace(recipe(facts), steps=0 if epochs else STEPS, epochs=epochs)
        wanted = replace(wanted, validate_every=0)
        launch = Launch(device="cpu", checkpoint_every=STEPS)
        self.trainer = Trainer(MODEL, wanted, launch, Run(runs / "run"), None, False)
        self.loader, self.wait_s = self.trainer.loader, 0.0

    def steps(self) -> Generator[float, None, None]:
        """Yield the loss after each step, without end."""
        for batch in self.loader:
            yield float(self.trainer._step(batch)["loss"])
            self.wait_s = self.loader.wait_s


def one(job: str) -> None:
    """Measure one contestant in this process and print what it was."""
    facts = json.loads(job)
    with tempfile.TemporaryDirectory(prefix="strategies-") as runs:
        if "epochs" in facts:
            trainer = Trained(facts, Path(runs)).trainer
            trainer.train()
            print(json.dumps(trainer.tally.facts() | {"steps": trainer.step}))
            return
        fed = Fed(facts) if facts["kind"] == "loader" else Trained(facts, Path(runs))
        waits: list[float] = []
        size = recipe(facts).global_batch_size
        window = timing.measure(
            fed.steps(), size, Rules(**facts["rules"]), facts["began"],
            lambda _: waits.append(fed.wait_s),
        )  # fmt: skip
        waited = (fed.wait_s - waits[-1]) / window.wall_s
        fed.loader.close()
    timing.answer(window, wait_share=min(1.0, waited))


class Strategies:
    """Runs contestants on one set."""

    def __init__(self, data: Path, rules: Rules) -> None:
        self.data, self.rules = data, rules

    def run(self, kind: str, name: str, **more: Any) -> dict[str, Any]:
        """Run one contestant in a fresh process."""
        job = {"kind": kind, "name": name, "data": str(self.data), **more}
        job |= {"rules": asdict(self.rules), "began": time.monotonic()}
        try:
            return timing.spawn(__file__, "one", json.dumps(job))
        except RuntimeError as error:
            raise click.ClickException(f"{kind}, {name}: {error}") from None

    def compare(self, names: Sequence[str], rounds: int) -> dict[str, Any]:
        """Let all contestants take turns; return their figures."""
        found: dict[str, Any] = {kind: {name: [] for name in names} for kind in KINDS}
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}")
            for kind in KINDS:
                for name in names:
                    found[kind][name].append(self.run(kind, name))
                    run = found[kind][name][-1]
                    say(f"  {kind}, {name}: {run['items'] / run['wall_s']:,.0f} samples/s")
        return {
            name: {kind: figures(found[kind][name], found[kind][BASELINE]) for kind in KINDS}
            for name in names
        }

    def skipping(self, epochs: int, rounds: int) -> dict[str, Any]:
        """Return what whole runs of random and infobatch decoded, and their seconds."""
        found: dict[str, list[Any]] = {BASELINE: [], SKIPPING: []}
        for _ in range(rounds):
            for name, runs in found.items():
                runs.append(self.run("training", name, epochs=epochs))
        seconds = {name: [run["seconds"] for run in runs] for name, runs in found.items()}
        return {
            "epochs": epochs,
            "decoded": {name: runs[0]["decoded"] for name, runs in found.items()},
            "seconds": {name: timing.spread(times) for name, times in seconds.items()},
            "share_of_time": timing.ratios(seconds[SKIPPING], seconds[BASELINE]),
        }


def figures(runs: Sequence[Mapping[str, Any]], base: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the figures of one contestant beside random's of the same rounds."""
    seconds, theirs = ([r["wall_s"] / r["items"] for r in some] for some in (runs, base))
    cpu, other = ([r["cpu_s"] / r["items"] for r in some] for some in (runs, base))
    more = [1e6 * (a - b) for a, b in zip(seconds, theirs, strict=True)]
    return {
        "samples_per_s": timing.spread([1 / s for s in seconds]),
        "cpu_us_per_sample": timing.spread([1e6 * s for s in cpu]),
        "us_beside_random": timing.spread(more),
        "times_wall": timing.ratios(seconds, theirs),
        "times_cpu": timing.ratios(cpu, other),
        "wait_share": timing.spread([run["wait_share"] for run in runs]),
    }


def rows(strategies_: Mapping[str, Any]) -> list[list[str]]:
    """Return the rows of the table."""
    found = []
    for name, facts in strategies_.items():
        loader, training = (facts[kind] for kind in KINDS)
        found.append(
            [
                name,
                rate(loader["samples_per_s"]),
                f"{loader['us_beside_random']['median']:+.2f}",
                rate(training["samples_per_s"]),
                f"{training['times_wall']['median']:.2f}",
                f"{training['times_cpu']['median']:.2f}",
                f"{100 * training['wait_share']['median']:.0f}",
            ]
        )
    return found


def rate(spread: Mapping[str, float]) -> str:
    """Return samples a second as text."""
    return f"{spread['median']:,.0f} ({spread['min']:,.0f}-{spread['max']:,.0f})"


def skipped(facts: Mapping[str, Any]) -> str:
    """Return what infobatch left out, as a sentence."""
    ours, theirs = facts["decoded"][SKIPPING], facts["decoded"][BASELINE]
    share, seconds = facts["share_of_time"]["median"], facts["seconds"]
    return (
        f"{facts['epochs']} epochs: {SKIPPING} decodes {ours:,} of {theirs:,} samples"
        f" ({100 * (1 - ours / theirs):.0f} % less) in {seconds[SKIPPING]['median']:.1f} s instead"
        f" of {seconds[BASELINE]['median']:.1f} s ({100 * (1 - share):.0f} % less)."
    )


def prepared(root: Path, quick: bool) -> Path:
    """Return the set of w3's digits, with a table of irreducible losses beside it."""
    from digits import corpus

    files = corpus.digits(root, corpus.QUICK if quick else corpus.Digits())
    folder = corpus.built(root, files)
    made_from = {"data": Dataset(folder).manifest.fingerprint, "what": "random numbers"}
    place = derived.place(folder, "irreducible_loss", made_from)
    if not derived.is_there(place):
        table = hardness_of(Dataset(folder).samples)
        derived.write(place, "values", table, made_from)
    return folder


def say(text: str) -> None:
    """Tell the terminal how far the benchmark is."""
    print(text, file=sys.stderr, flush=True)


@click.group(cls=flags.Group, invoke_without_command=True, context_settings={"show_default": True})
@click.option("--strategy", "names", multiple=True, help="repeatable  [default: all]")
@click.option("--root", type=click.Path(path_type=Path), default=Path("data/bench"))
@click.option("--rounds", type=click.IntRange(1), default=3)
@click.option("--seconds", default=3.0, help="length of one window")
@click.option("--epochs", type=click.IntRange(1), default=5, help="of the runs that may skip")
@click.option("--quick", is_flag=True, help="few digits, one short round: only to see it work")
@kept.saving
@click.pass_context
def main(context: click.Context, /, **options: Any) -> None:
    """Measure what strategies cost: in the loader, in training, and what skipping saves."""
    if context.invoked_subcommand is None:
        measure(**options)


def measure(
    *, names: Sequence[str], root: Path, rounds: int, seconds: float, epochs: int, quick: bool,
    results: Path | None, no_save: bool, target: Path | None,
) -> None:  # fmt: skip
    """Do what was asked for."""
    folder = kept.destination(results, no_save, quick)
    for name in names:
        strategies.load(name)
    rules = Rules(warm_s=1.0, seconds=seconds, batches=64)
    if quick:
        rules, rounds, epochs = Rules(warm_s=0.1, seconds=0.1, batches=4), 1, 2
    kept.facts_of_run()
    asked = list(dict.fromkeys([BASELINE, *(names or strategies.names())]))
    bench = Strategies(prepared(root.resolve(), quick).resolve(), rules)
    found, skips = bench.compare(asked, rounds), bench.skipping(epochs, rounds)
    print(timing.table(HEAD, rows(found)))
    print(skipped(skips))
    facts = {"quick": quick, "complete": not names, "rules": asdict(rules) | {"rounds": rounds}}
    facts |= {"set": bench.data.name, "strategies": found, "skipping": skips}
    kept.finish("strategies", facts, folder, target)


main.command("one", hidden=True)(click.argument("job")(one))

if __name__ == "__main__":
    main()
