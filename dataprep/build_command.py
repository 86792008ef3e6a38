"""`python -m dataprep build SOURCE`: a subcommand a source, its options those of its dataclass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dataprep import build as builds
from dataprep import flags, manifest, show, sources

SETTINGS = {"show_default": True, "max_content_width": 100}

root_option = click.option(
    "--data-root", help="where built sets lie  [default: $NOSTALL_DATA, else ./data]"
)


class Sources(flags.Group):
    """One subcommand a source, its options those of the source's dataclass."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sources.names()

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in sources.names():
            raise click.UsageError(
                f"no such source: {name}; there are {', '.join(sources.names())}"
            )
        return _builder(name)


def _builder(name: str) -> click.Command:
    source = sources.load(name)
    raw_help = "folder, .zip or .tar(.gz), read in place"

    @click.command(name, cls=flags.Command, context_settings=SETTINGS, short_help=source.summary)
    @click.option("--raw", required=source.needs_raw, hidden=not source.needs_raw, help=raw_help)
    @click.option("--name", "set_name", default=name, help="name of the set")
    @root_option
    @click.option("--workers", type=click.IntRange(1), help="processes  [default: one a core]")
    @click.option(
        "--on-error",
        type=click.Choice(["fail", "skip"]),
        default="fail",
        help="a corrupt file: stop, or leave it out and list it",
    )
    @click.option("--overwrite", is_flag=True, help="replace a set of this name")
    @flags.options(source)
    def command(
        raw: str | None, set_name: str, data_root: str | None, overwrite: bool, **given: Any
    ) -> None:
        if Path(set_name).name != set_name or set_name.startswith("."):
            raise ValueError(f"--name is a plain name, not a path: {set_name!r}")
        folder = manifest.data_root(data_root) / set_name
        facts = builds.build(
            flags.replace(source(), given),
            raw,
            folder,
            workers=given["workers"],
            on_error=given["on_error"],
            overwrite=overwrite,
            say=lambda text: click.echo(text, err=True),
            show=True,
        )
        click.echo(show.table(facts))
        click.echo(f"built {folder}")

    command.help = _help(name)
    return command


def _help(name: str) -> str:
    source = sources.load(name)
    example = f"python -m dataprep build {name}" + (" --raw PATH" if source.needs_raw else "")
    return f"{source.summary[0].upper()}{source.summary[1:]}.\n\n\b\n{example}"
