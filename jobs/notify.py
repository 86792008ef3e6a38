"""Tell somebody how a study went, by Apprise: mail, chat and some hundred services, each an URL.

An URL may hold a password: it is neither printed nor recorded, and the library's own words, which
may hold it too, are kept silent.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import click

Kind = Literal["success", "failure", "warning"]
MOST = 1500  # characters of a text: what most services take


class Notice:
    """Where to send what; without an URL nothing is sent. ValueError for one that is none."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._services: list[Any] = []
        if urls:
            import apprise  # here: it takes a while, and few studies ask for it

            logger = logging.getLogger("apprise")
            logger.handlers, logger.propagate = [logging.NullHandler()], False
            for number, url in enumerate(urls, 1):
                service = apprise.Apprise()
                with warnings.catch_warnings():  # of old modules that its plugins import
                    warnings.simplefilter("ignore")
                    known = service.add(url)
                if not known:
                    raise ValueError(
                        f"--notify: {_named(number, urls)} is no URL that Apprise knows (it is not"
                        " shown, since it may hold a password)"
                    )
                self._services.append(service)

    def send(self, title: str, lines: Sequence[str], kind: Kind) -> None:
        """Send to all; what cannot be sent is said in a line, and stops nothing."""
        text = "\n".join(lines)
        text = text if len(text) <= MOST else f"…{text[-MOST:]}"
        for number, service in enumerate(self._services, 1):
            name = _named(number, self._services)
            try:
                why = "" if service.notify(text, title, kind) else "its service took it not"
            except Exception as error:  # a plugin's: a study that was run must not fail by it
                why = type(error).__name__
            if why:
                click.echo(f"--notify: {name} could not be told ({why})", err=True)


def named(failed: Mapping[str, str]) -> list[str]:
    """Return what failed and why, a line each."""
    return [f"{label}: {why}" for label, why in failed.items()]


def _named(number: int, of: Sequence[object]) -> str:
    return "the URL" if len(of) == 1 else f"URL {number} of {len(of)}"
