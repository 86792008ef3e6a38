"""Studies: one file each, the file's name is the name typed after `python -m jobs study`.

A study file defines `STUDY`, a `jobs.study.Study`; or, where it has options of its own, a frozen
dataclass `Options` (its fields with a help are flags, see `dataprep.flags`; what is a tuple may
get more items when the study goes on, what has "free" in its metadata may change; its function
`choices()`, where it has one, tells the items that a tuple may have), `SUMMARY` and
`study(options, execution) -> Study`, which is called before anything is there.
"""

from __future__ import annotations

import pkgutil
from dataclasses import dataclass, fields
from importlib import import_module
from types import ModuleType
from typing import Any

from jobs.study import Execution, Study


@dataclass(frozen=True, kw_only=True)
class Nothing:
    """The options of a study that has none."""


class Kind:
    """A study file, imported."""

    def __init__(self, name: str, module: ModuleType) -> None:
        self.name, self._module = name, module
        self.options: Any = getattr(module, "Options", Nothing)

    @property
    def summary(self) -> str:
        """What it compares, in a line."""
        fixed: Study | None = getattr(self._module, "STUDY", None)
        return fixed.summary if fixed else str(self._module.SUMMARY)

    @property
    def free(self) -> list[str]:
        """Names of the options that may change when the study goes on."""
        return [one.name for one in fields(self.options) if one.metadata.get("free")]

    @property
    def choices(self) -> dict[str, list[str]]:
        """What those of its options that are lists may hold, where it is known."""
        found: dict[str, list[str]] = getattr(self.options, "choices", dict)()
        return found

    def study(self, options: Any, execution: Execution) -> Study:
        """Return the study under these options."""
        fixed: Study | None = getattr(self._module, "STUDY", None)
        if fixed:
            return fixed
        made: Study = self._module.study(options, execution)
        return made


def names() -> list[str]:
    """Return the names of all studies."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name: str) -> Kind:
    """Import one study; ValueError lists the choices."""
    if name not in names():
        raise ValueError(f"no study {name!r}; there are: {', '.join(names())}")
    return Kind(name, import_module(f"{__name__}.{name}"))
