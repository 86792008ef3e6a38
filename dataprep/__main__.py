"""The command line of the offline stage: `python -m dataprep --help`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from dataprep import build as builds
from dataprep import export, flags, forecast, manifest, preview, show, sources, verify
from dataprep.build_command import SETTINGS, Sources, root_option
from dataprep.manifest import DataError
from dataprep.progress import Progress
from dataprep.raw import Raw

set_argument = click.argument("name", metavar="SET")


@click.group(cls=flags.Group, context_settings=SETTINGS)
def main() -> None:
    """Convert a raw source once into a built set that every training reads.

    \b
    python -m dataprep list
    python -m dataprep build sample
    python -m dataprep info sample

    SET is a name under the data root, or a path.
    """


@main.command("list")
@root_option
def list_(data_root: str | None) -> None:
    """Show the sources and the sets that are built.

    \b
    python -m dataprep list
    """
    print("sources (python -m dataprep build SOURCE --help)")
    width = max(map(len, sources.names()))
    for name in sources.names():
        print(f"  {name:<{width}}  {sources.load(name).summary}")
    root = manifest.data_root(data_root)
    built = list(show.sets(root))
    print(f"sets in {root}" + ("" if built else ": none"))
    width = max((len(name) for name, _ in built), default=0)
    for name, state in built:
        print(f"  {name:<{width}}  {state}")


@main.command("build", cls=Sources, subcommand_metavar="SOURCE [OPTIONS]")
def build_() -> None:
    """Build a set from a raw source. A build that was stopped goes on where it was.

    \b
    python -m dataprep build images --raw ~/photos --name photos
    python -m dataprep build df2k --raw ~/DF2K --workers 16
    python -m dataprep build srbench --raw ~/benchmark
    python -m dataprep build imagefolder --raw ~/flowers --val-fraction 0.1
    """


@main.command("download")
@click.argument("source")
@click.option("--to", help="folder of the files  [default: DATA_ROOT/raw/SOURCE]")
@click.option("--only", multiple=True, metavar="FILE", help="this file alone; repeatable")
@click.option(
    "--list", "listing", is_flag=True, help="show the files and what is there; ask nobody"
)
@click.option("--yes", is_flag=True, help="fetch without asking")
@click.option(
    "--retries", type=click.IntRange(0), default=5, help="failures without a new byte, an address"
)
@click.option(
    "--mirror",
    envvar="NOSTALL_MIRROR",
    show_envvar=True,
    help="address of a folder with the same files, instead of the official ones",
)
@root_option
def download_(
    source: str,
    to: str | None,
    only: tuple[str, ...],
    listing: bool,
    yes: bool,
    retries: int,
    mirror: str | None,
    data_root: str | None,
) -> None:
    """Fetch the public files of a source, ready for its build. A stopped download goes on.

    \b
    python -m dataprep download mit1003 --list
    python -m dataprep download mit1003
    python -m dataprep download mnist --to ~/mnist --yes
    python -m dataprep download df2k --only DIV2K_valid_HR.zip
    python -m dataprep download mnist --mirror https://mirror.example.org/mnist

    Files that are there are checked and kept; a part is continued; what is wrong is put aside as
    FILE.bad. Checksums are the published ones; where there is none, the first download's is kept
    in checksums.json and asked for from then on. Proxies: set HTTPS_PROXY.
    """
    from dataprep import download  # what it needs for HTTP is slow to import

    folder = Path(to) if to else manifest.data_root(data_root) / "raw" / source
    offer, step = download.offer(source, mirror), download.build_command(source, folder, data_root)
    if not offer.files and not sources.load(source).needs_raw:
        print(f"{source} needs no download; next:\n  {step}")
        return
    if not offer.files:
        own = f"{source} takes files of your own: python -m dataprep build {source} --raw FOLDER"
        print(offer.steps or own)
        raise ValueError(f"{source} has no public files to fetch")

    def say(text: str) -> None:
        click.echo(text, err=True)

    standings = download.survey(offer.files, folder, only, hashed=not listing, say=say)
    print(download.table(standings, folder))
    if listing:
        return
    if any(one.is_todo for one in standings) and not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("no terminal to ask on: --yes fetches, --list shows")
        click.confirm("fetch?", default=True, abort=True, err=True)
    download.bring(standings, folder, retries, say)
    print(download.closing(source, offer, folder, step))


@main.command("plan")
@click.option("--raw", required=True, help="folder, .zip or .tar(.gz) of photographs")
@click.option(
    "--crop", type=click.IntRange(1), default=224, help="pixels of a training crop's side"
)
@click.option("--batch", type=click.IntRange(1), default=64, help="samples of a batch")
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="samples a second wanted")
@click.option("--samples", type=click.IntRange(16), default=256, help="images to measure with")
@click.option("--threads", type=click.IntRange(0), default=0, help="of the loader; 0: one a core")
@click.option(
    "--resize-short", "short", type=click.IntRange(0), default=0, help="0: 1.15 × the crop"
)
@click.option("--quality", type=click.IntRange(0, 100), default=0, help="0: 90, where resized")
@click.option("--json", "as_json", is_flag=True, help="the report as JSON")
def plan_(raw: str, as_json: bool, **given: Any) -> None:
    """Tell how to store photographs: size and samples/s of each way, measured here on a sample.

    \b
    python -m dataprep plan --raw ~/flowers
    python -m dataprep plan --raw ~/flowers --rate 5000 --crop 160
    """
    question = forecast.Question(**given)
    report = forecast.forecast(Raw(raw), question, lambda text: click.echo(text, err=True))
    print(json.dumps(report.facts(), indent=1) if as_json else report.text())


@main.command("verify")
@set_argument
@root_option
@click.option("--workers", type=click.IntRange(1), help="threads  [default: one a core]")
@click.option("--decode", is_flag=True, help="decode every encoded image as well")
def verify_(name: str, data_root: str | None, workers: int | None, decode: bool) -> None:
    """Hash every file again and check the index: one line a fault, exit code 1 if there is any.

    \b
    python -m dataprep verify sample
    python -m dataprep verify photos --decode
    """
    folder = manifest.locate(name, data_root)
    facts = manifest.load(folder)
    with Progress(f"verify {folder.name}", len(facts.files), unit="files") as progress:
        count, tell = workers or builds.cores(), lambda size_bytes: progress.add(1, size_bytes)
        faults = list(verify.verify(folder, count, tell, decode))
    for fault in faults:
        print(f"{folder}: {fault}")
    if faults:
        sys.exit(1)
    print(f"{folder}: {len(facts.files):,} files and {facts.samples:,} samples are as built")


@main.command("info")
@set_argument
@root_option
@click.option("--json", "as_json", is_flag=True, help="the whole manifest as JSON")
def info(name: str, data_root: str | None, as_json: bool) -> None:
    """Print what a set holds and how it was made.

    \b
    python -m dataprep info sample
    python -m dataprep info sample --json
    """
    facts = manifest.load(manifest.locate(name, data_root))
    if as_json:
        print(json.dumps(facts.facts() | {"fingerprint": facts.fingerprint}, indent=1))
    else:
        print(show.table(facts))


@main.command("preview")
@set_argument
@root_option
@click.option("--out", type=Path, help="PNG to write  [default: SET_preview.png]")
@click.option("--samples", type=click.IntRange(1), default=6, help="rows of the sheet")
@click.option("--window", type=click.IntRange(12), default=240, help="pixels of the finest field")
def preview_(name: str, data_root: str | None, out: Path | None, samples: int, window: int) -> None:
    """Write a contact sheet of stored samples, all pixel fields side by side.

    \b
    python -m dataprep preview sample --samples 10
    """
    folder = manifest.locate(name, data_root)
    out = out or Path(f"{folder.name}_preview.png")
    try:
        rows = preview.preview(folder, out, samples, window)
    except ValueError as error:
        raise DataError(out, "", f"cannot be written ({error})") from None
    print(f"{rows} samples in {out}")


@main.command("export")
@set_argument
@root_option
@click.option("--to", required=True, type=click.Choice(list(export.FORMATS)), help="the format")
@click.option("--split", "splits", multiple=True, help="repeatable  [default: each sample once]")
@click.option("--out", type=Path, help="folder to write  [default: SET_FORMAT]")
@click.option("--field", help="the image field  [default: the only one; of jsonl all]")
@click.option("--overwrite", is_flag=True, help="replace an earlier export")
def export_(
    name: str,
    data_root: str | None,
    to: str,
    splits: tuple[str, ...],
    out: Path | None,
    field: str | None,
    overwrite: bool,
) -> None:
    """Write a set for other programs: CSV, a folder a class, or JSON lines beside images.

    \b
    python -m dataprep export mnist --to csv --split train_all --split test
    python -m dataprep export cifar10 --to folder --split test --out ~/cifar
    """
    folder = manifest.locate(name, data_root)
    out = out or Path(f"{folder.name}_{to}")
    counts = export.export(folder, to, out, splits, field, overwrite)
    listed = ", ".join(f"{split} {count:,}" for split, count in counts.items())
    print(f"{listed} in {out}")


if __name__ == "__main__":
    main(prog_name="python -m dataprep")
