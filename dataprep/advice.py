"""Which way to store photographs: a rule over what each choice costs, and the report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from dataprep.progress import clock

# Sizes nearer than this are equal: then the faster choice is the better one.
SAME_SIZE = 1.05
# So many times as fast is worth a word, whatever it costs.
MUCH_FASTER = 1.5
HEAD = ("choice", "set", "samples/s", "CPU ms", "limit", "build", "what it changes")


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """One choice for the whole set, on this machine. flags: as typed, "" for the default.

    processor_per_s: samples a second as far as the processor goes; disk_per_s: as far as the disk
    does, where the set does not fit into memory, else None.
    """

    name: str
    flags: str
    lossless: bool
    changes: str
    size_bytes: float
    error_bytes: float
    build_s: float
    processor_per_s: float | None = None
    disk_per_s: float | None = None
    cpu_ms: float | None = None

    @property
    def samples_per_s(self) -> float | None:
        """Samples a second, None where that could not be measured."""
        if self.processor_per_s is None:
            return None
        return min(self.processor_per_s, self.disk_per_s or math.inf)

    @property
    def limit(self) -> Literal["processor", "storage", ""]:
        """What holds the samples back."""
        if self.samples_per_s is None:
            return ""
        return "processor" if self.samples_per_s == self.processor_per_s else "storage"

    def facts(self) -> dict[str, Any]:
        """Return the forecast as JSON has it."""
        return {
            "choice": self.name,
            "options": self.flags,
            "lossless": self.lossless,
            "changes": self.changes,
            "set_gb": round(self.size_bytes / 1e9, 6),
            "set_gb_error": round(self.error_bytes / 1e9, 6),
            "samples_per_s": _rounded(self.samples_per_s, 1),
            "limit": self.limit,
            "cpu_ms_per_sample": _rounded(self.cpu_ms, 4),
            "build_s": round(self.build_s, 1),
        }


@dataclass(frozen=True)
class Advice:
    """What to build. faster: a choice that is much faster, for which one pays; or None.

    why: one line; more: what else there is to know.
    """

    best: Forecast
    why: str
    faster: Forecast | None = None
    more: tuple[str, ...] = ()


def advise(forecasts: Sequence[Forecast], rate: float | None, cores: int) -> Advice:
    """Return what to build for a wanted rate, in samples a second, or for none.

    The frugal one of those that lose nothing, and with a rate, of those that are fast enough; where
    none of these loses nothing, of all that are fast enough.
    """
    lossless = [one for one in forecasts if one.lossless]
    if any(one.samples_per_s is None for one in forecasts):
        # The builder's own default: a crop of it is decoded alone.
        best = next((one for one in lossless if not one.flags), lossless[0])
        return Advice(best, "the builder's default, as speed could not be measured")
    fastest = max(forecasts, key=_speed)
    if rate is None:
        best = frugal(lossless)
        is_much = _speed(fastest) >= MUCH_FASTER * _speed(best)
        return Advice(best, _praise(best, lossless, "lose nothing"), fastest if is_much else None)
    enough = [one for one in forecasts if _speed(one) >= rate]
    if not enough:
        why = f"the fastest, but it misses {rate:,.0f} samples/s by {_missed(fastest, rate):.0%}"
        return Advice(fastest, why, more=_help(fastest, rate, cores))
    among = [one for one in enough if one.lossless] or enough
    best = frugal(among)
    what = "are fast enough" + (" and lose nothing" if best.lossless else "")
    why = f"{_praise(best, among, what)}; {_speed(best) / rate:.2f} × the {rate:,.0f} samples/s"
    return Advice(best, f"{why} asked for")


def frugal(forecasts: Sequence[Forecast]) -> Forecast:
    """Return the smallest, unless one that is hardly larger is faster: then the fastest such."""
    least = min(one.size_bytes for one in forecasts)
    near = [one for one in forecasts if one.size_bytes <= SAME_SIZE * least]
    return max(near, key=lambda one: (_speed(one), -one.size_bytes))


def _praise(best: Forecast, among: Sequence[Forecast], what: str) -> str:
    """Say in words why `frugal` chose this one."""
    least = min(among, key=lambda one: one.size_bytes)
    if best.size_bytes == least.size_bytes:
        return f"the smallest of those that {what}"
    return f"faster than {least.name}, the smallest of those that {what}, and hardly larger"


def _speed(one: Forecast) -> float:
    return one.samples_per_s or 0.0


def _missed(one: Forecast, rate: float) -> float:
    return 1 - _speed(one) / rate


def _help(one: Forecast, rate: float, cores: int) -> tuple[str, ...]:
    """Say what would bring the wanted rate."""
    lines = []
    if one.processor_per_s is not None and one.processor_per_s < rate:
        wanted = math.ceil(rate / (one.processor_per_s / cores))
        lines.append(f"{rate:,.0f} samples/s take {wanted} such cores; here are {cores}.")
    if one.disk_per_s is not None and one.disk_per_s < rate:
        times = rate / one.disk_per_s
        lines.append(f"It takes storage {times:.1f} times as fast, or memory for the whole set.")
    lines.append("A smaller --crop, or a smaller --resize-short, is faster too.")
    return tuple(lines)


def table(forecasts: Sequence[Forecast]) -> str:
    """Return the forecasts as aligned text."""
    lines = [HEAD, *map(_row, forecasts)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, tuple("─" * width for width in widths))
    sides = [str.ljust, *[str.rjust] * (len(HEAD) - 2), str.ljust]  # words, figures, words
    return "\n".join(
        "  ".join(
            side(cell, width) for side, cell, width in zip(sides, line, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def _row(one: Forecast) -> tuple[str, ...]:
    error = f"{100 * one.error_bytes / max(one.size_bytes, 1):.1f}"
    return (
        one.name,
        size(one.size_bytes) + ("" if error == "0.0" else f" ± {error} %"),
        "" if one.samples_per_s is None else f"{one.samples_per_s:,.0f}",
        "" if one.cpu_ms is None else f"{one.cpu_ms:.2f}",
        one.limit,
        clock(one.build_s),
        one.changes,
    )


def size(size_bytes: float) -> str:
    """Return bytes in words."""
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if size_bytes >= scale:
            return f"{size_bytes / scale:.3g} {unit}"
    return f"{size_bytes / 1e3:.3g} kB"


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
