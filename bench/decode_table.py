"""The tables of bench/decode.py, the fastest library first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import timing
from decoders import LIMIT, OWN_LIMIT

Facts = Mapping[str, Any]


def tables(libraries: Facts) -> str:
    """Return what was measured as text: by threads, in workers, and the loader's shares."""
    if not libraries:
        return "nothing was measured"
    many = sorted({int(one) for facts in libraries.values() for one in facts["threads"]})
    parts = [_threads(libraries, many)]
    if any(facts.get("workers") for facts in libraries.values()):
        parts.append(_workers(libraries))
    parts.append(_shares(libraries, many))
    return "\n\n".join(filter(None, parts))


def _threads(libraries: Facts, many: list[int]) -> str:
    head = ["from memory"]
    for count in many:
        head += [f"images/s, {count} thr.", "MP/s", "CPU ms", "× limit wall", "CPU"]
    rows = []
    for name in _fastest_first(libraries, many[0]):
        row = [name]
        for count in many:
            row += _cells(libraries[name]["threads"][str(count)])
        rows.append([*row, _difference(libraries[name])])
    return timing.table([*head, "off Pillow"], rows)


def _fastest_first(libraries: Facts, count: int) -> list[str]:
    return sorted(
        libraries,
        key=lambda name: -libraries[name]["threads"][str(count)]["images_per_s"]["median"],
    )


def _cells(facts: Facts) -> list[str]:
    rate, limit = facts["images_per_s"], facts.get("times_limit")
    return [
        f"{rate['median']:,.0f} ({rate['min']:,.0f}-{rate['max']:,.0f})",
        f"{facts['megapixels_per_s']['median']:,.0f}" if "megapixels_per_s" in facts else "",
        f"{facts['cpu_ms_per_image']['median']:.3g}",
        f"{limit['wall']['median']:.3g}" if limit else "",
        f"{limit['cpu']['median']:.3g}" if limit else "",
    ]


def _difference(facts: Facts) -> str:
    if "same" not in facts:
        return ""
    return f"{facts['mean']:.2g}" + ("" if facts["same"] else " different")


def _workers(libraries: Facts) -> str:
    names = [name for name in libraries if libraries[name].get("workers")]
    many = sorted({int(one) for name in names for one in libraries[name]["workers"]})
    rates = {name: _medians(libraries[name]["workers"]) for name in names}
    rows = []
    for name in sorted(names, key=lambda one: -max(rates[one].values())):
        alone = libraries[name]["threads"]["1"]["images_per_s"]["median"]
        best = max(rates[name].values())
        rows.append([name, *(f"{rates[name][one]:,.0f}" for one in many), f"{best / alone:.2f}"])
    head = ["in a DataLoader, images/s", *(f"{one} workers" for one in many), "best ÷ 1 thread"]
    return timing.table(head, rows)


def _medians(figures: Facts) -> dict[int, float]:
    return {int(many): facts["images_per_s"]["median"] for many, facts in figures.items()}


def _shares(libraries: Facts, many: list[int]) -> str:
    lines = []
    for count in many if "loader" in libraries else ():
        facts = libraries["loader"]["threads"][str(count)]
        shares = [
            f"{100 * facts[key]['wall']['median']:.0f} % of {name}"
            f" (CPU time {100 * facts[key]['cpu']['median']:.0f} %)"
            for key, name in (("times_limit", LIMIT), ("times_own_limit", OWN_LIMIT))
            if key in facts
        ]
        lines.append(
            f"the loader on {count} threads reaches {', '.join(shares) or 'no limit seen'}"
        )
    return "\n".join(lines)
