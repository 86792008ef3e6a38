"""What the rounds of a workload come to: figures of every contestant, and the tables of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import timing
from files import size_bytes
from stalls import fetch_stall, prep_stall, utilisation
from timing import Spread
from workload import Setting, Workload

Rounds = Sequence[Mapping[str, Any]]
Results = Mapping[str, Rounds]
# Figures of emulated steps and of cold runs: key, head, factor. They stand where they were taken.
SHARES = (
    ("utilisation", "AU %", 100),
    ("wait_share", "wait %", 100),
    ("prep_stall", "prep stall %", 100),
    ("fetch_stall", "fetch stall %", 100),
    ("read_mb_per_s", "MB/s read", 1),
)


def summarise(results: Results, workload: Workload, work: Any) -> dict[str, dict[str, Any]]:
    """Return the figures of every contestant over its rounds."""
    unit, item = workload.unit, workload.item_bytes(work)
    rates = {n: [r["items"] / r["wall_s"] for r in rounds] for n, rounds in results.items()}
    costs = {n: [1e3 * r["cpu_s"] / r["items"] for r in rounds] for n, rounds in results.items()}
    summary = {}
    for name, rounds in results.items():
        facts: dict[str, Any] = {
            f"{unit}s_per_s": timing.spread(rates[name]),
            "mb_per_s": timing.spread([rate * item / 1e6 for rate in rates[name]]),
            f"cpu_ms_per_{unit}": timing.spread(costs[name]),
            "first_batch_s": timing.spread([r["first_s"] for r in rounds]),
            "anonymous_mb": timing.spread([r["anonymous_bytes"] / 1e6 for r in rounds]),
            "check": rounds[0]["check"],
            "digest": rounds[0].get("digest", ""),
        }
        facts |= _waits(rounds, work.batch)
        if folder := getattr(work, workload.contestants[name].reads, None):
            facts["disk_mb"] = round(size_bytes(Path(folder)) / 1e6, 1)
        if "nostall" in results:
            facts["nostall_times_faster"] = timing.ratios(rates["nostall"], rates[name])
            facts["nostall_times_less_cpu"] = timing.ratios(costs[name], costs["nostall"])
        for top in workload.against:
            if top.name in results:
                wall = timing.ratios(rates[name], rates[top.name])
                facts[top.key] = {"wall": wall, "cpu": timing.ratios(costs[top.name], costs[name])}
        summary[name] = facts
    return summary


def _waits(rounds: Rounds, batch: int) -> dict[str, Spread]:
    """Return the shares of an emulated accelerator's time, and the rate of cold reading."""
    facts: dict[str, list[float]] = {}
    for one in rounds:
        step_s, wall, steps = one.get("step_s", 0), one["wall_s"], one["items"] / batch
        if step_s:
            used = utilisation(step_s, steps, wall)
            warm_s = one.get("warm_step_s") or wall / steps
            facts.setdefault("utilisation", []).append(used)
            facts.setdefault("wait_share", []).append(1 - used)
            facts.setdefault("prep_stall", []).append(prep_stall(one["bare_step_s"], warm_s))
        if step_s and one.get("cold"):
            facts.setdefault("fetch_stall", []).append(fetch_stall(warm_s, wall / steps))
        if one.get("cold"):
            facts.setdefault("read_mb_per_s", []).append(one["read_bytes"] / 1e6 / wall)
    return {key: timing.spread(values) for key, values in facts.items()}


def table(summary: Mapping[str, Any], workload: Workload) -> str:
    """Return the table, the fastest first, without columns in which nothing stands."""
    return _filled([_head(workload), *rows(summary, workload)])


def _filled(lines: Sequence[Sequence[str]]) -> str:
    columns = [cells for cells in zip(*lines, strict=True) if any(cells[1:])]
    first, *others = zip(*columns, strict=True)
    return timing.table(first, others)


def _head(workload: Workload) -> list[str]:
    shown = [text for top in workload.against for text in top.heads]
    first = ["contestant", f"{workload.unit}s/s (min-max)", "MB/s", "CPU ms"]
    first += ["nostall is × wall", "× CPU", *shown, *(head for _, head, _ in SHARES)]
    return [*first, "first s", "MB anon.", "MB disk", "setting"]


def rows(summary: Mapping[str, Any], workload: Workload) -> list[list[str]]:
    """Return the lines of the table."""
    key, lines = f"{workload.unit}s_per_s", []
    for name in sorted(summary, key=lambda n: -summary[n][key]["median"]):
        facts = summary[name]
        rate = facts[key]
        against = [_short(facts.get(f"nostall_times_{what}")) for what in ("faster", "less_cpu")]
        for top in workload.against:
            share, times = facts.get(top.key, {}), 100 if top.percent else 1
            against += [_short(share.get(w), times) for w in ("wall", "cpu")[: len(top.heads)]]
        lines.append(
            [
                name,
                f"{rate['median']:,.0f} ({rate['min']:,.0f}-{rate['max']:,.0f})",
                f"{facts['mb_per_s']['median']:,.0f}",
                _short(facts[f"cpu_ms_per_{workload.unit}"]),
                *against,
                *(_short(facts.get(key), times) for key, _, times in SHARES),
                f"{facts['first_batch_s']['median']:.1f}",
                f"{facts['anonymous_mb']['median']:,.0f}",
                f"{facts['disk_mb']:,.0f}" if "disk_mb" in facts else "",
                words(facts.get("setting", {})),
            ]
        )
    return lines


def _short(spread: Spread | None, times: float = 1) -> str:
    return f"{times * spread['median']:.3g}" if spread else ""


def fairness(summary: Mapping[str, Any], workload: Workload) -> str:
    """Return a line for each contestant: what its batches held, and which settings were tried.

    In brackets: how far a figure lies from the baseline's.
    """
    seen = [facts["check"] for facts in summary.values()]
    keys = list(dict.fromkeys(key for check in seen for key in check))
    base = summary.get(workload.baseline, {}).get("check", {})
    lines = [["batches hold", *keys, "digest", f"tried ({workload.unit}s/s)"]]
    for name, facts in summary.items():
        own = name == workload.baseline
        cells = [_beside(facts["check"].get(key), None if own else base.get(key)) for key in keys]
        chosen, tried = words(facts.get("setting", {})), facts.get("tried", [])
        text = ", ".join(f"{words(setting)} {rate:,.0f}" for setting, rate, _ in tried)
        lines.append([name, *cells, facts["digest"], text or chosen])
    return _filled(lines)


def _beside(value: Any, base: Any) -> str:
    if value is None or not isinstance(value, float):
        return "" if value is None else str(value)
    return f"{value:.4g}" + (f" ({value - base:+.2g})" if isinstance(base, float) else "")


def words(setting: Setting) -> str:
    """Return a setting as text."""
    return " ".join(f"{key}={value}" for key, value in setting.items())
