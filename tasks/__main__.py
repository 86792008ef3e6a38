"""`python -m tasks …`: the use of a trained network. One file of tasks/commands a command."""

from __future__ import annotations

import click

from dataprep import flags
from tasks import commands


class Commands(flags.Group):
    """The files of tasks/commands, imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return commands.names()

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        return commands.load(name) if name in commands.names() else None


@click.group(cls=Commands, context_settings={"show_default": True})
def main() -> None:
    """Judge, use and look at what was trained; RUN is a run folder, such as runs/shufflemixer."""


if __name__ == "__main__":
    main()
