"""Tables of README and bench/README: every number comes from a committed result line.

    python bench/tables.py [--check]

Between `<!-- results BENCH key=value … -->` and `<!-- end -->` of a document stands the newest line
of results/BENCH.jsonl that is whole, not quick and has these values (`set.files=…` looks inside).
`--check` writes nothing and exits 1 where a document says anything else.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import results

from dataprep.manifest import DataError

Facts = Mapping[str, Any]
Table = tuple[list[str], list[list[str]]]
DOCUMENTS = ("README.md", "bench/README.md")
_PLACE = re.compile(r"(<!-- results (\S+)((?: \S+=\S+)*) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(text: str, folder: Path) -> str:
    """Return a document with its tables made anew; DataError where there is no such result."""

    def table(found: re.Match[str]) -> str:
        head, bench, wanted, end = map(str, found.groups())
        facts: Facts = newest(folder, bench, dict(pair.split("=", 1) for pair in wanted.split()))
        rows: str = markdown(*TABLES[bench](facts))
        return f"{head}{rows}\n{source(facts)}\n{end}"

    return str(_PLACE.sub(table, text))


def newest(folder: Path, bench: str, wanted: Mapping[str, str]) -> Facts:
    """Return the newest result that has these values; DataError where there is none."""
    path = folder / f"{bench}.jsonl"
    lines: list[Facts] = list(results.read(path))
    for facts in reversed(lines):
        whole = not facts.get("quick") and facts.get("complete", True)
        if whole and all(str(inside(facts, key)) == value for key, value in wanted.items()):
            return facts
    raise DataError(path, "", f"no whole result has {dict(wanted)}")


def inside(facts: Any, key: str) -> Any:
    """Return the value at a dotted key, None where there is none."""
    for part in key.split("."):
        facts = facts.get(part) if isinstance(facts, Mapping) else None
    return facts


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def source(facts: Facts) -> str:
    """Say where and when a result was measured."""
    machine = facts["machine"]
    place = f"{machine['cpu']}, {machine['cores']} cores, {machine['ram_gb']} GB"
    return f"\n{facts['when'][:10]}, {place}, Python {machine['python']}, commit {facts['commit']}."


def loader(facts: Facts) -> Table:
    """Return the table of bench/loader.py."""
    contestants = facts["contestants"]
    unit = next(key for key in next(iter(contestants.values())) if key.endswith("s_per_s"))
    unit = unit.removesuffix("s_per_s")
    head = ["contestant", f"{unit}s/s (min-max)", "CPU ms", "nostall is × wall", "× CPU"]
    head += ["first s", "MB anon.", "MB disk", "setting"]
    rows = []
    for name in sorted(contestants, key=lambda n: -contestants[n][f"{unit}s_per_s"]["median"]):
        own = contestants[name]
        rate = own[f"{unit}s_per_s"]
        rows.append(
            [
                _bold(name),
                _rate(rate),
                short(own.get(f"cpu_ms_per_{unit}")),
                short(own.get("nostall_times_faster")),
                short(own.get("nostall_times_less_cpu")),
                f"{own['first_batch_s']['median']:.1f}",
                f"{own['anonymous_mb']['median']:,.0f}",
                f"{own['disk_mb']:,.0f}" if "disk_mb" in own else "",
                " ".join(f"{key}={value}" for key, value in own.get("setting", {}).items()),
            ]
        )
    return head, rows


def accelerators(facts: Facts) -> Table:
    """Return the table of bench/accelerators.py."""
    rows, found = [], facts["contestants"]
    for name in sorted(found, key=lambda n: -found[n]["samples_per_s"]):
        own = found[name]
        tried = ", ".join(f"{n}: {100 * au:.1f} %" for n, au in own["au"].items())
        rate, share = f"{own['samples_per_s']:,.0f}", f"{own['share_of_one']:.2f}"
        setting = " ".join(f"{key}={value}" for key, value in own.get("setting", {}).items())
        rows.append([_bold(name), str(own["accelerators"]), tried, rate, share, setting])
    return ["contestant", "feeds", "AU by number", "samples/s at most", "of one", "setting"], rows


def decode(facts: Facts) -> Table:
    """Return the table of bench/decode.py, the least CPU time first."""
    libraries = facts["libraries"]
    counts = sorted(next(iter(libraries.values()))["threads"], key=int)
    head = ["library"]
    for count in counts:
        head += [f"images/s, {count} thr.", "CPU ms", "× limit (CPU)"]
    rows = []
    for name in sorted(libraries, key=lambda n: _cpu_ms(libraries[n], counts[0])):
        row = [_bold(name) if name in ("loader", "nostall", "nostall-box") else name]
        for count in counts:
            own = libraries[name]["threads"][count]
            limit = own.get("times_limit", {}).get("cpu")
            row += [_rate(own["images_per_s"]), short(own["cpu_ms_per_image"]), short(limit)]
        rows.append(row)
    return head, rows


def step(facts: Facts) -> Table:
    """Return the table of bench/step.py."""
    rows = []
    for model, found in facts["recipes"].items():
        for name, own in found["contestants"].items():
            shares = [own.get(key) for key in ("efficiency", "wait_share")]
            cells = [f"{100 * share['median']:.2f} %" if share else "" for share in shares]
            rate = f"{own['samples_per_s']['median']:,.1f}"
            rows.append([model, name, rate, short(own["step_ms"]), *cells])
    return ["recipe", "batches", "samples/s", "step ms", "efficiency", "wait share"], rows


def plan(facts: Facts) -> Table:
    """Return the table of bench/plan.py."""
    rows = [
        [
            row["files"],
            row["choice"],
            f"{row['foretold']['samples_per_s']:,.0f}",
            f"{row['measured']:,.0f}",
            f"{row['off_percent']:+.1f}",
            f"{row['wall_off_percent']:+.1f}",
            f"{row['size_off_percent']:+.1f}",
        ]
        for row in facts["forecasts"]
    ]
    head = ["files", "choice", "foretold samples/s", "measured, best", "off %"]
    return [*head, "off the wall median %", "size off %"], rows


def cold(facts: Facts) -> Table:
    """Return the table of bench/cold.py."""
    rows = []
    for name, own in facts["contestants"].items():
        share = f"{100 * own['share_of_sequential']['median']:.0f}"
        images = f"{own['images_per_s']['median']:,.0f}"
        rows.append([name, _rate(own["mb_per_s"]), share, images, own["what"]])
    return ["contestant", "MB/s (min-max)", "% of sequential", "images/s", "what"], rows


def short(spread: Mapping[str, float] | None) -> str:
    """Return a median with three digits."""
    return f"{spread['median']:.3g}" if spread else ""


def _cpu_ms(library: Facts, threads: str) -> float:
    return float(library["threads"][threads]["cpu_ms_per_image"]["median"])


def _rate(spread: Mapping[str, float]) -> str:
    return f"{spread['median']:,.0f} ({spread['min']:,.0f}-{spread['max']:,.0f})"


def _bold(name: str) -> str:
    return f"**{name}**" if name.startswith(("nostall", "loader")) else name


def fixation_metrics(facts: Facts) -> Table:
    """Return the table of bench/fixation_metrics.py."""
    images = facts["work"]["images"]
    head = ["contestant", "images/s (min-max)", "CPU ms", f"{images:,} images take", "MB"]
    rows = []
    for name, own in facts["contestants"].items():
        rows.append(
            [
                _bold(name),
                "{median:.2f} ({min:.2f}-{max:.2f})".format(**own["images_per_s"]),
                f"{own['cpu_ms_per_image']['median']:,.0f}",
                f"{own['extrapolated_s']['median'] / 60:.1f} min",
                f"{own['peak_mb']['median']:,.0f}",
                short(own["nostall_times_faster"]),
                short(own["nostall_times_less_cpu"]),
            ]
        )
    return [*head, "nostall-1 is × wall", "× CPU"], rows


def strategies(facts: Facts) -> Table:
    """Return the table of bench/strategies.py."""
    head = ["strategy", "loader: µs a sample beside random", "training: samples/s (min-max)"]
    rows = []
    for name, own in facts["strategies"].items():
        loader, training = own["loader"], own["training"]
        rows.append(
            [
                f"`{name}`",
                f"{loader['us_beside_random']['median']:+.2f}",
                _rate(training["samples_per_s"]),
                f"{training['times_wall']['median']:.2f}",
                f"{training['times_cpu']['median']:.2f}",
            ]
        )
    return [*head, "× random's time", "× CPU"], rows


TABLES: dict[str, Callable[[Facts], Table]] = {
    "accelerators": accelerators,
    "cold": cold,
    "decode": decode,
    "fixation_metrics": fixation_metrics,
    "loader": loader,
    "plan": plan,
    "step": step,
    "strategies": strategies,
}


@click.command()
@click.option("--check", is_flag=True, help="change nothing; exit code 1 where a table is old")
def main(check: bool) -> None:
    """Write the tables of the documents from the committed results."""
    old = []
    for name in DOCUMENTS:
        path = results.ROOT / name
        text = path.read_text()
        try:
            new = filled(text, results.FOLDER)
        except DataError as error:
            print(f"{name}: {error}", file=sys.stderr)
            raise SystemExit(2) from None
        if new != text and check:
            old.append(name)
        elif new != text:
            path.write_text(new)
    if old:
        print(f"tables differ from bench/results: {', '.join(old)}: run python bench/tables.py")
        raise SystemExit(1)


if __name__ == "__main__":
    main()
