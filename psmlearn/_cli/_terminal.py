# SPDX-License-Identifier: BSD-3-Clause
"""What commands say: plain lines that are safe to show, each warning once."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

import click

from psmlearn.exceptions import PsmlearnWarning
from psmlearn.io._paths import printable

N_TOLD = 5
# What is wrong with files or the machine, and told in one line without a traceback.
PLAIN_ERRORS = (ValueError, TypeError, OSError, FloatingPointError, MemoryError)


class Terminal:
    """Lines to standard output and standard error."""

    def __init__(self) -> None:
        self._escaped: dict[str, str] = {}
        self._told: set[str] = set()
        self._kinds: set[type[Warning]] = set()
        self._muted: set[type[Warning]] = set()

    def know(self, names: Iterable[str]) -> None:
        """Learn names of files, so that they stay one line within longer texts."""
        odd = {name: printable(name) for name in names if not name.isprintable()}
        self._escaped |= odd
        # A path holds names: the longer go first.
        self._escaped = dict(
            sorted(self._escaped.items(), key=lambda item: -len(item[0]))
        )

    def plain(self, text: str) -> str:
        """Return text without what would steer a terminal; it may have lines."""
        for name, escaped in self._escaped.items():
            text = text.replace(name, escaped)
        return "\n".join(printable(line) for line in text.split("\n"))

    def say(self, text: str, *, err: bool = False) -> None:
        """Write text; a terminal that lacks a letter, or is gone, ends no run."""
        text = self.plain(text)
        stream = sys.stderr if err else sys.stdout
        encoding = getattr(stream, "encoding", None) or "utf-8"
        text = text.encode(encoding, "backslashreplace").decode(encoding)
        with suppress(OSError, ValueError):  # ValueError: the stream is closed
            click.echo(text, err=err)

    def mute_told(self) -> None:
        """Say no more of the kinds of warnings that were given so far."""
        self._muted |= self._kinds

    @contextmanager
    def listening(self, *, messages: bool) -> Iterator[None]:
        """Show warnings, and the library's messages where they are wanted."""
        logger = logging.getLogger("psmlearn")
        level, handler = logger.level, _Handler(self)
        if messages:
            logger.addHandler(handler)
            logger.setLevel(logging.INFO)
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("always", category=PsmlearnWarning)
                warnings.showwarning = self._show  # type: ignore[assignment]
                yield
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)

    def _show(
        self, message: Warning | str, category: type[Warning], *place: object
    ) -> None:
        """Say a warning in one line, without the place in the code."""
        text = str(message)
        if text not in self._told and category not in self._muted:
            self._told.add(text)
            if issubclass(category, PsmlearnWarning):
                self._kinds.add(category)
            self.say(f"Warning: {text}", err=True)

    @contextmanager
    def plain_errors(self) -> Iterator[None]:
        """Turn what is wrong with the input into one line, without a traceback."""
        try:
            yield
        except PLAIN_ERRORS as error:
            raise self.failure(tell_error(error)) from error

    def failure(self, text: str) -> click.ClickException:
        """Return the error that ends a command with a text."""
        return click.ClickException(self.plain(text))


class _Handler(logging.Handler):
    """Messages of the library as lines."""

    def __init__(self, terminal: Terminal) -> None:
        super().__init__()
        self.terminal = terminal

    def emit(self, record: logging.LogRecord) -> None:
        self.terminal.say(record.getMessage(), err=True)


def tell_error(error: BaseException) -> str:
    """Return what an error says; its kind where that is nothing or not for users."""
    text = str(error)
    if isinstance(error, MemoryError):
        return text if text.startswith("Cannot") else f"Not enough memory. {text}"
    if isinstance(error, PLAIN_ERRORS) and text:
        return text
    return f"{type(error).__name__}: {text}"


def tell_some(names: Iterable[str]) -> str:
    """Write the first names, each in one line, and how many there are beyond."""
    names = list(names)
    more = len(names) - N_TOLD
    told = ", ".join(map(printable, names[:N_TOLD]))
    return told + (f" and {more} more" if more > 0 else "")


def count(number: int, one: str, many: str | None = None) -> str:
    """Write a number of things."""
    return f"{number} {one if number == 1 else many or one + 's'}"
