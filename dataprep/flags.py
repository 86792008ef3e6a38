"""Command-line flags from dataclasses and signatures, so that no option is written twice.

`options(Recipe)` decorates a click command: each field with `metadata={"help": …}` is a flag, and
`replace(instance, given)` puts what was given over an instance. `typed(pairs, function)` reads
key=value pairs against a function's annotations. `Group` and `Command` answer a user's mistake by
one line and exit code 2; NOSTALL_TRACEBACK=1 shows where an error comes from.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType, NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import click

from dataprep.manifest import DataError

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

YES, NO = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def options(
    target: Any, choices: Mapping[str, Sequence[str]] = MappingProxyType({})
) -> Callable[[F], F]:
    """Decorate a click command with a flag for each field of a dataclass or of an instance.

    choices: field -> what may be chosen, for the help; its reader refuses others. An unset flag
    arrives as None (a repeatable one as an empty tuple), which `replace` passes over.
    """
    hints = get_type_hints(target if isinstance(target, type) else type(target))
    shown = [field for field in dataclasses.fields(target) if "help" in field.metadata]

    def decorate(command: F) -> F:
        for field in reversed(shown):  # click lists the last decorator first
            shown_as = f"[{'|'.join(choices[field.name])}]" if field.name in choices else None
            command = _option(field, hints[field.name], target, shown_as)(command)
        return command

    return decorate


def replace(instance: T, given: Mapping[str, Any]) -> T:
    """Return the instance with every value that was given; names of other commands are ignored."""
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(instance):  # type: ignore[arg-type]
        value = given.get(field.name)
        if value is None or (value == () and isinstance(getattr(instance, field.name), Mapping)):
            continue
        old = getattr(instance, field.name)
        changes[field.name] = {**old, **pairs(value)} if isinstance(old, Mapping) else value
    return dataclasses.replace(instance, **changes)  # type: ignore[type-var]


def pairs(texts: Sequence[str] | Mapping[str, Any]) -> dict[str, Any]:
    """Split "key=value" texts; ValueError for one without "="."""
    if isinstance(texts, Mapping):
        return dict(texts)
    for text in texts:
        if not text.partition("=")[1] or not text.partition("=")[0].strip():
            raise ValueError(f"want key=value, not {text!r}")
    split = (text.partition("=") for text in texts)
    return {key.strip().replace("-", "_"): value.strip() for key, _, value in split}


def typed(given: Sequence[str] | Mapping[str, Any], function: Callable[..., Any]) -> dict[str, Any]:
    """Convert key=value pairs by a function's annotations; values other than text stay.

    ValueError, one line, for a key that the function has not (lists those that it has) and for a
    value that does not fit.
    """
    hints = get_type_hints(_annotated(function))
    known = [
        name
        for name, parameter in inspect.signature(function).parameters.items()
        # What has neither a default nor a * before it is given by the program, not by a user.
        if parameter.kind is parameter.KEYWORD_ONLY or parameter.default is not parameter.empty
    ]
    values = {}
    for key, value in pairs(given).items():
        if key not in known:
            raise ValueError(f"unknown key {key!r}; there are: {', '.join(known) or 'none'}")
        try:
            values[key] = parse(value, hints.get(key, str)) if isinstance(value, str) else value
        except ValueError as error:
            raise ValueError(f"{key}={value}: {error}") from None
    return values


def _annotated(function: Any) -> Any:
    return function.__init__ if inspect.isclass(function) else function


def parse(text: str, hint: Any) -> Any:
    """Convert text by an annotation; ValueError says what was wanted."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return _parse_union(text, parts)
    if origin is Literal:
        for choice in parts:
            if text == str(choice):
                return choice
        raise ValueError(f"choose from {', '.join(map(str, parts))}")
    if origin is tuple:
        return _parse_tuple(text, parts)
    if hint is bool:
        if text.lower() in YES + NO:
            return text.lower() in YES
        raise ValueError("want true or false")
    if hint in (int, float):
        try:
            return hint(text)
        except ValueError:
            raise ValueError(f"want {'a whole number' if hint is int else 'a number'}") from None
    return text


def _parse_union(text: str, parts: tuple[Any, ...]) -> Any:
    if NoneType in parts and text.lower() in ("none", ""):
        return None
    whys = []
    for part in parts:
        if part is not NoneType:
            try:
                return parse(text, part)
            except ValueError as error:
                whys.append(str(error))
    raise ValueError(" or ".join([*whys, "none"] if NoneType in parts else whys))


