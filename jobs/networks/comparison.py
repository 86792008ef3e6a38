"""comparison_results.json and comparison_table.csv: all figures of all networks."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dataprep.manifest import atomic
from jobs import intervals
from jobs.networks import Frame, kept, pairs, tables
from jobs.results import Result, Results
from jobs.study import Variant

JSON, CSV = "comparison_results.json", "comparison_table.csv"


def write(frame: Frame, results: Results, folder: Path) -> list[Path]:
    """Write both files; what is not known is null, or empty."""
    facts = json.dumps(_finite(everything(frame, results)), indent=1, allow_nan=False)
    with atomic(folder / JSON) as path:
        path.write_text(facts + "\n", encoding="utf-8")
    with atomic(folder / CSV) as path, open(path, "w", newline="") as file:
        rows = list(lines(frame, results))
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(rows)
    return [folder / JSON, folder / CSV]


def everything(frame: Frame, results: Results) -> dict[str, Any]:
    """Return comparison_results.json."""
    places = tables.places(frame, results)
    prints = {place: one for run in results.runs for place, one in run.fingerprints.items()}
    return {
        "command": results.command,
        "seeds": results.seeds,
        "data": prints,
        "positive": frame.positive,
        "operating_points": frame.points,
        "remarks": list(results.study.remarks(results)),
        "networks": {one.name: _network(results, one, places) for one in results.study.variants},
        "tests": [fact for place in places for fact in pairs.facts(frame, results, place)],
        "ranking": {place: tables.ranks(frame, results, place) for place in places},
    }


def _network(results: Results, variant: Variant, places: list[str]) -> dict[str, Any]:
    """Return a network's means over seeds and its runs; a network without a run has neither."""
    own = results.of(variant.name)
    means: dict[str, dict[str, Any]] = {}
    for place in places:
        names = dict.fromkeys(name for run in own for name in run.figures.get(place, {}))
        found = {name: results.spread(variant.name, place, name) for name in names}
        means[place] = {name: _spread(one) for name, one in found.items()}
    return {
        "label": variant.label or variant.name,
        "recipe": variant.model,
        "settings": dict(variant.settings),
        "means": means,
        "runs": {str(run.member.seed): _run(run, places) for run in own},
    }


def _spread(one: intervals.Spread) -> dict[str, Any]:
    return {"mean": one.mean, "low": one.low, "high": one.high, "seeds": one.n}


def _run(run: Result, places: list[str]) -> dict[str, Any]:
    """Return what one run found, with what it takes to do it again."""
    calibration, assessment = kept.calibration(run.member), kept.assessment(run.member)
    return {
        "folder": str(run.member.run.folder),
        "recipe": run.member.run.facts(),
        "checkpoint": calibration["checkpoint"] if calibration else None,
        "training": run.work,
        "validation": {run.own: run.figures.get(run.own)},
        "temperature": calibration["temperature"] if calibration else None,
        "operating_points": calibration["points"] if calibration else None,
        "calibration": calibration,
        "test": {
            f"{place}": (assessment or {"splits": {}})["splits"].get(place.rpartition("/")[2])
            for place in places
        },
        "inference": kept.timing(run.member),
    }


def lines(frame: Frame, results: Results) -> Iterator[dict[str, Any]]:
    """Yield a row for each run and place: every figure with the ends of its interval."""
    for variant in results.study.variants:
        for run in results.of(variant.name):
            calibration, timing = kept.calibration(run.member), kept.timing(run.member)
            about = {"network": variant.name, "seed": run.member.seed}
            costs = {"training_s": run.work.get("seconds"), "steps": run.work.get("steps")}
            if timing:
                costs |= {"parameters": timing["parameters"], "device": timing["device"]}
                for batch, one in timing["batches"].items():
                    costs[f"ms_per_image_batch_{batch}"] = one["ms_per_image"]
                    costs[f"images_per_s_batch_{batch}"] = one["images_per_s"]
            known = {"temperature": calibration["temperature"]} if calibration else {}
            for place in tables.places(frame, results):
                yield {**about, "place": place, **known, **_figures(run, place), **costs}


def _figures(run: Result, place: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value in run.figures.get(place, {}).items():
        found[name] = value
        ends = kept.interval(run.member, place, name)
        if ends:
            found |= {f"{name}_low": ends[0], f"{name}_high": ends[1]}
    return found


def _finite(value: Any) -> Any:
    """Return a value in JSON's types: what is not finite becomes null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict | list | tuple) or hasattr(value, "items"):
        if hasattr(value, "items"):
            return {str(key): _finite(item) for key, item in value.items()}
        return [_finite(item) for item in value]
    return value
