"""Flags from dataclasses: typed, shown with choices and defaults, given values over an instance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import click
import pytest
from click.testing import CliRunner

from dataprep import flags
from dataprep.manifest import DataError


def knob(default: Any, text: str, **more: str) -> Any:
    return field(default=default, metadata={"help": text, **more})


@dataclass(frozen=True, kw_only=True)
class Settings:
    task: str = "fixed"  # no help: no flag
    name: str = knob("a", "a text")
    batch_size: int = knob(8, "a whole number")
    rate: float = knob(0.5, "a number")
    is_fast: bool = knob(False, "a switch")
    mode: Literal["slow", "quick"] = knob("slow", "a choice")
    level: Literal[0, 480] = knob(0, "a choice of numbers")
    betas: tuple[float, float] = knob((0.9, 0.99), "two numbers")
    scales: tuple[int, ...] = knob((2,), "some numbers")
    limit: int | None = knob(None, "a number or none")
    net: Mapping[str, Any] = field(
        default_factory=lambda: MappingProxyType({"size": "tiny"}), metadata={"help": "pairs"}
    )
    extra: Mapping[str, Any] = field(
        default_factory=dict, metadata={"help": "pairs", "flag": "--more"}
    )


BASE = Settings(name="given", batch_size=4)


def command(target: Any = Settings) -> click.Command:
    @click.command(cls=flags.Command)
    @flags.options(target)
    def main(**given: Any) -> None:
        print(flags.replace(BASE, given | {"unknown": 1}))

    return main


def run(*args: str) -> Any:
    return CliRunner().invoke(command(), args)


@pytest.mark.parametrize(
    ("args", "want"),
    [
        ("", {}),
        ("--name b", {"name": "b"}),
        ("--batch-size 16", {"batch_size": 16}),
        ("--rate 1e-3", {"rate": 1e-3}),
        ("--is-fast", {"is_fast": True}),
        ("--no-is-fast", {"is_fast": False}),
        ("--mode quick", {"mode": "quick"}),
        ("--level 480", {"level": 480}),
        ("--betas 0.5,0.6", {"betas": (0.5, 0.6)}),
        ("--scales 2,3,4", {"scales": (2, 3, 4)}),
        ("--limit 3", {"limit": 3}),
        ("--limit none", {}),
        ("--net scale=2 --net a-b=c=d", {"net": {"size": "tiny", "scale": "2", "a_b": "c=d"}}),
        ("--more x=1", {"extra": {"x": "1"}}),
    ],
)
def test_values(args: str, want: dict[str, Any]) -> None:
    result = run(*args.split())
    facts = {**vars(BASE), **want}
    assert result.stdout.strip() == str(Settings(**facts)), result.stderr


@pytest.mark.parametrize(
    ("args", "why"),
    [
        ("--batch-size x", "want a whole number"),
        ("--rate x", "want a number"),
        ("--mode x", "'slow', 'quick'"),
        ("--level 1", "'0', '480'"),
        ("--betas 1", "want 2 values"),
        ("--scales 2,x", "want a whole number"),
        ("--net scale", "want key=value"),
        ("--task x", "No such option"),
        ("stray", "unexpected extra argument"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(args: str, why: str) -> None:
    result = run(*args.split())
    assert result.exit_code == 2 and result.stdout == ""
    assert result.stderr.startswith("error: ") and why in result.stderr
    assert result.stderr.count("\n") == 1


def test_help_shows_choices_and_defaults() -> None:
    text = " ".join(run("--help").stdout.split())
    for part in ("[slow|quick]", "[0|480]", "[default: 0.9,0.99]", "[default: size=tiny]"):
        assert part in text
    assert "--is-fast / --no-is-fast" in text and "[default: off]" in text
    assert "--more KEY=VALUE" in text and "--task" not in text
    assert "[default: 8]" in text and "[default: 4]" not in text
    of_instance = CliRunner().invoke(command(BASE), ["--help"]).stdout
    assert "[default: 4]" in of_instance and "[default: given]" in of_instance


def network(
    *, size: Literal["base", "tiny"] = "base", scale: Literal[2, 3, 4] = 4, kernel: int | None = 7
) -> None:
    """Stand in for a network's build."""


class Strategy:
    """Stand in for a strategy: the first argument is not the user's."""

    def __init__(self, *, decay: float = 0.5, is_on: bool = True) -> None:
        self.decay = decay


def test_typed_pairs() -> None:
    given = ["size=tiny", "scale=2", "kernel=none"]
    assert flags.typed(given, network) == {"size": "tiny", "scale": 2, "kernel": None}
    assert flags.typed({"kernel": 21, "scale": "3"}, network) == {"kernel": 21, "scale": 3}
    assert flags.typed(["decay=1", "is-on=no"], Strategy) == {"decay": 1.0, "is_on": False}
    assert flags.typed([], network) == {}


@pytest.mark.parametrize(
    ("pair", "why"),
    [
        ("sise=tiny", "unknown key 'sise'; there are: size, scale, kernel"),
        ("size=huge", "size=huge: choose from base, tiny"),
        ("scale=5", "scale=5: choose from 2, 3, 4"),
        ("kernel=x", "kernel=x: want a whole number"),
        ("size", "want key=value"),
        ("=3", "want key=value"),
    ],
)
def test_typed_refuses(pair: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as error:
        flags.typed([pair], network)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "error", [DataError("a", "b", "c\nd"), ValueError("x"), OSError(28, "full", "file")]
)
def test_errors_of_a_user_are_one_line(error: Exception) -> None:
    @click.group(cls=flags.Group)
    def main() -> None: ...

    @main.command("go")
    def go() -> None:
        raise error

    result = CliRunner().invoke(main, ["go"])
    assert result.exit_code == 2 and result.stderr.count("\n") == 1
    assert result.stderr.startswith("error: ")
    assert CliRunner().invoke(main, ["gone"]).stderr.startswith("error: No such command 'gone'.")
    assert "go" in CliRunner().invoke(main, []).stdout


def test_our_own_mistakes_keep_their_traceback() -> None:
    @click.command(cls=flags.Command)
    def main() -> None:
        raise KeyError("ours")

    assert isinstance(CliRunner().invoke(main).exception, KeyError)
