"""How long does it take to score a saliency model on a set of CAT2000's size?

    python bench/fixation_metrics.py [--threads 1 --threads 2]

2,000 images of 1920×1080 with 336 fixations each: of each image the centre bias of the others, and
all scores of `tasks.metrics.score` with the 671,664 fixations of the others as negatives of sAUC.
`plain` does the same with scikit-learn's roc_auc_score and scipy's gaussian_filter, on the same
made-up densities and fixations; the scores of both must agree. A fresh process each, they take
turns. Only some images are scored: the time for all is extrapolated, and includes the preparation.
"""

from __future__ import annotations

import json
import math
import os
import resource
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Any

import click
import numpy as np
import results as kept
import timing
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from sklearn.metrics import roc_auc_score
from timing import Rules

from dataprep import flags
from tasks.metrics.centre import CentreBias
from tasks.metrics.score import score
from tasks.metrics.shuffled import OtherFixations

Scores = dict[str, float]
SIGMA_PX = 40.0  # at 1,920 px
BANDWIDTH, UNIFORM_SHARE = 0.0215, 0.01
PLAIN = "plain"
# An image keeps one core busy, of every contestant: no threads inside of matrix products.
ONE_CORE = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
KEPT = 4  # densities to predict, in turn
# The scores of both ways may differ so much: his centre bias counts whole pixels and both his
# filters end at 4 sigma; his AUC_Judd has thresholds everywhere.
MAY_DIFFER = {"ll": 1e-9, "nss": 1e-9, "auc": 1e-9, "ig": 0.01, "sauc": 0.01, "cc": 1e-3,
              "kldiv": 1e-3, "sim": 1e-3, "auc_judd": 0.01}  # fmt: skip
HEAD = (
    "contestant", "images/s (min-max)", "CPU ms", "preparing s", "s for all", "peak MB",
    "nostall-1 is × wall", "× CPU",
)  # fmt: skip


class Work:
    """A made-up set: fixations of all images, log densities that some predictions repeat."""

    def __init__(self, images: int, fixations: int, height: int, width: int) -> None:
        random = np.random.default_rng(0)
        self.images, self.each, self.height, self.width = images, fixations, height, width
        spots = np.repeat(random.normal(0.5, 0.15, (images, 2)), fixations, axis=0)
        spots += random.normal(0, 0.12, spots.shape)
        self.relative = np.clip(spots, 0, 1 - 1e-9)
        y, x = np.ogrid[:height, :width]
        self.predicted = [self._density(random, x / width, y / height) for _ in range(KEPT)]

    def own(self, image: int) -> slice:
        """Return where the fixations of an image are."""
        return slice(image * self.each, (image + 1) * self.each)

    @staticmethod
    def _density(random: np.random.Generator, x: Any, y: Any) -> NDArray[np.float32]:
        """Return a log density of some blobs, as a network gives it: without ties, float32."""
        values = -8 * ((x - 0.5) ** 2 + (y - 0.5) ** 2)
        for centre_x, centre_y, width in random.uniform((0.2, 0.2, 0.03), (0.8, 0.8, 0.2), (6, 3)):
            distance = (x - centre_x) ** 2 + (y - centre_y) ** 2
            values = values + 2 * np.exp(-distance / (2 * width**2))
        values = values + random.normal(0, 0.01, values.shape)
        logs: NDArray[np.float32] = (values - np.log(np.exp(values).sum())).astype(np.float32)
        return logs


def ours(work: Work) -> Callable[[int], Scores]:
    """Return what scores one image."""
    height, width = work.height, work.width
    points = work.relative * (width, height)
    bias = CentreBias(work.relative, BANDWIDTH, UNIFORM_SHARE)
    sizes = np.full((work.images, 2), (height, width))
    others = OtherFixations(points, np.repeat(np.arange(work.images), work.each), sizes)
    others.pixels(height, width)

    def one_image(image: int) -> Scores:
        own = work.own(image)
        baseline = bias.log_density(height, width, work.relative[own])
        negatives = others.pixels(height, width, image)
        logs = work.predicted[image % KEPT]
        return score(logs, points[own], baseline, negatives, SIGMA_PX * width / 1920)

    return one_image


