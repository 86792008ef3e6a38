"""Studies: one file each, the file's name is the name typed after `python -m jobs study`.

A study file defines `STUDY`, a `jobs.study.Study`.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module

from jobs.study import Study


def names() -> list[str]:
    """Return the names of all studies."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name: str) -> Study:
    """Import one study; ValueError lists the choices."""
    if name not in names():
        raise ValueError(f"no study {name!r}; there are: {', '.join(names())}")
    study: Study = import_module(f"{__name__}.{name}").STUDY
    return study