def _parse_tuple(text: str, parts: tuple[Any, ...]) -> tuple[Any, ...]:
    items = [item.strip() for item in text.split(",") if item.strip()]
    if parts[-1] is Ellipsis:
        return tuple(parse(item, parts[0]) for item in items)
    if len(items) != len(parts):
        raise ValueError(f"want {len(parts)} values, comma separated")
    return tuple(parse(item, part) for item, part in zip(items, parts, strict=True))


class _Annotated(click.ParamType):  # type: ignore[type-arg]
    """A value by its annotation: number, text, tuple, optional."""

    def __init__(self, hint: Any) -> None:
        self.hint, self.name = hint, _named(hint)

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        try:
            return parse(value, self.hint) if isinstance(value, str) else value
        except ValueError as error:
            self.fail(f"{value!r}: {error}", param, ctx)


class _Choice(click.Choice):  # type: ignore[type-arg]
    """A Literal: choices are shown as text and arrive as what they are."""

    def __init__(self, hint: Any) -> None:
        self.hint = hint
        super().__init__([str(choice) for choice in get_args(hint)])

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        return parse(super().convert(str(value), param, ctx), self.hint)


def _option(
    field: dataclasses.Field[Any], hint: Any, target: Any, shown_as: str | None = None
) -> Callable[[F], F]:
    flag = field.metadata.get("flag", "--" + field.name.replace("_", "-"))
    shown = _default(field, target)
    facts: dict[str, Any] = {"help": field.metadata["help"], "default": None, "show_default": False}
    if shown is not None:
        facts["help"] += f"  [default: {shown}]"
    if get_origin(hint) is not None and issubclass(_plain(get_origin(hint)), Mapping):
        return click.option(flag, field.name, multiple=True, metavar="KEY=VALUE", **facts)
    if hint is bool:
        return click.option(f"{flag}/--no-{flag[2:]}", field.name, is_flag=True, **facts)
    kind = _Choice(hint) if get_origin(hint) is Literal else _Annotated(hint)
    return click.option(flag, field.name, type=kind, metavar=shown_as, **facts)


def _default(field: dataclasses.Field[Any], target: Any) -> str | None:
    """Return the default as a user would type it, None where there is none to show."""
    value: Any = field.default
    if not isinstance(target, type):
        value = getattr(target, field.name)
    elif field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    if value is dataclasses.MISSING or value is None or value in ("", ()):
        return None
    if isinstance(value, Mapping):
        return " ".join(f"{key}={item}" for key, item in value.items()) or None
    if isinstance(value, bool):
        return "on" if value else "off"
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _plain(origin: Any) -> type:
    return origin if isinstance(origin, type) else object


def _named(hint: Any) -> str:
    if get_origin(hint) is tuple:
        parts = get_args(hint)
        return f"{_named(parts[0])},…"
    if get_origin(hint) in (Union, UnionType):
        return _named(next(part for part in get_args(hint) if part is not NoneType))
    return {int: "integer", float: "number"}.get(hint, "text")


class _OneLine:
    """Answer a user's mistake by one line and exit code 2, never by a traceback."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        kwargs["standalone_mode"] = False
        try:
            code = super().main(*args, **kwargs)  # type: ignore[misc]
            sys.stdout.flush()  # here, where a closed pipe is still caught
        except BrokenPipeError:  # the reader, say `head`, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = 0
        except (click.Abort, KeyboardInterrupt):
            click.echo("stopped", err=True)
            code = 130
        except click.UsageError as error:
            code = _usage(error)
        except (click.ClickException, DataError, ValueError, OSError) as error:
            code = fail(error)
        sys.exit(code if isinstance(code, int) else 0)


class Group(_OneLine, click.Group):
    """A click group whose errors are one line."""


class Command(_OneLine, click.Command):
    """A click command whose errors are one line."""


def fail(error: Exception) -> int:
    """Print `error: …` in one line and return exit code 2."""
    if os.environ.get("NOSTALL_TRACEBACK"):
        raise error
    text = error.format_message() if isinstance(error, click.ClickException) else str(error)
    click.echo("error: " + " ".join(text.split()), err=True)
    return 2


def _usage(error: click.UsageError) -> int:
    if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):
        click.echo(error.format_message())
        return 0
    return fail(error)