def plain(work: Work) -> Callable[[int], Scores]:
    """Return what scores one image with what scikit-learn and scipy have."""
    height, width = work.height, work.width
    shape, sigma = (height, width), SIGMA_PX * width / 1920
    points = work.relative * (width, height)
    index = points[:, 1].astype(int) * width + points[:, 0].astype(int)

    def counts(places: Any) -> Any:
        return np.bincount(places, minlength=height * width).reshape(shape).astype(float)

    def area(positives: Any, negatives: Any) -> float:
        labels = np.r_[np.ones(len(positives)), np.zeros(len(negatives))]
        return float(roc_auc_score(labels, np.r_[positives, negatives]))

    def blurred(values: Any) -> Any:
        values = gaussian_filter(values, sigma, mode="constant") + 1e-20
        return values / values.sum()

    def one_image(image: int) -> Scores:
        logs = work.predicted[image % KEPT].astype(float)
        own, others = index[work.own(image)], np.delete(index, work.own(image))
        spread = [BANDWIDTH * height, BANDWIDTH * width]
        others_map = gaussian_filter(counts(others), spread, mode="constant")
        others_map *= (1 - UNIFORM_SHARE) / others_map.sum()
        ratio = (logs - np.log(others_map + UNIFORM_SHARE / logs.size)).ravel()
        density, flat = np.exp(logs), logs.ravel()
        p, q = blurred(density), blurred(counts(own))
        free = np.ones(flat.size, bool)
        free[own] = False
        return {
            "ll": float(flat[own].mean() + math.log(flat.size)) / math.log(2),
            "ig": float(ratio[own].mean()) / math.log(2),
            "nss": float((density.ravel()[own].mean() - density.mean()) / density.std()),
            "auc": area(flat[own], flat),
            "auc_judd": area(flat[own], flat[free]),
            "sauc": area(ratio[own], ratio[others]),
            "cc": float(np.corrcoef(p.ravel(), q.ravel())[0, 1]),
            "kldiv": float((q * np.log(q / p)).sum()),
            "sim": float(np.minimum(p, q).sum()),
        }

    return one_image


def batches(scored: Callable[[int], Scores], threads: int, images: int) -> Generator[list[Scores]]:
    """Yield the scores of `threads` images, without end."""
    with ThreadPoolExecutor(threads) as pool:
        for start in count(0, threads):
            yield list(pool.map(scored, [i % images for i in range(start, start + threads)]))


def one(job: str) -> None:
    """Score for a while in this process and print what it measured."""
    facts = json.loads(job)
    work = Work(**facts["work"])
    begin = time.perf_counter()
    scored = (plain if facts["name"] == PLAIN else ours)(work)
    preparing_s = time.perf_counter() - begin
    first = scored(0)
    drawn = batches(scored, facts["threads"], work.images)
    window = timing.measure(drawn, facts["threads"], Rules(**facts["rules"]), facts["began"])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    timing.answer(window, scores=first, preparing_s=preparing_s, peak_mb=peak)


def compare(
    work: Mapping[str, int], threads: Sequence[int], rules: Rules, rounds: int
) -> dict[str, list[dict[str, Any]]]:
    """Let the contestants take turns; ClickException, one line, for one that fails."""
    taken: dict[str, list[dict[str, Any]]] = {f"nostall-{number}": [] for number in threads}
    taken[PLAIN] = []
    os.environ |= ONE_CORE
    for number in range(rounds):
        for name in taken:
            print(f"round {number + 1} of {rounds}: {name}", file=sys.stderr, flush=True)
            workers = 1 if name == PLAIN else int(name.removeprefix("nostall-"))
            job = {"name": name, "work": dict(work), "threads": workers, "rules": asdict(rules)}
            try:
                result = timing.spawn(
                    __file__, "one", json.dumps(job | {"began": time.monotonic()})
                )
            except RuntimeError as error:
                raise click.ClickException(f"{name}: {error}") from None
            taken[name].append(result)
    return taken


