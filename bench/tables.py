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


def loader(facts: Facts) -> tuple[list[str], list[list[str]]]:
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
                f"**{name}**" if name == "nostall" else name,
                f"{rate['median']:,.0f} ({rate['min']:,.0f}-{rate['max']:,.0f})",
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


def short(spread: Mapping[str, float] | None) -> str:
    """Return a median with three digits."""
    return f"{spread['median']:.3g}" if spread else ""


TABLES: dict[str, Callable[[Facts], tuple[list[str], list[list[str]]]]] = {"loader": loader}


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
