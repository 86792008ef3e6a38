"""Settings of a study's runs as text, key=value: what `--set` takes and a variant lists.

A key is a recipe's flag without its dashes (`lr`, `epochs`, `data`), or, for the settings of one
network, task or strategy, the flag and the name: `net.width`, `task.patch`, `strategy_option.x`.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, get_type_hints

from dataprep import flags
from loaders import strategies
from models import Recipe
from tasks.run.restore import recipe_of


def _keys() -> tuple[dict[str, str], dict[str, str]]:
    """Return key -> recipe field: of mappings (the part before the dot), and of all others."""
    mappings: dict[str, str] = {}
    plain: dict[str, str] = {}
    for field in dataclasses.fields(Recipe):
        if "help" not in field.metadata or field.name == "seed":  # seeds are the study's
            continue
        flag = field.metadata.get("flag", "--" + field.name)
        is_mapping = field.default_factory is not dataclasses.MISSING
        (mappings if is_mapping else plain)[flag[2:].replace("-", "_")] = field.name
    return mappings, plain


MAPPINGS, PLAIN = _keys()
STRATEGY_OPTION = "strategy_option"
BOOLEANS = {name for name, hint in get_type_hints(Recipe).items() if hint is bool}


def read(texts: tuple[str, ...]) -> dict[str, str]:
    """Return key=value texts by key; ValueError for a key that no recipe has, or given twice."""
    settings: dict[str, str] = {}
    for text in texts:
        ((key, value),) = flags.pairs([text]).items()
        if settings.get(key, value) != value:
            raise ValueError(f"--set {key} is given twice: {settings[key]!r} and {value!r}")
        settings[key] = value
    check(settings)
    return settings


def check(settings: Mapping[str, str]) -> None:
    """Refuse a key that no recipe has; the values are checked with a recipe."""
    for key in settings:
        if key == "seed":
            raise ValueError("seeds are given by --seeds 0,1,2")
        group, dot, name = key.partition(".")
        if (group not in MAPPINGS or not name) if dot else (key not in PLAIN):
            groups = ", ".join(f"{group}.NAME" for group in MAPPINGS)
            raise ValueError(f"unknown setting {key!r}; there are: {groups}, {', '.join(PLAIN)}")


def merged(settings: Mapping[str, str], overrides: Mapping[str, str]) -> dict[str, str]:
    """Return a variant's settings under a study's; whoever says epochs means no other's steps.

    An option of a strategy reaches the variants whose strategy has it.
    """
    kept = dict(settings)
    if "epochs" in overrides:
        kept.pop("steps", None)
    together = kept | dict(overrides)
    strategy = together.get("strategy")
    if strategy is None:
        return together
    foreign = {key for key in _options(overrides) if not _takes(strategy, _options(overrides)[key])}
    return {key: value for key, value in together.items() if key not in foreign}


def check_strategies(overrides: Mapping[str, str], compared: Sequence[str]) -> None:
    """Refuse an option that none of the strategies compared has."""
    for key, name in _options(overrides).items():
        if not any(_takes(strategy, name) for strategy in compared):
            raise ValueError(f"--set {key}: none of {', '.join(dict.fromkeys(compared))} has it")


def _options(overrides: Mapping[str, str]) -> dict[str, str]:
    """Return the overrides that are options of strategies, key -> name of the option."""
    parts = {key: key.partition(".") for key in overrides}
    return {key: name for key, (group, _, name) in parts.items() if group == STRATEGY_OPTION}


def _takes(strategy: str, name: str) -> bool:
    """True where a strategy has an option; candidates are for those that pick among them."""
    kind = strategies.load(strategy)
    known = {*inspect.signature(kind).parameters} - {"order"}
    return (name in known and (name != "candidates" or kind.picks())) or name in kind.tables


def recipe(model: str, settings: Mapping[str, str], seed: int) -> Recipe:
    """Return a recipe with these settings; ValueError where one does not fit."""
    check(settings)
    given: dict[str, Any] = {"seed": seed}
    for key, text in settings.items():
        group, dot, name = key.partition(".")
        if dot:
            given.setdefault(MAPPINGS[group], {})[name] = text
        else:
            given |= flags.typed({PLAIN[key]: text}, Recipe)
    return recipe_of(model, given)


def arguments(settings: Mapping[str, str]) -> list[str]:
    """Return settings as the arguments of train.py."""
    found: list[str] = []
    for key, text in settings.items():
        group, dot, name = key.partition(".")
        flag = "--" + group.replace("_", "-")
        if dot:
            found += [flag, f"{name}={text}"]
        elif PLAIN[key] in BOOLEANS:
            found.append(flag if flags.parse(text, bool) else f"--no-{flag[2:]}")
        else:
            found += [flag, text]
    return found


def launch_arguments(given: Mapping[str, Any]) -> list[str]:
    """Return launch flags that were typed as the arguments of train.py."""
    found: list[str] = []
    for name, value in given.items():
        flag = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            found.append(flag if value else f"--no-{flag[2:]}")
        elif isinstance(value, tuple):  # repeatable key=value
            found += [part for text in value for part in (flag, text)]
        elif value is not None:
            found += [flag, str(value)]
    return found