def agree(taken: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, float]:
    """Return by how much the scores of both ways differ; ClickException where by too much."""
    found = {name: runs[0]["scores"] for name, runs in taken.items()}
    theirs = found.pop(PLAIN)
    most = {
        key: max(abs(scores[key] - value) for scores in found.values())
        for key, value in theirs.items()
    }
    if wrong := [f"{key}: {value:.2g}" for key, value in most.items() if value > MAY_DIFFER[key]]:
        raise click.ClickException(f"scores differ from the plain way's: {', '.join(wrong)}")
    return most


def summary(taken: Mapping[str, Sequence[Mapping[str, Any]]], images: int) -> dict[str, Any]:
    """Return the figures; seconds for all images are extrapolated from those scored."""
    rates = {name: [run["items"] / run["wall_s"] for run in runs] for name, runs in taken.items()}
    costs = {name: [1e3 * r["cpu_s"] / r["items"] for r in runs] for name, runs in taken.items()}
    base = next(iter(taken))
    return {
        name: {
            "images_per_s": timing.spread(rates[name]),
            "cpu_ms_per_image": timing.spread(costs[name]),
            "preparing_s": timing.spread([run["preparing_s"] for run in runs]),
            "extrapolated_s": timing.spread(
                [r["preparing_s"] + images * r["wall_s"] / r["items"] for r in runs]
            ),
            "peak_mb": timing.spread([run["peak_mb"] for run in runs]),
            "nostall_times_faster": timing.ratios(rates[base], rates[name]),
            "nostall_times_less_cpu": timing.ratios(costs[name], costs[base]),
            "images_scored": sum(run["items"] for run in runs),
        }
        for name, runs in taken.items()
    }


def rows(contestants: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Return the table."""
    lines = []
    for name, facts in contestants.items():
        rate = facts["images_per_s"]
        middle = [value["median"] for value in facts.values() if isinstance(value, dict)][1:]
        text = f"{rate['median']:.2f} ({rate['min']:.2f}-{rate['max']:.2f})"
        lines.append([name, text, *(f"{value:,.3g}" for value in middle)])
    return lines


@click.group(cls=flags.Group, invoke_without_command=True, context_settings={"show_default": True})
@click.option("--threads", type=click.IntRange(1), multiple=True, default=[1, 2],
              help="images at a time, repeatable")  # fmt: skip
@click.option("--rounds", type=click.IntRange(1), default=3)
@click.option("--seconds", default=8.0, help="length of one window")
@click.option("--quick", is_flag=True, help="small images, one round: only to see it work")
@click.option("--root", type=click.Path(path_type=Path), hidden=True)  # nothing is stored
@kept.saving
@click.pass_context
def main(
    context: click.Context, /, threads: Sequence[int], rounds: int, seconds: float, quick: bool,
    root: Path | None, results: Path | None, no_save: bool, target: Path | None,
) -> None:  # fmt: skip
    """Measure scoring: images a second, beside scikit-learn and scipy."""
    if context.invoked_subcommand:
        return
    folder = kept.destination(results, no_save, quick)
    kept.facts_of_run()
    work = {"images": 2000, "fixations": 336, "height": 1080, "width": 1920}
    rules = Rules(warm_s=1.0, seconds=seconds, batches=3)
    if quick:
        work = {"images": 20, "fixations": 50, "height": 108, "width": 192}
        rules, rounds = Rules(warm_s=0.1, seconds=0.1, batches=2), 1
    taken = compare(work, list(dict.fromkeys(threads)), rules, rounds)
    differences = agree(taken)
    contestants = summary(taken, work["images"])
    print(timing.table(HEAD, rows(contestants)))
    facts: dict[str, Any] = {"quick": quick, "rules": asdict(rules) | {"rounds": rounds}}
    facts |= {"work": work, "differences": differences, "contestants": contestants}
    kept.finish("fixation_metrics", facts, folder, target)


main.command("one", hidden=True)(click.argument("job")(one))

if __name__ == "__main__":
    main()
